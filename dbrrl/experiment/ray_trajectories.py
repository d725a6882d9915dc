"""The driver of a run on Ray whose agent learns from trajectories as they come (Espeholt et al. 2018, figure 1)."""

import dataclasses
from typing import Any

from dbrrl.checkpoint import State, untrusted
from dbrrl.learning import trajectories

from .driver import Episode, episodes_of
from .ray_acting import Acting
from .ray_pool import DeadError
from .settings import Plan

AHEAD = 2  # trajectories that a worker is asked for at once, so that it need not wait for the agent


@dataclasses.dataclass(eq=False)
class Asked:
    """Trajectories that a worker was asked for, one in each of its environments.

    Attributes:
        worker: its number.
        rows: their steps.
        version: number of updates after which the weights were taken that act.
        call: Ray's reference to what the worker gives; None: it has given `chunk`.
        chunk: see `trajectories`.
        episodes: that ended in it.
    """

    worker: int
    rows: int
    version: int
    call: Any = None
    chunk: State = dataclasses.field(default_factory=dict)
    episodes: list[Episode] = dataclasses.field(default_factory=list)


class RayTrajectories(Acting):
    """The driver of an agent that learns from trajectories, and corrects for the weights that played them.

    Nobody waits for all: the agent learns from as many trajectories as there are environments, the oldest of those
    that have come, whoever played them; their workers are asked for others first, by the weights that there are. Only
    where a trajectory is `max_staleness` updates late, the agent waits for it. What comes when depends on time, so no
    run is the same as another; a resumed one goes on without loss, but not bit for bit.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        super().__init__(plan, steps)
        self._asked: list[Asked] = []
        self._deaths = 0  # without a trajectory between them
        self._told = False  # whether `staleness` was told since it was the largest

    def _round(self) -> None:
        """Learn from one batch of trajectories."""
        self._ask()
        while (batch := self._batch()) is None:
            self._wait()
        self._asked = [one for one in self._asked if one not in batch]
        self._ask()
        largest = self.agent.num_updates - min(one.version for one in batch)
        self.staleness, self._told = largest if self._told else max(self.staleness, largest), False
        trajectories.learn(self.agent, [one.chunk for one in batch])
        self.steps += sum(one.rows for one in batch) * self.own_envs
        self._episodes += [episode for one in batch for episode in one.episodes]

    def collect(self) -> list[Episode]:
        """Do nothing, as the agent is here; `staleness` is the largest between two of these moments."""
        self._told = True
        return super().collect()

    def _ask(self) -> None:
        """Ask each worker for as many trajectories as it may be ahead, while steps of the run are left."""
        weights: Any = None
        for _ in range(AHEAD):
            for worker in range(self.pool.size):
                left = (self.plan.settings.steps - self.acted) // self.own_envs
                if left and sum(one.worker == worker for one in self._asked) < AHEAD:
                    weights = weights or self._sent_weights()
                    one = Asked(worker, min(self.agent.n_steps, left), self.agent.num_updates)
                    self._send(one, weights)
                    self._asked.append(one)
                    self.acted += one.rows * self.own_envs

    def _send(self, one: Asked, weights: Any) -> None:
        one.call = self.pool.actors[one.worker].run.remote(weights, one.rows, self.acted)

    def _batch(self) -> list[Asked] | None:
        """Return what to learn from next; None: it has not come yet."""
        coming = [one for one in self._asked if one.call is not None]
        come = sorted((one for one in self._asked if one.call is None), key=lambda one: one.version)
        late = self.agent.num_updates - self.plan.settings.max_staleness
        if any(one.version <= late for one in coming):
            return None
        batch = [one for one in come if one.rows == come[0].rows][: self.pool.size]
        return batch if batch and (len(batch) == self.pool.size or not coming) else None

    def _wait(self) -> None:
        """Wait until a worker has given something; those that have died are replaced, and asked again."""
        self.pool.step = self.steps
        coming = [one for one in self._asked if one.call is not None]
        self.pool.ray.wait([one.call for one in coming])
        done, _ = self.pool.ray.wait([one.call for one in coming], num_returns=len(coming), timeout=0)
        for one in [one for one in coming if one.call in done]:
            try:
                [(one.chunk, ended, seconds)] = self.pool.answers([one.call], first=one.worker)
            except DeadError as death:
                self._ask_again(death)
                return
            one.call, self._deaths = None, 0
            found = self._count(one.worker, one.rows, ended, seconds)
            one.episodes = [(total, length) for _, _, total, length in found]

    def _ask_again(self, death: DeadError) -> None:
        self._deaths += 1
        self._replace(death, self._deaths)
        weights = self._sent_weights()
        for one in self._asked:
            if one.worker == death.index and one.call is not None:
                one.version = self.agent.num_updates
                self._send(one, weights)

    def _unlearned(self) -> State:
        while any(one.call is not None for one in self._asked):
            self._wait()
        names = ("worker", "version", "episodes", "chunk")
        return {"unlearned": [{name: getattr(one, name) for name in names} for one in self._asked]}

    def _load_unlearned(self, table: State) -> None:
        self._asked = []
        for entry in untrusted.entries(untrusted.table(table, "", "unlearned")["unlearned"], "unlearned"):
            one = untrusted.table(entry, "unlearned", "worker", "version", "episodes", "chunk")
            worker = untrusted.whole(one["worker"], "worker", at_most=self.pool.size - 1)
            version = untrusted.whole(one["version"], "version", at_most=self.agent.num_updates)
            chunk = trajectories.check(self.agent, one["chunk"], self.own_envs)
            self._asked.append(Asked(worker, int(chunk["rollout"]["size"]), version, None, chunk))
            self._asked[-1].episodes = episodes_of(one["episodes"])
