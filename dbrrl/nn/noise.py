"""Random layers: each draws from its own generator, which is part of the module's state."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl import functional as F
from dbrrl.backend import device_name, to_device
from dbrrl.errors import ConfigError
from dbrrl.nn import init
from dbrrl.nn.layers import check_sizes, generator
from dbrrl.nn.module import Module, Parameter


def own_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """A generator for one layer: from a seed, from the system's entropy (None), or seeded by a draw from `rng`."""
    if isinstance(rng, np.random.Generator):
        # Layers made from one generator must not share a stream: each is saved and put back on its own.
        return np.random.Generator(np.random.PCG64(rng.integers(2**63, size=2).tolist()))
    return generator(rng)


class Dropout(Module):
    """In training, zero each element with probability p and scale the rest by 1 / (1 - p) (Srivastava et al. 2014).

    Args:
        p: probability, in [0, 1).
        rng: seed of the layer's generator, or a generator that draws one.
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | int | None = None) -> None:
        if not 0 <= p < 1:
            raise ConfigError(f"Dropout: expected a probability p in [0, 1), got {p}")
        self.p, self.rng = p, own_generator(rng)

    def forward(self, x: Any) -> Any:
        """The shape of x; x itself in evaluation."""
        return F.dropout(x, self.p, self.rng, self.training)

    def describe(self) -> str:
        """The probability, for `repr`."""
        return f"p={self.p}"


class NoisyLinear(Module):
    """Linear layer with learned, factorized Gaussian noise on its weights (Fortunato et al. 2018, eq. 9-11).

    y = (μ_w + σ_w ⊙ f(ε_out) f(ε_in)ᵀ) x + μ_b + σ_b ⊙ f(ε_out), f(ε) = sign ε √|ε|. One draw serves all rows of a
    batch and is kept until `resample()`. In evaluation y = μ_w x + μ_b.

    Args:
        sigma: σ₀: all σ start at σ₀ / √(in_features), all μ uniform with bound 1 / √(in_features) (section 3.2).
        rng: generator or seed of the initial weights; it also seeds the layer's own generator of noise.
    """

    buffers = ("noise_in", "noise_out")
    draws = ("noise_in", "noise_out")

    def __init__(
        self, in_features: int, out_features: int, sigma: float = 0.5, rng: np.random.Generator | int | None = None
    ) -> None:
        check_sizes("NoisyLinear", in_features=in_features, out_features=out_features)
        rng, shape = generator(rng), (out_features, in_features)
        bound = 1 / math.sqrt(max(in_features, 1))
        self.weight = Parameter(init.uniform(rng, shape, bound))
        self.bias = Parameter(init.uniform(rng, (out_features,), bound))
        self.weight_sigma = Parameter(np.full(shape, sigma * bound, np.float32))
        self.bias_sigma = Parameter(np.full(out_features, sigma * bound, np.float32))
        self.rng = own_generator(rng)
        self.noise_in: Any = np.zeros(in_features, np.float32)
        self.noise_out: Any = np.zeros(out_features, np.float32)
        self.resample()

    def resample(self, rng: np.random.Generator | None = None) -> None:
        """Draw new noise, from `rng` or the layer's own generator."""
        resample_noise([self], rng)

    def forward(self, x: Any, activation: str | None = None) -> Any:
        """(..., in_features) to (..., out_features); `activation` as in `functional.linear`."""
        if not self.training:
            return F.linear(x, self.weight, self.bias, activation)
        noise = self.noise_in, self.noise_out
        return F.noisy_linear(x, self.weight, self.bias, self.weight_sigma, self.bias_sigma, noise, activation)

    def describe(self) -> str:
        """Sizes for `repr`."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


def resample_noise(layers: "Module | Sequence[NoisyLinear]", rng: np.random.Generator | None = None) -> None:
    """Draw new noise in NoisyLinear layers, or in all inside a module, from `rng` or the layers' own generators."""
    if isinstance(layers, Module):
        layers = noisy_layers(layers)
    if not layers:
        return
    sizes = [len(noise) for layer in layers for noise in (layer.noise_in, layer.noise_out)]
    if rng is not None:
        draw = rng.standard_normal(sum(sizes))
    else:
        pairs = zip(layers, sizes[::2], sizes[1::2], strict=True)
        draw = np.concatenate([layer.rng.standard_normal(inputs + outputs) for layer, inputs, outputs in pairs])
    noise = np.sign(draw)
    noise *= np.sqrt(np.abs(draw, out=draw), out=draw)
    like, stop = layers[0].noise_in, 0
    noise = to_device(noise.astype(like.dtype), device_name(like))
    for layer, inputs, outputs in zip(layers, sizes[::2], sizes[1::2], strict=True):
        start, middle, stop = stop, stop + inputs, stop + inputs + outputs
        layer.noise_in[...], layer.noise_out[...] = noise[start:middle], noise[middle:stop]  # a CUDA graph reads these


def noisy_layers(module: Module) -> list[NoisyLinear]:
    """The NoisyLinear layers inside a module."""
    return [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]
