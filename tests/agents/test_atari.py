"""Agents on Atari games through the runner: they train from pixels, are scored unshaped and resume to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint, evaluate
from dbrrl.experiment import Experiment
from dbrrl.experiment.registry import agent_names, preset

SHORT: dict[str, Any] = {"max_episode_steps": 40, "final_episodes": 2, "eval_interval": 1000, "curve": False}
SHORT |= {"threads": 1}
DQN_SHORT = SHORT | {"buffer_size": 300, "learning_starts": 100, "total_steps": 400, "update_interval": 8}


def experiment(agent: str, **changes: Any) -> Experiment:
    pytest.importorskip("ale_py", reason="needs ale-py, the extra atari")
    return Experiment(agent, "ALE/Pong-v5", progress=False, **changes)


def test_dqn_trains_for_a_few_hundred_steps() -> None:
    run = experiment("dqn", **DQN_SHORT).run(steps=400)
    agent: Any = run.agent
    assert agent.num_updates == (400 - 100) // 8 + 1 and np.isfinite(agent.latest["loss"])
    assert agent.config.optimizer == "rmsprop" and agent.optimizer.eps_inside_root
    assert agent.replay.nbytes < 310 * 84 * 84 + 20 * 4 * 84 * 84  # a frame each, and a few whole stacks
    assert -21 <= run.score <= 0 and run.score == int(run.score * 2) / 2  # points of the game


def test_ppo_trains_for_a_few_hundred_steps() -> None:
    run = experiment("ppo", **SHORT, n_steps=16, batch_size=64).run(steps=256)
    assert run.agent.num_updates == 2 * 3 * 2 and np.isfinite(run.agent.statistics()["policy_loss"])
    assert run.agent.num_envs == 8 and -21 <= run.score <= 0


def test_a_run_resumes_to_the_bit(tmp_path: Path) -> None:
    changes = DQN_SHORT | {"steps": 200, "seed": 3}
    whole = experiment("dqn", **changes).run()
    half = experiment("dqn", **changes, out=tmp_path).run(steps=130)
    assert half.directory is not None
    resumed = Experiment.resume(half.directory, progress=False).run(steps=200)
    states = [checkpoint.encode(run.agent.record(), kind="x") for run in (whole, resumed)]
    assert states[0] == states[1]


@pytest.mark.slow
def test_an_episode_is_filmed(tmp_path: Path) -> None:
    run = experiment("ppo", **SHORT, out=tmp_path, n_steps=8, batch_size=64).run(steps=64)
    evaluate.main([str(run.directory), "--episodes", "1", "--video", str(tmp_path / "film.gif")])
    assert (tmp_path / "film.gif").stat().st_size > 1000


def test_presets_are_of_all_games() -> None:
    for agent in agent_names():
        found = preset(agent, "ALE/SpaceInvaders-v5")
        assert found == preset(agent, "ALE/Pong-v5")
        assert not found or (found["clip_reward"] and found["steps"] == 10_000_000), agent
    assert {a for a in agent_names() if preset(a, "ALE/Pong-v5")} >= {"dqn", "rainbow", "ppo", "a2c"}
