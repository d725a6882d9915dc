"""Settings as data: frozen dataclasses whose fields carry range and meaning, checked when they are made."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import numpy as np

from dbrrl import schedules
from dbrrl.config.requires import Requirement, requirements
from dbrrl.config.scalars import SCALARS, TRUTHS
from dbrrl.config.scheduled import is_schedule, refuse_two_schedules, takes_schedule, without_unused
from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ArgumentError, ConfigError
from dbrrl.schedules import Schedule

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The values that a setting allows: bounds (of each entry of a tuple), or choices."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        if self.choices is not None:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = {
            "above": self.above,
            "at least": self.at_least,
            "below": self.below,
            "at most": self.at_most,
        }
        text = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
        return f"of {text}" if text.startswith("at ") else text

    def holds(self, value: Any) -> bool:
        """Whether `value` is within the bounds, or is one of the choices."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, Schedule):  # which may end at a bound, such as 0, that the number alone must be above
            least = self.above if self.at_least is None else self.at_least
            most = self.below if self.at_most is None else self.at_most
            return all(Range(at_least=least, at_most=most).holds(number) for number in value.values)
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )


def setting(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: Iterable[Any] | None = None,
    requires: str | tuple[Any, ...] | list[Any] = "",
    help: str = "",
) -> Any:
    """Return a dataclass field with its range and meaning.

    Args:
        default: its default value.
        above, at_least, below, at_most: bounds, of each entry if it is a tuple.
        choices: the values allowed, in place of bounds.
        requires: without which this one has no effect: the name of a setting that must be on, a name and the values of
            which it must have one, such as ("optimizer", "rmsprop_tf", "rmsprop"), or a list of these that all hold.
        help: its meaning, and its source if it has one.
    """
    limits = Range(above, at_least, below, at_most, None if choices is None else tuple(choices))
    needed = requirements(requires)
    return dataclasses.field(default=default, metadata={"range": limits, "requires": needed, "help": help})


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One field of a Config, as the command line and the documentation show it."""

    name: str
    annotation: Any
    default: Any
    range: Range
    help: str
    requires: tuple[Requirement, ...] = ()

    def unmet(self, config: Any) -> Requirement | None:
        """Return what is missing for this field to have an effect, if `config` sets it to another value than usual."""
        if getattr(config, self.name) == self.default:
            return None
        return next((one for one in self.requires if not one.holds(config)), None)

    @property
    def expected(self) -> str:
        """The type and the range in words: "a number above 0"."""
        return _expected(self.annotation, self.range)

    def check(self, value: Any) -> Any:
        """`value` in the type of this field; ConfigError where the type or the range is wrong."""
        try:
            return _coerce(value, self.annotation, self.range)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{self.name}: expected {self.expected}, got {_shown(value)}") from None

    def parse(self, text: str) -> Any:
        """The value written as `text` on a command line: "3e-4", "true", "64,64", "none"."""
        try:
            return self.check(_from_text(text, self.annotation))
        except ConfigError:
            raise
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{self.name}: expected {self.expected}, got {text!r}") from None


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of every agent's Config: type and range of every field are checked when it is made.

    Fields are of the types int, float, bool, str, Literal[...], tuple[int, ...] (or of another scalar), X | None, and
    float | Schedule, a number that may change in a run (see dbrrl.schedules); numbers are finite. The field
    "NAME_schedule" of such a NAME, if there is one, is "constant" where NAME is a schedule.

    Raises:
        ConfigError: a value of the wrong type or out of range; its field, what was expected and what came are named.
        ArgumentError: a field that there is not; the nearest name is said.
    """

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """The Config, whose fields are then set and checked."""
        _refuse_unknown(cls, values)
        refuse_two_schedules(values)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for entry in settings(type(self)):
            value = entry.check(getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
            if isinstance(value, Schedule) and hasattr(self, f"{entry.name}_schedule"):
                object.__setattr__(self, f"{entry.name}_schedule", "constant")

    @functools.cached_property
    def varies(self) -> bool:
        """Whether a setting changes with the progress of the run."""
        return any(value is not None and schedules.varies(self, name) for name, value in vars(self).items())

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON-able values (tuples become lists)."""
        values = ((entry.name, getattr(self, entry.name)) for entry in settings(type(self)))
        return {name: _plain(value) for name, value in values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The Config with these fields; ArgumentError with the nearest name for a field there is not."""
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """A copy with these fields changed; ArgumentError for a field there is not."""
        return self.from_dict(without_unused(self.to_dict(), changes) | changes)


def settings(config: type[Config]) -> tuple[Setting, ...]:
    """The fields of a Config class in the order in which they are declared; those given by keyword alone come last.

    Raises:
        ArgumentError: the class has fields of its own and is no dataclass, so that they would have no effect.
    """
    _refuse_undeclared(config)
    annotations = typing.get_type_hints(config)
    return tuple(
        Setting(
            field.name,
            annotations[field.name],
            field.default,
            field.metadata.get("range", Range()),
            field.metadata.get("help", ""),
            field.metadata.get("requires", ()),
        )
        for field in sorted(dataclasses.fields(config), key=lambda field: bool(field.kw_only))
        if field.init
    )


def _refuse_undeclared(config: type[Config]) -> None:
    """Refuse fields that the class body sets and that the dataclass does not have as its own."""
    own, name = vars(config), config.__qualname__
    annotated = own.get("__annotations__", {})
    if "__dataclass_params__" not in own:
        fields = [entry for entry in annotated if "ClassVar" not in str(annotated[entry])]
        fields += [entry for entry, value in own.items() if isinstance(value, dataclasses.Field)]
        if fields:
            raise ArgumentError(f"{name}: {fields[0]} has no effect: write @dataclass(frozen=True) above class {name}")
    for entry in own.keys() & config.__dataclass_fields__.keys() - annotated.keys():
        raise ArgumentError(f"{name}: {entry} = ... has no effect: write its type too, {entry}: ... = setting(...)")


def _refuse_unknown(config: type[Config], names: Iterable[str]) -> None:
    known = {field.name for field in dataclasses.fields(config)}
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    taken = inspect.signature(config.__init__).parameters  # a constructor of the user's own takes what it likes
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for name in unknown:
        if name in vars(config).get("__annotations__", {}):
            raise ArgumentError(f"{name} is no setting yet: write @dataclass(frozen=True) above {config.__qualname__}")
        if name not in taken:
            raise ArgumentError(f"unknown setting {name!r}{did_you_mean(name, config.__dataclass_fields__)}")


def _parts(annotation: Any) -> tuple[Any, bool]:
    """The annotation without `| None` and `| Schedule`, and whether None was in it."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation, False
    options = typing.get_args(annotation)
    others = [option for option in options if option not in (types.NoneType, Schedule)]
    if len(others) != 1 or (Schedule in options and others != [float]):
        raise ConfigError(
            f"a Config field is of one type, or of one type and None; a float may be a Schedule too, got {annotation}"
        )
    return others[0], types.NoneType in options


def _expected(annotation: Any, limits: Range) -> str:
    inner, optional = _parts(annotation)
    if typing.get_origin(inner) is Literal:
        words = "one of " + ", ".join(map(str, typing.get_args(inner)))
    elif typing.get_origin(inner) is tuple:
        words = f"a list of entries, each {_expected(typing.get_args(inner)[0], limits)}"
    else:
        words = f"{_EXPECTED[inner]} {limits}".rstrip() if limits.choices is None else str(limits)
        words += ", or a schedule such as cosine:START:END" if takes_schedule(annotation) else ""
    return f"{words}, or none" if optional else words


def _coerce(value: Any, annotation: Any, limits: Range) -> Any:
    inner, optional = _parts(annotation)
    if optional and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    if takes_schedule(annotation) and not isinstance(value, int | float | np.integer | np.floating):
        schedule = schedules.of(value)
        if not limits.holds(schedule):
            raise ValueError
        return schedule
    if typing.get_origin(inner) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_coerce(entry, typing.get_args(inner)[0], limits) for entry in value)
    if typing.get_origin(inner) is Literal:
        if value not in typing.get_args(inner):
            raise ValueError
        return value
    value = SCALARS[inner](value)
    if not limits.holds(value):
        raise ValueError
    return value


def _from_text(text: str, annotation: Any) -> Any:
    inner, optional = _parts(annotation)
    if optional and text.lower() == "none":
        return None
    if typing.get_origin(inner) is tuple:
        entries = [entry for entry in text.strip("()[] ").replace(",", " ").split() if entry]
        return [_from_text(entry, typing.get_args(inner)[0]) for entry in entries]
    if typing.get_origin(inner) is Literal:
        return next((choice for choice in typing.get_args(inner) if str(choice) == text), text)
    if inner is bool:
        return TRUTHS.get(text.lower(), text)
    if inner is int:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    if takes_schedule(annotation) and is_schedule(text):
        return text
    return float(text) if inner is float else text


def _plain(value: Any) -> Any:
    """A value as JSON has it: a tuple as a list, a schedule as its text."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Schedule) else value


def _shown(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Schedule) else value)
    return text if len(text) <= 80 else text[:77] + "..."
