"""One call of the benchmark command: finds unfinished runs, estimates their time, runs them, writes the results."""

from collections.abc import Sequence
from pathlib import Path

from gymnasium.error import DependencyNotInstalled

from dbrrl.envs import construct
from dbrrl.errors import EnvError, RunError
from dbrrl.experiment import Interrupted, devices
from dbrrl.experiment.directory import RunDirectory
from dbrrl.experiment.settings import Plan
from dbrrl.reporting import display

from . import estimate, joined, pool, report
from .folder import Folder
from .pool import Outcome, Task
from .suite import Cell, Suite


def run(
    suite: Suite,
    part: Suite,
    *,
    seeds: int,
    jobs: int,
    out: Path,
    command: str,
    renew: bool = False,
    report_to: Path | None = None,
    join: Sequence[Path] = (),
) -> None:
    """Run the unfinished runs of `part` of a suite with seeds 0 to `seeds` - 1; write results and report into `out`.

    Args:
        suite: the complete suite, which the report covers.
        part: the cells to run.
        seeds: how many seeds; cells may want fewer.
        jobs: processes side by side.
        out: the benchmark's folder.
        command: the command line to name in the report.
        renew: whether runs with other settings are set aside and run again.
        report_to: folder for a copy of the report.
        join: tables of other machines, whose finished runs count as its own.

    Raises:
        ConfigError: the suite's settings are wrong, or a run's device is missing.
        EnvError: an environment cannot be made, as when an extra is missing.
        RunError: `out` is not this suite's, or holds runs with other settings without `renew`, or a run failed,
            or a table to join is not of this suite, or has runs with other settings without `renew`.
        Interrupted: a signal stopped it; the same call continues.
    """
    plans = [(cell, cell.plan(seed)) for seed in range(seeds) for cell in part.cells if _wants(cell, seed)]
    for _, plan in plans:
        devices.check(plan)
    if report_to is not None:
        report.prepare(report_to, suite.name, out)
    folder = Folder.open(out, suite.name)
    try:
        session = _Session(suite, folder, jobs)
        session.prepare(plans, renew)
        for line in joined.join(join, suite, folder, renew):
            session.display.say(line)
        whole = session.run(plans)
        if whole:  # figures take time: skip them after Ctrl-C
            session.report(seeds, command, report_to)
        session.conclude(whole)
    finally:
        folder.release()


def _require_packages(plans: list[Plan]) -> None:
    """Raise EnvError for the first environment that lacks a package; other errors are left to the runs."""
    requests = [construct.Request(plan.settings.env, plan.env_kwargs) for plan in plans]
    for number, request in enumerate(requests):
        if request in requests[:number]:
            continue
        try:
            construct.build(request, 1, "auto")[0].close()
        except EnvError as error:
            if isinstance(error.__cause__, ImportError | DependencyNotInstalled):
                raise


def _wants(cell: Cell, seed: int) -> bool:
    return cell.seeds is None or seed < cell.seeds


