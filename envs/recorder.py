"""A wrapper around one environment, in any process, that can restore it in the middle of an episode."""

import traceback
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dbrrl.errors import EnvError

from . import success
from .leaves import assemble, copied, leaf, leaf_spaces
from .validation import observation_fault

VIOLATION = "dbrrl_violation"
"""Key in `info` under which a broken contract travels from a worker process to the adapter."""

TRACEBACK = "dbrrl_traceback"
"""Key in `info` for the traceback, as text, of an error the environment raised."""

FAILURES = (Exception, SystemExit)
RESET, STEP = ("observation", "info"), ("observation", "reward", "terminated", "truncated", "info")
FIRST_CAPACITY = 64


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Records the generator state and the actions that replay the current episode.

    It also checks each observation and reward before Gymnasium copies them into a batch, which silently casts a wrong
    dtype. Violations and errors of the environment are returned in `info` with a placeholder observation (raised in a
    worker process, they would kill it), and the adapter raises them. `info` has nothing else but whether an episode
    that ends was a success: the environment's own may not fit into a batch, and its keys could conflict with those
    of Gymnasium or the adapter.

    The first and final observation of an episode are copied, as environments may reuse one array for the next.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.pending: dict[str, Any] | None = None
        self.error: BaseException | None = None
        """The latest error of the environment."""
        self._start: dict[str, Any] | None = None
        self._actions: np.ndarray | None = None
        self._length = 0
        box = env.observation_space
        self._box = (box.dtype, box.shape) if isinstance(box, spaces.Box) else None
        action = env.action_space
        self._replayable = isinstance(action, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and record the state of the environment's generator before it."""
        self._start = {"seed": seed} if seed is not None else {"generator": self._generator_state()}
        self._length = 0
        try:
            result = self.env.reset(seed=seed, options=options)
        except FAILURES as error:
            return self._placeholder(), self._failure("reset()", error)
        line = answer_fault("reset", result) or self._fault(result[0])
        return (self._placeholder(), {VIOLATION: line}) if line is not None else (copied(result[0]), {})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and record the action."""
        if self._replayable:
            self._record(action)
        try:
            result = self.env.step(action)
        except FAILURES as error:
            return self._placeholder(), 0.0, False, False, self._failure("step()", error)
        line = self._step_fault(result)
        if line is not None:
            return self._placeholder(), 0.0, False, False, {VIOLATION: line}
        observation, reward, terminated, truncated, info = result
        if terminated or truncated:
            return copied(observation), reward, terminated, truncated, success.said(info)
        return observation, reward, terminated, truncated, {}

    def episode_state(self) -> dict[str, Any] | None:
        """Return what `replay` needs for the current episode, or None before the first reset."""
        if self._start is None:
            return None
        recorded = self._actions if self._actions is not None else np.zeros(0)
        return {
            "start": self._start,
            "actions": recorded[: self._length].copy(),
            "generator": self._generator_state(),
            "replayable": self._replayable,
        }

    def replay(self) -> tuple[Any, int, str]:
        """Replay the episode in `pending`: an `episode_state`, with the expected observation and return.

        Returns the observation to act on, the number of replayed actions, and "" or why the environment is not equal
        to the saved one; then a new episode has begun.
        """
        state, self.pending = self.pending, None
        if state is None:
            raise RuntimeError("replay() was called before `pending` was set")
        try:
            observation, difference = self._replay(state)
        except Exception as error:  # the environment's own code may raise any error
            observation, difference = None, f"{type(error).__name__}: {error}"
        if difference:
            self._set_generator_state(state["generator"])
            observation, info = self.reset()
            if VIOLATION in info:
                raise EnvError(info[VIOLATION]) from self.error
        return observation, len(state["actions"]), difference

    def _replay(self, state: dict[str, Any]) -> tuple[Any, str]:
        if not state["replayable"]:
            return None, "its actions cannot be recorded"
        start, total = state["start"], 0.0
        if "seed" in start:
            observation, info = self.reset(seed=start["seed"])
        else:
            self._set_generator_state(start["generator"])
            observation, info = self.reset()
        if VIOLATION in info:
            return None, str(info[VIOLATION])
        for action in state["actions"]:
            observation, reward, terminated, truncated, info = self.step(action)
            total += float(reward)
            if terminated or truncated or VIOLATION in info:
                return None, info.get(VIOLATION, "the episode ended early")
        paths = [path for path, _ in leaf_spaces(self.observation_space)]
        for path, expected in zip(paths, state["observation"], strict=True):
            if np.asarray(leaf(observation, path)).tobytes() != np.asarray(expected).tobytes():
                return None, "its observation differs"
        if np.float64(total).tobytes() != np.float64(state["episode_return"]).tobytes():
            return None, "its return differs"
        if self._generator_state() != state["generator"]:
            return None, "its generator differs"
        return observation, ""

    def _record(self, action: Any) -> None:
        actions = self._actions
        if actions is None:
            example = np.asarray(action)
            actions = self._actions = np.empty((FIRST_CAPACITY, *example.shape), example.dtype)
        elif self._length == len(actions):
            actions = self._actions = np.concatenate([actions, np.empty_like(actions)])
        actions[self._length] = action
        self._length += 1

    def _generator_state(self) -> dict[str, Any]:
        return dict(self.env.unwrapped.np_random.bit_generator.state)

    def _set_generator_state(self, state: dict[str, Any]) -> None:
        # In place: an environment may hold a second reference to its generator.
        self.env.unwrapped.np_random.bit_generator.state = state

    def _failure(self, call: str, error: BaseException) -> dict[str, Any]:
        self.error = error
        return {VIOLATION: failure_line(call, error), TRACEBACK: "".join(traceback.format_exception(error))}

    def _step_fault(self, result: Any) -> str | None:
        fault = answer_fault("step", result)
        if fault is not None:
            return fault
        observation, reward, terminated, truncated, _ = result
        return self._fault(observation) or reward_fault(reward) or flag_fault(terminated, truncated)

    def _fault(self, observation: Any) -> str | None:
        if self._box is not None and type(observation) is np.ndarray:  # the usual case
            dtype, shape = self._box
            same = observation.dtype == dtype and observation.shape == shape
            if same:
                return None
        return observation_fault(self.env.observation_space, observation)

    def _placeholder(self) -> Any:
        space = self.env.observation_space
        return assemble(space, (np.zeros(sub.shape or (), sub.dtype) for _, sub in leaf_spaces(space)))


def failure_line(call: str, error: BaseException) -> str:
    """Return a call's error, with file and line, as one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{call}: raised {text} at {last.filename}:{last.lineno}: correct the environment"


def answer_fault(call: str, result: Any) -> str | None:
    """Return what is wrong with the form of a result of `reset` or `step`, or None."""
    names = STEP if call == "step" else RESET
    if not isinstance(result, tuple) or len(result) != len(names):
        return _count_fault(f"{call}()", f"({', '.join(names)})", result)
    return info_fault(result[-1])


def reward_fault(reward: Any) -> str | None:
    """Return what is wrong with the type of a reward, or None."""
    if isinstance(reward, (float, int, np.floating, np.integer)):
        return None
    if isinstance(reward, np.ndarray) and reward.ndim == 0 and reward.dtype.kind in "fiu":
        return None
    got = f"shape {reward.shape}" if isinstance(reward, np.ndarray) else type(reward).__name__
    return f"reward: expected one number, got {got}: return a float from step()"


def info_fault(info: Any) -> str | None:
    """Return what is wrong with the type of an info, or None."""
    if isinstance(info, dict):
        return None
    return f"info: expected a dict, got {type(info).__name__}: return {{}} if there is none"


def flag_fault(terminated: Any, truncated: Any) -> str | None:
    """Return what is wrong with the types of the two flags, or None."""
    for field, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            return f"{field}: expected a bool, got {type(flag).__name__}: return bool({field}) from step()"
    return None


def _count_fault(call: str, expected: str, result: Any) -> str:
    got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
    return f"{call}: expected {expected}, got {got}: return what Gymnasium's Env does"
