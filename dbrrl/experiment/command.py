"""Shared by the commands: flags made from settings, one-line errors, exit codes."""

import argparse
import contextlib
import dataclasses
import gc
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, get_args, get_origin

from dbrrl.config import Config, Setting, settings
from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError, DbrrlError, EnvError, WorkerError

from .interruption import Interrupted
from .settings import PLANNED

MISTAKE = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **options)

    def error(self, message: str) -> NoReturn:
        """Raise `message` as a ConfigError: one line, exit code 2."""
        raise ConfigError(message.removeprefix("argument "))

    def parse_all(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the values of the given flags; ConfigError for an unknown flag, with the nearest one."""
        values, unknown = self.parse_known_args(arguments)
        for word in unknown:
            name = word.partition("=")[0]
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            hint = did_you_mean(name, flags) if name.startswith("-") else ""
            known = ": see --help" if not hint or hint.startswith("; known") else hint
            raise ConfigError(f"unknown argument {word!r}{known}")
        return vars(values)

    def add_settings(self, title: str, config: type[Config], shown: Mapping[str, Any] | None = None) -> None:
        """Add a flag for each field of `config` except those computed from the plan; `shown`: values of a preset."""
        group = self.add_argument_group(title)
        for entry in (entry for entry in settings(config) if entry.name not in PLANNED):
            flag = "--" + entry.name.replace("_", "-")
            named = dataclasses.replace(entry, name=flag)
            common: dict[str, Any] = {"dest": entry.name, "default": argparse.SUPPRESS, "action": _Value}
            group.add_argument(
                flag,
                **common,
                entry=named,
                nargs="?" if _is_switch(entry) else None,
                metavar=_metavar(entry),
                help=_help(entry, shown or {}).replace("%", "%%"),
            )
            if _is_switch(entry):
                off = flag.replace("--", "--no-", 1)
                group.add_argument(off, **common, entry=named, nargs=0, help=argparse.SUPPRESS)


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)


class _Value(argparse.Action):
    """Stores the value of a setting after checking it."""

    def __init__(self, *, entry: Setting, **options: Any) -> None:
        super().__init__(**options)
        self.entry = entry

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Check the text; --switch without a value is true, --no-switch is false."""
        switched_off = bool(option_string and option_string.startswith("--no-"))
        value = self.entry.parse(values) if isinstance(values, str) else not switched_off
        setattr(namespace, self.dest, value)


def run_process(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command as all that this process does, and exit with its code."""
    gc.freeze()  # what the imports made stays until the end: no collection need go through it
    code = run(main)
    gc.freeze()  # the interpreter's last collections would go through everything five times, 0.2 s with Matplotlib
    sys.exit(code)


def run(main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors are one line on standard error and code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        main([word for word in words if word != "--debug"])
    except Interrupted as stop:
        _tell(str(stop))
        return INTERRUPTED
    except KeyboardInterrupt:
        _tell("stopped")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads our output any more
        return MISTAKE
    except Exception as error:
        _tell(traceback.format_exc().rstrip() if debug else f"error: {one_line(error)}")
        return MISTAKE
    return 0


def _tell(text: str) -> None:
    """Print to standard error, unless it is closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """Return an error as one line; if it is not one of dbrrl's, with its type, file and line."""
    text = " ".join(str(error).split())
    if isinstance(error, DbrrlError):
        notes = list(getattr(error, "__notes__", []))
        # Raised by the user's code or in another process.
        if isinstance(error, EnvError | WorkerError) and error.__cause__ is not None:
            notes.append("--debug shows the traceback")
        return "; ".join([text, *notes])
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    notes = [*getattr(error, "__notes__", []), "--debug shows the traceback"]
    return "; ".join([f"{type(error).__name__}: {text}{place}", *notes])


def _is_switch(entry: Setting) -> bool:
    return entry.annotation is bool or bool in get_args(entry.annotation)


def _metavar(entry: Setting) -> str:
    kinds = [entry.annotation, *get_args(entry.annotation)]
    if any(get_origin(kind) is tuple for kind in kinds):
        return "N,N"
    words = {int: "N", float: "X", str: "NAME", bool: "true|false"}
    return next((word for kind, word in words.items() if kind in kinds), "NAME")


def _help(entry: Setting, shown: Mapping[str, Any]) -> str:
    expected = "" if entry.annotation is str else f"{entry.expected}; "
    default = f"default {_plain(entry.default)}"
    if entry.name in shown:
        default = f"preset {_plain(shown[entry.name])}, {default}"
    return f"{entry.help} [{expected}{default}]".lstrip()


def _plain(value: Any) -> str:
    if isinstance(value, bool | None):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
