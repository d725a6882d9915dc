"""Cuts states off from the graph that computed them, for truncated backpropagation through time."""

from typing import Any

from dbrrl.autodiff.register import method
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import GraphError


def detach(state: Any) -> Any:
    """`state` with every tensor cut off from its graph: a tensor, or tuples, lists and dicts of them, nested.

    Truncated backpropagation through time (Williams & Peng 1990) goes on from the detached state of a recurrent
    network. Arrays, numbers and None stay as they are.
    """
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: detach(part) for name, part in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*map(detach, state))
    if isinstance(state, (list, tuple)):
        return type(state)(map(detach, state))
    return state


@method("unchain")
def unchain(x: Tensor) -> Tensor:
    """Forget what computed this tensor, in place, and return it: no gradient goes further back from here.

    What was computed from it before stops here, too. `detach` gives another tensor and leaves this one as it is.

    Raises:
        GraphError: it is a leaf that requires gradients, which would lose them.
    """
    if x.op is None and x.requires_grad:
        raise GraphError("unchain(): expected a computed tensor, got a leaf that requires gradients: use detach()")
    x.share()  # graphs computed before may still need the values
    x.op, x.requires_grad = None, False
    return x
