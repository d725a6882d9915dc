"""Schedules as data: a name and its numbers, so that a run's record holds them and a checkpoint can.

A schedule is a function of progress, the part of the run done so far, in [0, 1].
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbrrl.errors import ConfigError

NAMES = ("constant", "linear", "exponential")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A value that changes with progress; made by `constant`, `linear`, `exponential` or `from_dict`.

    Args:
        name: one of `NAMES`.
        start: value at progress 0.
        end: value once `fraction` of the run is done.
        fraction: part of the run, in (0, 1], after which the value stays at `end`.

    Raises:
        ConfigError: an unknown name, a number that is not finite, a fraction out of range, or an
            exponential schedule that reaches or crosses 0.
    """

    name: str
    start: float
    end: float
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"schedule: expected one of {', '.join(NAMES)}, got {self.name!r}: choose one")
        for field in ("start", "end", "fraction"):
            number = getattr(self, field)
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ConfigError(f"schedule {field}: expected a finite number, got {number!r}: change it")
        if not 0 < self.fraction <= 1:
            raise ConfigError(
                f"schedule fraction: expected a number above 0 and at most 1, got {self.fraction}: change it"
            )
        if self.name == "exponential" and self.start * self.end <= 0:
            raise ConfigError(
                f"exponential schedule: expected two numbers of one sign, got {self.start} and {self.end}: "
                "use a linear one to reach 0"
            )

    def __call__(self, progress: float) -> float:
        """The value after `progress` of the run; outside [0, 1] it stays at the nearer end.

        linear: start (1 - x) + end x; exponential: start (end / start)^x; with x = progress / fraction.
        """
        x = progress / self.fraction
        x = 0.0 if x < 0 else 1.0 if x > 1 else x
        if self.name == "linear":
            return self.start * (1 - x) + self.end * x
        if self.name == "exponential":
            return self.start * (self.end / self.start) ** x if x < 1 else self.end
        return self.start

    def to_dict(self) -> dict[str, Any]:
        """The name and its numbers, as `from_dict` takes them."""
        if self.name == "constant":
            return {"name": self.name, "value": self.start}
        return {"name": self.name, "start": self.start, "end": self.end, "fraction": self.fraction}


def constant(value: float) -> Schedule:
    """The same value all along."""
    return Schedule("constant", value, value)


def linear(start: float, end: float = 0.0, fraction: float = 1.0) -> Schedule:
    """A straight line from `start` to `end`, reached after `fraction` of the run."""
    return Schedule("linear", start, end, fraction)


def exponential(start: float, end: float, fraction: float = 1.0) -> Schedule:
    """The same factor per step from `start` to `end`, reached after `fraction` of the run."""
    return Schedule("exponential", start, end, fraction)


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.to_dict` wrote.

    Raises:
        ConfigError: an unknown name, or numbers missing, unknown or out of range.
    """
    numbers = {key: value for key, value in data.items() if key != "name"}
    makers: dict[str, Callable[..., Schedule]] = {
        "constant": constant,
        "linear": linear,
        "exponential": exponential,
    }
    maker = makers.get(str(data.get("name")))
    if maker is None:
        raise ConfigError(f"schedule: expected a name out of {', '.join(NAMES)}, got {data.get('name')!r}: choose one")
    try:
        return maker(**numbers)
    except TypeError as error:
        raise ConfigError(
            f"schedule {data['name']}: expected its own numbers, got {sorted(numbers)}: {error}"
        ) from error


@functools.lru_cache(maxsize=64)
def falling(kind: str, start: float) -> Schedule:
    """Return the schedule of a kind that goes from `start` to 0 over a run."""
    return Schedule(kind, start, 0.0)
