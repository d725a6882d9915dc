"""The tables of a benchmark report, as Markdown."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dbrrl.experiment.canvas import thousands
from dbrrl.experiment.statistics import Statistic, improvement_interval, probability_of_improvement

from . import reference
from .reference import Published
from .results import Result
from .suite import Suite
from .summary import IQM, MEAN, MEDIAN, Cell, common_environments, normalized


def first_table(suite: Suite, found: Sequence[Cell]) -> str:
    """A row per cell of the suite, run or not."""
    by_name = {cell.name: cell for cell in found}
    envs = list(dict.fromkeys(cell.env for cell in suite.cells))
    rows = []
    for cell in sorted(suite.cells, key=lambda cell: (envs.index(cell.env), cell.agent)):
        one = by_name.get(cell.name)
        rows.append(_row(one) if one is not None else [cell.env, cell.agent, "**not run yet**", *[""] * 5])
    head = ["environment", "agent", "seeds solved", "steps", "mean [95 %]", "lowest seed", "published", "ours by then"]
    return _table(head, rows)


def statistics(found: Sequence[Cell]) -> list[str]:
    """Final scores and ways to the threshold, a row per cell."""
    head = ["environment", "agent", "seeds", "IQM [95 %]", "mean [95 %]", "median [95 %]", "steps to threshold",
            "seconds to threshold"]  # fmt: skip
    rows = []
    for cell in found:
        places = [cell.to_threshold(column) for column in ("steps", "elapsed")]
        reached = [_reached(values, scale) for values, scale in zip(places, (thousands, "{:.1f}".format), strict=True)]
        numbers = [_estimate(cell, statistic) for statistic in (IQM, MEAN, MEDIAN)]
        rows.append([cell.env, cell.agent, str(len(cell.runs)), *numbers, *reached])
    return [
        "Of the final scores: the interquartile mean (IQM), the mean and the median over the seeds, with 95 % "
        "percentile-bootstrap intervals. Steps and seconds are medians over the seeds of the first evaluation at the "
        "threshold; a seed that never reaches it counts as infinite.",
        _table(head, rows),
    ]


def comparison(found: Sequence[Cell]) -> list[str]:
    """The probability that an agent beats another, over the environments in which all agents ran."""
    scores = normalized(found)
    envs = common_environments(scores)
    agents = sorted(scores)
    if not envs or len(agents) < 2:
        return []
    strata = {agent: [scores[agent][env] for env in envs] for agent in agents}
    rows = [
        [f"**{one}**", *(_better(strata[one], strata[other]) if one != other else "" for other in agents)]
        for one in agents
    ]
    return [
        "## Between agents",
        f"The probability that a run of the row's agent ends above one of the column's, in percent, averaged over "
        f"{words(envs)}, with its 95 % interval (Agarwal et al. 2021, [arXiv:2108.13264]"
        "(https://arxiv.org/abs/2108.13264)). Agents run for the steps of their presets, which differ.",
        _table(["", *agents], rows),
    ]


def sources(found: Sequence[Cell]) -> list[str]:
    """Whose figures stand here, what they measured, and where their environments differ."""
    shown = [one for cell in found for one in reference.published(cell.env, cell.agent)]
    lines = [
        f"- {source.name} ({source.short}): [{source.version}]({source.where}). Measured: {source.measured}; "
        f"{'one run per cell' if source.seeds == 1 else f'{source.seeds} seeds'}."
        for source in dict.fromkeys(one.source for one in shown)
    ]
    differing = dict.fromkeys((one.theirs, one.env, one.differs) for one in shown if one.differs)
    lines += [f"- {theirs} is not {ours}: {differs}." for theirs, ours, differs in differing]
    if not lines:
        return []
    return [
        "Published figures were not run again: each is its source's, after the source's own steps. Ours by then is the "
        "mean over the seeds of the last evaluation up to that step, or of the final one where our runs end earlier; "
        "before the end of a run its learning rate and exploration have not come to theirs.",
        "\n".join(lines),
    ]


def software(found: Sequence[Cell]) -> list[str]:
    """Versions and machines of the runs."""
    runs = [run for cell in found for run in cell.runs]
    columns = ("dbrrl", "python", "numpy", "gymnasium", "git_commit", "cpu", "cores", "blas")
    kinds: dict[tuple[str, ...], list[Result]] = {}
    for run in runs:
        kinds.setdefault(tuple(run.about[column] for column in columns), []).append(run)
    rows = [[str(len(group)), *(" ".join(text[:50].split()) for text in kind)] for kind, group in kinds.items()]
    return ["Our runs, each with one BLAS thread, were made with:", _table(["runs", *columns], rows)] if runs else []


def fails(cell: Cell) -> bool:
    """Whether any seed ends below the threshold."""
    return cell.solved is not None and cell.solved < len(cell.runs)


def behind(cell: Cell) -> bool:
    """Whether others reach the threshold in the mean and we do not."""
    if cell.threshold is None:
        return False
    theirs = any(one.score >= cell.threshold for one in reference.published(cell.env, cell.agent))
    return theirs and float(cell.scores.mean()) < cell.threshold


def listed(names: Sequence[str]) -> str:
    """Names with commas between them; "none"."""
    return ", ".join(names) or "none"


def words(values: Sequence[object]) -> str:
    """Values with commas between them, or the one."""
    return ", ".join(map(str, values)) or "no"


def _row(cell: Cell) -> list[str]:
    threshold = "no threshold" if cell.threshold is None else f"{cell.threshold:g}"
    solved = "" if cell.solved is None else f"{cell.solved} of {len(cell.runs)}"
    lowest = f"{cell.scores.min():.1f}"
    if fails(cell):
        solved, lowest = f"**{solved}**", f"**{lowest}**"
    agent = cell.agent if cell.runs[0].about["preset"] == "True" else f"{cell.agent}, no preset"
    theirs = reference.published(cell.env, cell.agent)
    return [
        f"{cell.env} ({threshold})", agent, solved, thousands(cell.steps), _estimate(cell, MEAN), lowest,
        "<br>".join(_theirs(one) for one in theirs), "<br>".join(_ours(cell, one) for one in theirs),
    ]  # fmt: skip


def _theirs(one: Published) -> str:
    seeds = "1 run" if one.source.seeds == 1 else f"{one.source.seeds} seeds"
    version = f", {one.theirs}" if one.theirs != one.env else ""
    return f"{one.source.short} {one.score:.1f} at {thousands(one.steps)} ({seeds}{version})"


def _ours(cell: Cell, one: Published) -> str:
    """Our mean on the same steps, or on the fewer we have."""
    found = cell.at(one.steps)
    return "no evaluation yet" if found is None else f"{found[1]:.1f} at {thousands(found[0])}"


def _reached(values: np.ndarray | None, show: Callable[[float], str]) -> str:
    if values is None:
        return ""
    middle = float(np.median(values))
    return show(middle) if np.isfinite(middle) else "never"


def _better(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> str:
    low, high = improvement_interval(ours, theirs)
    return f"{100 * probability_of_improvement(ours, theirs):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _estimate(cell: Cell, statistic: Statistic) -> str:
    estimate = cell.estimate(statistic)
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
