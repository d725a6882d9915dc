"""The engine: reverse-mode differentiation over the recorded ops, newest first."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.memory import latest
from dbrrl.autodiff.op import Op, is_half, one_each, shape_of, share_memory
from dbrrl.autodiff.register import method
from dbrrl.autodiff.tensor import Tensor, plain, state, wrap
from dbrrl.backend import array_module, replaceable, to_device_of
from dbrrl.errors import GraphError, ShapeError


def _initial_gradient(tensor: Tensor, grad: Any, create_graph: bool) -> Any:
    array = tensor.array
    if type(grad) is type(array) and grad.shape == array.shape and grad.dtype == array.dtype:
        return grad
    if grad is None:
        if array.size != 1:
            raise GraphError(
                f"backward() expected a scalar, got shape {tensor.shape}: reduce it first, for example with .mean(), "
                "or pass the gradient of that shape"
            )
        if array.ndim:
            return np.ones_like(array)
        grad = 1
    if isinstance(grad, (float, int)) and not array.ndim:
        on_cpu = isinstance(array, (np.generic, np.ndarray))
        return array.dtype.type(grad) if on_cpu else np.full_like(array, grad)
    shape = np.shape(plain(grad)) if not hasattr(grad, "shape") else grad.shape
    if shape != tensor.shape:
        raise ShapeError(f"backward(grad): expected shape {tensor.shape}, got {shape}: pass one gradient per element")
    if isinstance(grad, Tensor):
        grad = grad if grad.dtype == array.dtype else grad.astype(array.dtype)
        return grad if create_graph else grad.array
    if array_module(grad) is not np:
        return grad.astype(tensor.dtype, copy=False)
    return to_device_of(array, np.asarray(grad, dtype=tensor.dtype))


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes that broadcasting added to `shape`; works on arrays and tensors."""
    if is_half(g) and not isinstance(g, Tensor):
        return unbroadcast(g.astype(np.float32), shape).astype(np.float16)
    extra = g.ndim - len(shape)
    if extra > 0:
        g = sum_leading(g, extra)
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.ndim == len(shape) and g.shape[i] != 1)
    g = np.sum(g, axis=axes, keepdims=True) if axes else g
    if g.shape != shape:
        raise ShapeError(
            f"backward: expected a gradient that broadcasting of {shape} explains, got {g.shape}: "
            "return one of the input's or of the output's shape"
        )
    return g


@replaceable
def sum_leading(g: Any, n: int) -> Any:
    """The sum of an array or tensor over its first `n` axes."""
    return np.sum(g, axis=tuple(range(n)))


def _refuse(op: Op, inputs: tuple[Any, ...] | None) -> GraphError:
    if inputs is None:
        return GraphError(
            f"backward() walked this graph before and freed it (at {type(op).__name__}): expected a fresh graph; "
            "compute the loss again, or pass retain_graph=True the first time"
        )
    shapes = ", ".join(str(x.shape) for x in inputs if isinstance(x, Tensor))
    return GraphError(
        f"an input of {type(op).__name__} (shapes {shapes}) was changed in place after it was recorded: "
        "expected the values that forward saw; change it after backward(), or change a copy"
    )


def _cut(x: Tensor) -> GraphError:
    return GraphError(
        f"requires_grad of what {type(x.op).__name__} computed (shape {x.shape}) was set to False, which cuts its "
        "graph: expected a leaf there; use detach() for the values alone"
    )


def _changed(inputs: tuple[Any, ...], order: int) -> bool:
    """Whether one of `inputs` was changed in place since the time `order`."""
    return any(isinstance(x, Tensor) and x.memory.changed < order for x in inputs)


def _recorded_output(op: Op) -> Tensor:
    """The output of `op` as a member of the graph, for a backward pass that is recorded itself."""
    y = wrap(op.output)
    y.op, y.requires_grad = op, True
    share_memory(y, op.inputs or ())
    return y


