"""Updates of every agent on the same transitions: as a program, op by op, and with NumPy alone in another process."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import agents
from dbrrl.buffers.batch import Rollout
from dbrrl.learning.gradient_step import GradientStep

spaces = gym.spaces
BOX = spaces.Box(-2.0, 2.0, (3,), np.float32)
TWO = spaces.Discrete(3)
ARMS = spaces.Box(-1.0, 1.0, (2,), np.float32)
MASKED = spaces.Dict({"observation": BOX, "action_mask": spaces.Box(0, 1, (3,), np.int8)})
GRADIENT_STEPS = 200
OFF = {"learning_starts": 10**9, "batch_size": 16, "buffer_size": 400, "hidden_sizes": (16, 16)}
ON = {"n_steps": 16, "hidden_sizes": (16, 16)}
MANY = {"batch_size": 16, "n_epochs": 5}
CASES: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "a2c": ("A2C", BOX, TWO, ON),
    "a2c box": ("A2C", BOX, ARMS, ON),
    "ppo": ("PPO", BOX, TWO, ON | MANY),
    "ppo box": ("PPO", BOX, ARMS, ON | MANY | {"normalize_observation": True}),
    "ppo multi-discrete": ("PPO", BOX, spaces.MultiDiscrete([2, 3]), ON | MANY),
    "ppo multi-binary": ("PPO", BOX, spaces.MultiBinary(3), ON | MANY),
    "ppo masks": ("PPO", MASKED, TWO, ON | MANY),
    "impala": ("IMPALA", BOX, TWO, ON),
    "impala box": ("IMPALA", BOX, ARMS, ON),
    "reinforce": ("REINFORCE", BOX, TWO, ON),
    "trpo": ("TRPO", BOX, ARMS, ON),
    "dqn": ("DQN", BOX, TWO, OFF),
    "dqn with all": ("DQN", BOX, TWO, OFF | {"dueling": True, "prioritized": True, "noisy": True, "n_step": 3}),
    "double_dqn": ("DoubleDQN", BOX, TWO, OFF),
    "c51": ("C51", BOX, TWO, OFF),
    "qr_dqn": ("QRDQN", BOX, TWO, OFF),
    "iqn": ("IQN", BOX, TWO, OFF),
    "rainbow": ("Rainbow", BOX, TWO, OFF),
    "drqn": ("DRQN", BOX, TWO, OFF),
    "ddpg": ("DDPG", BOX, ARMS, OFF),
    "td3": ("TD3", BOX, ARMS, OFF),
    "sac": ("SAC", BOX, ARMS, OFF),
    "sac_discrete": ("SACDiscrete", BOX, TWO, OFF),
    "tqc": ("TQC", BOX, ARMS, OFF),
}


# With seed 0 a unit of C51's network is within rounding of 0 for a transition, where the slope of ReLU jumps.
SEEDS = {"c51": 1}


def make(case: str) -> Any:
    """The agent of a case."""
    name, observation, action, settings = CASES[case]
    kind = getattr(agents, name)
    known = {key: value for key, value in settings.items() if key in kind.Config.__dataclass_fields__}
    return kind(observation, action, kind.Config(**known), num_envs=2, seed=SEEDS.get(case, 0))


def seen(agent: Any, rng: np.random.Generator) -> Any:
    """A random batch of observations."""
    x = rng.normal(size=(2, 3)).astype(np.float32)
    if agent.observation_space is not MASKED and not isinstance(agent.observation_space, spaces.Dict):
        return x
    mask = (rng.random((2, 3)) < 0.6).astype(np.int8)
    mask[:, 0] = 1
    return {"observation": x, "action_mask": mask}


def experience(case: str) -> Any:
    """What an agent of a case learns from: its state with a full replay buffer, or rollouts."""
    agent, rng, rollouts = make(case), np.random.default_rng(1), []
    agent.compiled = False
    on_policy = not hasattr(agent, "replay")
    if on_policy:
        agent.update = lambda rollout: rollouts.append(rollout.buffer.state_dict()) or {}
    observation = seen(agent, rng)
    while len(rollouts) < 10 if on_policy else agent.steps < 300:
        agent.act(observation)
        observation = seen(agent, rng)
        ends = rng.random((2, 2)) < 0.1
        agent.observe(observation, rng.normal(size=2), ends[0], ends[1] & ~ends[0])
    return rollouts or agent.state_dict()


def updated(case: str, given: Any, compiled: bool) -> Any:
    """The agent of a case after some 200 gradient steps on what `experience` gave."""
    agent = make(case)
    agent.compiled = compiled
    if isinstance(given, list):
        while agent.num_updates < GRADIENT_STEPS:
            for one in given:
                agent.learned = 0
                agent.rollout.load_state_dict(one)
                rollout = Rollout(agent.rollout, agent.memory, "cpu")
                rollout.behavior = agent.behavior(rollout)
                agent.update(rollout)
    else:
        agent.load_state_dict(given)
        for _ in range(GRADIENT_STEPS):
            agent.update(agent.sample())
    return agent


def weights(agent: Any) -> np.ndarray:
    """All parameters that it learns, as one vector."""
    return np.concatenate([optimizer.flat.values.copy() for optimizer in agent.optimizers])


def explained(agent: Any) -> dict[str, str]:
    """How the gradient steps of an agent ran, by the name of the attribute."""
    return {name: step.explain() for name, step in vars(agent).items() if isinstance(step, GradientStep)}


def updated_by_numpy(cases: list[str], given: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The weights of the agents of some cases, from a process without compiled kernels."""
    (folder / "given").write_bytes(pickle.dumps(given))
    command = [sys.executable, "-m", "tests.compiled.updates", str(folder), *cases]
    root = Path(__file__).parent.parent.parent
    subprocess.run(command, check=True, env=os.environ | {"DBRRL_KERNELS": "numpy"}, cwd=root)
    return pickle.loads((folder / "found").read_bytes())  # type: ignore[no-any-return]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    learned_from = pickle.loads((place / "given").read_bytes())
    found = {case: weights(updated(case, learned_from[case], False)) for case in sys.argv[2:]}
    (place / "found").write_bytes(pickle.dumps(found))
