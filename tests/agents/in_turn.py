"""Trainings of A3C whose four learners take their turns in this process."""

from typing import Any

from dbrrl.agents import A3C
from dbrrl.envs import make
from dbrrl.experiment import evaluation
from dbrrl.seeding import sequence

from .probes import GAMMA

QUICK: dict[str, Any] = {
    "n_steps": 8,
    "learning_rate": 1e-2,
    "rmsprop_eps": 1e-2,
    "gamma": GAMMA,
    "gae_lambda": 0.95,
    "entropy_coef": 0.0,
    "hidden_sizes": (32,),
}


def train(env: str, seed: int, steps: int, **settings: Any) -> Any:
    """The agent after a training of four learners that take their turns in this process."""
    envs = make(env, 4, seed=sequence(seed, "environments"))
    config = A3C.Config(**{**QUICK, **settings}, total_steps=steps)
    agent = A3C(envs.observation_space, envs.action_space, config, num_envs=4, seed=seed)
    observation = envs.reset()
    for _ in range(steps // 4):
        step = envs.step(agent.act(observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=step.valid)
        observation = step.observation
    agent.central.pull()
    return agent


def score(agent: Any, env: str) -> float:
    """Mean return of the policy without exploration."""
    found = evaluation.evaluate(agent, make(env, 5, seed=sequence(1, "evaluation")), episodes=20)
    assert found is not None
    return float(found.returns.mean())
