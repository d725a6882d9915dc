"""The loop between agent and environments: it counts, evaluates, logs and saves, and knows no algorithm."""

import math
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.checkpoint import State
from dbrrl.learning.agent import Agent
from dbrrl.reporting.display import Quiet
from dbrrl.reporting.table import Table

from . import objects, steered
from .callbacks import Callback
from .directory import RunDirectory
from .driver import Driver, Episode
from .evaluation import Evaluation, environments, evaluate
from .interruption import Interruption
from .loading import NO_CHANGES, NO_ROWS, check_loop
from .saving import Saver
from .settings import Plan
from .steered import Obedience

RECENT = 100  # training episodes that the means of progress.csv cover


class Loop:
    """A run in progress; its future depends only on its state and the states of agent and driver."""

    def __init__(
        self,
        plan: Plan,
        agent: Agent,
        driver: Driver,
        *,
        directory: RunDirectory | None,
        display: Quiet,
        interruption: Interruption,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.plan, self.agent, self.driver = plan, agent, driver
        self.directory, self.display, self.interruption = directory, display, interruption
        self.callbacks = list(callbacks)
        self.stopped: str | None = None  # why the run ends early
        self.save_at_start = False  # whether the state before the first step can be had in no other way
        self.called = 0  # the step at which due callbacks were last called
        self.planned = plan  # before any command has changed it
        self.obedience = None if directory is None else Obedience(self, directory)
        files = directory.tables if directory else (None, None, None)
        self.scores, self.progress, self.evaluated = map(Table, files)  # the last: a row per episode of an evaluation
        self._tables = {"scores": self.scores, "progress": self.progress, "evaluated": self.evaluated}
        self.steps = self.episodes = 0
        self.best = -math.inf
        self.finished = False
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT)  # return and length of episodes that ended
        self._elapsed_before, self._started = 0.0, time.perf_counter()
        self._rate_from = (self._started, 0)
        self._refresh_at = self._started
        self.schedule()
        self._plan_table = plan.to_dict()
        self.saver = Saver(directory, agent, driver, list(self._tables.values()), self.state_dict)
        driver.bind(agent)

    @property
    def folder(self) -> Path | None:
        """The run's folder; None if the run is kept in memory."""
        return None if self.directory is None else self.directory.path

    @property
    def elapsed(self) -> float:
        """Seconds that this run has taken, including those before a resume."""
        return self._elapsed_before + time.perf_counter() - self._started

    def run(self) -> bool:
        """Train for all steps of the plan, then evaluate; return False if a signal stopped the run."""
        total = self.plan.settings.steps
        self.display.start(total, self.steps)
        self.driver.start()
        self.saver.mark()
        for callback in self.callbacks:
            callback.on_start(self)
        if self.save_at_start:
            self.save()
        while not self.interruption.requested and self._run_due_hooks():
            if self.steps >= total or self.stopped is not None:
                return self._finish()
            self._step_until(self._next_event(total))
        return False

    def _next_event(self, total: int) -> int:
        """Return the next step at which something is due."""
        due = [self.next_log, self.next_evaluation, self.next_checkpoint, total, *self._next_calls()]
        return int(min(*due, self.obedience.inbox.next_step() if self.obedience else math.inf))

    def stop(self, reason: str) -> None:
        """End the run before its next step; it is evaluated and saved as usual."""
        if self.stopped is None and self.steps < self.plan.settings.steps:
            self.stopped = reason
            self.display.say(f"stopped at step {self.steps:,}: {reason}")

    def evaluate(self, episodes: int, env: Any = None) -> Evaluation | None:
        """Play complete episodes without exploration and return their scores; None if a signal came."""
        plan = self.plan
        if env is not None and env != plan.settings.env:
            name, made = objects.environment(env)
            plan = plan.in_env(name) if made is None else plan.evaluated_in(name, made)
        return self._play(plan, episodes, None)

    def save(self) -> None:
        """Write an exact checkpoint, if the run has a directory."""
        if self.directory is not None:
            self.saver.mark()
            self.saver.write()
            for callback in self.callbacks:
                callback.on_checkpoint(self)

    def state_dict(self) -> State:
        """Return the counters, the states of the tables, the next steps of events, and the settings."""
        return {
            "plan": self._plan_table,
            "steps": self.steps,
            "episodes": self.episodes,
            "elapsed": self.elapsed,
            "best": self.best,
            "finished": self.finished,
            "recent": np.array(self.recent, np.float64).reshape(-1, 2),
            "next": [self.next_log, self.next_evaluation, self.next_checkpoint],
            "called": self.called,
            "commands": list(self.obedience.inbox.done) if self.obedience else [],
            "changes": steered.differences(self.planned, self.plan),
        } | {name: table.state_dict() for name, table in self._tables.items()}

    def begin_again(self) -> None:
        """Start anew in a folder of an earlier process that left no checkpoint."""
        if self.obedience is not None:
            self.obedience.inbox.resume([])

    def load_state_dict(self, state: State) -> None:
        """Continue from `state`."""
        check_loop(state, RECENT)
        self.steps, self.episodes = int(state["steps"]), int(state["episodes"])
        self.best, self.finished = float(state["best"]), bool(state["finished"])
        self._elapsed_before, self._started = float(state["elapsed"]), time.perf_counter()
        self._rate_from = (self._started, self.steps)
        self.recent = deque(((value, int(length)) for value, length in state["recent"].tolist()), maxlen=RECENT)
        self.next_log, self.next_evaluation, self.next_checkpoint = map(int, state["next"])
        self.called = int(state["called"])
        self.plan = steered.with_changes(self.planned, state.get("changes", NO_CHANGES))
        if self.obedience is not None:
            self.obedience.inbox.resume([str(one) for one in state.get("commands", [])])
        if self.finished:  # a longer run has intervals of its own
            self.finished = False
            self.schedule()
        for name, table in self._tables.items():
            table.load_state_dict(state.get(name, NO_ROWS))

    def schedule(self) -> None:
        """Set the steps of the next events by the intervals of the settings."""
        settings = self.plan.settings
        self.next_log = self._after(settings.log_every)
        self.next_evaluation = self._after(settings.evaluate_every)
        self.next_checkpoint = self._after(settings.checkpoint_every)

    def _after(self, interval: int) -> int:
        return (self.steps // interval + 1) * interval

    def _next_calls(self) -> list[int]:
        """Return the next step of each callback that has an interval."""
        return [(self.called // c.interval + 1) * c.interval for c in self.callbacks if c.interval]

    def _step_until(self, until: int) -> None:
        """Step to `until`, or until a signal comes."""
        driver = self.driver
        try:
            while self.steps < until and not self.interruption.requested:
                if self.obedience is not None and self.obedience.came():
                    break
                self._count(driver.advance(until, self._pause))
                if time.perf_counter() >= self._refresh_at:
                    self._refresh()
            self._count(driver.collect())
        except BaseException:
            ended = driver.recover()
            if ended is not None:
                self._count(ended)
                self.saver.mark()
            raise

    def _pause(self) -> bool:
        look_at = math.inf if self.obedience is None else self.obedience.look_at
        return self.interruption.requested or time.perf_counter() >= min(self._refresh_at, look_at)

    def _count(self, ended: list[Episode]) -> None:
        """Add the steps that the driver has made, and the episodes that ended in them."""
        self.steps = self.driver.steps
        self.episodes += len(ended)
        self.recent.extend(ended)
        while self.driver.events:
            self.display.warn(self.driver.events.pop(0))

    def _refresh(self) -> None:
        self._refresh_at = time.perf_counter() + self.display.refresh_every
        if self.display.refresh_every < math.inf:
            self.display.update(self.steps, self._rate(), self._recent_means()["mean_return"])

    def _run_due_hooks(self) -> bool:
        """Log, call callbacks, evaluate and save, as each is due; False if a signal came during an evaluation."""
        settings = self.plan.settings
        self.saver.mark()
        if self.steps >= self.next_log:
            self._log()
            self.next_log = self._after(settings.log_every)
        for callback in self.callbacks:
            if callback.interval and self.steps // callback.interval > self.called // callback.interval:
                callback.on_interval(self)
        self.called = self.steps
        if self.obedience is not None and not self.obedience.obey():
            return False
        settings = self.plan.settings
        if self.steps >= settings.steps or self.stopped is not None:
            return True
        if self.steps >= self.next_evaluation:
            if not self.score(settings.eval_episodes, settings.eval_steps):
                return False
            self.next_evaluation = self._after(settings.evaluate_every)
        if self.steps >= self.next_checkpoint or self.saver.overdue:
            self.next_checkpoint = self._after(settings.checkpoint_every)
            self.save()
        return True

    def _finish(self) -> bool:
        if self.directory is not None and not self.directory.checkpoint_files():
            self.save()  # a folder with a final agent always has a checkpoint too
        if not self.score(self.plan.settings.final_episodes, None):
            return False
        self.finished = True
        if self.directory is not None:
            self.directory.prepare(self.directory.final.parent)
            self.agent.save(self.directory.final)
        self.save()
        for callback in self.callbacks:
            callback.on_end(self)
        return True

    def _log(self) -> None:
        row = self._counters() | {"steps_per_second": self._rate()} | self._recent_means()
        row |= {"num_updates": self.agent.num_updates} | self.agent.statistics() | self.driver.statistics()
        self._rate_from = (time.perf_counter(), self.steps)
        self.progress.append(row)
        for callback in self.callbacks:
            callback.on_log(self, row)

    def score(self, episodes: int, steps: int | None = None) -> bool:
        """Evaluate, and add a row to scores.csv; False if a signal came."""
        evaluation = self._play(self.plan, episodes, steps)
        if evaluation is not None:
            self._score(evaluation)
        return evaluation is not None

    def _play(self, plan: Plan, episodes: int, steps: int | None) -> Evaluation | None:
        envs = environments(plan, episodes, kind=self.driver.kind)
        try:
            stop, warn = lambda: self.interruption.requested, self.display.warn
            return evaluate(self.agent, envs, episodes=episodes, steps=steps, stop=stop, warn=warn)
        finally:
            envs.close()

    def _score(self, evaluation: Evaluation) -> None:
        row = self._counters() | evaluation.row() | {"evaluation_episodes": len(evaluation.returns)}
        row |= {"num_updates": self.agent.num_updates} | self.agent.statistics()
        self.scores.append(row)
        of = {"evaluation": self.scores.count - 1, "steps": self.steps}
        self.evaluated.extend(of | episode for episode in evaluation.episodes())
        for callback in self.callbacks:
            callback.on_evaluation(self, row)
        if row["mean"] >= self.best and self.directory is not None:
            self.directory.prepare(self.directory.best.parent)
            self.agent.save(self.directory.best)
        self.best = max(self.best, row["mean"])
        reached = f", success rate {row['success_rate']:.3f}" if "success_rate" in row else ""
        self.display.say(
            f"{self.steps:>11,} steps  {self.episodes:>7,} episodes  score {row['mean']:.1f}"
            f" ({row['min']:.1f} to {row['max']:.1f}, {len(evaluation.returns)} episodes{reached})"
            f"  {self.steps / max(self.elapsed, 1e-9):,.0f} steps/s  {self.elapsed:.1f} s"
        )

    def _counters(self) -> dict[str, float]:
        return {"steps": self.steps, "episodes": self.episodes, "elapsed": round(self.elapsed, 3)}

    def _recent_means(self) -> dict[str, float]:
        returns, lengths = zip(*self.recent, strict=True) if self.recent else ([math.nan], [math.nan])
        return {"mean_return": float(np.mean(returns)), "mean_length": float(np.mean(lengths))}

    def _rate(self) -> float:
        since, steps = self._rate_from
        return round((self.steps - steps) / max(time.perf_counter() - since, 1e-9), 1)
