"""Checks for the tests of all modules: gradients of parameters and inputs, and dtypes."""

from typing import Any

import numpy as np

import dbrrl.functional as F
from dbrrl import nn
from dbrrl.autodiff.tensor import Tensor
from dbrrl.testing import check_gradients
from tests import standin


def joined(outputs: Any) -> Any:
    """All tensors in nested tuples as one flat one."""
    if isinstance(outputs, tuple):
        return F.concatenate([joined(y) for y in outputs])
    return F.reshape(outputs, -1)


def check_module(module: nn.Module, *inputs: Any, order: int = 2, **named: Any) -> None:
    """Gradients of a module's outputs for its parameters and floating-point inputs, in float64; here and on a GPU."""
    module.astype(np.float64)
    _check_gradients(module, inputs, order, named)
    with standin.installed():
        module.to("cuda")
        _check_gradients(module, standin.put(list(map(np.asarray, inputs)), "cuda"), 1, named)
        module.to("cpu")


def _check_gradients(module: nn.Module, inputs: Any, order: int, named: Any) -> None:
    places = [(owner, attribute) for _, owner, attribute, p in module._walk("", set()) if isinstance(p, nn.Parameter)]
    before = [getattr(owner, attribute) for owner, attribute in places]

    def outputs(*arrays: Any) -> Any:
        for (owner, attribute), value in zip(places, arrays, strict=False):
            vars(owner)[attribute] = value  # past Module, which wants a Parameter
        try:
            return joined(module(*arrays[len(places) :], **named))
        finally:
            for (owner, attribute), value in zip(places, before, strict=True):
                vars(owner)[attribute] = value  # past Module, which wants a Parameter

    check_gradients(outputs, *(p.array for p in before), *inputs, order=order, atol=1e-6)


def dtypes(outputs: Any) -> set[str]:
    """The dtypes of all tensors in nested tuples."""
    if isinstance(outputs, tuple):
        return set().union(*map(dtypes, outputs))
    assert isinstance(outputs, Tensor)
    return {str(outputs.dtype)}


def check_float32(module: nn.Module, *inputs: Any) -> None:
    """float32 in, float32 out and in every gradient; float64 observations do not widen the network. And on a GPU."""
    for given in (inputs, [x.astype(np.float64) if np.asarray(x).dtype.kind == "f" else x for x in inputs]):
        outputs = module(*given)
        assert dtypes(outputs) == {"float32"}
        (joined(outputs) ** 2).sum().backward()
        assert {str(p.grad.dtype) for p in module.parameters()} <= {"float32"}
        with standin.installed():
            module.to("cuda")
            far = module(*standin.put(list(map(np.asarray, given)), "cuda"))
            assert dtypes(far) == {"float32"}
            a, b = standin.host(joined(far), "cuda"), joined(outputs).array
            if not any(isinstance(m, nn.Dropout | nn.NoisyLinear) for m in module.modules()):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
            (joined(far) ** 2).sum().backward()
            assert {str(p.grad.dtype) for p in module.parameters()} <= {"float32"}
            module.to("cpu")
