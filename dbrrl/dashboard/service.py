"""What the dashboard does for its pages: it lists, marks, draws and deletes runs. It knows nothing of HTTP."""

import os
import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import UNSET

from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import steering
from dbrrl.reporting.metrics import describe

from . import chart, drawing, files, played, sendable
from . import messages as m
from .access import Refusal
from .commands import answers, changeable
from .index import Index
from .inspector import Inspector
from .marks import NAME, Mark, Marks
from .runs import RunFiles, Summary
from .tables import Table

EVENTS = EVALUATIONS = 1_000  # of a run that are sent
PACE, LONGEST = 1.0, 5.0  # seconds between two looks at the folder: at least, and where one takes long
POINTS = 1_000_000  # of all lines of a chart that are sent
HELD = 400_000_000  # bytes of tables that stay in memory


class Service:
    """The runs in a folder, and what is known and wanted of them.

    Args:
        root: the folder.
        read_only: whether nothing in it may change, by this or by anyone.
        trust: whether code that a run's config.toml names may be imported, to play episodes.
    """

    def __init__(self, root: Path, *, read_only: bool = False, trust: bool = False) -> None:
        self.inspector = Inspector(trust=trust)
        self.index, self.read_only = Index(root), read_only
        self.marks = Marks(root / NAME, read_only=read_only)
        self._known = self.marks.all()
        self._lock, self._looking = threading.RLock(), threading.Lock()
        self._look_at = 0.0
        self._used: dict[str, None] = {}  # ids of runs whose tables are in memory, the latest last

    def refresh(self) -> None:
        """Look at the folder again."""
        with self._looking:
            began = time.monotonic()
            self.index.refresh()
            self._look_at = time.monotonic() + max(PACE, min(4 * (time.monotonic() - began), LONGEST))

    def look(self) -> None:
        """Look at the folder again, unless the last look is recent; where a look takes long, the less often."""
        if time.monotonic() >= self._look_at:
            self.refresh()

    def runs(self, query: m.RunListQuery) -> m.RunList:
        """Return the list of runs, or its changes."""
        self.look()
        columns = [name for name in query.columns.split(",") if name]
        with self._lock:
            found = self.index.since(query.since)
            return m.RunList(
                version=found.version,
                root=sendable.path(str(self.index.root)),
                runs=[self._row(summary, columns) for summary in found.changed],
                removed=found.removed,
                read_only=self.read_only,
                problem=self.marks.problem,
            )

    def columns(self) -> m.Columns:
        """Return the settings and the statistics that any run has."""
        self.look()
        found: dict[str, set[str]] = {}
        names: dict[str, None] = {}
        for summary in self.index.since(0).changed:
            for name, value in summary.settings.items():
                found.setdefault(name, set()).add(repr(value))
            run = self.index.run(summary.id)
            names |= dict.fromkeys([*run.scores.columns, *run.progress_columns] if run else [])
        return m.Columns([m.SettingName(name, len(known)) for name, known in sorted(found.items())], _metrics(names))

    def detail(self, one: str) -> m.RunDetail:
        """Return all that is known of a run."""
        run = self._run(one)
        events = run.events()
        names, first, latest = run.evaluations(EVALUATIONS)
        rows = [dict(zip(names, map(sendable.number, row), strict=True)) for row in latest.tolist()]
        self._keep([run])
        return m.RunDetail(
            run=self._row(run.summary, list(run.summary.settings)),
            title=run.title,
            folder=sendable.path(str(run.directory.path)),
            tables=sendable.data(run.config),
            events=[_event(event) for event in events[-EVENTS:]],
            files=files.listed(run.directory.path),
            evaluations=rows,
            first_evaluation=first,
            metrics=_metrics([*names, *run.progress_columns]),
            commands=answers(events, run.directory),
            changeable=changeable(events, run.summary.agent, run.summary.settings),
            resume=f"python -m dbrrl.train --resume {shlex.quote(sendable.path(str(run.directory.path)))}",
        )

    def evaluation(self, one: str, query: m.EvaluationQuery) -> m.EvaluationEpisodes:
        """Return the episodes of an evaluation of a run."""
        table = Table(self._run(one).directory.episodes)
        table.load()
        rows = table.column("evaluation") == query.number
        columns = (map(sendable.number, table.column(name)[rows].tolist()) for name in ("return", "length", "success"))
        episodes = zip(*columns, strict=True)
        return m.EvaluationEpisodes([m.EvaluationEpisode(x, int(n or 0), success) for x, n, success in episodes])

    def steer(self, one: str, order: m.Order) -> m.Given:
        """Give a command to a run; refuse it where the run is not going on."""
        try:
            return m.Given(steering.request(self._run(one).directory.path, order.command, order.values, order.at))
        except (ConfigError, RunError) as error:
            raise Refusal(409, str(error)) from error

    def file_of(self, one: str, query: m.FileQuery) -> tuple[str, bytes]:
        """Return the media type and the content of a file of a run; one that is no picture is only to be saved."""
        found = files.content(self._run(one).directory.path, query.path)
        if found is None:
            raise Refusal(404, "the run has no such file, or it is too large to be sent")
        ending = os.path.splitext(query.path)[1].lower()
        return files.TYPES.get(ending, "application/octet-stream"), found

    def play(self, one: str, request: played.EpisodeRequest) -> played.EpisodeMade:
        """Play an episode with an agent of a run."""
        run = self._run(one)
        folder = run.directory.path
        known = [file.path for file in files.listed(folder) if file.kind == "checkpoint"]
        if request.file not in known:
            raise Refusal(404, "the run has no such agent")
        return self.inspector.play(folder, run.config, folder / request.file, request)

    def moment(self, one: str, query: played.StepQuery) -> played.Moment:
        """Tell what was seen, said and done at a step of an episode."""
        return self.inspector.moment(one, query.step)

    def series(self, one: str, query: played.SeriesQuery) -> played.Series:
        """Return statistics of an episode over its steps."""
        return played.Series(self.inspector.series(one, [name for name in query.names.split(",") if name]))

    def frame(self, one: str, query: played.StepQuery) -> tuple[str, bytes]:
        """Return the picture of the environment before a step."""
        return "image/png", self.inspector.frame(one, query.step)

    def image(self, one: str, query: played.StepQuery) -> tuple[str, bytes]:
        """Return an observation that is a picture, with what the agent's output depends on where that is asked for."""
        return "image/png", self.inspector.image(one, query.step, saliency=query.saliency)

    def mark(self, marking: m.Marking) -> m.Done:
        """Change names, notes, tags, or hide and restore."""
        runs = [self._run(one) for one in marking.runs]
        fields = {name: getattr(marking, name) for name in Mark.__dataclass_fields__}
        given = {name: value for name, value in fields.items() if value is not UNSET}
        if "tags" in given:
            given["tags"] = list(dict.fromkeys(given["tags"]))
        if "name" in given:
            given["name"] = given["name"].strip()
        with self._lock:
            for run in runs:
                before = given.get("tags", self._known.get(run.path, Mark()).tags)
                after = [tag for tag in dict.fromkeys([*before, *marking.add_tags]) if tag not in marking.remove_tags]
                self.marks.set(run.path, **given | ({"tags": after} if after != list(before) else {}))
            self._known = self.marks.all()
            self.index.touch(run.id for run in runs)
        return m.Done()

    def delete(self, one: str, deletion: m.Deletion) -> m.Done:
        """Delete the folder of a run whose name was typed; refuse that of one that is running."""
        run = self._run(one)
        if deletion.confirm != run.directory.path.name:
            raise Refusal(409, f"type the name of its folder, {run.directory.path.name}, to delete it")
        if run.path == ".":
            raise Refusal(409, "this is the folder that the dashboard shows: delete it by hand")
        run.refresh(time.time())
        if run.summary.state == "running":
            raise Refusal(409, "the run is going on: stop it first")
        hidden = run.directory.path.with_name(f".{run.directory.path.name}.{secrets.token_hex(8)}.deleted")
        try:
            os.rename(run.directory.path, hidden)  # at once, so that no half of it is ever seen as a run
            shutil.rmtree(hidden)
        except OSError as error:
            left = f"; what is left is now {hidden.name}, beside it" if hidden.exists() else ""
            raise Refusal(409, f"it cannot be deleted: {error.strerror or error}{left}") from error
        with self._lock:
            self.marks.remove(run.path)
            self._known = self.marks.all()
        self.refresh()
        return m.Done()

    def lines(self, request: m.LinesRequest) -> m.Lines:
        """Return the lines of a chart."""
        return m.Lines([self._line(line, request) for line in request.lines])

    def export(self, request: m.Export) -> tuple[str, bytes]:
        """Return the media type and the content of a chart as a file, which has every point."""
        return drawing.exported(request, [self._line(line, request.chart, exact=True) for line in request.chart.lines])

    def charts(self) -> m.SavedCharts:
        """Return the saved charts."""
        return m.SavedCharts({name: m.SavedChart(address) for name, address in self.marks.charts().items()})

    def save_chart(self, name: str, saved: m.SavedChart) -> m.Done:
        """Keep a chart by a name."""
        self.marks.save_chart(name, saved.address)
        return m.Done()

    def remove_chart(self, name: str) -> m.Done:
        """Remove a saved chart."""
        self.marks.remove_chart(name)
        return m.Done()

    def close(self) -> None:
        """Close the file of the marks."""
        self.marks.close()

    def _line(self, line: m.LineRequest, request: m.LinesRequest, *, exact: bool = False) -> m.ChartLine:
        runs = [self._run(one) for one in line.runs]
        options: dict[str, Any] = {"points": chart.ALL, "smooth": request.smooth}
        if not exact:
            points = min(request.points, max(2, POINTS // len(request.lines)))
            options |= {"points": points, "within": request.within}
        label = line.label or runs[0].summary.path
        if line.group or len(runs) > 1:
            made = chart.group(runs, label, request.x, line.y, center=request.center, **options)
        else:
            made = chart.line(runs[0], label, request.x, line.y, **options)
        self._keep(runs)
        places, values, low, high = (x.tolist() for x in (made.places, made.values, made.low, made.high))
        return m.ChartLine(made.label, made.y, made.runs, places, values, low, high, made.seeds, made.total)

    def _run(self, one: str) -> RunFiles:
        self.look()
        run = self.index.run(one)
        if run is None:
            raise Refusal(404, "there is no such run: it was deleted or moved")
        return run

    def _keep(self, runs: Iterable[RunFiles]) -> None:
        """Keep the tables of runs that were read in memory, and forget those of others where they are many."""
        with self._lock:
            for run in runs:
                self._used.pop(run.id, None)
                self._used[run.id] = None
            known = [found for one in self._used if (found := self.index.run(one)) is not None]
            held = sum(run.held for run in known)
            for run in known[:-1]:
                if held <= HELD:
                    break
                held -= run.held
                run.forget()
                self._used.pop(run.id, None)

    def _row(self, summary: Summary, columns: list[str]) -> m.RunRow:
        mark = self._known.get(summary.path, Mark())
        shown = {name: summary.settings[name] for name in columns if name in summary.settings}
        fields = {name: getattr(summary, name) for name in Summary.__dataclass_fields__}
        fields |= {"settings": shown, "problems": list(summary.problems), "state": summary.state}
        name = mark.name or summary.path.rpartition("/")[2]
        return m.RunRow(**fields, name=name, note=mark.note, tags=list(mark.tags), hidden=mark.hidden)


def _metrics(names: Iterable[str]) -> list[m.Metric]:
    found = {name: describe(name) for name in dict.fromkeys(names)}
    return [m.Metric(name, one.meaning, one.unit, one.better) for name, one in found.items()]


def _event(event: dict[str, Any]) -> m.Event:
    return m.Event(
        time=sendable.number(event.get("time")) or 0.0,
        event=sendable.text(event["event"], 50),
        text=sendable.text(event.get("text"), 10_000),
        step=sendable.whole(event.get("step")),
    )
