"""Environments given as objects: a class, a function that makes environments, or an environment that is made already.

A class or a function that a module holds has a name, "package.module:make_env", by which other programs find it. The
name of all else is a description in angle brackets, by which nothing is found.
"""

import copy
import inspect
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import TimeLimit

from dbrrl.errors import EnvError

from . import snapshot
from .action_mask import ActionMask
from .names import nearest
from .recorder import Recorder
from .sync import SameStepSync

_CLASSES: dict[str, type] = {}  # classes passed as such, which a module may lack, as in a notebook
_USED: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()  # made by factories, by their id

_DEEPEST = 8  # objects inside one another that are searched for processes
_EXPECTED = "expected an id, a class, a function that makes an environment, or an environment"


@dataclass(frozen=True, eq=False)
class Factory:
    """A function that makes environments and is not found by its name: a lambda, a closure, a partial.

    Attributes:
        name: a description in angle brackets.
        make: called once for each copy, with the arguments for the environment.
    """

    name: str
    make: Callable[..., Any]

    def __str__(self) -> str:
        return self.name


class FactorySpec(EnvSpec):
    """The spec of what a function makes; its `entry_point` is the function."""

    def __post_init__(self) -> None:  # Gymnasium's allows no description as an id
        self.namespace, self.name, self.version = None, self.id, None


