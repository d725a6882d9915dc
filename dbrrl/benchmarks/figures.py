"""The figures of a benchmark report: learning curves, final scores, times to the threshold, performance profiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.reporting.canvas import COLORS, dress, figure, log_ticks, save, style, thousands
from dbrrl.reporting.curves import Group, Line, draw_groups
from dbrrl.reporting.statistics import performance_profile, profile_interval

from . import reference
from .summary import MEAN, Cell, common_environments, normalized

_PEER_MARKERS = ("D", "s", "^", "v")


def draw(found: Sequence[Cell], stem: Path) -> dict[str, str]:
    """Draw the figures that these cells allow, as PNG and SVG files whose names start with `stem`.

    Returns the name of each PNG by kind: "curves", "scores", "times", "profiles".
    """
    ordered = sorted(found, key=lambda cell: cell.agent)
    envs = list(dict.fromkeys(cell.env for cell in found))
    parts = {
        "curves": _curves(ordered, envs),
        "scores": _panels(ordered, envs, _scores, "final mean return"),
        "times": _panels([cell for cell in ordered if cell.reaches], envs, _times, "seconds to the threshold"),
        "profiles": _profiles(ordered),
    }
    drawn: dict[str, str] = {}
    for name, draw_one in parts.items():
        if draw_one is not None:
            for kind in ("png", "svg"):
                path = stem.with_name(f"{stem.name}-{name}.{kind}")
                draw_one(path)
                drawn.setdefault(name, path.name)
    return drawn


def reference_lines(env: str, agent: str) -> list[Line]:
    """Return lines for an environment's threshold and published scores of this agent; equal scores share a line."""
    entry = reference.environment(env)
    lines = [] if entry is None or entry.threshold is None else [Line(entry.threshold, "threshold", strong=True)]
    shared: dict[float, list[str]] = {}
    for one in reference.published(env, agent):
        shared.setdefault(one.score, []).append(one.source.short)
    lines += [Line(score, ", ".join(who)) for score, who in shared.items()]
    return lines


def _curves(found: Sequence[Cell], envs: Sequence[str]) -> Any:
    """Draw a panel per cell, each with its own steps, as agents of an environment run for different numbers."""
    by_env = [cell for env in envs for cell in found if cell.env == env]
    panels = {cell.name: f"{cell.agent}, {cell.env}" for cell in by_env}
    groups = [Group(cell.agent, panels[cell.name], [run.rows for run in cell.runs]) for cell in by_env]
    lines = {panels[cell.name]: reference_lines(cell.env, cell.agent) for cell in by_env}
    return lambda path: draw_groups(groups, path, lines=lines, columns=4, size=(4.4, 2.7))


def _panels(found: Sequence[Cell], envs: Sequence[str], draw_panel: Any, label: str) -> Any:
    """Return a figure with a panel per environment that has cells; None if there are none."""
    shown = [env for env in envs if any(cell.env == env for cell in found)]

    def draw_all(path: Path) -> None:
        made, all_axes = figure(len(shown), columns=2)
        for env, axes in zip(shown, all_axes, strict=True):
            cells = [cell for cell in found if cell.env == env]
            dress(axes, env, "", label)
            axes.grid(visible=False, axis="x")
            axes.set_axisbelow(True)
            slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(cells) > 4 else {}
            axes.set_xticks(range(len(cells)), [cell.agent for cell in cells], **slanted)
            axes.set_xlim(-0.6, max(len(cells), 3) - 0.4)
            draw_panel(axes, cells)
        save(made, path)

    return draw_all if shown else None


