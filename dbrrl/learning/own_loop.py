"""What a loop of one's own may get wrong: an old-style `observe`, a missing num_envs, resets among transitions."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dbrrl.backend import array_module
from dbrrl.distributions.masks import MASK, choices_of
from dbrrl.errors import ArgumentError, EnvError
from dbrrl.learning.spaces import Observation
from dbrrl.learning.transition import (
    all_finite,
    check_action,
    check_finite,
    check_results,
    check_rows,
    check_valid,
    fields,
    true_next_observation,
    warn_of_marker,
)

_ENOUGH = 3  # resets, without another beginning of an episode among them

_RESETS = (
    "observe(): after episodes ended the next step ignored the action and gave a reward of 0 and the first observation "
    "of another episode, as in Gymnasium's autoreset mode NEXT_STEP: such steps are no transitions, and are learned "
    "from: pass observe(..., valid=~ended), where ended is terminated | truncated of the step before, or make the "
    "environments with autoreset_mode SAME_STEP (if they were transitions, valid=np.ones(num_envs, bool) says so)"
)


def refuse_old_style(truncated: Any) -> None:
    """ArgumentError where the info of an old-style step comes in the place of `truncated`."""
    if type(truncated) is not np.ndarray and _is_info(truncated):
        raise ArgumentError(
            f"observe(): expected truncated as booleans, got {type(truncated).__name__}, the info of a step that gives "
            "(observation, reward, done, info): write observe(next_observation, reward, terminated, truncated, info); "
            "where there is only done, truncated is info.get('TimeLimit.truncated', False), and terminated is "
            "done and not truncated"
        )


def check_info(info: Any) -> None:
    """ArgumentError where something else than a dict, such as the `reset` of other libraries, comes as `info`."""
    if not isinstance(info, Mapping):
        raise ArgumentError(
            f"observe(): expected info as a dict, what an environment's step gives, or None, got {info!r:.60}: write "
            "observe(next_observation, reward, terminated, truncated, info)"
        )


def check_mask_is_seen(observation_space: Any, action_space: Any) -> None:
    """ArgumentError where a mask comes in `info` for actions that are masked by an entry of the observation alone."""
    if choices_of(action_space) and MASK not in getattr(observation_space, "spaces", ()):
        raise ArgumentError(
            f"observe(): info has an {MASK!r}, which the agent does not see when it acts: wrap each environment, "
            "dbrrl.envs.ActionMask(env), which puts the mask into the observation, or leave it out of info"
        )


def _is_info(x: Any) -> bool:
    return isinstance(x, dict) or (isinstance(x, list | tuple) and any(isinstance(entry, dict) for entry in x))


class ResetWatch:
    """Told of what is acted on and observed, it finds out whether the resets of NEXT_STEP are taken for transitions.

    In that autoreset mode of Gymnasium the step after an episode's end ignores its action: the agent acts on the final
    observation once more, and gets the first one of the next episode, with a reward of 0 and no end. Everywhere else an
    episode begins with an act on its first observation. Where first and final observation are the same nothing can be
    told from them.

    Attributes:
        over: whether it is known; nothing needs to be told any more.
    """

    def __init__(self) -> None:
        self.over = False
        self._resets = 0
        self._final: dict[int, list[np.ndarray]] = {}  # final observations by their rows, until the next act
        self._observation: Observation = None
        self._action: Any = None  # upon that observation
        self._again: dict[int, list[np.ndarray]] = {}  # those of them that were acted on

    def acted(self, observation: Observation, action: Any = None) -> None:
        """Take in the batch of observations that is acted on, and the actions."""
        self._observation, self._action = observation, action
        if self._final:
            for row, final in self._final.items():
                if _equal(_row(observation, row), final):
                    self._again[row] = final
                else:
                    self.over = True
            self._final = {}

    def check_action(self) -> None:
        """Raise an AnomalyError if the agent chose an action that is not finite, upon an observation that is."""
        if isinstance(self._action, np.ndarray):
            arrays = [array for _, array in fields(self._observation) if array.dtype.kind == "f"]
            if all(map(all_finite, arrays)):
                check_action(self._action)

    def observed(self, following: Observation, reward: Any, terminated: Any, truncated: Any, said: bool) -> None:
        """Take in what followed, and whether it was said which rows are transitions, or how the environment resets.

        Warns, once, where resets are taken for transitions.
        """
        alone = not isinstance(terminated, np.ndarray | list | tuple)
        if said or alone or array_module(terminated) is not np or np.shape(reward) != np.shape(terminated):
            self.over = True  # one environment, which its loop resets; or what is not looked at, on a GPU
            return
        ended = np.logical_or(terminated, truncated)
        for row, final in self._again.items():
            if ended[row] or reward[row] != 0:
                self.over = True
            elif not _equal(_row(following, row), final):
                self._resets += 1
        self._again = {}
        if not self.over and self._resets >= _ENOUGH:
            self.over = True
            warnings.warn(_RESETS, stacklevel=_level_of_caller())
        if not self.over and ended.any():
            self._final = {row: _row(following, row) for row in np.flatnonzero(ended).tolist()}


def _level_of_caller() -> int:
    """The `stacklevel` of a warning that is given by the calling function, for the first line that is not of dbrrl."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dbrrl."):
        frame, level = frame.f_back, level + 1
    return level


