"""The figures of a benchmark report: learning curves, final scores, times to the threshold, performance profiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dbrrl.experiment.canvas import COLORS, dress, figure, save, style, thousands
from dbrrl.experiment.curves import Group, Line, draw_groups
from dbrrl.experiment.statistics import performance_profile, profile_interval

from . import reference
from .summary import MEAN, Cell, common_environments, normalized

_PEER_MARKERS = ("D", "s", "^", "v")


def draw(found: Sequence[Cell], stem: Path) -> dict[str, str]:
    """Draw all that the cells allow as PNG and SVG, the files' names beginning with `stem`.

    Returns the name of each PNG by what it shows: "curves", "scores", "times", "profiles".
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


def reference_lines(env: str, agents: Sequence[str]) -> list[Line]:
    """The threshold of an environment, and what others published for these agents; equal figures share a line."""
    entry = reference.environment(env)
    lines = [] if entry is None or entry.threshold is None else [Line(entry.threshold, "threshold", strong=True)]
    shared: dict[tuple[str, float], list[str]] = {}
    for one in reference.published(env):
        if one.agent in agents:
            shared.setdefault((one.source.short, one.score), []).append(one.agent)
    lines += [Line(score, f"{short} {', '.join(who)}") for (short, score), who in shared.items()]
    return lines


def _curves(found: Sequence[Cell], envs: Sequence[str]) -> Any:
    by_env = [cell for env in envs for cell in found if cell.env == env]
    groups = [Group(cell.agent, cell.env, [run.rows for run in cell.runs]) for cell in by_env]
    lines = {env: reference_lines(env, [cell.agent for cell in found if cell.env == env]) for env in envs}
    return lambda path: draw_groups(groups, path, lines=lines, columns=2)


def _panels(found: Sequence[Cell], envs: Sequence[str], draw_panel: Any, label: str) -> Any:
    """A drawing with a panel per environment that has cells; None where none has."""
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
    """Bars from random play to the mean over seeds, each seed as a dot, and what others published."""
    entry = reference.environment(cells[0].env)
    every = np.concatenate([cell.scores for cell in cells])
    floor = min(entry.low, every.min()) if entry is not None else every.min()
    for place, cell in enumerate(cells):
        mean = cell.estimate(MEAN)
        error = [[mean.value - mean.low], [mean.high - mean.value]]
        first = place == 0
        axes.bar(place, mean.value - floor, bottom=floor, width=0.5, color="#56B4E9", edgecolor="black", linewidth=0.6,
                 label="mean of the seeds, from random play" if first else None)  # fmt: skip
        axes.errorbar(place, mean.value, error, color="black", capsize=4, linewidth=1.2,
                      label="95 % interval" if first else None)  # fmt: skip
        beside = place - 0.16 + 0.32 * (np.arange(len(cell.scores)) + 0.5) / len(cell.scores)
        axes.plot(beside, cell.scores, ".", color="black", markersize=4, label="one seed" if first else None)
        _published(axes, place, cell)
    axes.set_ylim(bottom=floor - 0.03 * (axes.get_ylim()[1] - floor))
    if entry is not None and entry.threshold is not None:
        axes.axhline(entry.threshold, color="0.25", linewidth=1.2, linestyle=(0, (1, 2)), zorder=0.5, label="threshold")


def _published(axes: Any, place: int, cell: Cell) -> None:
    names = [source.name for source in dict.fromkeys(one.source for one in reference.published(cell.env))]
    for one in reference.published(cell.env, cell.agent):
        index = names.index(one.source.name)
        look = {"markeredgecolor": COLORS[1 + index % 6], "markersize": 6, "markeredgewidth": 1.5, "color": "white"}
        seeds = "1 run" if one.source.seeds == 1 else f"{one.source.seeds} seeds"
        beside = place + 0.31 + 0.05 * index
        axes.plot(beside, one.score, _PEER_MARKERS[index % 4], label=f"{one.source.name} ({seeds})", **look)


def _times(axes: Any, cells: Sequence[Cell]) -> None:
    """The seconds after which each seed's evaluations first reach the threshold, and their median."""
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
    axes.yaxis.set_major_formatter(thousands)
    axes.yaxis.set_minor_formatter("")


def _profiles(found: Sequence[Cell]) -> Any:
    """Performance profiles of all agents over the environments that all of them ran in; None where there are none."""
    scores = normalized(found)
    envs = common_environments(scores)
    if not envs or len(scores) < 2:
        return None
    best = max(float(by_env[env].max()) for by_env in scores.values() for env in envs)
    levels = np.linspace(0, max(1.1, 1.02 * best), 111)

    def draw_all(path: Path) -> None:
        made, (axes,) = figure(1, width=8)
        for index, (agent, by_env) in enumerate(sorted(scores.items())):
            strata = [by_env[env] for env in envs]
            look = style(index)
            axes.plot(
                levels, performance_profile(strata, levels), label=agent, markersize=4, markevery=(index, 11), **look
            )
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
