"""The table of statistics knows what runs log."""

import csv
from pathlib import Path

import pytest

from dbrrl import Experiment
from dbrrl.experiment import registry
from dbrrl.reporting.metrics import METRICS, Metric, describe

CONTINUOUS = ("ddpg", "td3", "sac", "tqc")
FEW = ("ppo",)  # the others are slow tests


@pytest.mark.parametrize(
    "agent", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in registry.agent_names() if name not in FEW)]
)
def test_every_statistic_of_every_agent_has_a_meaning(agent: str, tmp_path: Path) -> None:
    settings: dict[str, object] = {"steps": 256, "num_envs": 1, "final_episodes": 1, "eval_episodes": 1, "curve": False}
    if hasattr(registry.agent_class(agent).Config(), "learning_starts"):
        settings |= {"learning_starts": 64, "buffer_size": 256}
    if hasattr(registry.agent_class(agent).Config(), "n_steps") and agent in ("ppo", "trpo", "a2c", "a3c", "impala"):
        settings |= {"n_steps": 32}
    env = "Pendulum-v1" if agent in CONTINUOUS else "CartPole-v1"
    Experiment(agent, env, out=tmp_path, name="run", preset=False, max_episode_steps=30, **settings).run()
    for file in ("scores.csv", "progress.csv"):
        with open(tmp_path / "run" / file, newline="") as stream:
            for name in next(csv.reader(stream)):
                assert describe(name).meaning != name.replace("_", " "), name


def test_a_part_of_a_statistic_is_described_by_it() -> None:
    assert describe("critic_loss").meaning == f"of the critic: {METRICS['loss'].meaning}"
    assert describe("my_number") == Metric("my number")
    assert all(metric.better in ("higher", "lower", "") for metric in METRICS.values())