class Instance:
    """An environment, or a vector environment, that is made already: it is stepped itself, and left open.

    Evaluations play in deep copies of it, taken when it is given.

    Attributes:
        name: a description in angle brackets.
        num_envs: how many environments it is.
        mask_in_info: whether masks of actions are taken from its `info` (see `ActionMask`); None: unknown.
    """

    def __init__(self, env: Any) -> None:
        self.env, self.is_vector = env, isinstance(env, VectorEnv)
        known = getattr(env, "spec", None)
        self.name = _described(known.id if known is not None else type(env.unwrapped).__name__, "instance")
        self.num_envs: int = env.num_envs if self.is_vector else 1
        self.mask_in_info: bool | None = None
        self._spare: Any = None

    def __str__(self) -> str:
        return self.name

    def keep_copy(self) -> None:
        """Take the copy that evaluations play in; EnvError if the environment cannot be copied."""
        try:
            if _holds_processes(self.env, 0):  # a copy would close the pipes of the environment itself
                raise TypeError("it has processes")
            self._spare = copy.deepcopy(self.env)
        except Exception as error:  # what an environment holds may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise EnvError(
                f"env: {self.name} cannot be copied for evaluations ({reason}): give eval_env=, or a function that "
                "makes environments in place of one"
            ) from error

    def another(self) -> gym.Env[Any, Any]:
        """Return one more of an environment, or where there is no copy itself, to see what a reset gives."""
        return _Lent(self.env) if self._spare is None else copy.deepcopy(self._spare)

    @property
    def why_begun_anew(self) -> str:
        """Why a run that goes on begins new episodes in it; "" where it is put back in the middle of them."""
        return str(snapshot.save(self.env, recorded=False).get("cannot", "")) if self.is_vector else ""

    def vector_env(self, max_episode_steps: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Return it as a vector environment, whose copies are recorded unless it is one already."""
        return self._as_vector([self.env], max_episode_steps)

    def copied(self, count: int, max_episode_steps: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Return copies to evaluate in: `count` of an environment, one of a vector environment."""
        return self._as_vector(
            [copy.deepcopy(self._spare) for _ in range(1 if self.is_vector else count)], max_episode_steps
        )

    def _as_vector(self, envs: Sequence[Any], max_episode_steps: int | None) -> VectorEnv[Any, Any, Any]:
        if self.is_vector:
            if max_episode_steps is not None:
                raise EnvError(f"max_episode_steps: {self.name} has its own limit: set it where that is made")
            vector: VectorEnv[Any, Any, Any] = envs[0]
            return vector
        limits = [limited(env, self.name, max_episode_steps) for env in envs]
        lent = [Recorder(_Lent(ActionMask(env) if self.mask_in_info else env)) for env in limits]
        return SameStepSync([lambda one=one: one for one in lent])  # type: ignore[misc]


def _holds_processes(thing: Any, depth: int) -> bool:
    """Return whether an object has processes, or pipes to some, among its attributes or in lists and dicts there."""
    if isinstance(thing, BaseProcess | Connection):
        return True
    if depth == _DEEPEST or isinstance(thing, type | np.ndarray | gym.Space):
        return False
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    inside = inside or getattr(thing, "__dict__", {}).values()
    return any(_holds_processes(part, depth + 1) for part in inside if not isinstance(part, str | float | int))


class _Lent(gym.Wrapper[Any, Any, Any, Any]):
    """Leaves the environment open."""

    def close(self) -> None:
        """Do nothing."""


def of(env: Any) -> str | Factory | Instance:
    """Return the name of an environment, or what was given in place of one that has a name.

    Raises EnvError for what is neither an id, a class, a function nor an environment.
    """
    if isinstance(env, str | Factory | Instance):
        return env
    if isinstance(env, type):
        name = f"{env.__module__}:{env.__qualname__.replace('<locals>.', '')}"  # Gymnasium allows no <> in an id
        _CLASSES[name] = env
        return name
    if isinstance(env, gym.Env | VectorEnv):
        return Instance(env)
    if not callable(env):
        raise EnvError(f"env: {_EXPECTED}, got {type(env).__name__}: give one of these")
    return found_by_name(env) or Factory(described(env, "factory"), env)


def found_by_name(function: Any) -> str:
    """Return "package.module:function" if that leads to a function; "" if nothing does."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not isinstance(module, str) or not name.isidentifier():
        return ""
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is function else ""


def described(thing: Any, kind: str) -> str:
    """Return the description of a function or an object, "<kind NAME of MODULE>"."""
    inner = thing
    while hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    name = getattr(inner, "__qualname__", type(inner).__qualname__).replace("<locals>.", "")
    return _described(kind, name.replace("<lambda>", "lambda"), "of", str(getattr(inner, "__module__", "?")))


def _described(*words: str) -> str:
    text = " ".join(words)
    return f"<{''.join(c if c.isalnum() or c in ' -_./' else '.' for c in text)}>"


def is_description(name: str) -> bool:
    """Return whether a recorded name is a description, which leads to nothing."""
    return name.startswith("<") and name.endswith(">")


def class_of(name: str) -> type | None:
    """Return the class that `of` gave this name; None if there is none."""
    return _CLASSES.get(name)


def spec_of(env: str, entry: Any) -> EnvSpec:
    """Return the spec of the class or the function that the name `env` leads to; EnvError for all else."""
    if not isinstance(entry, type):
        root = env.partition(":")[0].partition(".")[0]
        # A file may name what is ours without being trusted; and trust in its author's code is none in subprocess:run.
        taboo = root == "dbrrl" or root in sys.stdlib_module_names - {"__main__"}
        if taboo or not callable(entry) or inspect.isbuiltin(entry):
            raise EnvError(
                f"{env}: expected a gymnasium.Env class, or a function of yours that makes an environment, got "
                f"{type(entry).__name__}: name one of these"
            )
        return FactorySpec(id=env, entry_point=entry)
    creator: Any = entry
    if issubclass(entry, VectorEnv):
        return EnvSpec(id=env, vector_entry_point=creator)
    if not issubclass(entry, gym.Env):
        kind = entry.__name__
        raise EnvError(f"{env}: expected a subclass of gymnasium.Env, got class {kind}: derive it from gymnasium.Env")
    return EnvSpec(id=env, entry_point=creator)


def made_by(spec: FactorySpec, arguments: dict[str, Any], limit: int | None, mode: str | None) -> gym.Env[Any, Any]:
    """Return a new environment of a factory, at most `limit` steps an episode; EnvError if it gives anything else."""
    function: Any = spec.entry_point
    if mode is not None:
        if "render_mode" not in _parameters(function):
            raise EnvError(f"{spec.id}: takes no render_mode, which is asked for: add the argument to the function")
        arguments = arguments | {"render_mode": mode}
    env = function(**arguments)
    if isinstance(env, VectorEnv):
        raise EnvError(
            f"{spec.id}: expected one gymnasium.Env from each call, got a vector environment: give that itself as env"
        )
    if not isinstance(env, gym.Env):
        got = f"the class {env.__name__}" if isinstance(env, type) else type(env).__name__
        raise EnvError(f"{spec.id}: expected a gymnasium.Env from the function, got {got}: return an environment")
    base = env.unwrapped
    if _USED.get(id(base)) is base:
        raise EnvError(f"{spec.id}: gave the same environment twice: make a new one in each call")
    _USED[id(base)] = base
    return limited(env, spec.id, limit)


def check_arguments(env: str, entry: Any, given: dict[str, Any]) -> None:
    """Raise EnvError, with the known arguments, if a function lacks one of those given."""
    taken = _parameters(entry)
    for name in given:
        if name not in taken and "**" not in taken:
            hint, own = nearest(name, taken), ", ".join(taken) or "none"
            raise EnvError(f"{env}: the function has no argument {name!r}{hint} (it takes: {own}): correct it")


def _parameters(function: Any) -> list[str]:
    """Return the names of a function's arguments, with "**" if it takes any."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["**"]
    return ["**" if one.kind is one.VAR_KEYWORD else one.name for one in found]


def limited(env: gym.Env[Any, Any], name: str, limit: int | None) -> gym.Env[Any, Any]:
    """Return `env` with episodes of at most `limit` steps; EnvError if it ends them earlier itself."""
    if limit is None:
        return env
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        own = getattr(layer, "_max_episode_steps", None) if isinstance(layer, TimeLimit) else None
        if own is not None and own < limit:
            raise EnvError(
                f"max_episode_steps: {name} ends its episodes after {own} steps itself, got {limit}: set the limit "
                "where the environment is made"
            )
        layer = layer.env
    return TimeLimit(env, limit)
