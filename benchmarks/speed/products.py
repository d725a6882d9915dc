"""The matrix products of updates, alone and with the same shapes: the part that no faster code around them can save."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from timing import seconds

Call = Callable[[], Any]


def product(rows: int, inner: int, columns: int, layout: str = "nn") -> Call:
    """One product of (rows, inner) and (inner, columns), each kept as it is, n, or as its transpose, t."""
    x, y = (
        np.full(shape, 0.5, np.float32) if kept == "n" else np.full(shape[::-1], 0.5, np.float32).T
        for shape, kept in zip(((rows, inner), (inner, columns)), layout, strict=True)
    )
    out = np.empty((rows, columns), np.float32)
    return lambda: np.dot(x, y, out=out)


def forward(sizes: Sequence[int], batch: int) -> list[Call]:
    """Those of linear layers: x Wᵀ."""
    return [product(batch, inputs, outputs, "nt") for inputs, outputs in pairwise(sizes)]


def backward(sizes: Sequence[int], batch: int, *, weights: bool = True, inputs: bool = False) -> list[Call]:
    """Those of the gradients of the weights, gᵀ x, and of the inputs, g W, that of the first layer if `inputs`."""
    calls: list[Call] = []
    for i, (entering, leaving) in enumerate(pairwise(sizes)):
        if weights:
            calls.append(product(leaving, batch, entering, "tn"))
        if i or inputs:
            calls.append(product(batch, leaving, entering))
    return calls


def ppo(batch: int) -> list[Call]:
    """An update of separate 64-64 networks on CartPole."""
    networks = ((4, 64, 64, 2), (4, 64, 64, 1))
    return [call for sizes in networks for call in (*forward(sizes, batch), *backward(sizes, batch))]


def dqn(hidden: Sequence[int], batch: int) -> list[Call]:
    """An update on CartPole, the target network's values included."""
    sizes = (4, *hidden, 2)
    return [*forward(sizes, batch), *forward(sizes, batch), *backward(sizes, batch)]


def critics(sizes: Sequence[int], batch: int) -> list[Call]:
    """A step of twin critics, the values of their targets included."""
    return [*forward(sizes, batch), *forward(sizes, batch), *backward(sizes, batch)] * 2


def sac(observation: int, action: int, hidden: Sequence[int] = (256, 256), batch: int = 256) -> list[Call]:
    """An update of critics and actor."""
    actor, critic = (observation, *hidden, 2 * action), (observation + action, *hidden, 1)
    through = [*forward(critic, batch), *backward(critic, batch, weights=False, inputs=True)] * 2
    own = [*forward(actor, batch), *forward(actor, batch), *backward(actor, batch)]
    return [*critics(critic, batch), *through, *own]


def td3(observation: int, action: int, hidden: Sequence[int] = (256, 256), batch: int = 256) -> list[Call]:
    """Two updates, of which one steps the actor too."""
    actor, critic = (observation, *hidden, action), (observation + action, *hidden, 1)
    through = [*forward(critic, batch), *backward(critic, batch, weights=False, inputs=True)]
    own = [*forward(actor, batch), *backward(actor, batch)]
    return [*critics(critic, batch), *forward(actor, batch)] * 2 + through + own


def nature(batch: int) -> list[Call]:
    """Forward and backward of the Nature CNN, whose convolutions multiply patches of the images."""
    calls: list[Call] = []
    for i, (places, *sizes) in enumerate(((400, 256, 32), (81, 512, 64), (49, 576, 64), (1, 3136, 512))):
        calls += [*forward(sizes, batch * places), *backward(sizes, batch * places, inputs=i > 0)]
    return calls


def lstm(steps: int, batch: int, inputs: int = 8, hidden: int = 64) -> list[Call]:
    """Forward and backward of a sequence: its inputs in one product, its states step by step."""
    rows, gates = steps * batch, 4 * hidden
    each = [product(batch, hidden, gates, "nt"), product(batch, gates, hidden)]
    whole = [product(rows, inputs, gates, "nt"), product(gates, rows, inputs, "tn"), product(gates, rows, hidden, "tn")]
    return each * steps + whole


def turn(calls: Sequence[Call]) -> Callable[[], float]:
    """Return what takes the seconds of all of them, over a hundredth of a second or so."""

    def run() -> None:
        for call in calls:
            call()

    repeats = max(1, int(0.01 / seconds(run, 2)))
    return lambda: seconds(run, repeats)
