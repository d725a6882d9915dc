"""Ours: the jobs done with the library's public agents, networks and optimizers, as a user would do them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu import jobs
from benchmarks.gpu.measure import Contender, Machine
from dbrrl import backend, nn
from dbrrl import functional as F
from dbrrl.agents import PPO
from dbrrl.buffers import Batch
from dbrrl.envs import Environments, make
from dbrrl.kernels.cuda.blas import tf32
from dbrrl.kernels.cuda.graph import Captured
from dbrrl.optim import Adam

ENV = "dbrrl/CartPole-v1"


class AbsentError(Exception):
    """A measurement needs something that is missing; the message names it."""


# What follows here is all that depends on how agents and environments are driven on a GPU.


def environments(num_envs: int, seed: int, machine: Machine) -> Environments:
    """CartPole where the agent computes."""
    return make(ENV, num_envs, seed=np.random.SeedSequence(seed), device=machine.device)


COLUMNS = ("observation", "action", "log_prob", "value", "target", "advantage")  # of a job, in this order


def ppo_step(agent: PPO, batch: Batch, rows: Any) -> None:
    """The gradient step of PPO's epochs on these rows of a rollout's batch."""
    agent.gradient_step(batch[rows], clip_range=agent.config.clip_range)


def ppo_refused(agent: PPO) -> str:
    """Why the agent's updates are not captured, although it was asked to."""
    return agent.step.refused


def captured(function: Callable[..., Any], arrays: tuple[Any, ...]) -> tuple[Callable[[], Any], Callable[[], str]]:
    """`function(*arrays)`, captured in a graph at its first calls and replayed after, and why it was not."""
    replayed = Captured(function)
    return lambda: replayed(fixed=arrays), lambda: replayed.refused


def set_tf32(on: bool) -> None:
    """Whether matrix products and convolutions may round their inputs to TF32."""
    tf32.on = on


# What follows is the same on every device.


def ppo_agent(machine: Machine, num_envs: int = 8, seed: int = 0, **settings: Any) -> PPO:
    """PPO with separate 64-64 tanh networks on CartPole's spaces."""
    envs = make(ENV, 1, seed=np.random.SeedSequence(0))
    spaces = envs.observation_space, envs.action_space
    return PPO(*spaces, PPO.Config(**settings), num_envs=num_envs, seed=seed, device=machine.device)


def arrays(module: nn.Module) -> list[np.ndarray]:
    """The weights, on the host."""
    return [backend.to_numpy(p.array).copy() for p in module.parameters()]


def flat(module: nn.Module) -> np.ndarray:
    """The weights as one vector on the host."""
    return np.concatenate([a.reshape(-1) for a in arrays(module)])


def ppo_start(machine: Machine) -> list[np.ndarray]:
    """The weights that every contender begins with."""
    return arrays(ppo_agent(machine).network)


def ppo_update(machine: Machine, job: jobs.PPOJob, capture: bool) -> Contender:
    """PPO's own minibatch update."""
    settings = {"learning_rate": jobs.RATE, "entropy_coef": jobs.ENTROPY, "max_grad_norm": jobs.MAX_NORM}
    agent = ppo_agent(machine, batch_size=len(job.rows), adam_eps=jobs.EPS, **settings)
    agent.use_cuda_graphs = capture
    columns, rows = [machine.put(column) for column in job.columns], machine.put(job.rows)
    batch = Batch(**dict(zip(COLUMNS, columns, strict=True)))
    return Contender(
        "dbrrl" + (", captured" if capture else ""),
        lambda: ppo_step(agent, batch, rows),
        machine.wait,
        lambda: set_tf32(False),
        lambda: flat(agent.network),
        lambda: ppo_refused(agent) if capture else "",
        row={"library": "dbrrl", "captured": capture, "tf32": False},
    )


def image_network(shape: tuple[int, int, int]) -> nn.Module:
    """The Nature CNN with a linear head."""
    return nn.Sequential(nn.NatureCNN(shape, rng=0), nn.Linear(512, jobs.IMAGE_ACTIONS, rng=1))


def image_start(shape: tuple[int, int, int]) -> list[np.ndarray]:
    """The weights that every contender begins with."""
    return arrays(image_network(shape))


def image_update(machine: Machine, job: jobs.ImageJob, capture: bool, rounded: bool) -> Contender:
    """Forward, Huber loss, backward, clipping and Adam."""
    module = image_network(job.images.shape[1:]).to(machine.device)
    optimizer = Adam(module, jobs.IMAGE_RATE, eps=jobs.IMAGE_EPS)
    batch = (machine.put(job.images), machine.put(job.action), machine.put(job.target))

    def update(images: Any, action: Any, target: Any) -> None:
        optimizer.zero_grad()
        F.huber_loss(F.pick(module(images), action), target).backward()
        optimizer.clip_grad_norm(jobs.IMAGE_MAX_NORM)
        optimizer.step()

    set_tf32(rounded)
    call, refused = captured(update, batch) if capture else (lambda: update(*batch), str)
    return Contender(
        "dbrrl" + (", captured" if capture else "") + (", TF32" if rounded else ""),
        call,
        machine.wait,
        lambda: set_tf32(rounded),
        lambda: flat(module),
        refused,
        row={"library": "dbrrl", "captured": capture, "tf32": rounded},
    )


class Loop:
    """PPO on CartPole, driven as a user's own loop drives it."""

    def __init__(self, machine: Machine, num_envs: int, seed: int, **settings: Any) -> None:
        self.agent = ppo_agent(machine, num_envs, seed, **settings)
        self.envs = environments(num_envs, seed, machine)
        self.observation = self.envs.reset()

    def rollout(self) -> None:
        """One rollout and what is learned from it."""
        for _ in range(self.agent.n_steps):
            step = self.envs.step(self.agent.act(self.observation))
            self.agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
            self.observation = step.observation


def score(agent: PPO, machine: Machine, seed: int, episodes: int = 100, limit: int = 500) -> np.ndarray:
    """Returns of so many first episodes under the policy's mode, in environments of their own."""
    envs = environments(episodes, seed, machine)
    observation, total, alive = envs.reset(), np.zeros(episodes), np.ones(episodes, bool)
    for _ in range(limit):
        step = envs.step(agent.act(observation, explore=False))
        reward, terminated, truncated = map(backend.to_numpy, (step.reward, step.terminated, step.truncated))
        total += alive * reward
        alive &= ~(terminated | truncated)
        observation = step.observation
        if not alive.any():
            break
    return total


def apart(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> float:
    """How far two sides' weights are apart after the same updates, relative to how far the first's moved."""
    moved = float(np.linalg.norm(a - start))
    return float(np.linalg.norm(a - b)) / moved if moved else math.nan
