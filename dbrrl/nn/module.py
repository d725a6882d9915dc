"""`Module` and `Parameter`: parts of a network that find their own parameters."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import device_name, to_device, to_numpy
from dbrrl.errors import CheckpointError
from dbrrl.nn.flat import Flat, flatten


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimizer changes."""

    flat: Any = None  # the Flat whose vectors hold its values and gradient

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


class Module:
    """Base of all networks: assign parameters and modules as attributes (or in lists and dicts), write `forward`."""

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): expected one, define it in the class")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) in order of definition; a shared parameter comes once, under its first name."""
        seen: set[int] = set()
        for name, value in self._walk(prefix):
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [p for _, p in self.named_parameters()]

    def modules(self) -> "Iterator[Module]":
        """This module and all inside it."""
        yield self
        yield from (value for _, value in self._walk("") if isinstance(value, Module))

    def _walk(self, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from _walk_value(f"{prefix}{name}", value)

    def flat(self) -> Flat:
        """The parameters as one contiguous vector, and their gradients as another; made on the first call."""
        return flatten(self.parameters())

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.flat().grads.fill(0)

    def state_dict(self) -> dict[str, Any]:
        """A copy of every parameter as a NumPy array, by dotted name."""
        return {name: np.array(to_numpy(p.array)) for name, p in self.named_parameters()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs; nothing is changed then.
        """
        own = dict(self.named_parameters())
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise CheckpointError(
                f"{type(self).__name__}.load_state_dict: expected exactly the parameters of this network; missing "
                f"{missing}, unknown {unknown}: build the network as it was when saved"
            )
        for name, p in own.items():
            if np.shape(state[name]) != p.shape:
                raise CheckpointError(
                    f"{type(self).__name__}.load_state_dict: {name} expected shape {p.shape}, got "
                    f"{np.shape(state[name])}: build the network as it was when saved"
                )
        for name, p in own.items():
            p.array[...] = to_device(np.asarray(state[name], p.dtype), device_name(p.array))
            p.version += 1

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and noise on (or off) here and in all inner modules; returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move every parameter to `device` ("cpu", "cuda", "cuda:1"); returns itself."""
        for p in self.parameters():
            p.array, p.grad, p.flat = to_device(p.array, device), None, None
        return self

    def __repr__(self) -> str:
        inner = ((name, value) for name, value in self._walk("") if isinstance(value, Module) and "." not in name)
        lines = "\n".join(f"  {name}: {value!r}".replace("\n", "\n  ") for name, value in inner)
        return f"{type(self).__name__}({self.describe()}" + (f"\n{lines}\n)" if lines else ")")

    def describe(self) -> str:
        """The sizes that `repr` shows between the brackets."""
        return ""


def _walk_value(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Parameter):
        yield name, value
    elif isinstance(value, Module):
        yield name, value
        yield from value._walk(f"{name}.")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _walk_value(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk_value(f"{name}.{key}", item)
