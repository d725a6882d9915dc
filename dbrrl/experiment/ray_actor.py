"""One worker of a run on Ray whose agent learns elsewhere: it acts in some environments, and gives what came of it."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dbrrl import backend, seeding
from dbrrl.checkpoint import State
from dbrrl.explorers import EpsilonGreedy
from dbrrl.learning import changing, experience, trajectories
from dbrrl.learning.rebuild import set_network

from . import ray_cluster, shares
from .observing import observing
from .settings import Plan

HOW = {"actors": experience, "trajectories": trajectories}  # what is given, by how an agent learns from it


class Actor:
    """Acts by the weights that it is given for each round of steps. `prepare` comes first."""

    def prepare(self, plan: Plan, index: int, life: int, versions: dict[str, str]) -> None:
        """Make environments and agent, and begin an episode everywhere.

        Args:
            plan: of the run.
            index: of this worker.
            life: how often it was replaced before, on which its random numbers depend.
            versions: of the process that asks, which have to be those of this one.
        """
        ray_cluster.compare(versions)
        backend.keep_freed_memory()
        backend.set_blas_threads(plan.settings.threads or 1)
        settings = plan.settings
        seed = int(seeding.sequence(settings.seed, "actor", index, life).generate_state(1)[0])
        if life:
            plan = plan.with_seed(seed)
        self.envs = envs = shares.environments(plan, range(index, index + 1))
        self.num_envs = settings.num_envs
        how = HOW[plan.agent_class.distributed]
        config = plan.config.replace(**how.ACTING)
        spaces = envs.observation_space, envs.action_space
        agent: Any = plan.agent_class(*spaces, config, num_envs=envs.num_envs, seed=seed)
        if plan.network is not None:
            set_network(agent, plan.network)
        agent.compiled = agent.compiled and settings.compile
        self.agent, self.recorder = agent, how.Recorder(agent)
        others = max(1, (settings.workers or 1) - 1)
        self.power = 1 + settings.worker_spread * index / others  # of ε (Horgan et al. 2018, section 4.1)
        self._spread()
        envs.reset()

    def _spread(self) -> None:
        """Let the agent explore as this worker does; noise on continuous actions is alike in all."""
        explorer = getattr(self.agent, "explorer", None)
        if isinstance(explorer, EpsilonGreedy):
            explorer.power = self.power

    def load_state(self, state: State) -> list[str]:
        """Go on from `state`; return a line for each environment that begins a new episode."""
        self.agent.load_state_dict(state["agent"])
        return self.envs.load_state_dict(state["environments"])

    def state(self) -> State:
        """Return all that it needs to go on."""
        return {"agent": self.agent.state_dict(), "environments": self.envs.state_dict()}

    def change(self, values: Mapping[str, Any]) -> None:
        """Let the agent go on with other values of settings."""
        changing.change(self.agent, values)()
        self._spread()

    def run(self, weights: State, rows: int, first: int) -> tuple[State, np.ndarray, float]:
        """Step all environments so many times; return the transitions, a row per ended episode, and the seconds.

        A row has the number of the step, the return and the length.

        Args:
            weights: those to act by (see `experience.Weights`).
            rows: how many times.
            first: steps of all workers' environments before, by which exploration goes on.
        """
        finished: list[tuple[float, float, int]] = []
        agent, envs, start = self.agent, self.envs, time.perf_counter()
        self.recorder.begin(weights)
        with observing(agent) as observe:
            for row in range(rows):
                agent.steps = first + row * self.num_envs
                step = envs.step(agent.act(envs.observation))
                shares.check_step(step, envs.env_id)
                observe(step)
                finished += [(row, *episode) for episode in envs.finished]
        taken = self.recorder.taken(envs.observation)
        return taken, np.array(finished, np.float64).reshape(-1, 3), time.perf_counter() - start
