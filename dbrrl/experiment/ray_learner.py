"""The driver of a run on Ray whose agent replays in this process what workers act (Horgan et al. 2018, Ape-X)."""

from typing import Any

from dbrrl.checkpoint import State, untrusted
from dbrrl.learning import experience

from .ray_acting import Acting
from .settings import Plan


class RayActors(Acting):
    """The driver of an agent that learns from a replay buffer, which is in this process; workers act.

    The run goes in rounds of `push_interval` steps. While the workers act in one round, by the weights that the agent
    has at its start, the agent learns from the round before. So weights are at most two rounds old where what they did
    is stored, and a run depends on no timing: with as many workers it is the same, bit for bit, until one dies. One
    that dies is replaced, begins new episodes, and acts in that round again.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        super().__init__(plan, steps)
        self._rows = max(1, plan.settings.push_interval // self.num_envs)
        self._waiting: list[State] = []  # what the workers gave in the latest round, which was not yet learned from
        self._made_by = 0  # the update after which the weights were taken that made it

    def _round(self) -> None:
        """Learn from the round before, while the workers act; the first one has none before it, the last none after."""
        self.pool.step = self.acted
        rows = min(self._rows, (self.plan.settings.steps - self.acted) // self.num_envs)
        made_by, calls = self.agent.num_updates, []
        given: tuple[Any, ...] = ()
        if rows:
            given = self._sent_weights(), rows, self.acted
            calls = self.pool.calls("run", [given] * self.pool.size)
        self._learn()
        if rows:
            answers = self._answers("run", *given, calls=calls)
            self._waiting, self._made_by = [chunk for chunk, _, _ in answers], made_by
            ended = [one for i, (_, *found) in enumerate(answers) for one in self._count(i, rows, *found)]
            self._episodes += [(total, length) for _, _, total, length in sorted(ended)]
            self.acted += rows * self.num_envs
            if not self.steps and self.acted:
                self._round()

    def _learn(self) -> None:
        """Store what the workers gave, and learn as the settings say."""
        if self._waiting:
            self.steps += experience.learn(self.agent, self._waiting)
            self._waiting, self.staleness = [], self.agent.num_updates - self._made_by

    def _unlearned(self) -> State:
        return {"waiting": list(self._waiting), "made_by": self._made_by}

    def _load_unlearned(self, table: State) -> None:
        untrusted.table(table, "", "waiting", "made_by")
        waiting = untrusted.entries(table["waiting"], "waiting")
        self._waiting = [experience.check(self.agent, one, self.own_envs) for one in waiting]
        self._made_by = untrusted.whole(table["made_by"], "made_by")
