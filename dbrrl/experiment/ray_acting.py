"""What the drivers of agents that learn in this process have in common: workers that act, and are replaced."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dbrrl.checkpoint import State, untrusted
from dbrrl.errors import WorkerError
from dbrrl.learning.agent import Agent
from dbrrl.learning.experience import Weights

from . import devices, ray_cluster, shares
from .driver import Episode
from .ray_actor import Actor
from .ray_pool import DeadError, Pool
from .settings import Plan
from .workers import PAUSE_EVERY

DEATHS = 3  # of workers in one round, after which the run ends


class Acting:
    """Workers act, by weights that they are sent, and the agent of this process learns from what they give.

    A worker that dies is replaced, begins new episodes, and does again what it was asked for. A subclass says in
    `_round` who acts when, and what the agent learns from.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        shares.check(plan)
        plan = devices.on(plan, "cpu")  # of the workers; the agent learns wherever it is
        self.plan, self.steps, self.consistent = plan, steps, True
        settings = plan.settings
        self.num_envs = settings.num_envs
        self.env_id, self.kind, self.observation_space, self.action_space = shares.described(plan)
        self.acted = steps  # steps that workers have made or were asked for; `steps` were learned from
        self.events: list[str] = []
        self.rates = [0.0] * (settings.workers or 1)
        self.staleness = 0
        self.lives = [0] * len(self.rates)
        self.own_envs = self.num_envs // len(self.rates)  # environments of one worker
        self._episodes: list[Episode] = []
        self.pool = Pool(plan)

    def bind(self, agent: Agent) -> None:
        """Set the agent that learns."""
        self.agent: Any = agent
        self.weights = Weights(agent)

    def start(self) -> None:
        """Start the workers, unless they run."""
        if not self.pool.actors:
            self._start()

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Act and learn, up to step `until`, or for about half a second; return the episodes that ended."""
        self.consistent = False
        end = time.perf_counter() + PAUSE_EVERY
        while True:
            self._round()
            if self.steps >= until or time.perf_counter() >= end or pause():
                break
        ended, self._episodes = self._episodes, []
        return ended

    def _round(self) -> None:
        """Let the workers act, and learn from what they gave."""
        raise NotImplementedError

    def collect(self) -> list[Episode]:
        """Do nothing, as the agent is here; there are no episodes."""
        self.consistent = True
        return []

    def recover(self) -> list[Episode] | None:
        """Say that the run cannot be saved: the agent may have learned in part from a round."""
        return None

    def state_dict(self) -> State:
        """Return the workers' states, and what they gave that was not yet learned from."""
        unlearned = self._unlearned()
        return {"workers": self._answers("state"), "acted": self.acted, "lives": list(self.lives)} | unlearned

    def _unlearned(self) -> State:
        """Return what the workers gave that was not yet learned from, once they wait."""
        raise NotImplementedError

    def load_state_dict(self, state: State) -> list[str]:
        """Start the workers with the states that were saved; a line for each environment that cannot go on."""
        with untrusted.state_of("workers", "resume with as many workers"):
            table = untrusted.table(state, "", "workers", "acted", "lives")
            found = untrusted.entries(table["workers"], "")
            if not found:
                return []
            untrusted.entries(found, "workers", self.pool.size)
            saved = [untrusted.table(one, "worker", "agent", "environments") for one in found]
            self.acted = untrusted.whole(table["acted"], "acted")
            lives = untrusted.entries(table["lives"], "lives", self.pool.size)
            self.lives = [untrusted.whole(one, "lives") for one in lives]
            self._load_unlearned(table)
        self._start()
        problems = self.pool.ask_each("load_state", [(one,) for one in saved])
        return [f"worker {i}: {line}" for i, lines in enumerate(problems) for line in lines]

    def _load_unlearned(self, table: State) -> None:
        """Put back what `_unlearned` gave."""
        raise NotImplementedError

    def change(self, values: Mapping[str, Any]) -> None:
        """Let the workers go on with other values of settings, such as how they explore."""
        if values:
            self._answers("change", values)

    def statistics(self) -> dict[str, float]:
        """Return the updates between the weights that acted and what was learned from it, and each worker's rate."""
        rates = {f"worker_{i}_steps_per_second": round(rate, 1) for i, rate in enumerate(self.rates)}
        return {"staleness": self.staleness} | rates

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self.pool.close()

    def _answers(self, name: str, *arguments: Any, calls: list[Any] | None = None) -> list[Any]:
        """Return what a method of each worker returns; those that die are replaced, and asked again.

        `calls`: those that were made already.
        """
        calls, deaths = calls or self.pool.calls(name, [arguments] * self.pool.size), 0
        while True:
            try:
                return self.pool.answers(calls)
            except DeadError as death:
                deaths += 1
                self._replace(death, deaths)
                calls[death.index] = getattr(self.pool.actors[death.index], name).remote(*arguments)

    def _sent_weights(self) -> Any:
        """Return Ray's reference to the weights that the agent has now."""
        return self.pool.ray.put(self.weights.get())

    def _count(self, worker: int, rows: int, ended: np.ndarray, seconds: float) -> list[tuple[int, int, float, int]]:
        """Note a worker's rate; return the episodes that ended, each with its row and the worker before it."""
        self.rates[worker] = rows * self.own_envs / max(seconds, 1e-6)
        return [(int(row), worker, total, int(length)) for row, total, length in ended.tolist()]

    def _start(self) -> None:
        self.pool.start(Actor)
        plan, versions = self._sent(), ray_cluster.versions()
        self.pool.ask_each("prepare", [(plan, i, life, versions) for i, life in enumerate(self.lives)])

    def _replace(self, death: DeadError, deaths: int) -> None:
        """Start a worker in place of one that has died; WorkerError if that happens time and again."""
        if deaths > DEATHS:
            raise WorkerError(f"{death}, {deaths} times in a row: look for lack of memory") from death
        self.events.append(f"{death}: it was replaced, and begins new episodes")
        index = death.index
        self.lives[index] += 1
        self.pool.start_again(index, Actor)
        call = self.pool.actors[index].prepare.remote(self._sent(), index, self.lives[index], ray_cluster.versions())
        self.pool.answers([call], first=index)

    def _sent(self) -> Any:
        return self.pool.sent(dataclasses.replace(self.plan, config=self.agent.config))
