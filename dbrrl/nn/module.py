"""`Module`, the base of all networks, and `Parameter`."""

import os
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from dbrrl import checkpoint
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend import device_name, to_device, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, ConfigError, DtypeError, undefined
from dbrrl.nn.flat import Flat
from dbrrl.nn.mode import NOISE, OWN
from dbrrl.nn.mode import state as mode_state
from dbrrl.types import State


class Structure:
    """A number that changes with the parts of any module, and with the arrays that hold parameters."""

    version = 0


structure = Structure()


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimizer changes."""

    vector: Any = None  # the vector (n,) that `array` is a view into, or None
    start: int = 0  # where in `vector`

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def move(self, array: Any) -> None:
        """Hold the values in `array` from now on."""
        super().move(array)
        self.vector = None
        structure.version += 1

    def state_dict(self) -> State:
        """A copy of the values as a NumPy array."""
        return {"values": np.array(to_numpy(self.array))}

    def load_state_dict(self, state: State) -> None:
        """Restore the values that `state_dict` returned; dtype and device stay.

        Raises:
            CheckpointError: it is no state of a parameter of this shape and dtype; nothing is changed then.
        """
        with untrusted.state_of("Parameter.load_state_dict"):
            untrusted.table(state, "", "values")
        self.array[...] = _converted("Parameter", self, state["values"])
        self.changed()

    def __reduce__(self) -> Any:
        # A copy, for instance by copy.deepcopy(network), is no view into the original's vectors.
        grad = None if self.grad is None or isinstance(self.grad, Tensor) else self.grad.copy()
        return type(self), (self.array, self.requires_grad), {"grad": grad}


class Module:
    """Base of all networks: assign parameters and modules as attributes (or in lists and dicts), write `forward`.

    Besides parameters, the state of a module has its random generators and the arrays that `buffers` names.
    """

    buffers: ClassVar[tuple[str, ...]] = ()  # names of array attributes that are state but not learned
    draws: ClassVar[tuple[str, ...]] = ()  # buffers that are exploration noise, which each network draws for itself

    @property
    def training(self) -> bool:
        """Whether dropout, noise and all else that only learning needs is on; False inside `nn.evaluation()`."""
        own: bool = self.__dict__.get("training", True)
        allowed = mode_state.allowed
        return own and (allowed == OWN or (allowed == NOISE and bool(self.draws)))

    @training.setter
    def training(self, mode: bool) -> None:
        structure.version += mode != self.__dict__.get("training", True)
        self.__dict__["training"] = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; subclasses write it."""
        raise undefined(self, "forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`."""
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(value, PARTS) and callable(getattr(Module, name, None)):
            raise ConfigError(
                f"{type(self).__name__}.{name}: expected a name that is no method of Module: choose another one"
            )
        if isinstance(before, Parameter) and not isinstance(value, (Parameter, type(None))):
            raise ConfigError(
                f"{type(self).__name__}.{name}: expected a Parameter (or None), got {type(value).__name__}, which no "
                "optimizer would see: change it in place under no_grad(), or assign to its `data`"
            )
        if before is None or isinstance(value, PARTS) or isinstance(before, PARTS):
            structure.version += 1
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        structure.version += 1
        super().__delattr__(name)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) in order of definition; a shared parameter comes once, under its first name."""
        for name, _, _, value in self._walk(prefix, set()):
            if isinstance(value, Parameter):
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once, in order of definition."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self) -> "Iterator[tuple[str, Module, str]]":
        """(dotted name, owner, attribute of the owner) for all buffers except `draws`."""
        for name, owner, attribute, _ in self._walk("", set()):
            if attribute in owner.buffers and attribute not in owner.draws:
                yield name, owner, attribute

    def modules(self) -> "Iterator[Module]":
        """This module and all inside it, each once."""
        yield self
        yield from (value for _, _, _, value in self._walk("", {id(self)}) if isinstance(value, Module))

    def _walk(self, prefix: str, seen: set[int]) -> "Iterator[tuple[str, Module, str, Any]]":
        """(dotted name, owner, attribute of the owner, value) for all inner modules and all state, each object once."""
        for attribute, value in vars(self).items():
            if attribute in self.buffers:
                yield f"{prefix}{attribute}", self, attribute, value
                continue
            for name, item in _items(f"{prefix}{attribute}", value):
                if id(item) not in seen:
                    seen.add(id(item))
                    yield name, self, attribute, item
                    if isinstance(item, Module):
                        yield from item._walk(f"{name}.", seen)

    def flat(self) -> Flat:
        """The parameters as one contiguous vector, and their gradients as another. Deprecated."""
        warnings.warn(
            "Module.flat() is deprecated: use nn.parameters_to_vector, nn.vector_to_parameters or nn.polyak, or the "
            "`values` and `gradient` of an optimizer",
            DeprecationWarning,
            stacklevel=2,
        )
        flat = Flat(self.parameters())
        flat.changed()  # it is handed out to be written to
        return flat

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for p in self.parameters():
            if isinstance(p.grad, Tensor):
                p.grad = None
            elif p.grad is not None:
                p.grad.fill(0)

    def state_dict(self) -> dict[str, Any]:
        """Copies of parameters and buffers as NumPy arrays, and the states of generators, by dotted name."""
        state: dict[str, Any] = {}
        for name, _, _, value in self._walk("", set()):
            if isinstance(value, np.random.Generator):
                state[name] = dict(value.bit_generator.state)
            elif not isinstance(value, Module):
                state[name] = np.array(to_numpy(getattr(value, "array", value)))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned; parameters and buffers keep their dtype.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs; nothing is changed then.
        """
        with untrusted.state_of(f"{type(self).__name__}.load_state_dict"):
            untrusted.table(state, "")
        own = {name: rest for name, *rest in self._walk("", set()) if not isinstance(rest[-1], Module)}
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise CheckpointError(
                f"{type(self).__name__}.load_state_dict: expected exactly the parameters of this network; missing "
                f"{missing}, unknown {unknown}: build the network as it was when saved"
            )
        where = type(self).__name__
        fresh = {name: _converted(f"{where}.{name}", value, state[name]) for name, (_, _, value) in own.items()}
        for name, (owner, attribute, value) in own.items():
            if isinstance(value, np.random.Generator):
                value.bit_generator.state = fresh[name]
            elif isinstance(value, Parameter):
                value.array[...] = fresh[name]
                value.changed()
            else:
                setattr(owner, attribute, fresh[name])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state_dict()` to `path`, a safetensors file.

        Raises:
            CheckpointError: the file cannot be written.
        """
        checkpoint.save(path, self.state_dict(), kind="module")

    def load(self, path: str | os.PathLike[str]) -> Self:
        """Restore the state that `save` wrote, as `load_state_dict` does; no code in the file is run. Returns itself.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind, or its state is that of another network.
        """
        state = checkpoint.load(path, kind="module")
        try:
            self.load_state_dict(state)
        except CheckpointError as error:
            raise CheckpointError(f"{os.fspath(path)}: {error}") from None
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and noise on (or off) here and in all inner modules; returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move all parameters and buffers to `device` ("cpu", "cuda", "cuda:1"); returns itself.

        Dtypes stay. An optimizer made before a move raises at its next step: make optimizers after it.
        """
        self._convert(lambda array: to_device(array, device))
        return self

    def astype(self, dtype: Any) -> Self:
        """Convert parameters and floating-point buffers to `dtype`; returns itself. Make optimizers after it."""
        if np.dtype(dtype).kind != "f":
            raise DtypeError(f"astype: expected a floating-point dtype, got {np.dtype(dtype)}: gradients need one")
        self._convert(lambda array: array.astype(dtype, copy=False) if array.dtype.kind == "f" else array)
        return self

    def _convert(self, convert: Any) -> None:
        for _, owner, attribute, value in list(self._walk("", set())):
            if isinstance(value, Parameter):
                array = convert(value.array)
                if array is not value.array:
                    value.move(array)
                    value.changed()
                    value.grad = None
            elif attribute in owner.buffers:
                setattr(owner, attribute, convert(value))

    def __repr__(self) -> str:
        children = [
            f"  {name}: {item!r}".replace("\n", "\n  ")
            for attribute, value in vars(self).items()
            for name, item in _items(attribute, value)
            if isinstance(item, Module)
        ]
        return f"{type(self).__name__}({self.describe()}" + ("\n" + "\n".join(children) + "\n)" if children else ")")

    def describe(self) -> str:
        """The sizes that `repr` shows between the brackets."""
        return ""


PARTS = (Module, Tensor, list, tuple, dict)  # attributes that may hold parameters


def _items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The modules, parameters and generators in an attribute, through lists and dicts."""
    if isinstance(value, (Parameter, Module, np.random.Generator)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _items(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _items(f"{name}.{key}", item)


def _converted(name: str, own: Any, saved: Any) -> Any:
    """`saved` as a value to take the place of `own`, on its device; CheckpointError if it does not fit."""
    with untrusted.state_of(name, "build the network as it was when saved"):
        if isinstance(own, np.random.Generator):
            untrusted.generator(saved, type(own.bit_generator).__name__)
            type(own.bit_generator)(0).state = saved
            return saved
        present = getattr(own, "array", own)
        finite = isinstance(own, Parameter) or bool(np.isfinite(to_numpy(own)).all())  # a mask may hold infinities
        array = np.array(untrusted.array(saved, "", own.dtype, own.shape, finite=finite), own.dtype)
    return to_device(array, device_name(present))
