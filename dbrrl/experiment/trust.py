"""Refuses to import code that only a file names, not the command line or the caller."""

import re
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium as gym

from dbrrl.envs import given
from dbrrl.errors import ConfigError

# A text that makes Gymnasium import a module, and so perhaps an environment's constructor: "package.module:Name".
_NAME = re.compile(r"[^\W\d][\w.]+:[^\W\d][\w./-]*")

ENVS = ("env", "eval_env")
FIELDS = ("agent", *ENVS, "network")  # settings that can name code


def is_foreign(field: str, name: str) -> bool:
    """Return whether the code called `name` in one of `FIELDS` is neither dbrrl's nor registered with Gymnasium."""
    module, colon, _ = name.partition(":")
    if not colon or (field in ENVS and name in gym.registry):
        return False
    if field == "network":  # dbrrl has no functions to name there
        return True
    return module != "dbrrl" and not module.startswith("dbrrl.")


def only_here(field: str, name: str) -> str:
    """Return where code in one of `FIELDS` is defined that other programs cannot import; "" if they can."""
    module, _, place = name.partition(":")
    if field in ENVS and name in gym.registry:
        made_by: Any = gym.registry[name].entry_point
        if isinstance(made_by, str):
            module, place = made_by.partition(":")[::2]
        else:
            module, place = getattr(made_by, "__module__", ""), getattr(made_by, "__qualname__", "")
    elif field in ENVS and (known := given.class_of(name)) is not None:
        place = known.__qualname__
    if module == "__main__":
        return "the program that runs now"
    return "a function" if "<locals>" in place else ""


def check(
    written: Mapping[str, Any],
    arguments: Mapping[str, Any],
    trusted: bool | Collection[str],
    flags: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raise ConfigError if a file names code that is not trusted, in its settings or arguments of the environment.

    Args:
        written: the file's settings, of which `FIELDS` are checked.
        arguments: tables of arguments by name, possibly nested.
        trusted: names that may be imported; True: all.
        flags: the flag for a field, where it is another, for the message.

    Raises:
        ConfigError: the file names other code; nothing was imported.
    """
    if trusted is True:
        return
    known: Collection[str] = () if trusted is False else trusted
    for field in FIELDS:
        name, flag = str(written.get(field, "")), flags.get(field, "--" + field.replace("_", "-"))
        if is_foreign(field, name) and name not in known:
            raise ConfigError(
                f"{field}: the file names {_short(name)}, code that is neither dbrrl's nor registered with Gymnasium, "
                f"and a file alone gets nothing imported: if you trust that code, add --trust or {flag} {_short(name)} "
                f"(in Python: trust=True or {field}=)"
            )
    for place, text in _texts(arguments, ""):
        if _NAME.fullmatch(text) and text not in known:
            raise ConfigError(
                f"{place}: the file gives the environment {_short(text)}, which can be the name of code, and a file "
                "alone gets nothing imported: if you trust that code, add --trust (in Python: trust=True)"
            )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every text inside nested tables and lists, with the path of keys to it."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _texts(key, place)
            yield from _texts(entry, f"{place}: {key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry, place)


def _short(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."
