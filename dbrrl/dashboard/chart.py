"""Lines of a chart: a statistic of runs, or of groups of runs with an interval over their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from dbrrl.reporting.curves import moving_average, shared_places
from dbrrl.reporting.statistics import iqm, iqm_intervals, mean_intervals

from .messages import Range
from .runs import RunFiles

AXES = ("steps", "elapsed", "episodes", "num_updates")

ALL = 1 << 40  # points: more than there are

Center = Literal["mean", "iqm"]


@dataclass
class Line:
    """A line of a chart.

    Attributes:
        label: its name.
        y: the statistic.
        runs: ids of the runs it is of.
        places, values: the points, (n,).
        low, high: bounds of the band, (n,); empty where there is none.
        seeds: how many different seeds there are.
        total: points before there were fewer of them.
    """

    label: str
    y: str
    runs: list[str]
    places: np.ndarray
    values: np.ndarray
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))
    seeds: int = 1
    total: int = 0


def curve(run: RunFiles, x: str, y: str, smooth: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the places and values of a statistic of a run, (n,) and (n,): its rows that have both."""
    places, values = run.curve(x, y)
    known = np.isfinite(places) & np.isfinite(values)
    return places[known], moving_average(values[known], smooth)


def line(
    run: RunFiles, label: str, x: str, y: str, *, points: int, smooth: int = 1, within: Range = (None, None)
) -> Line:
    """Return the line of one run with at most about `points` points in the part of the axis that is looked at."""
    places, values = curve(run, x, y, smooth)
    seen = _seen(places, within)
    kept = seen.start + thinned(values[seen], points)
    return Line(label, y, [run.id], places[kept], values[kept], total=len(places))


def group(
    runs: Sequence[RunFiles],
    label: str,
    x: str,
    y: str,
    *,
    points: int,
    smooth: int = 1,
    center: Center = "mean",
    within: Range = (None, None),
) -> Line:
    """Return the mean, or the interquartile mean, over the seeds of several runs, with its 95 % interval.

    Curves are interpolated where they overlap, and runs of the same seed averaged first. The interval of the mean is
    Student's, that of the interquartile mean a percentile bootstrap; runs without the statistic are left out.
    """
    found = [(run, *curve(run, x, y, smooth)) for run in runs]
    found = [(run, places, values) for run, places, values in found if len(places)]
    ids = [run.id for run, _, _ in found]
    grid = shared_places([places for _, places, _ in found])
    grid = grid[_seen(grid, within)]
    if len(grid) > points:
        grid = grid[np.linspace(0, len(grid) - 1, points).round().astype(int)]
    if not len(grid):
        return Line(label, y, ids, np.empty(0), np.empty(0), seeds=0)
    every = np.stack([np.interp(grid, places, values) for _, places, values in found])
    seeds = [run.summary.seed for run, _, _ in found]
    names = [f"run {index}" if seed is None else str(seed) for index, seed in enumerate(seeds)]
    own = np.stack([every[[name == one for name in names]].mean(axis=0) for one in dict.fromkeys(names)])
    values = own.mean(axis=0) if center == "mean" else iqm(own, axis=0)
    low, high = (mean_intervals if center == "mean" else iqm_intervals)(own)
    return Line(label, y, ids, grid, values, low, high, seeds=len(own), total=len(grid))


def _seen(places: np.ndarray, within: Range) -> slice:
    """Return which of ascending places are within a range, and one more on either side."""
    low, high = within
    start = 0 if low is None else int(np.searchsorted(places, low)) - 1
    stop = len(places) if high is None else int(np.searchsorted(places, high, "right")) + 1
    return slice(max(0, start), max(0, min(stop, len(places))))


def thinned(values: np.ndarray, points: int) -> np.ndarray:
    """Return which of the values to draw, ascending: all, or the first, the last, and each stretch's extremes."""
    count = len(values)
    if count <= points:
        return np.arange(count)
    edges = np.linspace(0, count, max(points // 2, 1) + 1).astype(int)
    kept = {0, count - 1}
    for start, end in pairwise(edges):
        part = values[start:end]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    return np.array(sorted(kept))
