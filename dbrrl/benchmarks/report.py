"""The report of a benchmark as a Markdown page: scores, confidence, speed, and comparison with published results."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from dbrrl import checkpoint
from dbrrl.errors import RunError

from . import figures, results, tables
from .suite import Suite
from .summary import Cell, cells

_MARK = "<!-- made by dbrrl.benchmark: run it again rather than edit this page -->"
_CAPTIONS = {
    "curves": "Mean of the evaluations over the seeds with its 95 % interval (Student's t), a panel per agent and "
    "environment, each over its own steps. Dotted: the threshold, and the final scores that others published for the "
    "agent, after steps of their own (first table).",
    "scores": "Final scores: each seed, their mean and its 95 % interval (Student's t). The axis spans our scores; a "
    "published score outside its range is at the edge with its number.",
    "times": "Seconds until an evaluation first reaches the threshold, evaluations included, one run among as many "
    "as ran side by side. Cells that never reach it are left out.",
    "profiles": "Performance profiles: the share of runs whose normalized score is above τ, with pointwise 95 % "
    "intervals.",
}


def check(folder: Path, suite: str) -> None:
    """Raise RunError if writing a report into `folder` would replace a page that is not such a report."""
    page = folder / f"{suite}.md"
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected a folder for the report, got a file: choose another with --report")
    if page.exists():
        if not page.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            raise RunError(f"{page}: exists and is no report of this command: choose another folder with --report")
    elif any(folder.glob(f"{suite}.csv")) or any(folder.glob(f"{suite}-*")):
        raise RunError(f"{folder}: holds files named {suite}.csv or {suite}-*, and no report: choose another folder")


def prepare(folder: Path, suite: str, out: Path) -> None:
    """Create `folder` for a copy of the report of the benchmark in `out`, before anything runs.

    Raises RunError if that fails, would replace a page that is not a report, or is the report's own folder.
    """
    check(folder, suite)
    if folder.resolve() == (out / "report").resolve():
        raise RunError(f"{folder}: is the folder of the report itself: choose another folder, or leave --report out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made: {error.strerror}: choose another folder with --report") from error


@dataclasses.dataclass(frozen=True)
class Status:
    """Status of a benchmark: its command, the seeds wanted per cell, failed runs, cells whose settings changed."""

    command: str
    seeds: int
    failed: Sequence[str] = ()
    stale: Sequence[str] = ()


def write(folder: Path, suite: Suite, table: Path, state: Status) -> Path:
    """Write the page, its figures and its table of results into `folder`; return the page's path.

    Args:
        folder: destination; see `check`.
        suite: the complete suite: cells without results are listed as not run yet.
        table: the results.
        state: the status of the benchmark.
    """
    check(folder, suite.name)
    folder.mkdir(parents=True, exist_ok=True)
    found = _in_order(suite, cells(results.read(table)))
    page = folder / f"{suite.name}.md"
    checkpoint.write(page, f"{_MARK}\n".encode())  # if stopped from here on, the files are known as a report's
    copy = folder / f"{suite.name}.csv"
    checkpoint.write(copy, table.read_bytes())
    pictures = figures.draw(found, folder / suite.name) if found else {}
    sections = [
        _MARK,
        f"# {suite.title}",
        _introduction(suite, found, state.command),
        "## Solved, and what is not",
        _verdict(suite, found, state),
        *tables.first_tables(suite, found),
        *_pictures(pictures, ("curves", "scores")),
        "## Statistics over the seeds",
        *(tables.statistics(found) if found else ["No run has ended yet."]),
        *_pictures(pictures, ("times",)),
        *tables.comparison(found),
        *_pictures(pictures, ("profiles",)),
        "## Where the figures come from",
        *tables.sources(found),
        *tables.software(found),
    ]
    checkpoint.write(page, ("\n\n".join(sections) + "\n").encode())
    return page


def copy(page: Path, folder: Path, suite: str) -> Path:
    """Copy a report into another folder; return the path of the page there."""
    check(folder, suite)
    for file in sorted(page.parent.glob(f"{suite}[.-]*"), key=lambda file: file.suffix != ".md"):
        shutil.copyfile(file, folder / file.name)
    return folder / page.name


def _in_order(suite: Suite, found: Sequence[Cell]) -> list[Cell]:
    """Return the cells in the suite's order, by environment, without cells that the suite no longer has."""
    envs = list(dict.fromkeys(cell.env.removeprefix("dbrrl/") for cell in suite.cells))
    names = [cell.name for cell in suite.cells]
    return sorted((cell for cell in found if cell.name in names), key=lambda cell: (envs.index(cell.env), cell.agent))


def _introduction(suite: Suite, found: Sequence[Cell], command: str) -> str:
    name = suite.name
    episodes = sorted({int(run.rows[-1]["evaluation_episodes"]) for cell in found for run in cell.runs})
    return (
        f"Made by `{command}` alone: the page, its figures, and the table of all evaluations, "
        f"[{name}.csv]({name}.csv). A run's final score is its mean return over {tables.words(episodes)} episodes at "
        "its end, without exploration, in separate environments with separate seeds. The scores that count as solved "
        "are in `dbrrl/benchmarks/environments.toml`, and after the name of each environment below."
    )


def _verdict(suite: Suite, found: Sequence[Cell], state: Status) -> str:
    """Return the summary at the top of the page."""
    judged = [cell for cell in found if cell.threshold is not None]
    below = [
        f"{cell.name} ({len(cell.runs) - (cell.solved or 0)} of {len(cell.runs)})"
        for cell in judged
        if tables.fails(cell)
    ]
    behind = [cell.name for cell in judged if tables.behind(cell)]
    missing = [cell.name for cell in suite.cells if cell.name not in {one.name for one in found}]
    partly = [f"{cell.name} ({len(cell.runs)} of {wanted} seeds)" for cell, wanted in _short(suite, found, state.seeds)]
    lines = [
        f"- Run: {len(found)} of {len(suite.cells)} cells.",
        f"- Below the threshold on some seed: {tables.listed(below)}.",
        f"- Solved elsewhere (published mean at the threshold or above) and not here: {tables.listed(behind)}.",
        f"- Not run yet: {tables.listed(missing)}.",
    ]
    lines += [f"- Not on all seeds yet: {tables.listed(partly)}."] * bool(partly)
    lines += [f"- Failed: {tables.listed(state.failed)}."] * bool(state.failed)
    lines += [f"- Made with other settings than the suite has now: {tables.listed(state.stale)}."] * bool(state.stale)
    mixed = [cell.name for cell in found if len({run.about["source"] for run in cell.runs}) > 1]
    lines += [f"- Runs by more than one version of the code (last table): {tables.listed(mixed)}."] * bool(mixed)
    return "\n".join(lines)


def _short(suite: Suite, found: Sequence[Cell], seeds: int) -> list[tuple[Cell, int]]:
    """Return the cells with fewer seeds than wanted, with their numbers."""
    wanted = {cell.name: min(seeds, cell.seeds or seeds) for cell in suite.cells}
    return [(cell, wanted[cell.name]) for cell in found if len(cell.runs) < wanted[cell.name]]


def _pictures(drawn: dict[str, str], names: Sequence[str]) -> list[str]:
    return [
        f"![{_CAPTIONS[name].partition('.')[0]}]({drawn[name]})\n\n*{_CAPTIONS[name]} "
        f"([SVG]({Path(drawn[name]).with_suffix('.svg').name}))*"
        for name in names
        if name in drawn
    ]