def _row(observation: Observation, row: int) -> list[np.ndarray]:
    """Copies of the arrays of one row; none where there is no such row."""
    if isinstance(observation, dict):
        return [array for part in observation.values() for array in _row(part, row)]
    return [np.array(observation[row])] if row < np.shape(observation)[0] else []


def _equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


class Checked:
    """Base of what observes: what its `observe` is given is checked, and completed with final observations.

    Attributes:
        action_masks: whether it takes masks of actions from observations (see dbrrl.distributions.masks).
        checks_input: whether `observe` checks all it is given; False where the environments have.
        watch: of what is acted on and observed.
    """

    checks_input: bool = True
    action_masks: ClassVar[bool] = False
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    num_envs: int
    watch: ResetWatch

    def followed_by(
        self,
        next_observation: Observation,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: dict[str, Any] | None,
        valid: Any,
    ) -> Observation:
        """The true next observations, given what `observe` was (see `true_next_observation`).

        Raises ArgumentError for an old-style call or an info that is no dict, ShapeError for a
        `valid` that is not one boolean per environment.
        """
        if self.checks_input:
            refuse_old_style(truncated)
            if info is not None and type(info) is not dict:
                check_info(info)
            if valid is not None:
                check_valid(valid, self.num_envs)
        if info:
            if MASK in info and self.action_masks:
                check_mask_is_seen(self.observation_space, self.action_space)
            if valid is None and "valid" in info:
                warn_of_marker(info, self.num_envs)
            next_observation = true_next_observation(next_observation, info, terminated, truncated, valid)
        if self.checks_input and not self.watch.over:
            said = valid is not None or bool(info and "final_obs" in info)
            self.watch.observed(next_observation, reward, terminated, truncated, said)
        return next_observation

    def check_counts(self, observation: Observation, reward: Any, terminated: Any, truncated: Any) -> None:
        """Check the numbers of `observe` and how many rows a batch of observations has, not what is in the rows.

        Raises EnvError for what an environment must not give, ShapeError for another number of environments,
        AnomalyError if the environment fails because a number of the agent's own action is not finite.
        """
        try:
            check_results(reward, terminated, truncated, self.num_envs)
        except EnvError:  # which may come of the action
            self.watch.check_action()
            raise
        check_rows([array for _, array in fields(observation)], self.num_envs)

    def check(self, observation: Any, parts: Any, reward: Any, terminated: Any, truncated: Any) -> None:
        """Check what `observe` was given, unless that was done; `parts` are the observation's, to compute with.

        Raises EnvError for what an environment must not give, ShapeError for another number of environments,
        AnomalyError if the environment fails because a number of the agent's own action is not finite.
        """
        if not self.checks_input:
            return
        check_rows(parts, self.num_envs)
        try:
            check_results(reward, terminated, truncated, self.num_envs)
            check_finite(observation, parts)
        except EnvError:  # which may come of the action
            self.watch.check_action()
            raise
