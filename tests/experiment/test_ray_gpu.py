"""Workers with a GPU each, on a real cluster of Ray: needs two GPUs, and NCCL."""

from typing import Any

import numpy as np
import pytest

from dbrrl import backend
from dbrrl.backend import nccl, to_numpy
from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment, Run, ray_cluster

try:
    ray_cluster.load()
    count = backend.module_on("cuda").cuda.runtime.getDeviceCount()
    nccl.library()
except ConfigError as error:
    pytest.skip(f"needs dbrrl[ray], two GPUs and NCCL: {error}", allow_module_level=True)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(count < 2, reason="needs two GPUs")]
QUIET: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 5}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"batch_size": 64, "n_epochs": 2},
    "ppo with a memory": {"batch_size": 128, "n_epochs": 2, "recurrent": "lstm"},
    "a2c": {},
    "trpo": {"critic_batch_size": 64, "steps": 256},
}


def train(case: str, **settings: Any) -> Run:
    same = {"num_envs": 8, "n_steps": 16, "steps": 2048, "preset": False, "device": "cuda", "shares": 2}
    return Experiment(case.split()[0], "Pendulum-v1", **{**QUIET, **same, **SETTINGS[case], **settings}).run()


def weights(run: Run) -> np.ndarray:
    agent: Any = run.agent
    return np.concatenate([to_numpy(p.array).ravel() for p in agent.network.parameters()])


@pytest.mark.parametrize("case", SETTINGS)
def test_two_gpus_learn_what_one_learns(case: str) -> None:
    alone, run = train(case), train(case, workers=2)
    np.testing.assert_allclose(weights(run), weights(alone), rtol=0, atol=1e-3)
    assert run.scores[-1]["num_updates"] == alone.scores[-1]["num_updates"] > 0
