"""Suites as data: what the files say, and what is refused."""

from pathlib import Path

import gymnasium as gym
import pytest

from dbrrl.benchmarks import suite
from dbrrl.errors import ConfigError
from dbrrl.experiment.registry import agent_class


def pairs(name: str) -> set[tuple[str, str]]:
    return {(cell.agent, cell.env) for cell in suite.load(name).cells}


def test_classic_is_what_it_is_said_to_be() -> None:
    discrete = ("ppo", "a2c", "a3c", "dqn", "double_dqn", "c51", "qr_dqn", "iqn", "rainbow")
    assert all(gym.spaces.Discrete in agent_class(name).action_spaces for name in discrete)
    wanted = {(agent, env) for agent in discrete for env in ("CartPole-v1", "Acrobot-v1")}
    wanted |= {(agent, "MountainCar-v0") for agent in ("ppo", "a2c", "dqn", "qr_dqn")}
    wanted |= {(agent, env) for agent in ("ppo", "a2c") for env in ("Pendulum-v1", "MountainCarContinuous-v0")}
    wanted |= {(agent, "LunarLander-v3") for agent in ("ppo", "a2c", "dqn", "rainbow")}
    assert pairs("classic") == wanted
    assert {cell.seeds for cell in suite.load("classic").cells if cell.env == "LunarLander-v3"} == {5}


@pytest.mark.parametrize("name", suite.names())
def test_every_cell_of_every_suite_settles_into_a_plan(name: str) -> None:
    loaded = suite.load(name)
    for cell in loaded.cells:
        plan = cell.plan(seed=3)
        assert (plan.settings.seed, plan.settings.threads, plan.settings.curve) == (3, 1, False)


def test_a_part_of_a_suite_and_steps_of_your_own() -> None:
    part = suite.load("classic", {"steps": 1234}).part(["dqn"], ["CartPole-v1", "Acrobot-v1"])
    assert [cell.name for cell in part.cells] == ["dqn on CartPole-v1", "dqn on Acrobot-v1"]
    assert part.cells[0].plan(0).settings.steps == 1234


def test_the_preset_can_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[cells]]\nagents = ["ppo"]\nenvs = ["CartPole-v1"]\npreset = false\nsettings = {n_epochs = 3}\n')
    plan = suite.load(str(file)).cells[0].plan(0)
    assert plan.preset == {} and plan.config.n_epochs == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no cells"),
        ('cells = "x"', "cells: expected a list of tables, got 'x'"),
        ("cells = [1]", r"cells are tables, write \[\[cells\]\]"),
        ("sedes = 3", "unknown key 'sedes'; did you mean 'seeds'"),
        ('[[cells]]\nagents = ["ppo"]', "envs: expected a list of names, got None"),
        ('[[cells]]\nagents = []\nenvs = ["CartPole-v1"]', r"agents: expected a list of names, got \[\]"),
        (
            '[[cells]]\nagents = "Discret"\nenvs = ["CartPole-v1"]',
            "no agent serves .* 'Discret'; did you mean 'Discrete",
        ),
        ('[[cells]]\nagents = ["ppo"]\nenvs = ["A", "A"]', "ppo on A is in it twice"),
        ('[[cells]]\nagents = ["ppo"]\nenvs = ["A"]\nseeds = 0', "seeds: expected a whole number of at least 1, got 0"),
        ('[[cells]]\nagents = ["ppo"]\nenvs = ["A"]\npreset = 1', "preset: expected true or false, got 1"),
        ('[[cells]]\nagents = ["ppo"]\nenvs = ["A"]\nstep = 1', "unknown key 'step'"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        suite.load(str(file))


def test_settings_that_no_agent_has_are_said(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[cells]]\nagents = ["ppo"]\nenvs = ["CartPole-v1"]\n[cells.settings]\nbuffer_sise = 3\n')
    with pytest.raises(ConfigError, match="unknown setting 'buffer_sise'"):
        suite.load(str(file)).cells[0].plan(0)


def test_names_that_are_wrong_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown suite 'clasic'; did you mean 'classic'"):
        suite.load("clasic")
    with pytest.raises(ConfigError, match="there is no such file"):
        suite.load("none.toml")
    with pytest.raises(ConfigError, match="--agents: suite classic has no 'dqnn'; did you mean 'dqn'"):
        suite.load("classic").part(["dqnn"], None)
    with pytest.raises(ConfigError, match="has no cell of these agents in these environments"):
        suite.load("classic").part(["iqn"], ["Pendulum-v1"])
