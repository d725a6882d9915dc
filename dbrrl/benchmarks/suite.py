"""A suite as data: agents, environments, settings and evaluation."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError
from dbrrl.experiment import registry, trust
from dbrrl.experiment.settings import Plan, read, resolve_plan

_FOLDER = Path(__file__).parent
_NO_SUITES = ("environments", "published")  # data of other kinds in the same folder
_SHARED = ("envs", "preset", "env_kwargs", "eval_env_kwargs")  # what a cell does not say, the suite may say for all
_KEYS = ("title", "seeds", "protocol", "cells", *_SHARED)
_CELL_KEYS = ("agents", "envs", "seeds", "preset", "settings", "env_kwargs", "eval_env_kwargs")
# A run of a suite is one of many: it draws nothing by itself and leaves the other cores to the others.
_OF_MANY = {"curve": False, "tensorboard": False, "threads": 1}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One agent in one environment, for as many seeds as requested, at most `seeds`."""

    agent: str
    env: str
    seeds: int | None
    explicit: Mapping[str, Any]
    env_kwargs: Mapping[str, Any]
    eval_env_kwargs: Mapping[str, Any]
    use_preset: bool

    @property
    def name(self) -> str:
        """The name in reports: "ppo on CartPole-v1"."""
        return f"{self.agent} on {self.env}"

    def plan(self, seed: int) -> Plan:
        """Return the plan of one seed; ConfigError if the suite's settings are wrong."""
        explicit = {**_OF_MANY, **self.explicit, "agent": self.agent, "env": self.env, "seed": seed}
        return resolve_plan(
            explicit,
            env_kwargs=self.env_kwargs,
            eval_env_kwargs=self.eval_env_kwargs,
            use_preset=self.use_preset,
        )


@dataclasses.dataclass(frozen=True)
class Suite:
    """A benchmark's name, title, usual number of seeds, and cells."""

    name: str
    title: str
    seeds: int
    cells: tuple[Cell, ...]

    def part(self, agents: Sequence[str] | None, envs: Sequence[str] | None) -> "Suite":
        """Return the part of the suite with these agents and environments; ConfigError for a name without cells."""
        for what, wanted in (("agent", agents), ("env", envs)):
            known = sorted({getattr(cell, what) for cell in self.cells})
            for name in wanted or ():
                if name not in known:
                    raise ConfigError(f"--{what}s: suite {self.name} has no {name!r}{did_you_mean(name, known)}")
        kept = [cell for cell in self.cells if (not agents or cell.agent in agents) and (not envs or cell.env in envs)]
        if not kept:
            raise ConfigError(f"--agents, --envs: suite {self.name} has no cell of these agents in these environments")
        return dataclasses.replace(self, cells=tuple(kept))


def names() -> list[str]:
    """Return the names of the suites that come with the library."""
    return sorted(file.stem for file in _FOLDER.glob("*.toml") if file.stem not in _NO_SUITES)


def load(name: str, overrides: Mapping[str, Any] | None = None, trusted: bool | Collection[str] = False) -> Suite:
    """Return the suite called `name`, or in the file `name` (a path that ends in .toml).

    `overrides` are settings that replace the suite's own; `trusted` are names of code that the file may contain, True
    allows all. Raises ConfigError if there is no such suite (the message has the nearest name), or its file has an
    unknown entry, or names code that is not trusted.
    """
    own = name.endswith(".toml")
    if not own and name not in names():
        raise ConfigError(f"unknown suite {name!r}{did_you_mean(name, names())} (or your own: a path to a .toml file)")
    path = Path(name) if own else _FOLDER / f"{name}.toml"
    table = read(path)
    _check_keys(table, _KEYS, str(path))
    protocol = _typed(table, "protocol", dict, str(path), {})
    entries = _typed(table, "cells", list, str(path), [])
    shared = {key: table[key] for key in _SHARED if key in table}
    cells = [cell for entry in entries for cell in _cells(entry, shared, protocol, overrides or {}, str(path))]
    for cell in cells:
        arguments = {"env_kwargs": cell.env_kwargs, "eval_env_kwargs": cell.eval_env_kwargs}
        trust.check({"agent": cell.agent, "env": cell.env}, arguments, trusted, {"agent": "--agents", "env": "--envs"})
    pairs = [(cell.agent, cell.env) for cell in cells]
    if not pairs or len(pairs) != len(set(pairs)):
        twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
        raise ConfigError(f"{path}: {f'{twice[0]} on {twice[1]} is in it twice' if twice else 'it has no cells'}")
    seeds = _count(table, "seeds", str(path)) or 1
    return Suite(path.stem, _typed(table, "title", str, str(path), path.stem), seeds, tuple(cells))


def _cells(
    entry: Any, shared: Mapping[str, Any], protocol: Mapping[str, Any], overrides: Mapping[str, Any], place: str
) -> Iterator[Cell]:
    if not isinstance(entry, dict):
        raise ConfigError(f"{place}: cells are tables, write [[cells]]")
    _check_keys(entry, _CELL_KEYS, f"{place}, cells")
    entry = {**shared, **entry}
    explicit = {**protocol, **_typed(entry, "settings", dict, place, {}), **overrides}
    kwargs, eval_kwargs = (_typed(entry, key, dict, place, {}) for key in ("env_kwargs", "eval_env_kwargs"))
    seeds, use_preset = _count(entry, "seeds", place), _typed(entry, "preset", bool, place, True)
    for env in _texts(entry, "envs", place):
        for agent in _agents(entry, place):
            yield Cell(agent, env, seeds, explicit, kwargs, eval_kwargs, use_preset)


def _agents(entry: Mapping[str, Any], place: str) -> list[str]:
    """Return the listed agents, or all that support the action space named instead."""
    wanted = entry.get("agents")
    if not isinstance(wanted, str):
        return _texts(entry, "agents", place)
    classes = {name: registry.agent_class(name) for name in registry.agent_names()}
    spaces = sorted({space.__name__ for found in classes.values() for space in found.action_spaces})
    if wanted not in spaces:
        raise ConfigError(f"{place}: agents: no agent serves the action space {wanted!r}{did_you_mean(wanted, spaces)}")
    return [name for name, found in classes.items() if wanted in {space.__name__ for space in found.action_spaces}]


def _check_keys(table: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r}{did_you_mean(key, known)}")


def _typed(table: Mapping[str, Any], key: str, kind: type, place: str, default: Any) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        words = {dict: "a table", list: "a list of tables", str: "a text", bool: "true or false"}
        raise ConfigError(f"{place}: {key}: expected {words[kind]}, got {value!r}")
    return value


def _texts(table: Mapping[str, Any], key: str, place: str) -> list[str]:
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise ConfigError(f"{place}: {key}: expected a list of names, got {value!r}")
    return value


def _count(table: Mapping[str, Any], key: str, place: str) -> int | None:
    value = table.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"{place}: {key}: expected a whole number of at least 1, got {value!r}")
    return value
