"""A run on a GPU, or a strict stand-in for one, that stopped and went on is the run that did not stop, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import Experiment, backend, nn

QUIET: dict[str, Any] = {
    "preset": False, "curve": False, "tensorboard": False, "progress": False, "final_episodes": 1,
    "eval_interval": 10**6,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "ppo": {"agent": "ppo", "n_steps": 16, "batch_size": 32, "normalize_observation": True, "normalize_reward": True},
    "ppo with a memory": {"agent": "ppo", "n_steps": 8, "batch_size": 32, "recurrent": "gru", "hidden_sizes": (8,)},
    "a2c": {"agent": "a2c", "n_steps": 8},
    "impala": {"agent": "impala", "n_steps": 8},
    "reinforce": {"agent": "reinforce", "n_steps": 16, "baseline": "none"},
    "trpo": {"agent": "trpo", "n_steps": 16, "cg_iterations": 3, "critic_batch_size": 32, "normalize_reward": True},
    "drqn": {"agent": "drqn", "learning_starts": 32, "recurrent_size": 8, "batch_size": 8, "sequence_length": 5},
    "dqn": {"agent": "dqn", "buffer_device": "device", "learning_starts": 32, "prioritized": True, "noisy": True},
}


pytestmark = pytest.mark.usefixtures("cuda")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "drqn" else name for name in RUNS]
)
def test_a_resumed_run_is_the_run(name: str, tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> Any:
        settings = {**RUNS[name], **QUIET, "hidden_sizes": (8,), "total_steps": 512, "num_envs": 4, "device": "cuda"}
        return Experiment(env="CartPole-v1", seed=3, out=tmp_path, name=folder, **settings).run(steps=steps)

    whole = run("whole", 512)
    run("parts", 200)
    resumed = Experiment.resume(tmp_path / "parts", progress=False).run(512)
    assert resumed.agent.num_updates == whole.agent.num_updates > 3
    values = [backend.to_numpy(nn.parameters_to_vector(agent.network)) for agent in (whole.agent, resumed.agent)]
    np.testing.assert_array_equal(values[1], values[0])
    files = [(tmp_path / folder / "final" / "agent.dbrrl").read_bytes() for folder in ("whole", "parts")]
    assert files[0] == files[1]
