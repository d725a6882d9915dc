"""`Sequential`: modules one after the other, with as few ops as they need."""

from collections.abc import Iterator, Sequence
from typing import Any

from dbrrl import functional as F
from dbrrl.errors import ConfigError
from dbrrl.nn.activations import ReLU, Tanh
from dbrrl.nn.conv import Conv2d
from dbrrl.nn.layers import Linear
from dbrrl.nn.module import Module, Parameter
from dbrrl.nn.noise import NoisyLinear

ACTIVATIONS: dict[type[Module], str] = {Tanh: "tanh", ReLU: "relu"}
FUSED = (Linear, NoisyLinear, Conv2d)  # layers whose op takes in the activation after it


def in_turn(modules: Sequence[Module], x: Any) -> Any:
    """The output of the last of `modules`; Linear layers that follow one another, with Tanh or ReLU, are one op."""
    parameters: list[Parameter] = []
    activations: list[str | None] = []
    i = 0
    while i < len(modules):
        module: Any = modules[i]
        i += 1
        activation = ACTIVATIONS.get(type(modules[i])) if i < len(modules) and type(module) in FUSED else None
        i += activation is not None
        if type(module) is Linear and module.bias is not None:
            parameters += module.weight, module.bias
            activations.append(activation)
            continue
        if activations:
            x, parameters, activations = F.perceptron(x, parameters, activations), [], []
        x = module(x) if activation is None else module(x, activation)
    return F.perceptron(x, parameters, activations) if activations else x


class Sequential(Module):
    """Modules applied one after the other; Linear layers with Tanh or ReLU between them are computed as one op."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not callable(module):
                raise ConfigError(
                    f"Sequential: expected modules, got {type(module).__name__} at {i}: write Sequential(*layers)"
                )
        self.layers = list(modules)

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        return in_turn(self.layers, x)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)
