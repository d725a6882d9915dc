"""Learning curves as images; Matplotlib is imported here alone, and none of its global state is touched."""

import dataclasses
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl import checkpoint
from dbrrl.errors import RunError

from .statistics import bootstrap_interval

# Okabe and Ito's palette: told apart by color-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
AXES = {"steps": "environment steps", "time": "seconds", "episodes": "training episodes"}
_COLUMNS = {"steps": "steps", "time": "elapsed", "episodes": "episodes"}

Rows = Sequence[dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one agent in one environment, one table of scores per seed."""

    label: str
    panel: str
    runs: list[Rows]


def draw_run(scores: Rows, progress: Rows, title: str, path: Path) -> None:
    """One run: evaluations with their spread, and the training returns behind them."""
    figure, (axes,) = _figure(1)
    trained = [row for row in progress if "mean_return" in row and np.isfinite(row["mean_return"])]
    if trained:
        axes.plot(_column(trained, "steps"), _column(trained, "mean_return"), color="0.6", label="training")
    steps, mean, spread = (_column(scores, name) for name in ("steps", "mean", "stdev"))
    low = np.maximum(mean - spread, _column(scores, "min"))
    high = np.minimum(mean + spread, _column(scores, "max"))
    axes.fill_between(steps, low, high, color=COLORS[0], alpha=0.2, linewidth=0)
    axes.plot(steps, mean, color=COLORS[0], marker="o", markersize=4, label="evaluation ± stdev")
    _dress(axes, title, "steps")
    _save(figure, path)


def draw_groups(groups: Sequence[Group], path: Path, *, x: str = "steps") -> None:
    """Several runs: a panel per environment, a line per agent with a 95 % interval over its seeds."""
    panels = list(dict.fromkeys(group.panel for group in groups))
    labels = list(dict.fromkeys(group.label for group in groups))
    figure, all_axes = _figure(len(panels))
    for panel, axes in zip(panels, all_axes, strict=True):
        for group in (group for group in groups if group.panel == panel):
            index = labels.index(group.label)
            style = {
                "color": COLORS[index % len(COLORS)],
                "linestyle": LINES[index // len(COLORS) % len(LINES)],
            }
            _draw_group(axes, group, x, style)
        _dress(axes, panel, x)
    _save(figure, path)


def _draw_group(axes: Any, group: Group, x: str, style: dict[str, str]) -> None:
    curves = [(_column(rows, _COLUMNS[x]), _column(rows, "mean")) for rows in group.runs]
    # Where seeds were evaluated at unlike places, each is read between its own, and nowhere beyond its ends.
    start, end = max(places[0] for places, _ in curves), min(places[-1] for places, _ in curves)
    every = np.unique(np.concatenate([places for places, _ in curves]))
    grid = every[(every >= start) & (every <= end)]
    if not len(grid):
        raise RunError(f"{group.label} on {group.panel}: its runs share no part of the {AXES[x]}: plot them apart")
    values = np.stack([np.interp(grid, places, means) for places, means in curves])
    seeds = f"{len(curves)} seed{'s' if len(curves) > 1 else ''}"
    axes.plot(grid, values.mean(axis=0), label=f"{group.label} ({seeds})", marker="o", markersize=3, **style)
    if len(curves) > 1:
        bounds = np.array([bootstrap_interval(column) for column in values.T])
        axes.fill_between(grid, bounds[:, 0], bounds[:, 1], color=style["color"], alpha=0.2, linewidth=0)


def _figure(panels: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(6.4 * columns, 4.2 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]
    return figure, axes


def _dress(axes: Any, title: str, x: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(AXES[x])
    axes.set_ylabel("return")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(_thousands)


def _thousands(value: float, position: int | None = None) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _add_legend(figure: Any) -> None:
    """One legend under all panels: inside one it would hide a curve sooner or later."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    names = [textwrap.fill(label, 70, subsequent_indent="    ") for label in found]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = max(1, min(len(names), int(figure.get_figwidth() * 11.5 / (longest + 7))))
    lines = sum(name.count("\n") + 1 for name in names) / columns
    figure.set_figheight(figure.get_figheight() + 0.22 * lines)
    figure.legend(found.values(), names, loc="outside lower center", ncols=columns, frameon=False)


def _save(figure: Any, path: Path) -> None:
    _add_legend(figure)
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in ("png", "svg", "pdf"):
        raise RunError(f"{path}: expected a name that ends in .png, .svg or .pdf")
    image = io.BytesIO()
    figure.savefig(image, format=kind, dpi=120)
    checkpoint.write(path, image.getvalue())


def _column(rows: Rows, name: str) -> np.ndarray:
    try:
        return np.array([row[name] for row in rows])
    except KeyError:
        raise RunError(f"a table of scores lacks the column {name!r}: leave out the run it is of") from None
