"""The driver of a run on Ray: workers that step their environments in their own processes, and learn together."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from dbrrl.checkpoint import State, untrusted
from dbrrl.errors import WorkerError
from dbrrl.learning.agent import Agent

from . import ray_cluster, shares
from .driver import Episode
from .ray_member import Member
from .ray_pool import DeadError, Pool
from .settings import Plan
from .workers import PAUSE_EVERY

DEATHS = 3  # of workers without a step between them, after which the run ends

T = TypeVar("T")


class RayWorkers:
    """The driver of a data-parallel run: each worker has an equal share of the environments.

    All workers make the same number of steps, and the same gradient steps; the agent of this process is evaluated and
    saved, and takes what they have learned in `collect`. Where a worker dies, all go back to the last `collect` and
    make the same steps again.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        shares.check(plan)
        self.plan, self.steps, self.consistent = plan, steps, True
        settings = plan.settings
        self.num_envs = settings.num_envs
        self.env_id, self.kind, self.observation_space, self.action_space = shares.described(plan)
        self.rates = [0.0] * (settings.workers or 1)  # steps per second of each, while it did not wait for others
        self.events: list[str] = []
        self.rate = 1_000.0
        self._saved: list[State] = []  # the workers at the last `collect`
        self._saved_at = steps
        self._told = steps  # the step up to which ended episodes were returned
        self.pool = Pool(plan)

    def bind(self, agent: Agent) -> None:
        """Set the agent that takes what the workers learn."""
        self.agent: Any = agent

    def start(self) -> None:
        """Start the workers, unless they run."""
        if not self.pool.actors:
            self._start()

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Let the workers step for about half a second, at most to step `until` of all; return the ended episodes."""
        self.consistent = False
        goal = min(until, self.steps + max(int(self.rate * PAUSE_EVERY), self.num_envs))
        return self._survived(lambda: self._run(goal))

    def _run(self, goal: int) -> list[Episode]:
        """Step to `goal`; return the episodes that ended after the step up to which they were returned before."""
        rows, start = -(-(goal - self.steps) // self.num_envs), time.perf_counter()
        self.pool.step = self.steps
        answers = self.pool.ask("run", rows)
        first, self.steps = self.steps, self.steps + rows * self.num_envs
        self.rate = rows * self.num_envs / max(time.perf_counter() - start, 1e-6)
        own = rows * self.num_envs / self.pool.size
        self.rates = [own / max(seconds, 1e-6) for _, seconds in answers]
        ended = [
            (first + (int(row) + 1) * self.num_envs, i, episode_return, int(length))
            for i, (episodes, _) in enumerate(answers)
            for row, episode_return, length in episodes.tolist()
        ]
        told, self._told = self._told, max(self._told, self.steps)
        return [(one[2], one[3]) for one in sorted(ended, key=lambda one: one[:2]) if one[0] > told]

    def collect(self) -> list[Episode]:
        """Bring the agent to the current step, and keep the states of the workers; there are no episodes."""
        self._saved = self._survived(lambda: self.pool.ask("state"))
        self._saved_at = self.steps
        of_all, own = [one["agent"] for one in self._saved], self.agent.state_dict()
        found = dict(of_all[0]) | {name: own[name] for name in (*shares.STREAMS, "rollout", "memory") if name in own}
        if found["reward_norm"] is not None:
            found["reward_norm"] = found["reward_norm"] | {"returns": own["reward_norm"]["returns"]}
        latest = [one["latest"] for one in of_all]
        found["latest"] = {name: float(np.mean([one[name] for one in latest])) for name in latest[0]}
        found["steps"] = sum(one["steps"] for one in of_all)
        self.agent.load_state_dict(found)
        self.consistent = True
        return []

    def recover(self) -> list[Episode] | None:
        """Say that the run can be saved as of the last `collect`, which the agent is still at."""
        if self._saved:
            self.steps, self.consistent = self._saved_at, True
        return None

    def state_dict(self) -> State:
        """Return the workers as of the last `collect`."""
        return {"workers": self._saved}

    def load_state_dict(self, state: State) -> list[str]:
        """Start the workers with the states that were saved; a line for each environment that cannot go on."""
        with untrusted.state_of("workers", "resume with as many workers"):
            found = untrusted.entries(untrusted.table(state, "", "workers")["workers"], "")
            if found:
                untrusted.entries(found, "workers", self.pool.size)
            self._saved = [untrusted.table(one, "worker", "agent", "environments", "team") for one in found]
        return self._start() if self._saved else []

    def change(self, values: Mapping[str, Any]) -> None:
        """Let the workers' agents go on with other values of settings."""
        if values:
            self._survived(lambda: self.pool.ask("change", values))

    def statistics(self) -> dict[str, float]:
        """Return the rate of each worker, in steps per second while it did not wait for others."""
        return {f"worker_{i}_steps_per_second": round(rate, 1) for i, rate in enumerate(self.rates)}

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self.pool.close()

    def _survived(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; where a worker dies, all start anew from the last `collect`, and it is repeated.

        WorkerError if that happens time and again.
        """
        reached, deaths = self.steps, 0
        while True:
            try:
                if not self.pool.actors:
                    self.events += self._start()
                if self.steps < reached:
                    self._run(reached)
                return work()
            except DeadError as death:
                deaths += 1
                self.pool.end()
                if deaths > DEATHS:
                    raise WorkerError(f"{death}, {deaths} times in a row: look for lack of memory") from death
                self.steps = self._saved_at
                self.events.append(f"{death}: it was replaced, and all workers go on from step {self.steps:,}")

    def _start(self) -> list[str]:
        """Start all workers from the saved states, or from the beginning."""
        pool, numbers = self.pool, range(self.pool.size)
        pool.start(Member)
        plan = pool.sent(dataclasses.replace(self.plan, config=self.agent.config))  # which may have been changed
        given = self.agent.n_steps, ray_cluster.versions()
        nodes = pool.ask_each("prepare", [(plan, i, *given) for i in numbers])
        # One after the other: a channel to another host is made in part by its reader, which has to be free for it.
        out = [pool.answers([one.open.remote(pool.actors, nodes)], first=i)[0] for i, one in enumerate(pool.actors)]
        pool.ask_each("connect", [({j: out[j][i] for j in numbers if i in out[j]},) for i in numbers])
        pool.ask("tidy")
        if pool.gpus and pool.size > 1:
            [identifier] = pool.answers([pool.actors[0].identifier.remote()])
            pool.ask("connect_gpus", identifier)
        if not self._saved:
            pool.ask("begin", self.agent.network.state_dict())
            return []
        problems = pool.ask_each("load_state", [(one,) for one in self._saved])
        return [f"worker {i}: {line}" for i, lines in enumerate(problems) for line in lines]
