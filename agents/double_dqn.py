"""Double DQN (van Hasselt, Guez & Silver 2016, arXiv:1509.06461): DQN whose network chooses and whose target judges.

    y = r + γ Q_θ⁻(s', argmax_a' Q_θ(s', a'))                                                              (eq. 4)

The maximum over estimates that err is too high on average; the estimate of another network at the same action is not.
"""

from typing import Any

from dbrrl import functional as F
from dbrrl.autodiff.tensor import no_grad
from dbrrl.buffers import Batch

from .dqn import DQN


class DoubleDQN(DQN):
    """DQN with the double target; settings and additions are those of `DQN`."""

    def target(self, batch: Batch) -> Any:
        """Return y of each transition, (n,)."""
        best = self.action_values(batch.next_observation).argmax(axis=1)
        with no_grad():
            following = self.values(self.target_network, batch.next_observation).array
        return batch.reward + batch.discount * F.pick(following, best)


Agent = DoubleDQN
