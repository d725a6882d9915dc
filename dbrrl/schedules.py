"""Schedules as data: a name and its numbers, so that a run's record holds them and a checkpoint can.

A schedule is a function of progress, the part of the run done so far, in [0, 1]. As text it is its name and its
numbers, "linear:3e-4:0", "cosine:3e-4:1e-5:0.8", "exponential:1e-3:1e-5" or "piecewise:0=1e-3,0.5=1e-4,1=0"; a setting
of an agent that takes a schedule takes these texts.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbrrl.errors import ConfigError

NAMES = ("constant", "linear", "exponential", "cosine", "piecewise")
FORMS = "linear:START:END, cosine:START:END, exponential:START:END or piecewise:0=X,0.5=Y,1=Z"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A value that changes with progress; made by `constant`, `linear`, `exponential`, `cosine`, `piecewise` or `of`.

    Args:
        name: one of `NAMES`.
        start: value at progress 0.
        end: value once `fraction` of the run is done.
        fraction: part of the run, in (0, 1], after which the value stays at `end`.
        points: of a piecewise schedule: pairs (progress, value) in order, joined by straight lines.

    Raises:
        ConfigError: an unknown name, a number that is not finite, a fraction out of range, an exponential schedule that
            reaches or crosses 0, or points out of order or beyond [0, 1].
    """

    name: str
    start: float
    end: float
    fraction: float = 1.0
    points: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"schedule: expected one of {', '.join(NAMES)}, got {self.name!r}: choose one")
        for field in ("start", "end", "fraction"):
            _check_number(f"schedule {field}", getattr(self, field))
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

        linear: start (1 - x) + end x; exponential: start (end / start)^x; cosine: end + (start - end) (1 + cos πx) / 2
        (Loshchilov & Hutter 2017, eq. 5); with x = progress / fraction.
        """
        if self.points:
            return _between(self.points, progress)
        x = progress / self.fraction
        x = 0.0 if x < 0 else 1.0 if x > 1 else x
        if self.name == "linear":
            return self.start * (1 - x) + self.end * x
        if self.name == "exponential":
            return self.start * (self.end / self.start) ** x if x < 1 else self.end
        if self.name == "cosine":
            return self.end + (self.start - self.end) * (1 + math.cos(math.pi * x)) / 2 if x < 1 else self.end
        return self.start

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers between which the value stays."""
        return tuple(value for _, value in self.points) or (self.start, self.end)

    def scaled(self, factor: float) -> "Schedule":
        """The schedule of `factor` times the values."""
        points = tuple((at, factor * value) for at, value in self.points)
        return Schedule(self.name, factor * self.start, factor * self.end, self.fraction, points)

    def __str__(self) -> str:
        """The text that `of` reads back."""
        if self.points:
            return f"{self.name}:{','.join(f'{at!r}={value!r}' for at, value in self.points)}"
        numbers = [self.start] if self.name == "constant" else [self.start, self.end]
        return ":".join([self.name, *map(repr, numbers + ([self.fraction] if self.fraction != 1 else []))])

    def to_dict(self) -> dict[str, Any]:
        """The name and its numbers, as `from_dict` takes them."""
        if self.name == "constant":
            return {"name": self.name, "value": self.start}
        if self.points:
            return {"name": self.name, "points": [list(point) for point in self.points]}
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


def cosine(start: float, end: float = 0.0, fraction: float = 1.0) -> Schedule:
    """Half a wave from `start` to `end`, flat at both, reached after `fraction` of the run."""
    return Schedule("cosine", start, end, fraction)


def piecewise(points: Sequence[Sequence[float]]) -> Schedule:
    """Straight lines between points (progress, value), in order; the value stays before the first and after the last.

    Two points at one progress are a jump.
    """
    try:
        pairs = tuple((at, value) for at, value in points)
    except (TypeError, ValueError):
        raise ConfigError(f"piecewise schedule: expected pairs (progress, value), got {points!r:.80}") from None
    if not pairs:
        raise ConfigError("piecewise schedule: expected at least one point (progress, value), got none")
    for at, value in pairs:
        _check_number("piecewise schedule: progress", at)
        _check_number("piecewise schedule: value", value)
    order = [at for at, _ in pairs]
    if order != sorted(order) or not 0 <= order[0] <= order[-1] <= 1:
        raise ConfigError(f"piecewise schedule: expected parts of the run from 0 to 1 in order, got {order}")
    pairs = tuple((float(at), float(value)) for at, value in pairs)
    return Schedule("piecewise", pairs[0][1], pairs[-1][1], 1.0, pairs)


_MAKERS: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "exponential": exponential,
    "cosine": cosine,
    "piecewise": piecewise,
}


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.to_dict` wrote.

    Raises:
        ConfigError: an unknown name, or numbers missing, unknown or out of range.
    """
    numbers = {key: value for key, value in data.items() if key != "name"}
    maker = _MAKERS.get(str(data.get("name")))
    if maker is None:
        raise ConfigError(f"schedule: expected a name out of {', '.join(NAMES)}, got {data.get('name')!r}: choose one")
    try:
        return maker(**numbers)
    except TypeError as error:
        raise ConfigError(
            f"schedule {data['name']}: expected its own numbers, got {sorted(numbers)}: {error}"
        ) from error


def of(value: Any) -> Schedule:
    """The schedule that a text such as "linear:3e-4:0", a table as of `Schedule.to_dict`, or a Schedule means.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, Mapping):
        return from_dict(value)
    name, _, rest = str(value).partition(":")
    if not isinstance(value, str) or name not in NAMES or not rest:
        raise ConfigError(f"schedule: expected {FORMS}, got {value!r:.80}")
    try:
        if name == "piecewise":
            pairs = [point.partition("=") for point in rest.split(",")]
            return piecewise([(float(at), float(number)) for at, _, number in pairs])
        return _MAKERS[name](*map(float, rest.split(":")))
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"schedule: expected {FORMS}, got {value!r:.80}") from None


def at(config: Any, name: str, progress: float) -> Any:
    """Return a setting at `progress` of the run: of its own schedule, or of one that "NAME_schedule" names, to 0."""
    value = getattr(config, name)
    if isinstance(value, Schedule):
        return value(progress)
    kind = getattr(config, f"{name}_schedule", "constant")
    return value if value is None else falling(kind, value)(progress)


def course(config: Any, name: str) -> Any:
    """Return a setting as an optimizer takes it: a number, its own schedule, or the one that "NAME_schedule" names."""
    value = getattr(config, name)
    if isinstance(value, Schedule) or not varies(config, name):
        return value
    return falling(getattr(config, f"{name}_schedule"), value)


def varies(config: Any, name: str) -> bool:
    """Return whether a setting changes with the progress of the run."""
    value = getattr(config, name)
    return isinstance(value, Schedule) or getattr(config, f"{name}_schedule", "constant") != "constant"


@functools.lru_cache(maxsize=64)
def falling(kind: str, start: float) -> Schedule:
    """Return the schedule of a kind that goes from `start` to 0 over a run."""
    return Schedule(kind, start, 0.0)


def _between(points: tuple[tuple[float, float], ...], progress: float) -> float:
    """The value at `progress` on the straight lines between points."""
    before = points[0]
    for point in points:
        if progress < point[0]:
            if point is before:
                return point[1]
            x = (progress - before[0]) / (point[0] - before[0])
            return before[1] * (1 - x) + point[1] * x
        before = point
    return before[1]


def _check_number(what: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ConfigError(f"{what}: expected a finite number, got {number!r}: change it")
