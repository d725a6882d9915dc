"""The network of the policy-gradient agents: a policy and a value over one set of features."""

from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl import nn
from dbrrl.errors import ConfigError
from dbrrl.heads import Head
from dbrrl.observations import Encoder


class ActorCritic(nn.Module):
    """Separate policy and value networks; on images they share one Nature CNN.

    Any module can take its place that has `policy(parts)` -> (B, head.size), `value(parts)` -> (B,), `forward(parts)`
    -> both, and, for Box actions, a Parameter `log_std` (head.size,). `parts` are those of `Encoder`.
    A file saved by an agent with another network is read by its `restore`, once it has been given that network again.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        hidden_sizes: tuple[int, ...] | None,
        activation: str,
        log_std_init: float,
        rng: np.random.Generator,
    ) -> None:
        self.images = [nn.NatureCNN(shape, rng=rng) for shape in encoder.image_shapes]
        hidden = hidden_sizes if hidden_sizes is not None else () if self.images else (64, 64)
        features = encoder.vector_size + sum(cnn.features for cnn in self.images)
        self.actor = nn.mlp((features, *hidden, head.size), activation, out_gain=0.01, rng=rng)
        self.critic = nn.mlp((features, *hidden, 1), activation, out_gain=1.0, rng=rng)
        start = np.full(head.size, log_std_init, np.float32)
        self.log_std = nn.Parameter(start) if head.continuous else None

    def features(self, parts: list[Any]) -> Any:
        """What both networks read: (B, n)."""
        vectors = parts[: len(parts) - len(self.images)]
        images = [cnn(part) for cnn, part in zip(self.images, parts[len(vectors) :], strict=True)]
        joined = vectors + images
        return joined[0] if len(joined) == 1 else F.concatenate(joined, axis=1)

    def policy(self, parts: list[Any]) -> Any:
        """The outputs that the head reads: (B, head.size)."""
        return self.actor(self.features(parts))

    def value(self, parts: list[Any]) -> Any:
        """V(s): (B,)."""
        return self.critic(self.features(parts)).reshape(-1)

    def forward(self, parts: list[Any]) -> tuple[Any, Any]:
        """Outputs and values, with the features computed once."""
        features = self.features(parts)
        return self.actor(features), self.critic(features).reshape(-1)


def checked(module: Any) -> nn.Module:
    """`module`; ConfigError where it cannot take the place of an ActorCritic."""
    if not isinstance(module, nn.Module) or not hasattr(module, "policy") or not hasattr(module, "value"):
        raise ConfigError(
            f"network: expected an nn.Module with policy(parts), value(parts) and forward(parts), got "
            f"{type(module).__name__}: write it like dbrrl.actor_critic.ActorCritic"
        )
    return module
