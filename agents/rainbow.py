"""Rainbow (Hessel et al. 2018, arXiv:1710.02298): C51 with all of double, dueling, n-step, prioritized and noisy.

The projected distribution is that of the n-step return, of the action that the network chooses and the target network
judges; its cross-entropy is the loss, and also the priority (section 3 has the divergence). Noisy layers explore in
place of ε.
"""

from dataclasses import dataclass
from typing import Any

from dbrrl.buffers import Batch
from dbrrl.config import setting

from .c51 import C51
from .c51 import Config as C51Config


@dataclass(frozen=True)
class Config(C51Config):
    """Settings of C51 with every addition on; what is named here has the defaults of the paper's table 1."""

    n_step: int = setting(3, at_least=1, help="rewards summed before bootstrapping (table 1)")
    dueling: bool = setting(True, help="value and advantage streams")
    prioritized: bool = setting(True, help="draw transitions by their last loss")
    priority_alpha: float = setting(
        0.5, at_least=0, at_most=1, requires="prioritized", help="α, 0: all alike (table 1)"
    )
    noisy: bool = setting(True, help="noisy layers explore; epsilon is not used")
    optimizer_eps: float = setting(1.5e-4, above=0, help="ε of Adam (table 1)")


class Rainbow(C51):
    """All that extends DQN, in one; only the double choice is not a setting of `C51`."""

    Config = Config

    def greedy_action(self, batch: Batch, target_values: Any) -> Any:
        """Return the action whose distribution is projected, (n,): the network's own choice."""
        return self.action_values(batch.next_observation).argmax(axis=1)


Agent = Rainbow