def walk(
    outputs: Sequence[Tensor],
    grads: Sequence[Any],
    wanted: Sequence[Tensor],
    create_graph: bool,
    retain_graph: bool,
) -> list[Any]:
    """Reverse-mode differentiation: hand gradients from `outputs` to what they were computed from, newest op first.

    With `wanted`, returns their gradients (None where unreached); without, adds to `grad` of every leaf.
    """
    heap: list[tuple[int, Op]] = []
    found: dict[int, Any] = {}
    leaves: Any = wanted and {id(t) for t in wanted if t.op is None}
    inner: Any = wanted and {t.op.order for t in wanted if t.op is not None}
    observer = state.observer
    before, state.recording = state.recording, create_graph
    # Gradients still to hand on; after each op, those of its inputs.
    receivers: Sequence[Any] = outputs
    op: Any = None  # whose backward they come from
    arriving: Any = [g if isinstance(g, Tensor) else wrap(g) for g in grads] if create_graph else grads
    try:
        while True:
            for x, g in zip(receivers, arriving):  # noqa: B905 - the keyword costs a tenth of the loop
                if not isinstance(x, Tensor):
                    continue
                if not x.requires_grad:
                    if x.op is not None:
                        raise _cut(x)
                    continue
                if g is None:
                    continue
                shape = x.array.shape
                if (g.shape if type(g) is np.ndarray else shape_of(op, g)) != shape:
                    g = unbroadcast(g, shape)
                parent = x.op
                if parent is not None:
                    if parent.gradient is None:
                        parent.gradient = g
                        heapq.heappush(heap, (parent.order, parent))
                    else:
                        parent.gradient = parent.gradient + g
                elif not wanted:
                    if type(x.grad) is np.ndarray and type(g) is np.ndarray:
                        x.grad += g  # most often a view into the flat gradient
                    else:
                        _accumulate(x, g)
                elif id(x) in leaves:
                    found[id(x)] = found[id(x)] + g if id(x) in found else g
            if not heap:
                break
            order, op = heapq.heappop(heap)
            g, op.gradient = op.gradient, None
            if order in inner:
                found[order] = g
            inputs = op.inputs
            if inputs is None:
                raise _refuse(op, inputs)
            if latest[0] < order and op.saves_inputs and _changed(inputs, order):
                raise _refuse(op, inputs)
            values = []
            for x in inputs:
                values.append(x.array if isinstance(x, Tensor) else x)
            y, given = (_recorded_output(op), inputs) if create_graph else (op.output, values)
            arriving = op.backward(g, y, *given) if observer is None else observer.backward(op, g, y, given)
            if type(arriving) is np.ndarray and len(inputs) == 1:
                arriving = (arriving,)
            elif type(arriving) is not tuple or len(arriving) != len(inputs):
                arriving = one_each(op, inputs, arriving)
            if not retain_graph:
                op.inputs = op.output = None
            receivers = inputs
    finally:
        state.recording = before
        for _, op in heap:  # only after an error
            op.gradient = None
    return [found.get(id(t) if t.op is None else t.op.order) for t in wanted]


def _accumulate(leaf: Tensor, g: Any) -> None:
    """Add `g` to the gradient of a leaf: in place where it lives in a flat vector."""
    if isinstance(g, Tensor):
        own = _own(g, leaf)
        leaf.grad = own if leaf.grad is None else leaf.grad + own
    elif leaf.grad is None:
        leaf.grad = _own(g, leaf).array
    elif isinstance(leaf.grad, Tensor):
        leaf.grad = leaf.grad + g
    else:
        leaf.grad += g


