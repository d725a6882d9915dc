"""Suggestions for environment names that Gymnasium does not know."""

import difflib
import importlib.util
import re
from collections.abc import Iterable

from . import atari

_ATARI = re.compile(r"(?:ALE/)?(\w+?)(?:-ram)?(?:NoFrameskip|Deterministic)?(?:-ram)?(?:-v\d+)?", re.ASCII)
_VERSION = re.compile(r"-v(\d+)$")


def instead(env: str, known: Iterable[str]) -> str:
    """Return a suggestion for the unknown id `env`: the id that it means today, or the nearest of `known`; else "".

    For an Atari game's id in old versions of Gym it is the id in ale-py, with the extra to install if that is missing.
    """
    names = list(known)
    stem, found = _stem(env), _ATARI.fullmatch(env)
    games = {game.lower(): game for game in atari.GAMES}
    if found and found[1].lower() in games and not any(_stem(name) == stem for name in names):
        installed = importlib.util.find_spec("ale_py") is not None
        extra = "" if installed else ', of the extra that pip install "dbrrl[atari]" brings'
        return f", did you mean 'ALE/{games[found[1].lower()]}-v5'{extra}?"
    return nearest(env, names)


def nearest(name: str, names: list[str]) -> str:
    """Return ", did you mean X?" with the nearest spelling, versions ignored; "" if none is near."""
    stems = {_stem(known): known for known in sorted(names, key=_version)}  # the newest version
    stems |= {_stem(known): known for known in names if known.lower() == name.lower()}
    version = _version(name)
    stems |= {_stem(known): known for known in names if version >= 0 and _version(known) == version}
    near = difflib.get_close_matches(_stem(name), stems, n=1, cutoff=0.6)
    return f", did you mean {stems[near[0]]!r}?" if near else ""


def _stem(name: str) -> str:
    return _VERSION.sub("", name).lower()


def _version(name: str) -> int:
    found = _VERSION.search(name)
    return int(found[1]) if found else -1