def _scores(axes: Any, cells: Sequence[Cell]) -> None:
    """Draw each seed as a dot, the mean with its interval, and published scores, within the range of our scores."""
    entry = reference.environment(cells[0].env)
    threshold = None if entry is None else entry.threshold
    for place, cell in enumerate(cells):
        mean = cell.estimate(MEAN)
        label = {"label": "mean of the seeds"} if place == 0 else {}
        axes.plot([place - 0.25, place + 0.25], [mean.value] * 2, color=COLORS[0], linewidth=2.5, **label)
        if len(cell.runs) > 2:
            label = {"label": "95 % interval of the mean (Student's t)"} if place == 0 else {}
            error = [[mean.value - mean.low], [mean.high - mean.value]]
            axes.errorbar(place, mean.value, error, color=COLORS[0], capsize=4, linewidth=1.2, **label)
        across = place - 0.16 + 0.32 * (np.arange(len(cell.scores)) + 0.5) / len(cell.scores)
        label = {"label": "one seed"} if place == 0 else {}
        axes.plot(across, cell.scores, ".", color="black", markersize=5, **label)
    if threshold is not None:
        axes.axhline(threshold, color="0.25", linewidth=1.2, linestyle=(0, (1, 2)), zorder=0.5, label="threshold")
    low, high = axes.get_ylim()
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    for place, cell in enumerate(cells):
        _published(axes, place, cell, low, high)
    axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _published(axes: Any, place: int, cell: Cell, low: float, high: float) -> None:
    """Draw published scores at the right of a cell; one out of range is at the edge with its number."""
    names = [source.name for source in dict.fromkeys(one.source for one in reference.published(cell.env))]
    outside = 0
    for one in reference.published(cell.env, cell.agent):
        index = names.index(one.source.name)
        look = {"markeredgecolor": COLORS[1 + index % 6], "markersize": 6, "markeredgewidth": 1.5, "color": "white"}
        seeds = "1 run" if one.source.seeds == 1 else f"{one.source.seeds} seeds"
        across, shown = place + 0.31 + 0.05 * index, min(max(one.score, low), high)
        axes.plot(across, shown, _PEER_MARKERS[index % 4], label=f"{one.source.name} ({seeds})", **look)
        if shown != one.score:
            text = f"{'↓' if one.score < low else '↑'} {one.source.short} {one.score:.0f}"
            axes.annotate(text, (place + 0.3, shown), (0, 7 + 9 * outside if one.score < low else -13 - 9 * outside),
                          fontsize=7, textcoords="offset points")  # fmt: skip
            outside += 1


def _times(axes: Any, cells: Sequence[Cell]) -> None:
    """Draw the seconds until each seed's evaluations first reach the threshold, and their median."""
    lowest, highest = np.inf, 0.0
    for place, cell in enumerate(cells):
        times = cell.to_threshold("elapsed")
        assert times is not None
        reached = np.sort(times[np.isfinite(times)])
        lowest, highest = min(lowest, float(reached[0])), max(highest, float(reached[-1]))
        beside = place - 0.16 + 0.32 * (np.arange(len(reached)) + 0.5) / len(reached)
        axes.plot(beside, reached, "o", color=COLORS[0], markersize=4, label="one seed" if place == 0 else None)
        middle = float(np.median(times))
        if np.isfinite(middle):
            axes.plot([place - 0.3, place + 0.3], [middle, middle], color="black", linewidth=2,
                      label="median of all seeds" if place == 0 else None)  # fmt: skip
        if len(reached) < len(times):
            axes.annotate(f"{len(times) - len(reached)} never", (place, reached[-1]), (0, 6), fontsize=8,
                          textcoords="offset points", ha="center")  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(max(lowest, 1e-3) / 1.5, 1.7 * highest)
    log_ticks(axes.yaxis)


def _levels(scores: np.ndarray) -> np.ndarray:
    """Return the normalized scores for profiles: from just below the lowest run to just above the highest."""
    low, high = float(scores.min()), float(scores.max())
    margin = max(0.05 * (high - low), 0.005)
    return np.linspace(low - margin, high + margin, 222)


def _profiles(found: Sequence[Cell]) -> Any:
    """Draw performance profiles of all agents over the environments that all of them ran in; None if there are none."""
    scores = normalized(found)
    envs = common_environments(scores)
    if not envs or len(scores) < 2:
        return None
    every = np.concatenate([by_env[env] for by_env in scores.values() for env in envs])
    levels = _levels(every)

    def draw_all(path: Path) -> None:
        made, (axes,) = figure(1, width=8)
        for index, (agent, by_env) in enumerate(sorted(scores.items())):
            strata = [by_env[env] for env in envs]
            look = style(index)
            shares = performance_profile(strata, levels)
            axes.plot(levels, shares, label=agent, markersize=4, markevery=(2 * index, 22), **look)
            axes.fill_between(levels, *profile_interval(strata, levels), color=look["color"], alpha=0.12, linewidth=0)
        dress(
            axes,
            f"Over {', '.join(envs)}",
            "normalized score τ (0: random play, 1: threshold)",
            "share of runs above τ",
        )
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(thousands)
        save(made, path)

    return draw_all
