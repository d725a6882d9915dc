"""Categorical DQN, C51 (Bellemare, Dabney & Munos 2017, arXiv:1707.06887): the distribution of the return, on atoms.

For each action the network gives a distribution p over fixed returns z₁ < ... < z_N, by a softmax; Q(s, a) = Σ zᵢ pᵢ.
The distribution of r + γ Z(s', a*), a* the action of the largest Q under the target network, is projected on the atoms,

    mᵢ = Σⱼ [1 - |clip(r + γ zⱼ, z₁, z_N) - zᵢ| / Δz]₀¹ pⱼ(s', a*)                                          (eq. 7)

and the cross-entropy -Σ mᵢ log pᵢ(s, a) is minimized (algorithm 1). All else is DQN.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import array_module, to_device
from dbrrl.buffers import Batch
from dbrrl.buffers.replay import non_finite
from dbrrl.config import Config as AgentConfig
from dbrrl.config import setting
from dbrrl.distributions.masks import masked
from dbrrl.errors import AnomalyError, ConfigError
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics
from dbrrl.learning.off_policy import host
from dbrrl.types import Array, Observation

from .dqn import DQN
from .dqn import Config as DQNConfig


@dataclass(frozen=True)
class Config(DQNConfig):
    """Settings of DQN, and the atoms."""

    atoms: int = setting(51, at_least=2, help="N, number of returns that are told apart (section 5)")
    value_min: float = setting(-10.0, help="z₁, smallest return (section 5)")
    value_max: float = setting(10.0, help="z_N, largest return, above value_min (section 5)")


def projection(reward: Any, discount: Any, probs: Any, support: Any) -> Any:
    """Return the distribution of reward + discount · Z on the atoms of Z (eq. 7).

    Args:
        reward, discount: (n,).
        probs: (n, N), the distribution of Z.
        support: (N,), its evenly spaced atoms.

    Returns:
        (n, N), each row with the sum of its row of `probs`.
    """
    xp, n, atoms = array_module(probs), len(probs), len(support)
    step = (support[-1] - support[0]) / (atoms - 1)
    moved = xp.clip(reward[:, None] + discount[:, None] * support, support[0], support[-1])
    place = xp.minimum((moved - support[0]) / step, atoms - 1)
    lower = xp.minimum(xp.floor(place), atoms - 2)
    upper_share = probs * (place - lower)
    at = (lower.astype(np.int64) + atoms * xp.arange(n)[:, None]).reshape(-1)
    flat = xp.bincount(at, (probs - upper_share).reshape(-1), n * atoms)
    flat = flat + xp.bincount(at + 1, upper_share.reshape(-1), n * atoms)
    return flat.reshape(n, atoms).astype(probs.dtype)


class C51(DQN):
    """DQN on distributions over fixed atoms; `loss` and `values` are its own."""

    Config: ClassVar[type[DQNConfig]] = Config

    def __init__(
        self, observation_space: Any, action_space: Any, config: AgentConfig | None = None, **rest: Any
    ) -> None:
        c: Any = config if config is not None else Config()
        if isinstance(c, Config) and not c.value_min < c.value_max:
            raise ConfigError(
                f"value_max: expected a number above value_min {c.value_min}, got {c.value_max}: change it"
            )
        super().__init__(observation_space, action_space, config, **rest)

    @functools.cached_property
    def support(self) -> Array:
        """The returns z₁ ... z_N, (N,)."""
        c = self.config
        found: Array = to_device(np.linspace(c.value_min, c.value_max, c.atoms, dtype=np.float32), self.device)
        return found

    def make_network(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """Return a network whose outputs are logits (B, actions, atoms)."""
        return super().make_network(rng, self.config.atoms)

    def values(self, network: Any, observation: Observation) -> Any:
        """Return Q(s, a) = Σ zᵢ pᵢ(s, a): (B, actions)."""
        return F.matmul(F.softmax(network(observation), axis=-1), self.support)

    def return_distribution(self, observation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the atoms and their probabilities, (B, actions, N) each."""
        probs = self.of_batch(observation, lambda given: F.softmax(self.network(given), axis=-1))
        return np.broadcast_to(host(self.support), probs.shape), probs

    def update(self, batch: Batch) -> StepMetrics:
        """As DQN's; AnomalyError where a reward is not finite and so has no place among the atoms."""
        if not np.isfinite(batch.reward).all():
            raise AnomalyError(f"{self.name}: {non_finite(batch, self.num_envs)}")
        return super().update(batch)

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return the cross-entropy of each transition, which is its priority, too."""
        logits = F.pick(self.network(batch.observation), batch.action)
        loss = losses.categorical_cross_entropy(logits, self.target(batch))
        return loss, lambda: {"loss": loss.array, "error": loss.array}

    def target(self, batch: Batch) -> Any:
        """Return the projected distribution m of each transition, (n, atoms)."""
        with no_grad():
            probs = F.softmax(self.target_network(batch.next_observation), axis=-1).array
        best = self.greedy_action(batch, masked(probs @ self.support, batch.next_observation))
        return projection(batch.reward, batch.discount, F.pick(probs, best), self.support)

    def greedy_action(self, batch: Batch, target_values: Any) -> Any:
        """Return the action a* whose distribution is projected, (n,), given Q(s', ·) of the target network
        (n, actions), which is -∞ for actions that are not allowed.
        """
        return target_values.argmax(axis=1)


Agent = C51
