"""Implicit quantile network (Dabney, Ostrovski, Silver & Munos 2018, arXiv:1806.06923).

The network gives the quantile Z_τ(s, a) of the return at any τ in (0, 1): the features of s, times those of τ,

    φⱼ(τ) = ReLU( Σᵢ cos(π i τ) wᵢⱼ + bⱼ ),  i = 0 ... n - 1,        Z_τ(s, a) = f(ψ(s) ⊙ φ(τ))_a                (eq. 4)

Each update draws N fractions τ and N' fractions τ' per transition. With a* the best action by the mean of K quantiles,

    yⱼ = r + γ Z⁻_τ'ⱼ(s', a*),      L = Σᵢ mean_j [ |τᵢ - 1{yⱼ < Zᵢ}| h(yⱼ - Zᵢ) ],  Zᵢ = Z_τᵢ(s, a)       (eq. 3)

Where actions are chosen the K fractions are the midpoints (k - 1/2) / K, not draws: evaluation has no chance in it. All
else is DQN.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import losses, nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import array_module
from dbrrl.buffers import Batch
from dbrrl.config import setting
from dbrrl.distributions.masks import allowed, masked
from dbrrl.learning.gradient_step import LossAndMetrics, StepMetrics
from dbrrl.networks.q_network import QNetwork
from dbrrl.types import Array, Observation

from .dqn import DQN
from .dqn import Config as DQNConfig
from .qr_dqn import mean_error, midpoints


@dataclass(frozen=True)
class Config(DQNConfig):
    """Settings of DQN, and the quantiles; the last hidden layer is f, those before it are ψ."""

    quantiles: int = setting(8, at_least=1, help="N, fractions per transition for the prediction (paper: 64)")
    target_quantiles: int = setting(8, at_least=1, help="N', fractions per transition for the target (paper: 64)")
    action_quantiles: int = setting(32, at_least=1, at_most=10_000, help="K, fractions to choose actions (section 4)")
    cosines: int = setting(64, at_least=1, help="n, size of the embedding of τ (section 4)")


class IQNetwork(QNetwork):
    """Z_τ(s, ·): a batch of B observations and fractions (B, N) or (N,) to (B, N, actions)."""

    def __init__(self, cosines: int, *args: Any, rng: np.random.Generator, **kwargs: Any) -> None:
        super().__init__(*args, stream=True, rng=rng, **kwargs)
        self.cosines = cosines
        self.embedding = nn.Linear(cosines, self.width, gain=math.sqrt(2), rng=rng)

    def forward(self, observation: Observation, fractions: Any) -> Any:  # type: ignore[override]
        """Return the quantiles at `fractions`."""
        features = self.features(observation)
        batch, n = features.shape[0], fractions.shape[-1]
        angles = fractions[..., None] * (np.pi * array_module(fractions).arange(self.cosines, dtype=np.float32))
        embedded = np.cos(angles).astype(np.float32, copy=False)
        phi = F.linear(embedded, self.embedding.weight, self.embedding.bias, "relu")
        joined = F.expand_dims(features, 1) * phi
        mask = allowed(observation)
        mask = mask if mask is None else mask.repeat(n, axis=0)
        return self.outputs(joined.reshape(batch * n, self.width), mask).reshape(batch, n, self.actions)


class IQN(DQN):
    """DQN on quantiles at any fraction; `make_network`, `update`, `loss` and `values` are its own."""

    Config = Config
    saved_attributes = (*DQN.saved_attributes, "fraction_rng")

    def make_networks(self, rng: np.random.Generator) -> None:
        """Z_τ, its target, and the generator of the fractions."""
        self.fraction_rng = self.generator("fractions")
        super().make_networks(rng)

    @functools.cached_property
    def midpoints(self) -> Array:
        """The K fractions for choosing actions, (K,)."""
        return midpoints(self.config.action_quantiles, self.device)

    def make_network(self, rng: np.random.Generator, atoms: int | None = None) -> nn.Module:
        """Return a network of observations and fractions."""
        c = self.config
        return IQNetwork(
            c.cosines, self.preprocessor, self.actions, c.hidden_sizes, c.activation,
            dueling=c.dueling, noisy=c.noisy_sigma if c.noisy else None, rng=rng,
        )  # fmt: skip

    @property
    def largest_matmul(self) -> int:
        """Multiply-adds of the largest layer over a batch: after the embedding each fraction is a row."""
        c = self.config
        return int(super().largest_matmul * max(c.quantiles, c.target_quantiles, c.action_quantiles))

    def values(self, network: Any, observation: Observation) -> Any:
        """Return Q(s, a), the mean of K quantiles: (B, actions)."""
        return F.mean(network(observation, self.midpoints), axis=1)

    def return_distribution(self, observation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the K quantiles to choose actions by, each of the probability 1 / K, (B, actions, K) each."""
        quantiles = self.of_batch(observation, lambda given: self.network(given, self.midpoints)).swapaxes(1, 2)
        return quantiles, np.full(quantiles.shape, 1 / quantiles.shape[2])

    def update(self, batch: Batch) -> StepMetrics:
        """As DQN's, at fractions τ (n, N) and τ' (n, N') that are drawn for each transition."""
        c = self.config
        draw = self.fraction_rng.random
        tau = draw((len(batch), c.quantiles), dtype=np.float32)
        target_tau = draw((len(batch), c.target_quantiles), dtype=np.float32)
        return super().update(self.place(batch.add(tau=tau, target_tau=target_tau)))

    def loss(self, batch: Batch) -> LossAndMetrics:
        """Return L of each transition, and as metrics L and the size of the mean error, which is the priority."""
        theta, target = of_action(self.network(batch.observation, batch.tau), batch.action), self.target(batch)
        loss = losses.quantile_huber(theta, target, batch.tau)
        return loss, lambda: {
            "loss": loss.array,
            "error": mean_error(theta.array, target),
        }

    def target(self, batch: Batch) -> Any:
        """Return the samples yⱼ of each transition, (n, N')."""
        with no_grad():
            values = self.values(self.target_network, batch.next_observation).array
            best = masked(values, batch.next_observation).argmax(axis=1)
            following = of_action(self.target_network(batch.next_observation, batch.target_tau).array, best)
        return batch.reward[:, None] + batch.discount[:, None] * following


def of_action(quantiles: Any, action: Any) -> Any:
    """Return the quantiles of one action per row: (B, N, actions) and (B,) to (B, N)."""
    batch, n, actions = quantiles.shape
    return F.pick(quantiles.reshape(batch * n, actions), action.repeat(n)).reshape(batch, n)


Agent = IQN
