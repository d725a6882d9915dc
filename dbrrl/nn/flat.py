"""One contiguous vector for all parameters of a model, and one for their gradients."""

from collections.abc import Sequence
from typing import Any

from dbrrl.autodiff.memory import change, hand_out
from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import array_module, beside
from dbrrl.errors import DtypeError, GraphError


class Flat:
    """Vectors `values` and `grads` (n,) that the parameters' arrays and gradients are views into.

    An optimizer step is a handful of array operations on them, the global norm one dot product, a target network one
    axpy, a checkpoint one array. A run of neighbors is a Flat of its own, on slices of the same vectors.

    Raises:
        GraphError: `values` or `grads` of a Flat whose parameters were since moved elsewhere.
    """

    vector: Any  # the values, for the library's own use: whoever changes it calls `changed`
    grads: Any

    def __init__(self, parameters: Sequence[Any], values: Any, grads: Any, views: list[Any]) -> None:
        self.parameters = list(parameters)
        self.vector, self.grads = values, grads
        self.views = views  # the parameters' gradients, as views into `grads`
        self.parts: dict[tuple[int, int], Flat] = {}  # by first parameter and the one after the last

    @property
    def values(self) -> Any:
        """The parameters' values (n,), to read and to change; a graph that needs the old ones notices a change."""
        return hand_out(self.vector, [(p.share(), p.array) for p in self.parameters])

    def gather(self) -> Any:
        """`grads`, after taking in any gradient that was set from outside the vector."""
        for p, view in zip(self.parameters, self.views, strict=True):
            if p.grad is not view:
                view[...] = 0 if p.grad is None else beside(view, plain(p.grad))
                p.grad = view
        return self.grads

    def changed(self) -> None:
        """Say that `vector` was changed: a graph recorded before refuses to go backward."""
        now = change()
        for p in self.parameters:
            p.memory.changed = now

    def find(self, parameters: Sequence[Any]) -> tuple[int, int] | None:
        """Where `parameters` stand here as neighbors in this order: the first's place, and the last's plus one."""
        start = next((i for i, p in enumerate(self.parameters) if p is parameters[0]), None)
        if start is None:
            return None
        here = self.parameters[start : start + len(parameters)]
        same = len(here) == len(parameters) and all(a is b for a, b in zip(here, parameters, strict=True))
        return (start, start + len(parameters)) if same else None

    def part(self, place: tuple[int, int]) -> "Flat":
        """The Flat of the parameters at a place that `find` gave."""
        if place == (0, len(self.parameters)):
            return self
        if place not in self.parts:
            first, last = place
            inner = self._slice(place)
            self.parts[place] = Flat(
                self.parameters[first:last], self.vector[inner], self.grads[inner], self.views[first:last]
            )
        return self.parts[place]

    def _slice(self, place: tuple[int, int]) -> slice:
        start = sum(p.size for p in self.parameters[: place[0]])
        return slice(start, start + sum(p.size for p in self.parameters[place[0] : place[1]]))

    def adopt(self, old: "Flat") -> None:
        """Move `old` into this one's vectors where its parameters are neighbors here too; else it expires."""
        place = self.find(old.parameters)
        if place is None:
            old.expire()
            return
        inner = self._slice(place)
        old.vector, old.grads = self.vector[inner], self.grads[inner]
        old.views = self.views[place[0] : place[1]]
        if place != (0, len(self.parameters)):
            self.parts[place] = old
        for (first, last), part in old.parts.items():
            part.vector, part.grads = old.vector[old._slice((first, last))], old.grads[old._slice((first, last))]
            part.views = old.views[first:last]
            self.parts[place[0] + first, place[0] + last] = part
        old.parts = {}

    def expire(self) -> None:
        """Let go of the vectors: whoever still uses this Flat is told so, instead of working on what is stale."""
        for flat in (self, *self.parts.values()):
            if "vector" in vars(flat):
                del flat.vector, flat.grads, flat.views
        for p in self.parameters:
            if p.flat is self:
                p.flat = None

    def __getattr__(self, name: str) -> Any:
        if name in ("values", "vector", "grads", "views"):
            raise GraphError(
                "these parameters were moved to other vectors (a second optimizer with some of them, or .to(device)): "
                "expected the newest optimizer to be used; make this one again"
            )
        raise AttributeError(f"Flat has no attribute {name!r}")

    def __reduce__(self) -> Any:
        return flatten, (self.parameters,)  # a copy's parameters are views into vectors of the copy


def flatten(parameters: Sequence[Any]) -> Flat:
    """Move `parameters` into one vector each for values and gradients, unless they already stand so in this order.

    One that comes twice counts once. A Flat made earlier of some of them goes on in the new vectors where its
    parameters are neighbors here too, and expires otherwise.

    Raises:
        GraphError: there is no parameter, or something else than a leaf tensor.
        DtypeError: the parameters do not share one dtype.
    """
    parameters = list({id(p): p for p in parameters}.values())
    if not parameters:
        raise GraphError("flatten: expected a parameter that wants gradients, got none: assign some as attributes")
    for i, p in enumerate(parameters):
        if not isinstance(p, Tensor) or p.op is not None:
            raise GraphError(
                f"flatten: expected Parameters or other leaf tensors, got {type(p).__name__} at {i}: pass a list"
            )
    current: Flat | None = getattr(parameters[0], "flat", None)
    place = current.find(parameters) if current is not None else None
    if current is not None and place is not None:
        return current.part(place)
    dtypes = {p.dtype for p in parameters}
    if len(dtypes) > 1:
        names = sorted(map(str, dtypes))
        raise DtypeError(f"flatten: expected parameters of one dtype, got {names}: convert them with module.astype")
    before = {id(flat): flat for flat in (getattr(p, "flat", None) for p in parameters) if flat is not None}
    flat = _join(parameters)
    for old in before.values():
        flat.adopt(old)
    for p in parameters:
        p.flat = flat
    return flat


def join(parameters: Sequence[Any]) -> Any:
    """Move the values of `parameters` into one new vector (n,), which they become views into; returns the vector."""
    vector, start = array_module(parameters[0].array).concatenate([p.array.reshape(-1) for p in parameters]), 0
    for p in parameters:
        p.move(vector[start : start + p.size].reshape(p.shape))
        p.vector, p.start, start = vector, start, start + p.size
    return vector


def consecutive(parameters: Sequence[Any]) -> Any:
    """The piece of a vector (n,) that holds the values of `parameters` one after another; None if there is none."""
    vector = parameters[0].vector
    if vector is None:
        return None
    stop = start = parameters[0].start
    for p in parameters:
        if p.vector is not vector or p.start != stop:
            return None
        stop += p.size
    return vector[start:stop]


def _join(parameters: Sequence[Any]) -> Flat:
    """New vectors with the values and gradients of `parameters`, which become views into them."""
    values = join(parameters)
    grads = array_module(values).zeros_like(values)
    views, start = [], 0
    for p in parameters:
        view = grads[start : start + p.size].reshape(p.shape)
        if p.grad is not None:
            view[...] = beside(view, plain(p.grad))
        p.grad, start = view, start + p.size
        views.append(view)
    return Flat(parameters, values, grads, views)


def unflatten(parameters: Sequence[Any]) -> None:
    """Take `parameters` out of their vectors, to be given other arrays; every Flat that holds one of them expires."""
    for p in parameters:
        if p.flat is not None:
            p.flat.expire()
