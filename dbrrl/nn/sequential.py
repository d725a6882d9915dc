"""`Sequential`: modules applied one after another, with layers and activations fused."""

import warnings
from collections.abc import Iterator
from typing import Any

from dbrrl import functional as F
from dbrrl.errors import ConfigError
from dbrrl.nn.activations import ReLU, Tanh
from dbrrl.nn.conv import Conv2d
from dbrrl.nn.layers import Linear
from dbrrl.nn.module import Module, Parameter, structure
from dbrrl.nn.noise import NoisyLinear

ACTIVATIONS: dict[type[Module], str] = {Tanh: "tanh", ReLU: "relu"}
FUSED = (Linear, NoisyLinear, Conv2d)  # layers whose op can apply the activation that follows

# Layers that are one op, or one other module; their activations; the parameters of layers that are one op.
Step = tuple[list[Any], list[str | None], list[Parameter]]


class FusedLayers:
    """Calls modules one after another; consecutive Linear layers with their Tanh or ReLU activations are one op.

    The plan of what is fused is kept until other modules are given, or a part of any module is another one.
    """

    def __init__(self) -> None:
        # Modules, structure.version, steps: one tuple, because threads may share a network.
        self._plan: tuple[list[Module], int, list[Step]] = [], -1, []

    def __call__(self, modules: list[Module], x: Any) -> Any:
        """The output of the last of `modules`."""
        planned, version, steps = self._plan
        if modules != planned or version != structure.version:
            steps = self._make_plan(modules)
        y = x
        for layers, activations, parameters in steps:
            if parameters:
                y = F.perceptron(y, parameters, activations)
            else:
                y = layers[0](y) if activations[0] is None else layers[0](y, activations[0])
        return y

    def _make_plan(self, modules: list[Module]) -> list[Step]:
        steps: list[Step] = []
        version = structure.version
        joined, i = False, 0  # joined: the previous step can be fused with the next layer
        while i < len(modules):
            module: Any = modules[i]
            i += 1
            activation = ACTIVATIONS.get(type(modules[i])) if i < len(modules) and type(module) in FUSED else None
            i += activation is not None
            joins = type(module) is Linear and module.bias is not None
            if joins and joined:
                steps[-1][0].append(module)
                steps[-1][1].append(activation)
            else:
                steps.append(([module], [activation], []))
            joined = joins
        for layers, _, parameters in steps:
            if len(layers) > 1:
                parameters += [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        self._plan = list(modules), version, steps
        return steps


class Sequential(Module):
    """Modules applied one after another; consecutive Linear layers with Tanh or ReLU between them are one op."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not callable(module):
                raise ConfigError(
                    f"Sequential: expected modules, got {type(module).__name__} at {i}: write Sequential(*layers)"
                )
        self.layers = list(modules)
        self._fused = FusedLayers()

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        return self._fused(self.layers, x)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


def __getattr__(name: str) -> Any:
    if name == "InTurn":
        warnings.warn("InTurn is now named FusedLayers", DeprecationWarning, stacklevel=2)
        return FusedLayers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