class _Session:
    def __init__(self, suite: Suite, folder: Folder, jobs: int) -> None:
        self.suite, self.folder, self.jobs = suite, folder, jobs
        self.display = display.for_benchmark(jobs)
        self.failed: list[Outcome] = []
        self.ended = self.total = 0

    def run(self, plans: list[tuple[Cell, Plan]]) -> bool:
        """Run the unfinished runs and write the table of results; return False if a signal stopped it."""
        todo = [(cell, plan) for cell, plan in plans if not self.folder.finished(plan)]
        self.total, self.ended = len(plans), len(plans) - len(todo)
        done = f"{_runs(self.total)}, {self.ended} done before"
        self.display.say(f"suite {self.suite.name} in {self.folder.path}: {done}")
        whole = True
        if todo:
            _require_packages([plan for _, plan in todo])
            tasks = self._tasks(todo)
            self._announce(tasks)
            whole = pool.run(tasks, self.jobs, self.display, self._note)
        self.folder.write_results()
        return whole

    def report(self, seeds: int, command: str, copy_to: Path | None) -> None:
        """Write the report."""
        state = report.Status(command, seeds, [outcome.task.name for outcome in self.failed], self._stale(seeds))
        page = report.write(self.folder.path / "report", self.suite, self.folder.results, state)
        if copy_to is not None:
            page = report.copy(page, copy_to, self.suite.name)
        self.display.say(f"report: {page}")

    def conclude(self, whole: bool) -> None:
        """Report the end; Interrupted or RunError if runs are unfinished."""
        if not whole:
            raise Interrupted(f"stopped with {self.ended} of {_runs(self.total)} done; the same command goes on")
        if self.failed:
            first = self.failed[0]
            raise RunError(
                f"{len(self.failed)} of {_runs(self.total)} failed, tracebacks in {self.folder.errors}; the first, "
                f"{first.task.name}: {first.error}; the same command tries them again"
            )
        self.display.say(f"{_runs(self.total)} done: {self.folder.results}")

    def _stale(self, seeds: int) -> list[str]:
        """Return the cells, also of earlier calls, with a run that has other settings than the suite has now."""
        plans = [
            (cell, cell.plan(seed))
            for cell in self.suite.cells
            for seed in {*range(seeds), *self.folder.like(cell.plan(0))}
        ]
        return list(dict.fromkeys(cell.name for cell, plan in plans if self.folder.outdated(plan)))

    def prepare(self, plans: list[tuple[Cell, Plan]], renew: bool) -> None:
        """Refuse existing runs with other settings, or set them aside if `renew`."""
        for _, plan in plans:
            why = self.folder.outdated(plan)
            if why is None:
                continue
            path = self.folder.run(plan)
            if not renew:
                raise RunError(
                    f"{path}: made with other settings: {why}: choose another folder with --out, or set such runs "
                    "aside and run them again with --renew"
                )
            self.display.say(f"{path.name}: {why}: set aside as {self.folder.set_aside(plan)}")

    def _tasks(self, todo: list[tuple[Cell, Plan]]) -> list[Task]:
        """Return the runs to do, with the seconds per step of their cells."""
        cells = dict.fromkeys(cell.name for cell, _ in todo)
        first = {cell.name: plan for cell, plan in reversed(todo)}
        costs = {name: estimate.recorded(self._runs_like(first[name])) for name in cells}
        unknown = [name for name, cost in costs.items() if cost is None]
        if unknown:
            self.display.say(f"timing a moment of {len(unknown)} of {len(cells)} cells first")
        measured = estimate.measure({name: first[name] for name in unknown}) if unknown else {}
        known = [cost for cost in [*costs.values(), *measured.values()] if cost is not None]
        usual = sum(known) / len(known) if known else 0.0  # also for a cell that could not be timed
        tasks = []
        for cell, plan in todo:
            cost = costs[cell.name] or measured.get(cell.name) or usual
            tasks.append(Task(f"{cell.name}, seed {plan.settings.seed}", plan, self.folder.run(plan), cost))
        return tasks

    def _runs_like(self, plan: Plan) -> list[RunDirectory]:
        """Return the directories of the cell's finished runs."""
        return [directory for directory in self.folder.like(plan).values() if directory.final.exists()]

    def _announce(self, tasks: list[Task]) -> None:
        steps, seconds = sum(task.plan.settings.steps for task in tasks), pool.seconds(tasks, self.jobs)
        expected = f"{display.duration(seconds)} by an estimate that leaves evaluations out"
        said = expected if seconds else "no estimate, as none could be timed"
        self.display.say(f"{_runs(len(tasks))} to do, {steps:,} steps, {self.jobs} at a time: {said}")

    def _note(self, outcome: Outcome) -> None:
        """Report the end of a run."""
        task = outcome.task
        if outcome.score is None and outcome.error is None:
            return
        self.folder.note_error(task.path.name, outcome.traceback or outcome.error)
        if outcome.error is not None:
            self.failed.append(outcome)
            self.display.warn(f"{task.name} failed: {outcome.error}")
            return
        self.ended += 1
        score = outcome.score or {}
        said = f"score {score['mean']:.1f} after {score['steps']:,} steps in {score['elapsed']:.1f} s" if score else ""
        self.display.say(f"[{self.ended}/{self.total}] {task.name}: {said or 'done before'}")
        self.folder.write_results()


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
