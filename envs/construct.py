"""Makes vector environments from an environment's name, with one-line errors."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from dbrrl.backend import module_on
from dbrrl.errors import EnvError

from . import atari, given, names
from .action_mask import ActionMask
from .batched import BatchedEnv
from .given import Factory, FactorySpec
from .recorder import Recorder
from .registration import BATCHED
from .sync import SameStepSync

VECTORIZATIONS = ("auto", "batched", "vector", "sync", "async")
EXTRAS = {
    "gymnasium_robotics": "robotics",
    "box2d": "box2d",
    "mujoco": "mujoco",
    "ale_py": "atari",
    "ale-py": "atari",
    "atari": "atari",
    "pygame": "video",  # last: Gymnasium names its own extra, such as box2d, in the same message
}
"""A word in the message of a failed import, and the extra of ours that brings what is missing."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A single environment to make; it can be sent to a worker process."""

    env: str | Factory
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    render_mode: str | None = None
    mask_in_info: bool = False

    @property
    def name(self) -> str:
        """The name of the environment."""
        return str(self.env)

    def __call__(self) -> Recorder:
        """Make one recorded environment."""
        return Recorder(ActionMask(self.single()) if self.mask_in_info else self.single())

    def single(self) -> gym.Env[Any, Any]:
        """Make one environment as it is."""
        spec = resolve(self.env)
        if isinstance(spec, FactorySpec):
            given.check_arguments(spec.id, spec.entry_point, self.env_kwargs)
            options = dict(self.env_kwargs), self.max_episode_steps, self.render_mode
            return _attempt(self.name, lambda: given.made_by(spec, *options))
        if _is_atari(spec):
            limit, mode = self.max_episode_steps, self.render_mode
            return _attempt(self.name, lambda: atari.single(spec, dict(self.env_kwargs), limit, mode))
        arguments = dict(self.env_kwargs, disable_env_checker=True)
        _check_arguments(spec, self.env_kwargs)
        if self.max_episode_steps is not None:
            arguments["max_episode_steps"] = self.max_episode_steps
        if self.render_mode is not None:
            _check_render_mode(spec, self.render_mode)
            arguments["render_mode"] = self.render_mode
        return _attempt(self.name, lambda: gym.make(spec, **arguments))


def build(request: Request, num_envs: int, vectorization: str) -> tuple[VectorEnv[Any, Any, Any], str]:
    """Make `num_envs` copies; return the vector environment and its kind (batched, vector, sync or async).

    Raises EnvError: unknown name, missing extra, invalid arguments, a kind that the environment lacks.
    """
    if num_envs < 1:
        raise EnvError(f"num_envs: expected at least 1, got {num_envs}")
    kind = choose(request, vectorization)
    if kind == "batched":
        name = request.env if request.name.startswith("dbrrl/") else f"dbrrl/{request.name}"
        return _from_entry_point(request, resolve(name), num_envs), kind
    if kind == "vector":
        return _from_entry_point(request, resolve(request.env), num_envs), kind
    copies, mode = [request] * num_envs, AutoresetMode.SAME_STEP
    if kind == "sync":
        return _attempt(request.name, lambda: SameStepSync(copies)), kind
    return _attempt(request.name, lambda: AsyncVectorEnv(copies, autoreset_mode=mode)), kind


def build_on(device: str, request: Request, num_envs: int, vectorization: str) -> BatchedEnv | None:
    """Make dbrrl's batched equivalent on a GPU; None if `build` would make another kind, or `device` is the CPU."""
    if device == "cpu":
        return None
    kind = choose(request, vectorization)
    if kind != "batched" and not (kind == "vector" and request.name.startswith("dbrrl/")):
        return None
    spec = resolve(f"dbrrl/{request.name.removeprefix('dbrrl/')}")
    creator: Any = spec.vector_entry_point
    make: Any = load_env_creator(creator) if isinstance(creator, str) else creator
    limit = request.max_episode_steps or spec.max_episode_steps
    arguments = spec.kwargs | request.env_kwargs | {"max_episode_steps": limit, "xp": module_on(device)}
    env = _attempt(request.name, lambda: make(num_envs, **arguments))
    return env if isinstance(env, BatchedEnv) else None


def choose(request: Request, vectorization: str) -> str:
    """Return the kind that `build` makes: "auto" is dbrrl's batched equivalent, else a vector entry point, else sync.

    It is also sync if the vector class lacks one of the given arguments.

    Raises EnvError: unknown name, or a kind that the environment lacks.
    """
    if vectorization not in VECTORIZATIONS:
        raise EnvError(f"vectorization: expected one of {', '.join(VECTORIZATIONS)}, got {vectorization!r}")
    spec = resolve(request.env)
    ours = request.name.removeprefix("dbrrl/") in BATCHED
    if vectorization == "auto":
        if request.render_mode is not None:
            return "sync"
        if ours and not request.env_kwargs:
            return "batched"
        return "vector" if _vector_serves(spec, request.env_kwargs) else "sync"
    if vectorization == "batched" and not ours:
        raise EnvError(f"{request.name} has no batched equivalent ({', '.join(BATCHED)} have): use vectorization auto")
    if vectorization == "vector" and spec.vector_entry_point is None:
        raise EnvError(f"{request.name} has no vector entry point: use vectorization auto, sync or async")
    if vectorization in ("sync", "async") and spec.entry_point is None:
        raise EnvError(f"{request.name} has only a vector entry point: use vectorization auto or vector")
    return "batched" if vectorization == "vector" and request.name.startswith("dbrrl/") else vectorization