def backward(
    tensors: Sequence[Tensor],
    grads: Sequence[Any] | None = None,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> None:
    """Add the gradient of Σ grads · tensors to `grad` of every leaf: one walk for several quantities.

    With scalars, `backward([a, b], [1.0, -0.5])` differentiates a - 0.5 b without recording that sum. Arguments and
    errors are those of `Tensor.backward`, of which this is the general form.
    """
    vectors = [None] * len(tensors) if grads is None else grads
    for tensor in tensors:
        if not tensor.requires_grad:
            raise GraphError(
                "backward() expected a tensor computed from one with requires_grad=True, got one without: "
                "set requires_grad=True on an input, or leave no_grad()"
            )
    if len(vectors) != len(tensors):
        raise GraphError(f"backward(): expected {len(tensors)} grads, got {len(vectors)}: one per tensor, or None")
    starts = [_initial_gradient(t, g, create_graph) for t, g in zip(tensors, vectors, strict=True)]
    walk(tensors, starts, (), create_graph, retain_graph or create_graph)


@method("backward")
def _backward(self: Tensor, grad: Any = None, create_graph: bool = False, retain_graph: bool = False) -> None:
    """Add the gradient of this tensor to `grad` of every leaf it was computed from.

    Args:
        grad: gradient of the final quantity with respect to this tensor, same shape; 1 for a scalar.
        create_graph: record the backward pass too, so that gradients can be differentiated again.
        retain_graph: keep the graph for another backward; otherwise it is freed as it is walked.

    Raises:
        GraphError: a non-scalar without `grad`, nothing to differentiate, a graph walked before and freed,
            or an array that was changed in place since it was recorded.
    """
    backward([self], [grad], create_graph, retain_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """Gradients of the sum of `outputs` with respect to `inputs`, which need not be leaves; no `grad` is touched.

    Args:
        outputs: a tensor or a list of them; scalars unless `grad_outputs` gives one gradient per element.
        inputs: a tensor (returns one gradient) or a list of them (returns a list).
        grad_outputs: as `outputs`: the vectors of the vector-Jacobian products.
        create_graph: return tensors that can be differentiated again.
        retain_graph: keep the graph for another walk.
        allow_unused: give None for an input that the outputs do not depend on, instead of an error.

    Raises:
        GraphError: an output or an input takes no part in a graph, or the graph was freed; not one of
            `grad_outputs` per output.
    """
    one = isinstance(inputs, Tensor)
    targets: list[Tensor] = [inputs] if one else list(inputs)
    tops: list[Tensor] = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    vectors = [None] * len(tops) if grad_outputs is None else grad_outputs
    vectors = [vectors] if isinstance(outputs, Tensor) and grad_outputs is not None else vectors
    for name, group in (("outputs", tops), ("inputs", targets)):
        for i, tensor in enumerate(group):
            if not isinstance(tensor, Tensor) or not tensor.requires_grad:
                raise GraphError(
                    f"grad(): expected {name}[{i}] to be a Tensor that requires gradients, got "
                    f"{type(tensor).__name__}: set requires_grad=True before computing with it"
                )
    if len(vectors) != len(tops):
        raise GraphError(f"grad(): expected {len(tops)} grad_outputs, got {len(vectors)}: one per output, or None")
    if not targets:
        return []
    starts = [_initial_gradient(t, v, create_graph) for t, v in zip(tops, vectors, strict=True)]
    gradients = walk(tops, starts, targets, create_graph, retain_graph or create_graph)
    for i, gradient in enumerate(gradients):
        if gradient is None and not allow_unused:
            raise GraphError(
                f"grad(): the outputs do not depend on inputs[{i}] (shape {targets[i].shape}): expected an input "
                "they were computed from; pass allow_unused=True to get None instead"
            )
    result = [None if g is None else _own(g, t) for g, t in zip(gradients, targets, strict=True)]
    return result[0] if one else result


def _own(g: Any, tensor: Tensor) -> Tensor:
    """`g` as a gradient of `tensor`: of its dtype (operands of a wider type may have widened it), in memory of its own.

    Where gradients are only handed on, `g` is the array that the user gave, or that of another tensor's gradient.
    """
    if isinstance(g, Tensor):
        fresh = g.op is not None and g.array.base is None and g.dtype == tensor.dtype
        return g if fresh else g.astype(tensor.dtype)
    return wrap(np.array(g, dtype=tensor.dtype) if isinstance(g, np.generic) else g.astype(tensor.dtype))
