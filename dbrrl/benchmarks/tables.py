"""The tables of a benchmark report, as Markdown."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dbrrl.reporting.canvas import thousands
from dbrrl.reporting.statistics import Statistic, improvement_interval, probability_of_improvement

from . import reference
from .reference import Published
from .results import Result
from .suite import Suite
from .summary import IQM, MEAN, MEDIAN, Cell, common_environments, normalized

NO_BREAK = "\u00a0"  # a space that does not break a line


def first_tables(suite: Suite, found: Sequence[Cell]) -> list[str]:
    """Return a table per environment: a row for each cell of the suite, and for each published score."""
    by_name = {cell.name: cell for cell in found}
    head = ["agent", "solved", "steps", "mean [95 %]", "lowest", "published", "ours by then"]
    parts = []
    for env in dict.fromkeys(cell.env for cell in suite.cells):
        rows = []
        for cell in sorted((cell for cell in suite.cells if cell.env == env), key=lambda cell: cell.agent):
            one = by_name.get(cell.name)
            rows += _rows(one) if one is not None else [[cell.agent, "**not run yet**", *[""] * 5]]
        parts += [_headline(env), _table(head, rows)]
    return parts


def statistics(found: Sequence[Cell]) -> list[str]:
    """Return final scores and steps to the threshold: a table per environment, a row per cell."""
    head = ["agent", "seeds", "IQM [95 %]", "mean [95 %]", "median [95 %]", "steps to threshold", "seconds"]
    parts = [
        "Of the final scores: the interquartile mean (IQM), the mean and the median over the seeds. The 95 % interval "
        "of a mean is Student's, which covers the true mean of normal scores 95 times in 100 with 5 seeds as with 10; "
        "that of an IQM or a median is rliable's percentile bootstrap, which covers it less often (of a mean: 84 in "
        "100 with 5 seeds, 90 with 10). Steps and seconds are medians over the seeds of the first evaluation at the "
        "threshold; a seed that never reaches it counts as infinite."
    ]
    for env in dict.fromkeys(cell.env for cell in found):
        rows = []
        for cell in (cell for cell in found if cell.env == env):
            numbers = [_estimate(cell, statistic) for statistic in (IQM, MEAN, MEDIAN)]
            steps, seconds = cell.to_threshold("steps"), cell.to_threshold("elapsed")
            reached = [_reached(steps, thousands), _reached(seconds, "{:.1f}".format)]
            rows.append([cell.agent, str(len(cell.runs)), *numbers, *reached])
        parts += [_headline(env), _table(head, rows)]
    return parts


def comparison(found: Sequence[Cell]) -> list[str]:
    """Return the probabilities that one agent beats another, over the environments in which all agents ran."""
    scores = normalized(found)
    envs = common_environments(scores)
    agents = sorted(scores)
    if not envs or len(agents) < 2:
        return []
    strata = {agent: [scores[agent][env] for env in envs] for agent in agents}
    chances = {pair: _better(*(strata[agent] for agent in pair)) for pair in itertools.combinations(agents, 2)}
    chances |= {(other, one): tuple(1 - x for x in (p, high, low)) for (one, other), (p, low, high) in chances.items()}
    rows = [
        [f"**{one}**", *(_percent(chances[one, other]) if one != other else "" for other in agents)] for one in agents
    ]
    return [
        "## Between agents",
        f"The probability that a run of the row's agent ends above one of the column's, in percent, averaged over "
        f"{words(envs)}, with its 95 % interval (Agarwal et al. 2021, [arXiv:2108.13264]"
        "(https://arxiv.org/abs/2108.13264)). Agents run for the steps of their presets, which differ.",
        _table(["", *agents], rows),
    ]


def sources(found: Sequence[Cell]) -> list[str]:
    """Return the sources of published scores, what they measured, and how their environments differ."""
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
    """Return the versions and machines of the runs."""
    runs = [run for cell in found for run in cell.runs]
    columns = ("dbrrl", "python", "numpy", "gymnasium", "git_commit", "cpu", "cores", "blas")
    kinds: dict[tuple[str, ...], list[Result]] = {}
    for run in runs:
        kinds.setdefault(tuple(run.about[column] for column in columns), []).append(run)
    rows = [[str(len(group)), *(" ".join(text[:50].split()) for text in kind)] for kind, group in kinds.items()]
    return ["Our runs, each with one BLAS thread, were made with:", _table(["runs", *columns], rows)] if runs else []


def fails(cell: Cell) -> bool:
    """Return whether any seed's final score is below the threshold."""
    return cell.solved is not None and cell.solved < len(cell.runs)


def behind(cell: Cell) -> bool:
    """Return whether a published mean reaches the threshold and ours does not."""
    if cell.threshold is None:
        return False
    theirs = any(one.score >= cell.threshold for one in reference.published(cell.env, cell.agent))
    return theirs and float(cell.scores.mean()) < cell.threshold


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them; "none" for no names."""
    return ", ".join(names) or "none"


def words(values: Sequence[object]) -> str:
    """Return values with commas between them."""
    return ", ".join(map(str, values)) or "no"


def _headline(env: str) -> str:
    """Return the heading of an environment, with the score that counts as solved."""
    entry = reference.environment(env)
    threshold = "" if entry is None or entry.threshold is None else f" ({entry.threshold:g})"
    return f"**{env}**{threshold}"


def _rows(cell: Cell) -> list[list[str]]:
    agent = cell.agent if cell.runs[0].about["preset"] == "True" else f"{cell.agent}, no preset"
    solved = "" if cell.solved is None else f"{cell.solved}/{len(cell.runs)}"
    lowest = f"{cell.scores.min():.1f}"
    if fails(cell):
        solved, lowest = f"**{solved}**", f"**{lowest}**"
    own = [agent, solved, thousands(cell.steps), _estimate(cell, MEAN), lowest]
    beside = [[_theirs(one), _ours(cell, one)] for one in reference.published(cell.env, cell.agent)] or [["", ""]]
    return [[*own, *beside[0]], *([*[""] * len(own), *pair] for pair in beside[1:])]


def _theirs(one: Published) -> str:
    version = f"{NO_BREAK}({one.theirs.rpartition('-')[2]})" if one.theirs != one.env else ""
    return f"{one.source.short} {_at(one.score, one.steps)}{version}"


def _ours(cell: Cell, one: Published) -> str:
    """Return our mean after the same number of steps, or after all of ours if those are fewer."""
    found = cell.at(one.steps)
    return "no evaluation yet" if found is None else _at(found[1], found[0])


def _at(score: float, steps: int) -> str:
    return f"{score:.1f}{NO_BREAK}at{NO_BREAK}{thousands(steps)}"


def _reached(values: np.ndarray | None, show: Callable[[float], str]) -> str:
    if values is None:
        return ""
    middle, reached = float(np.median(values)), int(np.isfinite(values).sum())
    return show(middle) if np.isfinite(middle) else f"{reached} of {len(values)} reach it" if reached else "never"


def _better(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, ...]:
    return probability_of_improvement(ours, theirs), *improvement_interval(ours, theirs)


def _percent(chance: tuple[float, ...]) -> str:
    value, low, high = (round(100 * x) for x in chance)
    return f"{value} [{low},{NO_BREAK}{high}]"


def _estimate(cell: Cell, statistic: Statistic) -> str:
    estimate = cell.estimate(statistic)
    if len(cell.runs) < 3:
        return f"{estimate.value:.1f}"  # one or two seeds are too few for a comparison
    return f"{estimate.value:.1f} [{estimate.low:.1f},{NO_BREAK}{estimate.high:.1f}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
