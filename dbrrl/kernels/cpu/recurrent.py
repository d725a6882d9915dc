"""LSTM and GRU on the CPU: all steps of a sequence in one call forwards, and in one backwards."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dbrrl.autodiff.lstm import LSTM
from dbrrl.autodiff.recurrent import GRU
from dbrrl.autodiff.sequence import Arrays, Masks
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c

_formulas = {kind: kind.backward for kind in (LSTM, GRU)}


@replaces(LSTM, "cpu")
class _LSTM:
    """The gates are kept in rows, as the products make them."""

    def forward(self: Any, *inputs: Any) -> Any:
        return _forward(self, _c.lstm_forward, *inputs)

    def scan_back(self: Any, g: Any, y: Any, inputs: Arrays, before: Any, d: Any) -> Any:
        return _backward(self, _c.lstm_backward, g, inputs, before, d)

    def backward(self: Any, *arguments: Any) -> Any:
        return _c.pooled(_formulas[LSTM], self, *arguments)


@replaces(GRU, "cpu")
class _GRU:
    """The same for GRU."""

    def forward(self: Any, *inputs: Any) -> Any:
        return _forward(self, _c.gru_forward, *inputs)

    def scan_back(self: Any, g: Any, y: Any, inputs: Arrays, before: Any, d: Any) -> Any:
        return _backward(self, _c.gru_backward, g, inputs, before, d)

    def backward(self: Any, *arguments: Any) -> Any:
        return _c.pooled(_formulas[GRU], self, *arguments)


def _forward(op: Any, kernel: Callable[..., Any], *inputs: Any) -> Any:
    steps = inputs[0].shape[:2]
    masks = _mask(op.keep, steps), _mask(op.alive, steps)
    found = _c.pooled(kernel, *_arguments(op, inputs), *masks)
    if found is NotImplemented:
        return found
    y, op.gates_kept, op.cells_kept = found
    op.masks_kept = masks
    return y


def _backward(op: Any, kernel: Callable[..., Any], g: Any, inputs: Arrays, before: Any, d: Any) -> Any:
    if not hasattr(op, "gates_kept"):
        return NotImplemented
    g = np.ascontiguousarray(g)
    return kernel(*_arguments(op, inputs), *op.masks_kept, g, before, op.gates_kept, op.cells_kept, d)


def _arguments(op: Any, inputs: Arrays) -> Arrays:
    """x, both weights, h, c or None, and both biases or None."""
    x, w_ih, w_hh, h, *rest = (np.ascontiguousarray(a) if type(a) is np.ndarray else a for a in inputs)
    c = rest.pop(0) if op.parts == 2 else None
    return x, w_ih, w_hh, h, c, *(rest or (None, None))


def _mask(masks: Masks, shape: tuple[int, int]) -> Any:
    """Booleans (T, B) of masks by step; None where there are none, or those of another kind of array."""
    if not masks:
        return None
    whole = np.ones(shape, bool)
    for t, mask in masks.items():
        if type(mask) is not np.ndarray:
            return mask  # which the kernel refuses
        whole[t] = mask[:, 0]
    return whole
