"""What a benchmark says while it runs: bars in a terminal, plain lines elsewhere."""

import sys
from typing import Any

from .display import duration


class Board:
    """A plain line per event."""

    def __init__(self) -> None:
        self.total = 0

    def begin(self, total: int, slots: int) -> None:
        """There are `total` runs to do, at most `slots` at a time."""
        self.total = total

    def show(self, slot: int, name: str, steps: int, total: int, steps_per_second: float) -> None:
        """The run in a slot has come to `steps` of `total`."""

    def free(self, slot: int) -> None:
        """The run in a slot has ended."""

    def count(self, ended: int, seconds_left: float) -> None:
        """This many runs have ended, and the others will take so long."""

    def say(self, line: str) -> None:
        """An event worth a line."""
        print(line, flush=True)

    def warn(self, line: str) -> None:
        """Something the user should know."""
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """All is over."""


class Bars(Board):
    """A bar for all runs, one for each that is under way, and the plain lines above them."""

    def __init__(self) -> None:
        super().__init__()
        self._whole: Any = None
        self._slots: list[Any] = []

    def begin(self, total: int, slots: int) -> None:
        """Show the bars."""
        from tqdm import tqdm

        super().begin(total, slots)
        options: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "file": sys.stdout}
        whole = "{bar} {n_fmt}/{total_fmt} runs [{elapsed}{postfix}]"
        single = "{bar} {n:,.0f}/{total:,.0f} steps {desc}{postfix}"
        self._whole = tqdm(total=total, bar_format=whole, position=0, **options)
        self._slots = [tqdm(total=1, bar_format=single, position=1 + slot, **options) for slot in range(slots)]

    def show(self, slot: int, name: str, steps: int, total: int, steps_per_second: float) -> None:
        """Move the slot's bar."""
        bar = self._slots[slot]
        bar.total, bar.n = total, steps
        bar.set_description_str(name, refresh=False)
        bar.set_postfix_str(f"{steps_per_second:,.0f} steps/s")

    def free(self, slot: int) -> None:
        """Empty the slot's bar."""
        bar = self._slots[slot]
        bar.n, bar.total = 0, 1
        bar.set_description_str("free", refresh=False)
        bar.set_postfix_str("")

    def count(self, ended: int, seconds_left: float) -> None:
        """Move the bar of the whole."""
        self._whole.n = ended
        self._whole.set_postfix_str(f"{duration(seconds_left)} left")

    def say(self, line: str) -> None:
        """Print above the bars."""
        if self._whole is None:
            return super().say(line)
        self._whole.write(line, file=sys.stdout)

    def warn(self, line: str) -> None:
        """Print above the bars too, on standard error."""
        if self._whole is None:
            return super().warn(line)
        self._whole.write(line, file=sys.stderr)

    def close(self) -> None:
        """Take the bars away."""
        for bar in [*reversed(self._slots), *([self._whole] if self._whole is not None else [])]:
            bar.close()
        self._whole, self._slots = None, []


def choose() -> Board:
    """Bars if standard output is a terminal, else lines."""
    return Bars() if sys.stdout.isatty() else Board()
