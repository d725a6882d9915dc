"""Progress of a run or benchmark: bars in a terminal or notebook, plain lines elsewhere, or nothing."""

import math
import sys
import warnings
from typing import Any, TextIO


class Quiet:
    """Shows nothing but warnings, and is the base of all displays."""

    refresh_every = math.inf  # seconds between calls of `update`

    def start(self, total: int, done: int) -> None:
        """`total` steps are to be done, `done` of them have been done before; of a benchmark, runs."""

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """The run has done `steps` steps."""

    def show(self, slot: int, name: str, steps: int, total: int, steps_per_second: float) -> None:
        """The run of a benchmark that has `slot` has done `steps` of `total` steps."""

    def count(self, ended: int, seconds_left: float) -> None:
        """A benchmark: `ended` runs have ended; the others are expected to take `seconds_left`."""

    def say(self, line: str) -> None:
        """Report an event."""

    def warn(self, line: str) -> None:
        """Report a problem that does not end the run."""
        warnings.warn(line, stacklevel=3)

    def close(self) -> None:
        """Remove what is shown; the run has ended."""


class Lines(Quiet):
    """A plain line for each event, and for each warning one on standard error."""

    def say(self, line: str) -> None:
        """Print the line, also into a pipe at once."""
        self._print(line, sys.stdout)

    def warn(self, line: str) -> None:
        """Print to standard error."""
        self._print(f"warning: {line}", sys.stderr)

    def _print(self, line: str, stream: TextIO) -> None:
        print(line, file=stream, flush=True)


class Errors(Lines):
    """Warnings on standard error and nothing else."""

    def say(self, line: str) -> None:
        """Print nothing."""


class Bar(Lines):
    """A run's bar with steps per second, remaining time and recent return, and the plain lines above it."""

    refresh_every = 0.2

    def __init__(self) -> None:
        self._bars: list[Any] = []

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        self._add("{bar} {n:,}/{total:,} steps [{elapsed}<{remaining}{postfix}]", total, done)

    def update(self, steps: int, steps_per_second: float, mean_return: float) -> None:
        """Move the bar."""
        self._move(0, steps, f"{steps_per_second:,.0f} steps/s, return {mean_return:.1f}")

    def close(self) -> None:
        """Remove the bars."""
        while self._bars:
            self._bars.pop().close()

    def _add(self, layout: str, total: int, done: int = 0) -> None:
        from tqdm import tqdm

        options: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "file": sys.stdout}
        self._bars.append(tqdm(total=total, initial=done, bar_format=layout, position=len(self._bars), **options))

    def _move(self, index: int, done: int, text: str) -> None:
        self._bars[index].n = done
        self._bars[index].set_postfix_str(text)

    def _print(self, line: str, stream: TextIO) -> None:
        if self._bars:
            self._bars[0].write(line, file=stream)
        else:
            super()._print(line, stream)


class Bars(Bar):
    """A benchmark's bars: one for all runs, one for each of `slots` runs side by side, and the plain lines above."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots

    def start(self, total: int, done: int) -> None:
        """Show the bars."""
        self._add("{bar} {n_fmt}/{total_fmt} runs [{elapsed}{postfix}]", total, done)
        for _ in range(self._slots):
            self._add("{bar} {n:,.0f}/{total:,.0f} steps {desc}{postfix}", 1)

    def show(self, slot: int, name: str, steps: int, total: int, steps_per_second: float) -> None:
        """Move the bar of a slot."""
        self._bars[1 + slot].total = total
        self._bars[1 + slot].set_description_str(name, refresh=False)
        self._move(1 + slot, steps, f"{steps_per_second:,.0f} steps/s" if steps_per_second else "")

    def count(self, ended: int, seconds_left: float) -> None:
        """Move the bar of all runs."""
        self._move(0, ended, f"{duration(seconds_left)} left")


def for_run(progress: bool | None) -> Quiet:
    """Return the display for `progress`: True, False, or None for a bar in a terminal or notebook and nothing else."""
    terminal = sys.stdout.isatty() or _in_notebook()
    if progress is None:
        return Bar() if terminal else Quiet()
    return (Bar() if terminal else Lines()) if progress else Quiet()


def for_benchmark(slots: int) -> Quiet:
    """Return bars for `slots` runs side by side if standard output is a terminal, else plain lines."""
    return Bars(slots) if sys.stdout.isatty() else Lines()


def _in_notebook() -> bool:
    """Return whether Jupyter runs this code: IPython's shell then has a kernel, and in a terminal it has none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def duration(seconds: float) -> str:
    """Return a duration in words: "about 3 h 20 min", "about 40 s"."""
    if seconds < 90:
        return f"about {max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min"
