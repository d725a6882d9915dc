"""Several batched environments that step as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from dbrrl.checkpoint import untrusted
from dbrrl.errors import EnvError

from .batched import BatchedEnv


class Joined(VectorEnv[Any, Any, Any]):
    """Batched environments side by side, each with a generator of its own.

    Args:
        parts: environments of one kind.
        seeds: one for each part; `reset` seeds each by its own.

    Raises:
        EnvError: one of the parts is no `BatchedEnv`.
    """

    def __init__(self, parts: Sequence[Any], seeds: Sequence[np.random.SeedSequence]) -> None:
        for part in parts:
            if not isinstance(part, BatchedEnv):
                raise EnvError(
                    f"shares: {type(part).__name__} is a vector environment, of which one process has one share: "
                    "give as many workers as shares, or vectorization sync"
                )
        self.parts, self._seeds = list(parts), list(seeds)
        first, self.num_envs = parts[0], sum(part.num_envs for part in parts)
        self.metadata = first.metadata
        self.single_observation_space = first.single_observation_space
        self.single_action_space = first.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._cuts = np.cumsum([part.num_envs for part in parts])[:-1].tolist()

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every copy; with a seed, each part is seeded by its own."""
        seeds = [None if seed is None else int(one.generate_state(1)[0]) for one in self._seeds]
        found = [part.reset(seed=one, options=options)[0] for part, one in zip(self.parts, seeds, strict=True)]
        return np.concatenate(found), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every part."""
        found = [part.step(own) for part, own in zip(self.parts, np.split(actions, self._cuts), strict=True)]
        observation, reward, terminated, truncated = (np.concatenate([one[i] for one in found]) for i in range(4))
        if not any("final_obs" in one[4] for one in found):
            return observation, reward, terminated, truncated, {}
        final = np.concatenate([one[4].get("final_obs", one[0]) for one in found])
        return observation, reward, terminated, truncated, {"final_obs": final, "_final_obs": terminated | truncated}

    def close_extras(self, **options: Any) -> None:
        """Close the parts."""
        for part in self.parts:
            part.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; CheckpointError where it is of another number of parts."""
        with untrusted.state_of("shares", "resume with as many shares"):
            saved = untrusted.entries(untrusted.table(state, "", "parts")["parts"], "", len(self.parts))
        for part, its in zip(self.parts, saved, strict=True):
            part.load_state_dict(its)
