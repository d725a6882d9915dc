"""The gradient of every agent's step is scaled down to `max_grad_norm`."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import agents

from .feeding import actions_for

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
ON_POLICY = ("A2C", "A3C", "IMPALA", "PPO", "REINFORCE", "TRPO")
QUICK: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "update_interval": 2, "buffer_size": 40}
LIMIT = 1e-3  # far below any gradient of these random rewards


@pytest.mark.parametrize("name", sorted(agents.__all__))
def test_a_gradient_is_clipped(name: str) -> None:
    kind: Any = getattr(agents, name)
    settings = {"n_steps": 4} if name in ON_POLICY else QUICK
    agent = kind(BOX, actions_for(kind), kind.Config(max_grad_norm=LIMIT, **settings), num_envs=2)
    rng, no = np.random.default_rng(0), np.zeros(2, bool)
    for _ in range(8):
        agent.act(rng.normal(size=(2, 3)).astype(np.float32))
        agent.observe(rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=2) * 10, no, no)
    assert agent.num_updates > 0
    learners = [agent.learner(env) for env in range(2)] if name == "A3C" else [agent]
    names = ["actor_optimizer", "critic_optimizer"] if hasattr(agent, "critics") else ["optimizer"]
    for optimizer in (getattr(learner, name) for learner in learners for name in names):
        assert np.linalg.norm(optimizer.gradient) == pytest.approx(LIMIT, rel=1e-4)
