"""`Sequential`: modules one after the other, with as few ops as they need."""

from collections.abc import Iterator
from operator import is_
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

Step = tuple[list[Any], list[str | None]]  # layers that are one op, or one other module; their activations


class InTurn:
    """Calls modules one after the other; Linear layers that follow one another, with Tanh or ReLU, are one op.

    Which do is worked out once, and anew when the modules are others.
    """

    def __init__(self) -> None:
        self._known: tuple[list[Module], list[Step]] = [], []  # one tuple: threads may share a network

    def __call__(self, modules: list[Module], x: Any) -> Any:
        """The output of the last of `modules`."""
        known, steps = self._known
        if len(modules) != len(known) or not all(map(is_, modules, known)):
            steps = self._prepare(modules)
        y = x
        for layers, activations in steps:
            if len(layers) == 1:
                y = layers[0](y) if activations[0] is None else layers[0](y, activations[0])
                continue
            parameters: list[Parameter] = []
            for layer in layers:
                if layer.bias is None:  # it had one before
                    self._prepare(modules)
                    return self(modules, x)
                parameters += layer.weight, layer.bias
            y = F.perceptron(y, parameters, activations)
        return y

    def _prepare(self, modules: list[Module]) -> list[Step]:
        steps: list[Step] = []
        joined, i = False, 0  # whether the step before takes in the next layer
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
                steps.append(([module], [activation]))
            joined = joins
        self._known = list(modules), steps
        return steps


class Sequential(Module):
    """Modules applied one after the other; Linear layers with Tanh or ReLU between them are computed as one op."""

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not callable(module):
                raise ConfigError(
                    f"Sequential: expected modules, got {type(module).__name__} at {i}: write Sequential(*layers)"
                )
        self.layers = list(modules)
        self._in_turn = InTurn()

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        return self._in_turn(self.layers, x)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)
