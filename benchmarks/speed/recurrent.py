"""Prints the times of LSTM and GRU against PyTorch's, and of one step without a graph against hand-written NumPy.

python benchmarks/speed/recurrent.py     (with a Python that has NumPy and PyTorch)
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from timing import in_turn, seconds

import numpy as np

from dbrrl import nn
from dbrrl.autodiff.tensor import no_grad
from dbrrl.backend import load_kernels

INPUT, HIDDEN = 8, 64


def ours(kind: str, x: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward with backward, and forward alone."""
    model = getattr(nn, kind)(INPUT, HIDDEN, rng=0)
    parameters = model.parameters()

    def both() -> None:
        for p in parameters:
            p.grad = None
        model(x)[0].sum().backward()

    return both, no_grad()(lambda: model(x))


def theirs(kind: str, x: Any, torch: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same on PyTorch."""
    torch.set_num_threads(1)
    model, x = getattr(torch.nn, kind)(INPUT, HIDDEN), torch.from_numpy(x)
    parameters = list(model.parameters())

    def both() -> None:
        for p in parameters:
            p.grad = None
        model(x)[0].sum().backward()

    return both, torch.no_grad()(lambda: model(x))


def by_hand(model: Any, x: Any) -> Callable[[], Any]:
    """One step of an LSTM on arrays, as one would write it, from a state of zeros."""
    cell = model.cells[0]
    w_i, w_h, b_i, b_h = (p.array for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh))
    h = c = np.zeros((len(x), HIDDEN), np.float32)

    def step() -> tuple[Any, Any]:
        a = x @ w_i.T + b_i + h @ w_h.T + b_h
        i, f, g, o = (a[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        i, f, o = (0.5 * (np.tanh(0.5 * k) + 1) for k in (i, f, o))
        after = f * c + i * np.tanh(g)
        return o * np.tanh(after), after

    return step


def main() -> None:
    """Time both sides in turn and print medians and their ratio."""
    load_kernels("cpu")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        torch = None
        print("PyTorch is not installed here: only dbrrl is timed", file=sys.stderr)
    for kind in ("LSTM", "GRU"):
        for steps in (1, 16, 128):
            for batch in (8, 32):
                x = np.random.default_rng(1).normal(size=(steps, batch, INPUT)).astype(np.float32)
                a = ours(kind, x)
                b = theirs(kind, x, torch) if torch else a
                for k, name in enumerate(("forward and backward", "forward")):
                    repeats = max(1, 128 // steps)
                    mine, other = in_turn(a[k], b[k], 15, (repeats, repeats))
                    line = f"{kind}, {steps} steps, batch {batch}, {name}: dbrrl {mine * 1e3:.3f} ms"
                    print(f"{line}, PyTorch {other * 1e3:.3f} ms, ratio {mine / other:.2f}" if torch else line)
    model, x = nn.LSTM(INPUT, HIDDEN, rng=0), np.ones((1, 8, INPUT), np.float32)
    hand = by_hand(model, x[0])
    np.testing.assert_allclose(hand()[0], model(x)[0].array[0], rtol=1e-4)
    seconds(hand, 100)
    mine, other = in_turn(no_grad()(lambda: model(x)), hand, 15, (500, 500))
    print(f"LSTM, acting on 8: dbrrl {mine * 1e6:.1f} µs, by hand {other * 1e6:.1f} µs, ratio {mine / other:.2f}")


if __name__ == "__main__":
    main()
