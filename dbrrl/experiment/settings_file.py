"""A settings file, such as the config.toml of a run: read, and named in the errors about its content."""

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dbrrl.checkpoint import files
from dbrrl.errors import ConfigError, EnvError

_LARGEST = 1 << 20  # bytes of a settings file
_DEEPEST = 100  # parts of a dotted key: tomllib takes seconds for thousands


class Written(dict[str, Any]):
    """The content of a settings file, with its path."""

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path


@contextlib.contextmanager
def said_of(file: Mapping[str, Any]) -> Iterator[None]:
    """Add the file's path to a ConfigError or EnvError raised inside; {} as `file` leaves errors as they are."""
    try:
        yield
    except (ConfigError, EnvError) as error:
        place = getattr(file, "path", "settings file") if file else None
        kind = EnvError if isinstance(error, EnvError) else ConfigError
        raise kind(f"{place}: {error}" if place else str(error)) from error.__cause__


def read(path: Path) -> Written:
    """Return the content of a settings file; ConfigError if it is missing or not TOML."""
    try:
        text = files.read(path, _LARGEST).decode()
        if _is_deep(text):
            raise ConfigError(f"{path}: expected keys of at most {_DEEPEST} parts, got longer ones")
        return Written(tomllib.loads(text), path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def _is_deep(text: str) -> bool:
    """Return whether TOML text has a dotted key or a header of too many parts."""
    for line in text.splitlines():
        if line.count(".") > _DEEPEST:
            *keys, last = line.split("=")
            keys += [last] if line.lstrip().startswith("[") else []
            if any(key.count(".") - key.count(",") > _DEEPEST for key in keys):
                return True
    return False


def table(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the table `name` of a file, {} if it has none; ConfigError if it is not a table."""
    found = file.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{name} is a table, write [{name}]")
    return found
