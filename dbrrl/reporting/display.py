"""What a run says while it trains: a bar in a terminal or notebook, a line per evaluation elsewhere, or nothing."""

import math
import sys
import warnings
from typing import Any


class Quiet:
    """Says nothing but warnings."""

    refresh_every = math.inf  # seconds between calls of `update`

    def start(self, total: int, done: int) -> None:
        """The run has `done` of `total` steps behind it."""

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """The run has come to `steps`."""

    def say(self, line: str) -> None:
        """An event worth a line."""

    def warn(self, line: str) -> None:
        """Something the user should know, though the run goes on."""
        warnings.warn(line, stacklevel=3)

    def close(self) -> None:
        """The run is over, however it ended."""


class Lines(Quiet):
    """A plain line per event."""

    def say(self, line: str) -> None:
        """Print the line at once, also into a pipe."""
        print(line, flush=True)

    def warn(self, line: str) -> None:
        """Print to standard error."""
        print(f"warning: {line}", file=sys.stderr, flush=True)


class Errors(Lines):
    """Warnings on standard error and nothing else."""

    def say(self, line: str) -> None:
        """Say nothing."""


class Bar(Lines):
    """A bar with steps per second, remaining time and the recent return, and the plain lines above it."""

    refresh_every = 0.2

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        from tqdm import tqdm

        layout = "{bar} {n:,}/{total:,} steps [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(total=total, initial=done, bar_format=layout, leave=False, dynamic_ncols=True, file=sys.stdout)

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Move the bar."""
        self._bar.n = steps
        self._bar.set_postfix_str(f"{steps_per_second:,.0f} steps/s, return {mean_return:.1f}")

    def say(self, line: str) -> None:
        """Print above the bar."""
        if self._bar is None:
            return super().say(line)
        self._bar.write(line, file=sys.stdout)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def choose(progress: bool | None) -> Quiet:
    """The display for `progress`: True, False, or None for a bar if standard output is a terminal or a notebook."""
    terminal = sys.stdout.isatty() or _in_notebook()
    if progress is None:
        return Bar() if terminal else Quiet()
    return (Bar() if terminal else Lines()) if progress else Quiet()


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this: IPython's shell has it then, and in a terminal it has none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def duration(seconds: float) -> str:
    """In words: "about 3 h 20 min", "about 40 s"."""
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min"
