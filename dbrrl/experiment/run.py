"""What a run leaves: scores, statistics, the trained agent, and the folder with its files."""

import dataclasses
from pathlib import Path
from typing import Any

from dbrrl.learning.agent import Agent
from dbrrl.reporting import canvas, curves

from . import build
from .loop import RECENT
from .settings import Plan


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run leaves: its scores (a row per evaluation), the trained agent, and where its files lie."""

    scores: list[dict[str, float]]
    progress: list[dict[str, float]]
    agent: Agent
    plan: Plan
    directory: Path | None

    @property
    def score(self) -> float:
        """Mean return of the evaluation at the end."""
        return self.scores[-1]["mean"]

    def plot(self, path: str | Path | None = None) -> Any:
        """The learning curve: a matplotlib Figure, which a notebook shows where it is a cell's last value.

        Args:
            path: an image file to write it into, too (PNG, SVG or PDF by its ending).
        """
        figure = curves.draw_run(self.scores, self.progress, build.title(self.plan), recent=RECENT)
        if path is not None:
            canvas.save(figure, Path(path))
        return figure

    def __repr__(self) -> str:
        row, lines = self.scores[-1], [f"Run: {build.title(self.plan)}"]
        lines.append(
            f"  score {row['mean']:.2f} over {row['evaluation_episodes']:.0f} episodes after {row['steps']:,.0f} "
            f"steps: {len(self.scores)} rows in scores, {len(self.progress)} in progress"
        )
        lines.append(f"  folder {self.directory}" if self.directory else "  in memory: give Experiment out= to keep it")
        return "\n".join(lines)
