"""Parameters and gradients of a module copied to and from one vector, as natural gradients and line searches need."""

from collections.abc import Sequence

from dbrrl import functional as F
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import Tensor, plain
from dbrrl.backend import array_module, to_device_of
from dbrrl.errors import GraphError, ShapeError
from dbrrl.nn.module import Module, Parameter
from dbrrl.types import Array

Parameters = Module | Sequence[Parameter]


def parameters_to_vector(parameters: Parameters) -> Array:
    """A copy of the values of all parameters of a module (or of a list), one after another: (n,)."""
    arrays = [p.array.reshape(-1) for p in _listed(parameters)]
    return array_module(arrays[0]).concatenate(arrays)  # type: ignore[no-any-return]


def vector_to_parameters(vector: Array, parameters: Parameters) -> None:
    """Copy the values in `vector` (n,) into the parameters of a module (or of a list), in their order.

    Raises:
        ShapeError: the vector has another length than the parameters together.
    """
    listed = _listed(parameters)
    expected = (sum(p.size for p in listed),)
    if vector.shape != expected:
        raise ShapeError(f"vector_to_parameters: expected a vector {expected}, got {vector.shape}")
    start = 0
    for p in listed:
        p.array[...] = to_device_of(p.array, plain(vector[start : start + p.size])).reshape(p.shape)
        p.changed()
        start += p.size


def flat_gradient(
    output: Tensor, parameters: Parameters, create_graph: bool = False, retain_graph: bool = False
) -> Tensor:
    """The gradient of `output`, a scalar, with respect to all parameters as one vector (n,); no `grad` is touched.

    It is 0 for parameters that are frozen or that `output` does not depend on.

    Args:
        create_graph: let the result be differentiated again. A product of the Hessian with a vector v is
            `flat_gradient((flat_gradient(output, parameters, create_graph=True) * v).sum(), parameters)`.
        retain_graph: keep the graph of `output` for another call.
    """
    listed = _listed(parameters)
    learned = [p for p in listed if p.requires_grad]
    found = iter(grad(output, learned, None, create_graph, retain_graph, allow_unused=True))
    gradients = [next(found) if p.requires_grad else None for p in listed]
    pieces = [p.array * 0 if g is None else g for p, g in zip(listed, gradients, strict=True)]
    return F.concatenate([F.reshape(piece, (-1,)) for piece in pieces])  # type: ignore[no-any-return]


def _listed(parameters: Parameters) -> list[Parameter]:
    listed = parameters.parameters() if isinstance(parameters, Module) else list(parameters)
    if not listed:
        raise GraphError("expected at least one parameter, got none: assign some as attributes of the module")
    return listed
