"""The driver of a run on Ray whose agent replays in this process what workers act (Horgan et al. 2018, Ape-X)."""

import dataclasses
from typing import Any

from dbrrl.checkpoint import State, untrusted
from dbrrl.learning import experience

from .driver import Episode, episodes_of
from .ray_acting import Acting
from .ray_pool import DeadError
from .settings import Plan

ROWS = 32  # of a round whose length is not set: steps of each environment
AHEAD = 3  # rounds that were not yet learned from: one that has come, and two that the workers work on


@dataclasses.dataclass(eq=False)
class Round:
    """Steps that all workers were asked for.

    Attributes:
        rows: how often each steps its environments.
        version: number of updates after which the weights were taken that act.
        given: arguments of the workers' `run`.
        calls: Ray's references to what each worker gives; none once all have come.
        chunks: what each has given (see `experience`).
        episodes: that ended in it.
    """

    rows: int
    version: int
    given: tuple[Any, ...] = ()
    calls: list[Any] = dataclasses.field(default_factory=list)
    chunks: list[State] = dataclasses.field(default_factory=list)
    episodes: list[Episode] = dataclasses.field(default_factory=list)


class RayActors(Acting):
    """The driver of an agent that learns from a replay buffer, which is in this process; workers act.

    The run goes in rounds of `push_interval` steps. The workers act in one round, and have been asked for the next,
    while the agent learns from the one before. So weights are at most three rounds old where what they did is stored,
    and a run depends on no timing: with as many workers it is the same, bit for bit, until one dies. One that dies is
    replaced, begins new episodes, and does again what it was asked for.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        super().__init__(plan, steps)
        interval = plan.settings.push_interval
        self._rows = ROWS if interval is None else max(1, interval // self.num_envs)
        self._rounds: list[Round] = []  # that were not yet learned from, the oldest first

    def _round(self) -> None:
        """Ask for another round, learn from the oldest if it has come, and wait for the next."""
        while len(self._rounds) < AHEAD and self.acted < self.plan.settings.steps:
            self._ask()
        if self._rounds and not self._rounds[0].calls:
            one = self._rounds.pop(0)
            self.steps += experience.learn(self.agent, one.chunks)
            self.staleness = self.agent.num_updates - one.version
            self._episodes += one.episodes
        if self._rounds:
            self._wait(self._rounds[0])
        if not self.steps:
            self._round()

    def _ask(self) -> None:
        """Ask all workers for a round, by the weights that there are."""
        rows = min(self._rows, (self.plan.settings.steps - self.acted) // self.num_envs)
        one = Round(rows, self.agent.num_updates, (self._sent_weights(), rows, self.acted))
        one.calls = self.pool.calls("run", [one.given] * self.pool.size)
        self._rounds.append(one)
        self.acted += rows * self.num_envs

    def _wait(self, one: Round) -> None:
        """Take what the workers give in a round; those that die are replaced, and do all again that is not there."""
        self.pool.step, deaths = self.steps, 0
        while one.calls:
            try:
                answers = self.pool.answers(one.calls)
            except DeadError as death:
                deaths += 1
                self._replace(death, deaths)
                for later in [later for later in self._rounds if later.calls]:
                    later.calls[death.index] = self.pool.actors[death.index].run.remote(*later.given)
            else:
                one.calls, one.given, one.chunks = [], (), [chunk for chunk, _, _ in answers]
                ended = [found for i, (_, *rest) in enumerate(answers) for found in self._count(i, one.rows, *rest)]
                one.episodes = [(total, length) for _, _, total, length in sorted(ended)]

    def _unlearned(self) -> State:
        for one in self._rounds:
            self._wait(one)
        names = ("rows", "version", "chunks", "episodes")
        return {"rounds": [{name: getattr(one, name) for name in names} for one in self._rounds]}

    def _load_unlearned(self, table: State) -> None:
        self._rounds = []
        for entry in untrusted.entries(untrusted.table(table, "", "rounds")["rounds"], "rounds"):
            found = untrusted.table(entry, "rounds", "rows", "version", "chunks", "episodes")
            chunks = untrusted.entries(found["chunks"], "chunks", self.pool.size)
            one = Round(untrusted.whole(found["rows"], "rows"), untrusted.whole(found["version"], "version"))
            one.chunks = [experience.check(self.agent, chunk, self.own_envs) for chunk in chunks]
            one.episodes = episodes_of(found["episodes"])
            self._rounds.append(one)
