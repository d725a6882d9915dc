"""One worker of a run on Ray: some shares of the environments, and a copy of the agent that learns with the others."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dbrrl import backend
from dbrrl.backend import nccl
from dbrrl.checkpoint import State
from dbrrl.learning import changing, team, team_steps
from dbrrl.learning.rebuild import set_network

from . import ray_cluster, shares
from .observing import observing
from .ray_exchange import Exchange, forget_names
from .settings import Plan


class Member:
    """Steps its environments, and learns in step with the other workers. `prepare` comes first."""

    def prepare(self, plan: Plan, index: int, n_steps: int, versions: dict[str, str]) -> str:
        """Make environments and agent; return the identifier of the host.

        Args:
            plan: of the run.
            index: of this worker.
            n_steps: steps of a rollout.
            versions: of the process that asks, which have to be those of this one.
        """
        ray_cluster.compare(versions)
        workers = plan.settings.workers or 1
        count = shares.count(plan) // workers
        own = range(index * count, (index + 1) * count)
        backend.keep_freed_memory()
        backend.set_blas_threads(plan.settings.threads or 1)
        self.envs = envs = shares.environments(plan, own)
        config, seed = shares.part(plan.config, workers, n_steps), plan.settings.seed
        spaces = envs.observation_space, envs.action_space
        device = plan.settings.device
        agent: Any = plan.agent_class(*spaces, config, num_envs=envs.num_envs, seed=seed, device=device)
        self.agent = agent
        if plan.network is not None:
            set_network(self.agent, plan.network)
        if shares.count(plan) > 1:
            shares.give_streams(self.agent, own)
        self.agent.rollout.first_env = index * envs.num_envs
        self.agent.compiled = self.agent.compiled and plan.settings.compile
        self.exchange = Exchange(index, workers)
        self.team = team.Workers(self.exchange)
        if workers > 1:
            team_steps.join(self.agent, self.team)
        return ray_cluster.host()

    def open(self, actors: list[Any], nodes: list[str]) -> dict[int, Any]:
        """Make the channels to other workers (see `Exchange.open`)."""
        largest = sum(p.array.nbytes for p in self.agent.network.parameters())
        return self.exchange.open(actors, nodes, largest)

    def connect(self, channels: dict[int, Any]) -> None:
        """Take the channels from other workers."""
        self.exchange.connect(channels)

    def identifier(self) -> tuple[int, ...]:
        """Return what all workers are given to find each other's GPUs."""
        return nccl.identifier()

    def connect_gpus(self, identifier: tuple[int, ...]) -> None:
        """Add up what is on GPUs among these; all workers have to be asked at the same time."""
        communicator = nccl.Communicator(self.exchange.index, self.exchange.size, identifier, self.agent.device)
        self.team.exchange = team.OnGPUs(self.exchange, communicator)

    def tidy(self) -> None:
        """Leave no name of a channel behind, once all workers are connected."""
        forget_names()

    def begin(self, network: State) -> None:
        """Begin an episode in every environment, with the weights of a network's state."""
        self.agent.network.load_state_dict(network)
        self.envs.reset()

    def load_state(self, state: State) -> list[str]:
        """Go on from `state`; return a line for each environment that begins a new episode."""
        self.agent.load_state_dict(state["agent"])
        self.team.load_state_dict(state["team"])
        problems = self.envs.load_state_dict(state["environments"])
        if self.envs.observation is None:
            self.envs.reset()
        return problems

    def state(self) -> State:
        """Return all that it needs to go on."""
        found = {"agent": self.agent.state_dict(), "environments": self.envs.state_dict()}
        return found | {"team": self.team.state_dict()}

    def change(self, values: Mapping[str, Any]) -> None:
        """Let the agent go on with other values of settings."""
        changing.change(self.agent, values)()

    def run(self, rows: int) -> tuple[np.ndarray, float]:
        """Step all environments so many times; return a row per ended episode, and the seconds that it worked.

        A row has the number of the step, the return and the length.
        """
        finished: list[tuple[float, float, int]] = []
        agent, envs, before, start = self.agent, self.envs, self.exchange.waited, time.perf_counter()
        with observing(agent) as observe:
            for row in range(rows):
                step = envs.step(agent.act(envs.observation))
                shares.check_step(step, envs.env_id)
                observe(step)
                finished += [(row, *episode) for episode in envs.finished]
        seconds = time.perf_counter() - start - (self.exchange.waited - before)
        return np.array(finished, np.float64).reshape(-1, 3), seconds
