"""Base class of dbrrl's vector environments: all copies step in a few array operations."""

import abc
import copy
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dbrrl.backend import CounterGenerator, load_kernels, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, EnvError
from dbrrl.learning.transition import any_set


class BatchedEnv(VectorEnv[Any, Any, Any], abc.ABC):
    """B copies of one problem whose state is one array (variables, B), without a loop over copies.

    A subclass defines the spaces, `draw`, `advance` and `observe`. Autoreset is SAME_STEP with the final
    observations, (B, ...), in `info["final_obs"]`. All copies draw from one generator, on the device of the state.

    num_envs: B. max_episode_steps: the time limit in steps, None for none.
    xp: the array module of the state, NumPy or CuPy. With CuPy actions and results are CuPy arrays too; to avoid
    synchronization, new states are drawn for all copies at each step, and "final_obs" is always present.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    dtype: ClassVar[type[np.floating[Any]]] = np.float64
    variables: ClassVar[int]
    observation: ClassVar[gym.Space[Any]]
    action: ClassVar[gym.Space[Any]]

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, *, xp: Any = np) -> None:
        load_kernels("environments")
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.single_observation_space = copy.deepcopy(self.observation)  # each has a generator of its own
        self.single_action_space = copy.deepcopy(self.action)
        self.observation_space = batch_space(self.observation, num_envs)
        self.action_space = batch_space(self.action, num_envs)
        self.xp = xp
        self.state = xp.zeros((self.variables, num_envs), self.dtype)
        self.rows = tuple(self.state)  # views, one per variable: the state changes in place only
        self._false = xp.zeros(num_envs, np.bool_)
        self._any = any_set if xp is np else xp.count_nonzero
        self._clock = 0
        self._began = xp.zeros(num_envs, np.int64)
        self._deadline: float = 0  # the earliest clock at which a copy can reach its time limit
        self._age = xp.zeros(num_envs, np.int64)  # steps of each episode so far, if the state is on a GPU
        self._ready = False

    @abc.abstractmethod
    def draw(self, count: int) -> Any:
        """Return starting states, (variables, count), drawn from `self.np_random`."""

    @abc.abstractmethod
    def advance(self, action: Any) -> tuple[Any, Any]:
        """Advance `self.state` by one step; return new arrays: reward, float64 (B,), terminated, bool (B,)."""

    @abc.abstractmethod
    def observe(self) -> Any:
        """Return the observations of `self.state`, a new float32 array (B, ...)."""

    def constants(self, *values: float) -> list[Any]:
        """Return 0-d arrays of the state's dtype, which operations take in two thirds of a Python number's time."""
        return [self.xp.asarray(value, self.dtype) for value in values]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every copy; `seed` seeds their common generator. Raises EnvError for any option."""
        if options:
            raise EnvError(f"{type(self).__name__}: expected no reset options, got {sorted(options)}: leave them out")
        super().reset(seed=seed)
        if self.xp is not np and (seed is not None or not isinstance(self._np_random, CounterGenerator)):
            self._np_random: Any = CounterGenerator(np.random.SeedSequence(seed), self.xp)
        self._age[...] = 0
        self.state[...] = self.xp.asarray(self.draw(self.num_envs))
        self._clock = 0
        self._began[...] = 0
        self._deadline = self._next_deadline()
        self._ready = True
        return self.observe(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every copy, and begin a new episode in those whose episode ended."""
        if not self._ready:
            raise EnvError(f"{type(self).__name__}: expected reset() before step(), got none: call it first")
        if self.xp is not np:
            return self._step_on_gpu(actions)
        reward, terminated = self.advance(actions)
        observation = self.observe()
        self._clock += 1
        if self._clock < self._deadline:
            truncated = self._false.copy()
            if not self._any(terminated):
                return observation, reward, terminated, truncated, {}
        else:
            truncated = self._clock - self._began >= self.max_episode_steps
            self._deadline = self._next_deadline()
        ended = terminated | truncated
        if not self._any(ended):
            return observation, reward, terminated, truncated, {}
        self._begin(ended)
        return self.observe(), reward, terminated, truncated, {"final_obs": observation, "_final_obs": ended}

    def _step_on_gpu(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step on a GPU without synchronization: ended episodes are a mask."""
        reward, terminated = self.advance(actions)
        final = self.observe()
        self._age += 1
        limit = self.max_episode_steps
        truncated = self._age >= (limit if limit is not None else np.iinfo(np.int64).max)
        ended = terminated | truncated
        self.state[...] = self.xp.where(ended, self.draw(self.num_envs), self.state)
        self._age *= ~ended
        return self.observe(), reward, terminated, truncated, {"final_obs": final, "_final_obs": ended}

    def state_dict(self) -> dict[str, Any]:
        """Return state, clocks and generator, as NumPy arrays and plain data."""
        there = self.xp is not np
        return {
            "state": np.array(to_numpy(self.state)),
            "began": -to_numpy(self._age) if there else np.array(self._began),
            "clock": 0 if there else self._clock,
            "ready": self._ready,
            "generator": self._np_random.state_dict() if there else dict(self.np_random.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`; the next steps are bit for bit those of the saved environment."""
        with untrusted.state_of(type(self).__name__, "take another checkpoint"):
            self._check(state)
        self.state[...] = self.xp.asarray(state["state"])
        self._began[...] = self.xp.asarray(state["began"])
        self._clock, self._ready = int(state["clock"]), bool(state["ready"])
        self._deadline = self._next_deadline()
        if self.xp is not np:
            self._age[...] = self._clock - self._began
            self._np_random = CounterGenerator(np.random.SeedSequence(0), self.xp)
            self._np_random.load_state_dict(state["generator"])
        else:
            self.np_random.bit_generator.state = state["generator"]

    def _check(self, state: Any) -> None:
        """Raise CheckpointError if `state` is not one of these environments."""
        untrusted.table(state, "", "state", "began", "clock", "ready", "generator")
        untrusted.array(state["state"], "state", self.dtype, self.state.shape)
        began = untrusted.array(state["began"], "began", np.int64, (self.num_envs,))
        clock = untrusted.whole(state["clock"], "clock")
        if began.max(initial=clock) > clock:
            raise CheckpointError(f"began: expected at most the clock {clock}, got {began.max()}")
        untrusted.truth(state["ready"], "ready")
        if self.xp is np:
            untrusted.generator(state["generator"], type(self.np_random.bit_generator).__name__, "generator")

    def _begin(self, ended: Any) -> None:
        where = self.xp.flatnonzero(ended)
        self.state[:, where] = self.xp.asarray(self.draw(int(where.size)), self.dtype)
        self._began[where] = self._clock

    def _next_deadline(self) -> float:
        return np.inf if self.max_episode_steps is None else int(self._began.min()) + self.max_episode_steps


class SingleEnv(gym.Env[Any, Any]):
    """One copy as an ordinary Gymnasium environment, rendered by Gymnasium's renderer."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    batched: ClassVar[type[BatchedEnv]]
    renderer: ClassVar[str]
    """Gymnasium's environment of the same problem, "module:Class"."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.batch = self.batched(1)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self.render_mode = render_mode
        self._picture: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.batch.np_random = self.np_random
        observation, info = self.batch.reset(options=options)
        return observation[0], info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step; after the end of an episode, call `reset` first."""
        reward, terminated = self.batch.advance(np.asarray(action)[None])
        return self.batch.observe()[0], float(reward[0]), bool(terminated[0]), False, {}

    def render(self) -> Any:
        """Return the frame, uint8 (height, width, 3), or None without a render mode. Needs pygame."""
        if self.render_mode is None:
            return None
        if self._picture is None:
            creator: Any = load_env_creator(self.renderer)
            self._picture = creator(render_mode=self.render_mode)
            self._picture.last_u = None
        self._picture.state = self.batch.state[:, 0]
        return self._picture.render()

    def close(self) -> None:
        """Release the renderer."""
        if self._picture is not None:
            self._picture.close()
            self._picture = None
