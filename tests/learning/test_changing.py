"""Settings that change while an agent learns, against an agent that was loaded with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.envs import make
from dbrrl.errors import ConfigError
from dbrrl.experiment import registry
from dbrrl.learning.changing import CHANGEABLE, change, changeable

VALUES: dict[str, Any] = {
    "learning_rate": 4e-3,
    "actor_learning_rate": 3e-4,
    "temperature_learning_rate": 2e-3,
    "clip_range": 1e-4,
    "clip_range_value": 1e-3,
    "entropy_coef": 0.2,
    "value_coef": 0.9,
    "target_kl": 1e-7,
    "n_epochs": 2,
    "epsilon": 0.7,
    "noise_scale": 0.9,
    "max_grad_norm": 0.01,
    "tau": 0.5,
}
# What makes a setting count where it usually does not.
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("rainbow", "epsilon"): {"noisy": False},
    ("sac", "noise_scale"): {"noise": "gaussian"},
    ("tqc", "noise_scale"): {"noise": "gaussian"},
    ("reinforce", "value_coef"): {"baseline": "value"},
}
CONTINUOUS = ("ddpg", "td3", "sac", "tqc")
FEW = [("ppo", "learning_rate"), ("ppo", "entropy_coef"), ("dqn", "epsilon")]
PAIRS = [
    (name, setting)
    for name in registry.agent_names()
    if not registry.agent_class(name).asynchronous
    for setting in CHANGEABLE
    if hasattr(registry.agent_class(name).Config(), setting)
]


def made(name: str, other: dict[str, Any]) -> tuple[Any, Any]:
    """An agent of few steps, and two environments that have begun."""
    kind = registry.agent_class(name)
    usual = kind.Config().to_dict()
    small = {"learning_starts": 32, "buffer_size": 512, "batch_size": 16, "total_steps": 2000, "n_steps": 16}
    small |= {"target_update_interval": 16}
    small = {
        key: value for key, value in small.items() if key in usual and not (key == "n_steps" and "buffer_size" in usual)
    }
    envs = make("Pendulum-v1" if name in CONTINUOUS else "CartPole-v1", 2, seed=np.random.SeedSequence(0))
    envs.reset()
    return kind(envs.observation_space, envs.action_space, kind.Config(**(small | other)), num_envs=2), envs


def play(agent: Any, envs: Any, steps: int = 100) -> Any:
    for _ in range(steps):
        step = envs.step(agent.act(envs.observation))
        agent.observe(step.observation, step.reward, step.terminated, step.truncated, valid=step.valid)
    return agent.state_dict()


@pytest.mark.parametrize(
    ("name", "setting"), [pair if pair in FEW else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
)
def test_an_agent_goes_on_as_one_that_was_loaded_with_the_setting(name: str, setting: str, tmp_path: Path) -> None:
    needed = NEEDED.get((name, setting), {})
    (one, here), (other, there), (same, elsewhere) = (made(name, needed) for _ in range(3))
    for agent, envs in ((one, here), (other, there), (same, elsewhere)):
        play(agent, envs)
    try:
        change(one, {setting: VALUES[setting]})()
    except ConfigError as error:  # without effect on this agent
        with pytest.raises(ConfigError, match=str(error)[:20]):
            type(one).Config(**{setting: VALUES[setting]}) and change(one, {setting: VALUES[setting]})
        return
    other.save(tmp_path / "agent")
    other = type(other).load(tmp_path / "agent", config={setting: VALUES[setting]})
    found = play(one, here)
    assert checkpoint.same(found, play(other, there))
    assert not checkpoint.same(found, play(same, elsewhere)), "it had no effect"


def test_what_may_not_change_is_refused_and_nothing_changes() -> None:
    agent, envs = made("ppo", {})
    play(agent, envs)
    before, config = agent.state_dict(), agent.config
    for values, message in (
        ({"n_steps": 8}, "n_steps: may not change while ppo learns"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"entropy_coef": 0.1, "learning_rate": -1}, "learning_rate: expected"),
    ):
        with pytest.raises(ConfigError, match=message):
            change(agent, values)
    assert agent.config is config and checkpoint.same(before, agent.state_dict())


def test_a_step_size_that_was_set_by_hand_stays_where_another_setting_changes() -> None:
    agent, _ = made("dqn", {})
    agent.optimizer.learning_rate = 0.125
    change(agent, {"epsilon": 0.5})()
    assert agent.optimizer.learning_rate == 0.125 and agent.config.epsilon == 0.5


def test_agents_of_several_processes_change_nothing() -> None:
    class Apart:
        asynchronous, name = True, "a3c"

    assert changeable(Apart()) == ()
    with pytest.raises(ConfigError, match="none of this agent's may"):
        change(Apart(), {"learning_rate": 1.0})
