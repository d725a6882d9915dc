"""What all explorers share, and values that are computed only if an explorer asks for them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.checkpoint import untrusted
from dbrrl.errors import undefined
from dbrrl.renamed import Renamed, TakesOldNames
from dbrrl.types import Metrics


class Explorer(TakesOldNames):
    """Base: a generator, and the state it takes to go on."""

    per_episode_state: bool = False  # whether `reset` is to be called where an episode ends
    lasting, momentary = Renamed("per_episode_state"), Renamed("stateless")

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, values: Any, progress: float = 0.0) -> np.ndarray:
        """Actions for a batch; subclasses write it."""
        raise undefined(self, "__call__")

    @property
    def stateless(self) -> "Explorer":
        """An explorer without state per episode, for acting outside training with any batch size."""
        return self

    def statistics(self, progress: float) -> Metrics:
        """Return what is worth recording of it at `progress`; here nothing."""
        return {}

    def reset(self, ended: np.ndarray) -> None:
        """Begin again in the environments whose episode ended, bool (B,); here there is no state to reset."""

    def state_dict(self) -> dict[str, Any]:
        """All it draws from."""
        return {"rng": seeding.generator_state(self.rng)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; CheckpointError where it does not fit."""
        with untrusted.state_of(type(self).__name__, "load another state"):
            untrusted.table(state, "", "rng")
        seeding.set_generator_state(self.rng, state["rng"])


class LazyValues:
    """Values (B, A), or actions (B, ...), that are computed when they are first needed: not at all where all is random.

    Args:
        shape: (B, A), or that of a batch of actions.
        compute: returns them; values are -∞ for actions that are not allowed.
        allowed: the actions that are allowed, bool (B, A); None: all.
    """

    def __init__(self, shape: tuple[int, ...], compute: Callable[[], np.ndarray], allowed: Any = None) -> None:
        self.shape, self.compute, self.allowed = shape, compute, allowed

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.compute(), dtype)
