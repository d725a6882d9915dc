"""The adapter to Gymnasium's vector API, with the same transitions in all three autoreset modes."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from dbrrl.backend import to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import EnvError, ShapeError
from dbrrl.learning.transition import any_set, check_action

from . import failures, snapshot
from .leaves import assemble, leaf, leaf_spaces, with_final
from .recorder import FAILURES, VIOLATION, answer_fault, failure_line
from .validation import BatchCheck, Fault, autoreset_mode, final_fault, results_fault

Info = dict[str, Any]
LOOKS = 32  # one step in so many looks for actions that are not finite


@dataclass(slots=True)
class Step:
    """The result of one step of B environments. Observations are arrays (B, ...), or dicts or tuples of them."""

    observation: Any
    """To act on next: the reset observation where an episode ended (in NEXT_STEP mode one step later)."""
    next_observation: Any
    """The true next one, final where an episode ended; the same object as `observation` if none did."""
    reward: np.ndarray
    """float64 (B,), as the environment gave it."""
    terminated: np.ndarray
    """bool (B,): the episode reached an end of the problem itself."""
    truncated: np.ndarray
    """bool (B,): the episode was cut, by a time limit for instance."""
    valid: np.ndarray
    """bool (B,): False for rows that carry no transition (NEXT_STEP resets; beyond an exact step budget)."""
    info: dict[str, Any]
    """The vector environment's info; for "sync" and "async" its copies' successes alone (see `envs/success.py`)."""
    all_valid: bool = True
    """Whether every row of `valid` is True."""


class Environments:
    """B copies of one environment behind one interface, with episode accounting, validation and exact resume.

    vector_env: any Gymnasium vector environment whose metadata states its autoreset mode.
    kind: "batched", "vector", "sync" or "async" (the last two: its copies are wrapped in `Recorder`).
    seed: seeds each copy at the first `reset`; later resets continue the copies' own generators.
    """

    def __init__(
        self,
        vector_env: VectorEnv[Any, Any, Any],
        env_id: str,
        *,
        kind: str = "vector",
        seed: np.random.SeedSequence | None = None,
    ) -> None:
        self.vector_env, self.env_id, self.kind = vector_env, env_id, kind
        self.observation_space, self.action_space = vector_env.single_observation_space, vector_env.single_action_space
        self.num_envs = vector_env.num_envs
        self.observation: Any = None
        self.steps = 0
        self.episode_return = np.zeros(self.num_envs, np.float64)
        self._began = np.zeros(self.num_envs, np.int64)  # `steps` where each episode began
        self.finished: list[tuple[float, int]] = []
        self._seed = seed
        self._mode = autoreset_mode(vector_env, env_id)
        self._recorded = kind in ("sync", "async") and self._mode is AutoresetMode.SAME_STEP
        self._copies = kind in ("sync", "async")
        self._check = BatchCheck(self.observation_space, self.num_envs)
        self._leaves = [path for path, _ in leaf_spaces(self.observation_space)]
        action = vector_env.action_space
        self._action = (np.dtype(action.dtype), action.shape) if action.shape is not None else None
        self._all, self._none = np.ones(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        self._all.setflags(write=False)
        self._resetting: np.ndarray | None = None
        self._asking = False
        self._actions: Any = None  # of the latest step
        self._lost: dict[str, Any] = {}  # replaces the copies' state after `abandon`

    @property
    def episode_length(self) -> np.ndarray:
        """Steps of each episode so far, int64 (B,)."""
        return self.steps - self._began

    def reset(self) -> Any:
        """Begin an episode in every environment; return the batched observation. Raises EnvError if it is invalid."""
        observation, info = self._ask("reset", seed=self._take_seeds())
        if self._mode is AutoresetMode.SAME_STEP and "final_obs" in info:
            raise EnvError(
                f"{self.env_id}: expected no 'final_obs' in the info of a reset, got one: final observations have that "
                "key, so give the environment's own info another"
            )
        self.episode_return[:] = 0.0
        self._began[:] = self.steps
        self.finished, self._resetting = [], None
        self._check_observation(observation, info)
        self.observation = observation
        return observation

    def step(self, action: np.ndarray, limit: int | None = None) -> Step:
        """Act in every environment: `action` (B, ...) -> `Step`.

        limit: only the first `limit` transitions count (an exact step budget); later rows are not valid.
        Raises EnvError naming environment, step and field if a copy breaks its contract, ShapeError if `action` is not
        one per environment, AnomalyError if a number of it is not finite (looked for where a copy fails, and at times).
        """
        actions = self._actions = self._checked(action)
        self.steps += 1
        if self.steps % LOOKS == 1:
            self._check_actions()
        observation, reward, terminated, truncated, info = self._ask("step", actions)
        self._check_observation(observation, info)
        if self.kind != "batched":  # dbrrl's own have the right form, and are finite if the observation is
            fault = results_fault(reward, terminated, truncated, self.num_envs)
            if fault is not None:
                self._refuse(fault)
            reward = np.asarray(reward, np.float64)
            terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
        valid = self._all
        ended = terminated | truncated if any_set(terminated) or any_set(truncated) else self._none
        if self._resetting is not None:  # these rows only began an episode, their action was ignored
            self._began[self._resetting] = self.steps
            valid, self._resetting = ~self._resetting, None
            reward = np.where(valid, reward, 0.0)
            terminated, truncated, ended = terminated & valid, truncated & valid, ended & valid
        self.episode_return = self.episode_return + reward  # faster than in place for arrays of one entry
        if limit is not None:
            valid = valid & (np.cumsum(valid) <= limit)
        self.finished, next_observation = [], observation
        if ended is not self._none and any_set(ended):
            if self._mode is AutoresetMode.DISABLED:  # its reset may overwrite arrays that it returned
                reward, terminated, truncated = reward.copy(), terminated.copy(), truncated.copy()
            next_observation, observation, info = self._cross(observation, info, ended)
            self._account(ended, valid)
        self.observation = observation
        all_valid = valid is self._all or bool(valid.all())
        return Step(observation, next_observation, reward, terminated, truncated, valid, info, all_valid)

    def flush_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of ended episodes that are not in `finished` yet: none here."""
        return []

    def render(self) -> Any:
        """Return a frame (height, width, 3) per environment, if made with render_mode="rgb_array"."""
        return self.vector_env.render()

    def abandon(self, reason: str) -> None:
        """Mark future states as not restorable, with the reason: each copy then begins a new episode."""
        self._lost = {"cannot": reason}

    def close(self) -> None:
        """Release the environments; a second call does nothing."""
        failures.close(self.vector_env, broken_off=self._asking)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue bit for bit, as plain data and arrays."""
        started = self.observation is not None
        observation = [np.array(to_numpy(leaf(self.observation, path))) for path in self._leaves] if started else []
        return {
            "env_id": self.env_id,
            "num_envs": self.num_envs,
            "kind": self.kind,
            "steps": self.steps,
            "seeded": self._seed is None,
            "started": started,
            "observation": observation,
            "episode_return": np.array(to_numpy(self.episode_return)),
            "episode_length": np.array(to_numpy(self.episode_length)),
            "resetting": None if self._resetting is None else self._resetting.copy(),
            "environment": self._lost or (snapshot.save(self.vector_env, recorded=self._recorded) if started else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Restore the environments; the observation to act on is then `self.observation`.

        Returns one line per environment that is not equal to the saved one, and has begun a new episode.
        Raises CheckpointError if the state is of other environments.
        """
        snapshot.check_origin(state, self.env_id, self.num_envs, self.kind)
        with untrusted.state_of(f"environments, {self.num_envs} x {self.env_id}", "take another checkpoint"):
            snapshot.check(state, self.num_envs, [space for _, space in leaf_spaces(self.observation_space)])
            why = self._load(state)
        return [f"environment {row} ({self.env_id}) {w}: it starts a new episode" for row, w in why.items()]

    def _load(self, state: Mapping[str, Any]) -> dict[int, str]:
        """Restore everything; return the reason for each environment that had to begin a new episode."""
        self.steps = int(state["steps"])
        seed, self.finished = self._seed, []
        if state["seeded"]:
            self._seed = None
        if not state["started"]:
            return {}
        self.observation = assemble(self.observation_space, iter([np.array(a) for a in state["observation"]]))
        self.episode_return = np.array(state["episode_return"], np.float64)
        self._began = self.steps - np.array(state["episode_length"], np.int64)
        resetting = state["resetting"]
        self._resetting = None if resetting is None else np.array(resetting, np.bool_)
        if self._recorded and "cannot" not in state["environment"]:
            lost = snapshot.replay_episodes(self.vector_env, state)
            for row, (observation, _) in lost.items():
                for path in self._leaves:
                    leaf(self.observation, path)[row] = leaf(observation, path)
                self.episode_return[row], self._began[row] = 0.0, self.steps
            return {row: f"did not come back equal {reason}" for row, (_, reason) in lost.items()}
        reason = snapshot.restore_attributes(self.vector_env, state["environment"])
        if not reason:
            return {}
        if seed is not None:  # the new episodes must differ from the first ones of the saved run
            self._seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, self.steps))
        self.reset()
        return dict.fromkeys(range(self.num_envs), f"cannot be put back ({reason})")

    def _cross(self, observation: Any, info: Info, ended: np.ndarray) -> tuple[Any, Any, Info]:
        """Handle ended episodes; return (true next observation, observation to act on, info)."""
        if self._mode is AutoresetMode.NEXT_STEP:
            self._resetting = ended
            return observation, observation, info
        if self._mode is AutoresetMode.DISABLED:
            final = copy.deepcopy(observation)
            observation, reset_info = self._ask("reset", options={"reset_mask": ended.copy()})
            self._check_observation(observation, reset_info)
            return final, observation, info
        if "final_obs" not in info:
            raise EnvError(
                f"{self.env_id}: expected info['final_obs'] where an episode ended, got none: "
                "give it, as SAME_STEP environments do, or state another autoreset mode"
            )
        if self.kind == "vector":  # the other kinds are correct or checked already
            fault = final_fault(self.observation_space, info["final_obs"], ended)
            if fault is not None:
                self._refuse(fault)
        if self.kind == "batched":  # all rows as they were before any began another episode
            final = info["final_obs"]
        else:
            final = with_final(observation, info["final_obs"], ended, self._leaves)
        self._check_observation(final, info)
        info = {key: value for key, value in info.items() if key not in ("final_obs", "_final_obs")}
        return final, observation, info

    def _account(self, ended: np.ndarray, valid: np.ndarray) -> None:
        for row in np.flatnonzero(ended & valid).tolist():
            self.finished.append((float(self.episode_return[row]), int(self.steps - self._began[row])))
        self.episode_return[ended], self._began[ended] = 0.0, self.steps

    def _checked(self, action: Any) -> Any:
        if self._action is None:
            return action
        dtype, shape = self._action
        action = np.asarray(action, dtype)
        if action.shape != shape:
            raise ShapeError(f"action: expected shape {shape}, got {action.shape}: give one per environment")
        return action

    def _check_observation(self, observation: Any, info: dict[str, Any]) -> None:
        if self._copies and VIOLATION in info:
            self._refuse(*failures.reported(self.vector_env, info))
        if not self._check.sound(observation):
            self._refuse(self._check.fault(observation))

    def _ask(self, call: str, *arguments: Any, **options: Any) -> Any:
        """Call "reset" or "step"; return a result of the right length, or raise EnvError."""
        self._asking = True  # stays True if Ctrl-C interrupts the call
        try:
            result = getattr(self.vector_env, call)(*arguments, **options)
        except failures.BROKEN as error:
            self._refuse(failures.died(self.vector_env, error), error)
        except EnvError:
            raise
        except FAILURES as error:
            self._check_actions()
            raise EnvError(f"{self.env_id}, step {self.steps}, {failure_line(f'{call}()', error)}") from error
        self._asking = False
        line = answer_fault(call, result) if self.kind == "vector" else None
        if line is not None:
            raise EnvError(f"{self.env_id}, step {self.steps}, {line}")
        return result

    def _check_actions(self) -> None:
        check_action(self._actions, f" ({self.env_id}), step {self.steps}")

    def _refuse(self, fault: Fault, cause: BaseException | None = None) -> NoReturn:
        self._check_actions()
        raise EnvError(f"environment {fault.row} ({self.env_id}), step {self.steps}, {fault.line}") from cause

    def _take_seeds(self) -> Any:
        if self._seed is None:
            return None
        seed, self._seed = self._seed, None
        if isinstance(self.vector_env.unwrapped, (SyncVectorEnv, AsyncVectorEnv)):
            return [int(child.generate_state(1)[0]) for child in seed.spawn(self.num_envs)]
        return int(seed.generate_state(1)[0])
