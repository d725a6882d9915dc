"""The driver of a run on Ray whose agent learns in this process from what workers act (Horgan et al. 2018, Ape-X)."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from dbrrl import nn
from dbrrl.checkpoint import State, untrusted
from dbrrl.errors import WorkerError
from dbrrl.learning.agent import Agent
from dbrrl.learning.experience import CHUNK, acting_parameters, rows_of

from . import ray_cluster, shares
from .driver import Episode
from .ray_actor import Actor
from .ray_pool import DeadError, Pool
from .settings import Plan
from .workers import PAUSE_EVERY

DEATHS = 3  # of workers in one round, after which the run ends


class RayActors:
    """The driver of an agent that learns from a replay buffer, which is in this process; workers act.

    The run goes in rounds of `push_interval` steps. While the workers act in one round, by the weights that the agent
    has at its start, the agent learns from the round before. So weights are at most two rounds old where what they did
    is stored, and a run depends on no timing: with as many workers it is the same, bit for bit, until one dies. One
    that dies is replaced, begins new episodes, and acts in that round again.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        shares.check(plan)
        self.plan, self.steps, self.consistent = plan, steps, True
        settings = plan.settings
        self.num_envs = settings.num_envs
        self.env_id, self.kind, self.observation_space, self.action_space = shares.described(plan)
        self.acted = steps  # steps that workers have made; `steps` were learned from
        self.events: list[str] = []
        self.rates = [0.0] * (settings.workers or 1)
        self.staleness = 0
        self.lives = [0] * len(self.rates)
        self._rows = max(1, settings.push_interval // self.num_envs)
        self._waiting: list[Any] = []  # what the workers gave in the latest round, which was not yet learned from
        self._made_by = 0  # the update after which the weights were taken that made it
        self._episodes: list[Episode] = []
        self._saved: list[State] = []
        self.pool = Pool(plan)

    def bind(self, agent: Agent) -> None:
        """Set the agent that learns."""
        self.agent: Any = agent
        self.parameters = acting_parameters(agent)

    def start(self) -> None:
        """Start the workers, unless they run."""
        if not self.pool.actors:
            self._start()

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Act and learn in rounds, up to step `until`, or for about half a second; return the episodes that ended."""
        self.consistent = False
        end = time.perf_counter() + PAUSE_EVERY
        while True:
            self._round()
            if self.steps >= until or time.perf_counter() >= end or pause():
                break
        ended, self._episodes = self._episodes, []
        return ended

    def _round(self) -> None:
        """Learn from the round before, while the workers act; the first one has none before it, the last none after."""
        self.pool.step = self.acted
        rows = min(self._rows, (self.plan.settings.steps - self.acted) // self.num_envs)
        made_by, calls = self.agent.num_updates, []
        given: tuple[Any, ...] = ()
        if rows:
            given = self.pool.ray.put(nn.parameters_to_vector(self.parameters)), rows, self.acted
            calls = self.pool.calls("run", [given] * self.pool.size)
        self._learn()
        if rows:
            answers = self._answers("run", *given, calls=calls)
            self._waiting, self._made_by = [chunk for chunk, _, _ in answers], made_by
            self.rates = [rows * self.num_envs / self.pool.size / max(seconds, 1e-6) for _, _, seconds in answers]
            ended = [(row, i, *rest) for i, (_, rows_, _) in enumerate(answers) for row, *rest in rows_.tolist()]
            self._episodes += [(total, int(length)) for _, _, total, length in sorted(ended)]
            self.acted += rows * self.num_envs
            if not self.steps and self.acted:
                self._round()

    def _learn(self) -> None:
        """Store what the workers gave, and learn as the settings say."""
        if not self._waiting:
            return
        agent = self.agent
        for row in rows_of(self._waiting):
            agent.replay.add_action(row["observation"], row["action"])
            valid = None if row["valid"].all() else row["valid"]
            agent.store_outcome(row["next"], row["reward"], row["terminated"], row["truncated"], valid)
            self.steps += self.num_envs
        self._waiting, self.staleness = [], agent.num_updates - self._made_by

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
                if deaths > DEATHS:
                    raise WorkerError(f"{death}, {deaths} times in a row: look for lack of memory") from death
                self.events.append(f"{death}: it was replaced, and begins new episodes")
                self._replace(death.index)
                calls[death.index] = getattr(self.pool.actors[death.index], name).remote(*arguments)

    def collect(self) -> list[Episode]:
        """Keep the states of the workers, which wait between two rounds; there are no episodes."""
        self._saved = self._answers("state")
        self.consistent = True
        return []

    def recover(self) -> list[Episode] | None:
        """Say that the run cannot be saved: the agent may have learned in part from a round."""
        return None

    def state_dict(self) -> State:
        """Return the workers as of the last `collect`, and what they gave that was not yet learned from."""
        found = {"workers": self._saved, "waiting": list(self._waiting), "acted": self.acted, "lives": list(self.lives)}
        return found | {"made_by": self._made_by}

    def load_state_dict(self, state: State) -> list[str]:
        """Start the workers with the states that were saved; a line for each environment that cannot go on."""
        with untrusted.state_of("workers", "resume with as many workers"):
            table = untrusted.table(state, "", "workers", "waiting", "acted", "lives", "made_by")
            found = untrusted.entries(table["workers"], "")
            if not found:
                return []
            untrusted.entries(found, "workers", self.pool.size)
            self._saved = [untrusted.table(one, "worker", "agent", "environments") for one in found]
            self._waiting = [
                untrusted.table(one, "waiting", *CHUNK) for one in untrusted.entries(table["waiting"], "waiting")
            ]
            self.acted = untrusted.whole(table["acted"], "acted")
            lives = untrusted.entries(table["lives"], "lives", self.pool.size)
            self.lives = [untrusted.whole(one, "lives") for one in lives]
            self._made_by = untrusted.whole(table["made_by"], "made_by")
        self._start()
        problems = self.pool.ask_each("load_state", [(one,) for one in self._saved])
        return [f"worker {i}: {line}" for i, lines in enumerate(problems) for line in lines]

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

    def _start(self) -> None:
        self.pool.start(Actor)
        plan, versions = self._sent(), ray_cluster.versions()
        self.pool.ask_each("prepare", [(plan, i, life, versions) for i, life in enumerate(self.lives)])

    def _replace(self, index: int) -> None:
        """Start a worker that has died, with episodes of its own."""
        self.lives[index] += 1
        self.pool.start_again(index, Actor)
        call = self.pool.actors[index].prepare.remote(self._sent(), index, self.lives[index], ray_cluster.versions())
        self.pool.answers([call], first=index)

    def _sent(self) -> Any:
        return self.pool.sent(dataclasses.replace(self.plan, config=self.agent.config))
