"""Categorical DQN, C51 (Bellemare, Dabney & Munos 2017, arXiv:1707.06887): the distribution of the return, on atoms.

For each action the network gives a distribution p over fixed returns z₁ < ... < z_N, by a softmax; Q(s, a) = Σ zᵢ pᵢ.
The distribution of r + γ Z(s', a*), a* the action of the largest Q under the target network, is projected on the atoms,

    mᵢ = Σⱼ [1 - |clip(r + γ zⱼ, z₁, z_N) - zᵢ| / Δz]₀¹ pⱼ(s', a*)                                          (eq. 7)

and the cross-entropy -Σ mᵢ log pᵢ(s, a) is minimized (algorithm 1). All else is DQN.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import array_module, beside
from dbrrl.buffers import Batch
from dbrrl.config import Config as AgentConfig
from dbrrl.config import setting
from dbrrl.errors import AnomalyError, ConfigError

from .dqn import DQN
from .dqn import Config as DQNConfig


@dataclass(frozen=True)
class Config(DQNConfig):
    """Settings of DQN, and the atoms."""

    atoms: int = setting(51, at_least=2, help="N, number of returns that are told apart (section 5)")
    value_min: float = setting(-10.0, help="z₁, smallest return (section 5)")
    value_max: float = setting(10.0, help="z_N, largest return, above value_min (section 5)")


def projection(reward: Any, discount: Any, probs: Any, support: Any) -> Any:
    """The distribution of reward + discount · Z on the atoms of Z (eq. 7).

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

    Config = Config

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
    def support(self) -> np.ndarray:
        """The returns z₁ ... z_N, (N,)."""
        c = self.config
        return np.linspace(c.value_min, c.value_max, c.atoms, dtype=np.float32)

    def build(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """A network whose outputs are logits (B, actions, atoms)."""
        return super().build(rng, self.config.atoms)

    def values(self, network: Any, parts: list[Any]) -> Any:
        """Q(s, a) = Σ zᵢ pᵢ(s, a): (B, actions)."""
        probs = F.softmax(network(parts), axis=-1)
        return F.matmul(probs, beside(probs.array, self.support))

    def loss(self, batch: Batch) -> tuple[Any, Any]:
        """The cross-entropy of each transition (n,), which is its priority, too."""
        logits = F.pick(self.network(batch.parts), batch.action)
        loss = F.cross_entropy(logits, self.target(batch), reduction="none")
        return loss, loss.array

    def target(self, batch: Batch) -> Any:
        """The projected distribution m of each transition, (n, atoms); AnomalyError where a reward has no place."""
        if not np.isfinite(batch.reward).all():
            raise AnomalyError(f"{self.name}: {batch.oddity(self.num_envs)}")
        with no_grad():
            probs = F.softmax(self.target_network(batch.next_parts), axis=-1).array
        support = beside(probs, self.support)
        best = self.chosen(batch, probs @ support)
        return projection(batch.reward, batch.discount, F.pick(probs, best), support)

    def chosen(self, batch: Batch, target_values: Any) -> Any:
        """The action a* whose distribution is projected, (n,), given Q under the target network (n, actions)."""
        return target_values.argmax(axis=1)


Agent = C51
