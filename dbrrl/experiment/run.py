"""The result of a run: scores, statistics, the trained agent, and the folder of its files."""

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
    """The result of a run.

    Attributes:
        scores: a row for each evaluation.
        progress: a row of training statistics for each logged step.
        agent: the trained agent.
        plan: the settings.
        directory: the run's folder; None if the run was kept in memory.
    """

    scores: list[dict[str, float]]
    progress: list[dict[str, float]]
    agent: Agent
    plan: Plan
    directory: Path | None

    @property
    def score(self) -> float:
        """Mean return of the final evaluation."""
        return self.scores[-1]["mean"]

    def plot(self, path: str | Path | None = None) -> Any:
        """Return the learning curve, a matplotlib Figure, which a notebook shows as the last value of a cell.

        Args:
            path: an image file to write too; its ending chooses PNG, SVG or PDF.
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
