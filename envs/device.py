"""Batched environments whose arrays are on a GPU: a step is one recorded graph, and nothing is waited for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dbrrl.backend import capture, module_on, to_device, to_numpy
from dbrrl.errors import EnvError

from . import given
from .action_mask import mask_is_in_info
from .batched import BatchedEnv
from .construct import Request, build, build_on, resolve
from .vector import Environments, Step

KEPT = 64  # steps whose ends of episodes are kept on the GPU before they are fetched together


class DeviceEnvironments(Environments):
    """B copies on `device`; actions may be on it, and all arrays of a `Step` are.

    The arrays of a `Step` are the environments' own: the next step overwrites them. `finished` is told every `KEPT`
    steps, or by `flush_episodes`. Nothing is checked while stepping; agents check their rollouts.
    """

    def __init__(
        self, vector_env: BatchedEnv, env_id: str, *, device: str, seed: np.random.SeedSequence | None = None
    ) -> None:
        super().__init__(vector_env, env_id, kind="device", seed=seed)
        self.device, xp = device, module_on(device)
        self._all = xp.ones(self.num_envs, np.bool_)
        self.episode_return = xp.zeros(self.num_envs)
        self.lengths = xp.zeros(self.num_envs, np.int64)  # of the episodes under way
        self._ended_return = xp.zeros((KEPT, self.num_envs))
        self._ended_length = xp.zeros((KEPT, self.num_envs), np.int64)  # 0: no episode ended
        self._row = xp.zeros(1, np.int64)
        self._kept = 0
        self._step_graph = capture(device, self._play)

    def reset(self) -> Any:
        """Begin an episode everywhere; returns the batched observation."""
        self.observation, _ = self.vector_env.reset(seed=self._take_seeds())
        self._step_graph.forget()  # it was recorded with the former generator
        self.episode_return.fill(0)
        self.lengths.fill(0)
        self._row.fill(0)
        self.finished, self._kept = [], 0
        return self.observation

    def step(self, action: Any, limit: int | None = None) -> Step:
        """As `Environments.step`."""
        self.steps += 1
        final, observation, reward, terminated, truncated = self._step_graph(to_device(action, self.device))
        self._kept += 1
        self.finished, valid, all_valid = [], self._all, True
        if limit is not None and limit < self.num_envs:
            valid = module_on(self.device).arange(self.num_envs) < limit
            all_valid = False
            self._ended_length[self._kept - 1, limit:] = 0
        if self._kept == KEPT:
            self.finished = self.flush_episodes()
        self.observation = observation
        return Step(observation, final, reward, terminated, truncated, valid, {}, all_valid)

    @property
    def episode_length(self) -> Any:
        """Steps of the episodes under way, int64 (B,)."""
        return self.lengths

    def flush_episodes(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since they were told last."""
        rows, self._kept = self._kept, 0
        if not rows:
            return []
        returns, lengths = to_numpy(self._ended_return[:rows]), to_numpy(self._ended_length[:rows])
        self._row.fill(0)
        where = lengths > 0
        return list(zip(returns[where].tolist(), lengths[where].tolist(), strict=True))

    def _play(self, action: Any) -> tuple[Any, ...]:
        observation, reward, terminated, truncated, info = self.vector_env.step(action)
        self.episode_return += reward
        self.lengths += 1
        ended = terminated | truncated
        self._ended_return[self._row] = self.episode_return[None]
        self._ended_length[self._row] = (self.lengths * ended)[None]
        self._row += 1
        going = ~ended
        self.episode_return *= going
        self.lengths *= going
        return info["final_obs"], observation, reward, terminated, truncated

    def _load(self, state: Mapping[str, Any]) -> dict[int, str]:
        returns, lengths = self.episode_return, self.lengths
        lost = super()._load(state)
        self._step_graph.forget()
        saved = self.episode_return, super().episode_length
        self.episode_return = returns
        if not lost:
            returns[...], lengths[...] = (to_device(x, self.device) for x in saved)
            if self.observation is not None:
                self.observation = to_device(self.observation, self.device)
        return lost


class LentEnvironments(Environments):
    """A vector environment that was made elsewhere, and is left open."""

    def close(self) -> None:
        """Do nothing."""


def make(
    env: Any,
    num_envs: int,
    *,
    seed: np.random.SeedSequence,
    vectorization: str = "auto",
    max_episode_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    render_mode: str | None = None,
    device: str = "cpu",
    action_masks: bool = False,
) -> Environments:
    """Make `num_envs` copies of an environment.

    env: a Gymnasium id ("CartPole-v1", "dbrrl/CartPole-v1"), "package.module:EnvClass", "package.module:make_env"; or a
    class, a function that makes an environment, or one that is made already, which is stepped itself and left open.
    vectorization: "auto" takes our batched equivalent where there is one and nothing special is asked for,
    else a vector entry point, else "sync"; "batched", "vector", "sync" and "async" (a process each) insist.
    device: a GPU has the copies' arrays where they are such a batched equivalent; others stay on the host.
    action_masks: a mask of actions that the environment gives in `info` is put into the observation (see `ActionMask`).
    Raises EnvError, in one line, for an unknown name (with the nearest), a missing extra, refused arguments.
    """
    env = given.of(env)
    if isinstance(env, given.Instance):
        _check_instance(env, num_envs, vectorization, env_kwargs, render_mode)
        kind = LentEnvironments if env.is_vector else Environments
        if action_masks and not env.is_vector and env.mask_in_info is None:
            env.mask_in_info = mask_is_in_info(env.env, env.another)
        stepped = env.vector_env(max_episode_steps)
        return kind(stepped, env.name, kind="vector" if env.is_vector else "sync", seed=seed)
    request = Request(env, dict(env_kwargs or {}), max_episode_steps, render_mode)
    there = build_on(device, request, num_envs, vectorization)
    if there is not None:
        return DeviceEnvironments(there, request.name, device=device, seed=seed)
    vector_env, how = build(request, num_envs, vectorization)
    if action_masks and how in ("sync", "async"):
        key = str(request), resolve(request.env).entry_point
        if mask_is_in_info(vector_env, request.single, key):
            vector_env.close()
            vector_env, how = build(replace(request, mask_in_info=True), num_envs, vectorization)
    return Environments(vector_env, request.name, kind=how, seed=seed)


def make_copies(
    env: given.Instance, count: int, *, seed: np.random.SeedSequence, max_episode_steps: int | None = None
) -> Environments:
    """Make copies of an environment that is made already, as it was when it was given: one of a vector environment."""
    kind = "vector" if env.is_vector else "sync"
    return Environments(env.copied(count, max_episode_steps), env.name, kind=kind, seed=seed)


def _check_instance(env: given.Instance, num_envs: int, vectorization: str, kwargs: Any, mode: str | None) -> None:
    """Raise EnvError if more is asked of an environment that is made already than it is."""
    if num_envs != env.num_envs:
        cure = "leave num_envs out, or give a function that makes environments"
        raise EnvError(f"num_envs: {env.name} is {env.num_envs}, got {num_envs}: {cure}")
    asked = {"vectorization": vectorization != "auto", "env_kwargs": bool(kwargs), "render_mode": mode is not None}
    for name, wanted in asked.items():
        if wanted:
            raise EnvError(f"{name}: {env.name} is made already: leave it out, or give a function that makes it")
