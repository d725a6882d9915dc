"""Learning curves as images: of one run, or of groups of runs with intervals over their seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.errors import RunError

from .canvas import COLORS, dress, figure, finished, save, style, thousands
from .statistics import mean_interval

AXES = {"steps": "environment steps", "time": "seconds", "episodes": "training episodes"}
COLUMNS = {"steps": "steps", "time": "elapsed", "episodes": "episodes"}

Rows = Sequence[Mapping[str, float]]


INTERVAL = "band: 95 % confidence interval of the mean over seeds (Student's t)"
RANGE = "band of two seeds: from one to the other"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs drawn as one line: a table of scores and a seed for each.

    Runs of the same seed are averaged first, so that each seed counts once. Without `seeds` all seeds differ.
    """

    label: str
    panel: str
    runs: Sequence[Rows]
    seeds: Sequence[int] | None = None

    @property
    def count(self) -> int:
        """Return the number of different seeds."""
        return len(self.runs if self.seeds is None else set(self.seeds))

    def by_seed(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the runs of each seed: (runs, n) -> (seeds, n)."""
        if self.seeds is None:
            return values
        seeds = np.array(self.seeds)
        return np.stack([values[seeds == seed].mean(axis=0) for seed in np.unique(seeds)])


@dataclasses.dataclass(frozen=True)
class Line:
    """A level to compare a panel's curves with, such as a published score."""

    value: float
    label: str
    strong: bool = False


def draw_run(scores: Rows, progress: Rows, title: str, *, recent: int) -> Any:
    """Draw one run: evaluations with their spread, and the mean training return of `recent` episodes behind them."""
    made, (axes,) = figure(1)
    trained = [row for row in progress if "mean_return" in row and np.isfinite(row["mean_return"])]
    if trained:
        label = f"training: mean return of the latest {recent} episodes, with exploration"
        axes.plot(_column(trained, "steps"), _column(trained, "mean_return"), color="0.6", label=label)
    steps, mean, spread = (_column(scores, name) for name in ("steps", "mean", "stdev"))
    low = np.maximum(mean - spread, _column(scores, "min"))
    high = np.minimum(mean + spread, _column(scores, "max"))
    axes.fill_between(steps, low, high, color=COLORS[0], alpha=0.2, linewidth=0, label="band: ± its standard deviation")
    axes.plot(steps, mean, color=COLORS[0], marker="o", markersize=4, label="evaluation: mean return, no exploration")
    _dress(axes, title, "steps")
    return finished(made)


def draw_groups(
    groups: Sequence[Group],
    path: Path,
    *,
    x: str = "steps",
    smooth: int = 1,
    lines: Mapping[str, Sequence[Line]] | None = None,
    columns: int = 3,
    title: str | None = None,
    size: tuple[float, float] = (6.4, 4.2),
) -> None:
    """Draw several runs: a panel per environment, a line per group, the mean over its seeds with a band.

    The band is the 95 % t interval of the mean; for two seeds, too few for an interval, their range.

    Args:
        groups: the groups to draw.
        path: image, PNG, SVG or PDF by its ending.
        x: quantity on the horizontal axis, a key of `AXES`.
        smooth: width of the centered moving average of each run's curve, in evaluations; 1: none.
        lines: levels to draw, by panel.
        columns: panels in a row.
        title: text above all panels.
        size: width and height of a panel in inches.
    """
    panels = list(dict.fromkeys(group.panel for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    made, all_axes = figure(len(panels), columns=columns, width=size[0], height=size[1])
    if title is not None:
        made.suptitle(title)
    for panel, axes in zip(panels, all_axes, strict=True):
        drawn = []
        for group in (group for group in groups if group.panel == panel):
            look = style(labels.index(group.label)) | {"label": _with_seeds(group.label, groups)}
            drawn.append(_draw_group(axes, group, x, smooth, look))
        _dress(axes, panel, x)
        _limit(axes, drawn)
        _draw_lines(axes, (lines or {}).get(panel, ()), gap=0.21 / size[1])
    _explain_bands(all_axes[-1], groups)
    save(made, path)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Return the centered moving average of `values` (n,): (n,).

    Near the ends fewer values are averaged, as many on each side; an even `width` has one more value before.
    """
    place = np.arange(len(values))
    room = np.minimum(place, place[::-1])
    start, end = place - np.minimum(width // 2, room), place + np.minimum((width - 1) // 2, room) + 1
    sums = np.concatenate([[0.0], np.cumsum(values)])
    averaged: np.ndarray = (sums[end] - sums[start]) / (end - start)
    return averaged if width > 1 else values


def shared_places(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Return the places (n,), ascending, at which all curves can be compared: those of any of them where all overlap.

    Curves with other places are interpolated there, but none is extrapolated; there may be no such place.
    """
    if not curves:
        return np.empty(0)
    start, end = max(places[0] for places in curves), min(places[-1] for places in curves)
    every = np.unique(np.concatenate(list(curves)))
    shared: np.ndarray = every[(every >= start) & (every <= end)]
    return shared


def _limit(axes: Any, drawn: Sequence[np.ndarray]) -> None:
    """Limit the axis to the range of the seeds' scores; an interval of few seeds may extend far beyond it."""
    low, high = min(values.min() for values in drawn), max(values.max() for values in drawn)
    if low < high:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _draw_group(axes: Any, group: Group, x: str, smooth: int, look: dict[str, Any]) -> np.ndarray:
    """Draw the mean and the band of a group; the curve of each seed, (seeds, places)."""
    curves = [(_column(rows, COLUMNS[x]), moving_average(_column(rows, "mean"), smooth)) for rows in group.runs]
    grid = shared_places([places for places, _ in curves])
    if not len(grid):
        raise RunError(f"{group.label} on {group.panel}: its runs share no part of the {AXES[x]}: plot them apart")
    values = group.by_seed(np.stack([np.interp(grid, places, means) for places, means in curves]))
    every_nth = max(1, len(grid) // 12)  # markers distinguish lines, unless they are so many that they touch
    axes.plot(grid, values.mean(axis=0), markersize=4, markevery=every_nth, **look)
    if len(values) > 1:
        bounds = np.array([_bounds(column) for column in values.T])
        axes.fill_between(grid, bounds[:, 0], bounds[:, 1], color=look["color"], alpha=0.15, linewidth=0)
    return values


def _bounds(scores: np.ndarray) -> tuple[float, float]:
    """Return the bounds of a band: the range of two seeds, the 95 % interval of the mean of more."""
    return (float(scores.min()), float(scores.max())) if len(scores) == 2 else mean_interval(scores)


def _explain_bands(axes: Any, groups: Sequence[Group]) -> None:
    """Explain the bands in the legend."""
    for label, drawn in (
        (INTERVAL, any(group.count > 2 for group in groups)),
        (RANGE, any(group.count == 2 for group in groups)),
    ):
        if drawn:
            axes.fill_between([], [], color="0.75", linewidth=0, label=label)


def _with_seeds(label: str, groups: Sequence[Group]) -> str:
    """Return a label with the number of seeds in all panels, and of runs if there are more."""
    own = [group for group in groups if group.label == label]
    counts = {group.count for group in own}
    fewest, most = min(counts), max(counts)
    count = str(most) if fewest == most else f"{fewest} to {most}"
    seeds = f"{count} seed{'s' if most > 1 else ''}"
    if any(len(group.runs) > group.count for group in own):
        seeds += f", {sum(len(group.runs) for group in own)} runs"
    return f"{label} ({seeds})"


def _draw_lines(axes: Any, lines: Sequence[Line], gap: float) -> None:
    """Draw levels with their names at the right edge; names closer than `gap`, a share of the height, move apart."""
    if not lines:
        return
    low, high = axes.get_ylim()
    low, high = min(low, *(line.value for line in lines)), max(high, *(line.value for line in lines))
    margin = 0.03 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    low, high = axes.get_ylim()
    ordered = sorted(lines, key=lambda line: line.value)
    wanted = [(line.value - low) / (high - low) for line in ordered]
    for line, place, at in zip(ordered, spread(wanted, gap), wanted, strict=True):
        color = "0.25" if line.strong else "0.55"
        leader = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        axes.axhline(line.value, color=color, linewidth=1.2 if line.strong else 0.8, linestyle=(0, (1, 2)), zorder=0.5)
        axes.annotate(
            line.label,
            (1, at),
            (1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=7.5,
            color="0.25",
            va="center",
            arrowprops=leader,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending `places` in [0, 1] as little as possible so that neighbors are at least `gap` apart.

    If they do not all fit, the lowest are below 0. Their order stays, so lines from old to new places never cross.
    """
    clusters: list[tuple[float, int]] = []  # mean of (place - gap * index), number of places: isotonic regression
    for index, place in enumerate(places):
        mean, count = place - gap * index, 1
        while clusters and clusters[-1][0] > mean:
            before, size = clusters.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        clusters.append((mean, count))
    moved = [mean for mean, count in clusters for _ in range(count)]
    highest = 1 - gap * (len(places) - 1)  # of the first place, with which the last is at 1
    return [min(max(mean, 0.0), highest) + gap * index for index, mean in enumerate(moved)]


def _dress(axes: Any, title: str, x: str) -> None:
    dress(axes, title, AXES[x], "return")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(thousands)


def _column(rows: Rows, name: str) -> np.ndarray:
    try:
        return np.array([row[name] for row in rows])
    except KeyError:
        raise RunError(f"a table of scores lacks the column {name!r}: leave out the run it is of") from None
