"""What a setting needs of another one to have an effect: that it is on, or has one of some values."""

import dataclasses
from collections.abc import Iterable
from typing import Any

OFF = (None, False, "none")  # 0 too, which equals False


@dataclasses.dataclass(frozen=True, slots=True)
class Requirement:
    """A setting by its name, and the values of which it must have one; without any it must be on: not none, false or 0.

    Example:
        Requirement("optimizer", ("rmsprop_tf", "rmsprop"))
    """

    name: str
    values: tuple[Any, ...] = ()

    def holds(self, config: Any) -> bool:
        """Return whether `config` fulfils it."""
        value = getattr(config, self.name)
        return any(value == one for one in self.values) if self.values else all(value != off for off in OFF)

    def error(self, config: Any) -> str:
        """Return what is wrong with a setting of `config` that needs this, and the cure."""
        value = _text(getattr(config, self.name))
        to = f" to {' or '.join(map(_text, self.values))}" if self.values else ""
        return f"has no effect while {self.name} is {value}: set {self.name}{to}, or leave it out"


def requirements(given: str | tuple[Any, ...] | list[Any]) -> tuple[Requirement, ...]:
    """Return the requirements that `dbrrl.config.setting` takes: a name, (name, value, ...), or a list of these."""
    entries: Iterable[Any] = given if isinstance(given, list) else [given] if given else []
    return tuple(Requirement(one) if isinstance(one, str) else Requirement(one[0], tuple(one[1:])) for one in entries)


def _text(value: Any) -> str:
    return str(value).lower()
