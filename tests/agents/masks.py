"""Agents for actions that are masked, their settings, and loops on the toy problem whose actions are."""

from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl.agents import (
    A2C,
    A3C,
    C51,
    DQN,
    DRQN,
    IMPALA,
    IQN,
    PPO,
    QRDQN,
    REINFORCE,
    TRPO,
    DoubleDQN,
    Rainbow,
    SACDiscrete,
)

spaces = gym.spaces
SMALL: dict[str, Any] = {"hidden_sizes": (8,)}
QUICK = {"learning_starts": 8, "batch_size": 8, "update_interval": 4, "buffer_size": 100, **SMALL}
ON_POLICY: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ppo": (PPO, {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "entropy_coef": 0.01, **SMALL}),
    "ppo_lstm": (PPO, {"n_steps": 8, "batch_size": 8, "recurrent": "lstm", "recurrent_size": 4, **SMALL}),
    "ppo_normalized": (PPO, {"n_steps": 8, "batch_size": 8, "normalize_observation": True, **SMALL}),
    "a2c": (A2C, SMALL),
    "a2c_gru": (A2C, {"recurrent": "gru", "recurrent_size": 4, **SMALL}),
    "a3c": (A3C, SMALL),
    "impala": (IMPALA, {"n_steps": 8, **SMALL}),
    "impala_lstm": (IMPALA, {"n_steps": 8, "recurrent": "lstm", "recurrent_size": 4, **SMALL}),
    "reinforce": (REINFORCE, {"n_steps": 8, "baseline": "none", **SMALL}),
    "trpo": (TRPO, {"n_steps": 8, "critic_epochs": 2, **SMALL}),
    "trpo_lstm": (TRPO, {"n_steps": 8, "recurrent": "lstm", "recurrent_size": 4, "cg_iterations": 3, **SMALL}),
}
Q_LEARNERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "dqn": (DQN, QUICK),
    "dqn_all": (DQN, {**QUICK, "dueling": True, "prioritized": True, "n_step": 3}),
    "dqn_ez": (DQN, {**QUICK, "exploration": "ez_greedy", "epsilon_start": 0.5, "epsilon_end": 0.5}),
    "double_dqn": (DoubleDQN, QUICK),
    "drqn": (DRQN, {**QUICK, "recurrent_size": 4, "sequence_length": 4, "burn_in": 2}),
    "c51": (C51, {**QUICK, "atoms": 5}),
    "qr_dqn": (QRDQN, {**QUICK, "quantiles": 4}),
    "iqn": (IQN, {**QUICK, "quantiles": 4, "target_quantiles": 4, "action_quantiles": 4, "dueling": True}),
    "rainbow": (Rainbow, {**QUICK, "atoms": 5}),
}
SOFT: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "sac_discrete": (SACDiscrete, {**QUICK, "tau": 0.1}),
    "sac_discrete_all": (SACDiscrete, {**QUICK, "prioritized": True, "n_step": 3, "target_entropy": 0.5}),
}
OFF_POLICY = Q_LEARNERS | SOFT
ALL = ON_POLICY | OFF_POLICY
SAME_STEP = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
SPACE = spaces.Dict({"observation": spaces.Box(-1, 1, (2,), np.float32), "action_mask": spaces.MultiBinary(4)})


def make(name: str, space: Any = SPACE, actions: Any = None, num_envs: int = 2, **changes: Any) -> Any:
    """An agent by its name in ALL."""
    kind, settings = ALL[name]
    actions = spaces.Discrete(4) if actions is None else actions
    given = {"device": changes.pop("device")} if "device" in changes else {}
    return kind(space, actions, kind.Config(**{**settings, **changes}), num_envs=num_envs, seed=0, **given)


def play(agent: Any, env: str = "dbrrl/Masked-v0", steps: int = 40, **options: Any) -> list[Any]:
    """Train in a loop of one's own; the masks that were acted on, with the actions taken."""
    envs = gym.make_vec(env, agent.num_envs, vectorization_mode="sync", vector_kwargs=SAME_STEP, **options)
    observation, _ = envs.reset(seed=0)
    taken = []
    for _ in range(steps):
        action = agent.act(observation)
        taken.append((observation["action_mask"], np.array(action)))
        observation, reward, terminated, truncated, info = envs.step(action)
        agent.observe(observation, reward, terminated, truncated, info)
    envs.close()
    return taken


def all_allowed(taken: list[Any], two_choices: bool = False) -> bool:
    """Whether only allowed actions were taken."""
    for masks, actions in taken:
        for mask, action in zip(masks, actions, strict=True):
            chosen = [action[0], 4 + action[1]] if two_choices else [action]
            if not mask[chosen].all():
                return False
    return True


def seen(rows: int, *allowed: int, n: int = 4) -> dict[str, np.ndarray]:
    """A batch of observations that allow these actions alone."""
    mask = np.zeros((rows, n), np.int8)
    mask[:, list(allowed)] = 1
    vector = np.linspace(-1, 1, 2 * rows, dtype=np.float32).reshape(rows, 2)
    return {"observation": vector, "action_mask": mask}