def _from_entry_point(request: Request, spec: EnvSpec, num_envs: int) -> VectorEnv[Any, Any, Any]:
    arguments = dict(request.env_kwargs)
    if request.max_episode_steps is not None:
        arguments["max_episode_steps"] = request.max_episode_steps
    if request.render_mode is not None:
        arguments["render_mode"] = request.render_mode
    if _is_atari(spec):
        return _attempt(request.name, lambda: atari.AtariVector(num_envs, **(spec.kwargs | arguments)))
    return _attempt(
        request.name,
        lambda: gym.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **arguments),
    )


def _is_atari(spec: EnvSpec) -> bool:
    return spec.vector_entry_point == atari.ENTRY_POINT


def resolve(env: str | Factory) -> EnvSpec:
    """Return the spec of a Gymnasium id, of `package.module:EnvClass` or of a function that makes environments.

    Raises EnvError, with the nearest name, if it is unknown.
    """
    if isinstance(env, Factory):
        return FactorySpec(id=env.name, entry_point=env.make)
    if (known := given.class_of(env)) is not None:
        return given.spec_of(env, known)
    if given.is_description(env):
        raise EnvError(
            f"env: the run was made with {env}, an object that no name leads to: give it again, in Python: "
            "Experiment.resume(RUN, env=...), or evaluate_policy(agent, env)"
        )
    if env in gym.registry:
        return gym.registry[env]
    if ":" in env:
        return _resolve_class(env)
    if env.startswith("ALE/"):
        _import("ale_py", env)
    if env in gym.registry:
        return gym.registry[env]
    raise EnvError(
        f"unknown environment {env!r}{names.instead(env, gym.registry)}: give a Gymnasium id, module:id where importing"
        " the module registers it, or package.module:EnvClass for your own"
    )


def _resolve_class(env: str) -> EnvSpec:
    module_name, _, name = env.partition(":")
    module = _import(module_name, env)
    if name in gym.registry:  # Gymnasium's own meaning of the colon: import the module, then take the id
        return gym.registry[name]
    entry = getattr(module, name, None)
    if entry is None:
        hint = names.nearest(name, [key for key in vars(module) if not key.startswith("_")])
        raise EnvError(f"{env}: module {module_name!r} has no {name!r}{hint}: check the spelling")
    return given.spec_of(env, entry)


def source(env: str | Factory) -> str:
    """Return the module that defines an environment; "" if unknown."""
    spec = resolve(env)
    entry: Any = spec.vector_entry_point if spec.entry_point is None else spec.entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else str(getattr(entry, "__module__", ""))


def _import(module: str, env: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            if module in EXTRAS:
                raise missing(env, error) from error
            raise EnvError(
                f"{env}: no module named {error.name!r}: check the spelling, and run from the folder that holds it"
            ) from error
        raise missing(env, error) from error
    except Exception as error:  # a user's module may raise anything while it is imported
        raise EnvError(f"{env}: importing {module!r} failed: {_one_line(error)}: correct the module") from error


def _vector_serves(spec: EnvSpec, env_kwargs: dict[str, Any]) -> bool:
    """Return whether the environment's vector class has all the arguments, or there is no single class."""
    if spec.vector_entry_point is None or spec.additional_wrappers:
        return False
    taken = _parameters(spec.vector_entry_point, spec.id) if env_kwargs else None
    return taken is None or spec.entry_point is None or set(env_kwargs) <= set(taken)


def _check_arguments(spec: EnvSpec, env_kwargs: dict[str, Any]) -> None:
    """Raise EnvError, with the known arguments, if the environment's constructor lacks one of `env_kwargs`."""
    taken = _parameters(spec.entry_point, spec.id) if env_kwargs else None
    for name in env_kwargs:
        if taken is not None and name not in taken:
            own = ", ".join(one for one in taken if one != "render_mode") or "none"
            hint = names.nearest(name, taken)
            raise EnvError(f"{spec.id}: its constructor has no argument {name!r}{hint} (it takes: {own}): correct it")


def _parameters(entry: Any, env: str) -> list[str] | None:
    """Return the names of an entry point's arguments; None if it takes any, or they are unknown."""
    creator = _attempt(env, lambda: load_env_creator(entry)) if isinstance(entry, str) else entry
    try:
        found = inspect.signature(creator).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(one.kind is one.VAR_KEYWORD for one in found) else [one.name for one in found]


def _check_render_mode(spec: EnvSpec, mode: str) -> None:
    """Raise EnvError if the environment's metadata lacks `mode`; Gymnasium would only warn."""
    entry = spec.entry_point
    creator = _attempt(spec.id, lambda: load_env_creator(entry)) if isinstance(entry, str) else entry
    modes = getattr(creator, "metadata", {}).get("render_modes", [mode])
    if mode not in modes:
        known = ", ".join(map(str, modes)) or "none"
        raise EnvError(f"{spec.id}: it has no render mode {mode!r} (it has: {known}): add it to the environment")


def _attempt(env: str, construct: Callable[[], T]) -> T:
    """Run a constructor; turn its errors into one-line EnvErrors."""
    try:
        return construct()
    except EnvError:
        raise
    except (ImportError, DependencyNotInstalled) as error:
        raise missing(env, error) from error
    except Exception as error:  # a user's constructor may raise anything
        raise EnvError(
            f"{env}: it could not be made: {_one_line(error)}: check the environment and its arguments"
        ) from error


def missing(env: str, error: Exception) -> EnvError:
    """Return the error for an environment with a failed import; it names the extra to install."""
    text = str(error).lower()
    for word, extra in EXTRAS.items():
        if word in text:
            return EnvError(f'{env} needs a library that is not installed: pip install "dbrrl[{extra}]"')
    return EnvError(f"{env} needs a library that is not installed: {_one_line(error)}: install it with pip")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
