"""Long short-term memory over whole sequences as one op."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import sigmoid, tanh
from dbrrl.autodiff.linear import linear
from dbrrl.autodiff.sequence import Arrays, Recurrence, chunks, empty, parted
from dbrrl.backend import replaceable


class LSTM(Recurrence):
    """(i, f, o) = σ(a), g = tanh a_g with a as in `lstm`, c' = f c + i g, h' = o tanh c'.

    dc' += dh' o (1 - tanh² c'); da_i = dc' g i (1 - i), da_f = dc' c f (1 - f), da_g = dc' i (1 - g²),
    da_o = dh' h' (1 - o); dc = f dc', dh = W_hᵀ da.
    """

    gates = slots = 4
    parts = 2

    @staticmethod
    def step(projected: Any, state: Arrays, w: Any, biases: Arrays) -> Arrays:
        (h, c), n = state, w.shape[1]
        a = projected + linear(h, w)
        gates = sigmoid(a)  # one call for three gates is quicker than three; that of g's columns goes unused
        g = tanh(a[:, 2 * n : 3 * n])
        c = gates[:, n : 2 * n] * c + gates[:, :n] * g
        return gates[:, 3 * n :] * tanh(c), c

    def forwards(self, projected: Iterator[Any], w: Any, biases: Arrays, y: Any) -> Callable[..., Arrays]:
        (_, batch, size), steps = y.shape, len(y) - 2
        scale, shift = sigmoid_of_tanh(y, batch, size)
        self.gate, self.tanh = self.room(y, steps, 4, batch, size), self.room(y, steps, batch, size)
        self.ig, self.fc = self.room(y, steps, batch, size), self.room(y, steps, batch, size)
        cells = empty(y, 2, batch, size)  # of this step and the one before
        rows = zip(range(steps), self.gate, projected, self.ig, self.fc, self.tanh, y, strict=False)

        def step(h: Any, c: Any) -> Arrays:
            t, gate, p, ig, fc, tanh, after = next(rows)
            np.matmul(h, w, out=gate)
            gate += p
            gate *= scale
            np.tanh(gate, out=gate)
            gate *= scale
            gate += shift
            i, f, g, o = gate
            np.multiply(i, g, out=ig)
            np.multiply(f, c, out=fc)
            c = np.add(ig, fc, out=cells[t % 2])
            np.tanh(c, out=tanh)
            return np.multiply(o, tanh, out=after), c

        return step

    def backwards(self, d: Any, w: Any, y: Any, before: Any) -> Callable[..., Arrays]:
        (steps, batch, size) = before.shape
        rows = d.reshape(steps, batch, 4, size).swapaxes(1, 2)[::-1]
        turns = zip(self._slopes(y), self.gate[::-1, 1], rows, d[::-1], strict=True)
        from_h = empty(y, batch, size)

        def step(dh: Any, dc: Any) -> Arrays:
            (slope, through), f, row, da = next(turns)
            np.multiply(through, dh, out=from_h)
            dc += from_h
            ifg, o = slope[:3], slope[3]
            ifg *= dc
            o *= dh
            row[...] = slope
            dc *= f
            return np.matmul(da, w, out=dh), dc

        return step

    def _slopes(self, y: Any) -> Iterator[Any]:
        """From the last step to the first: da_i, da_f, da_g by dc' and da_o by dh' (4, B, H), and dc' by dh'."""
        for part in chunks(len(self.gate), self.gate[:1].nbytes):
            gate, h = self.gate[part], y[: len(self.gate)][part]
            slope = 1 - gate
            by_i, by_f, by_g, by_o = slope.swapaxes(0, 1)
            by_i *= self.ig[part]
            by_f *= self.fc[part]
            through = gate[:, 0] + self.ig[part]
            by_g *= through  # (1 - g) (i + i g)
            by_o *= h
            np.multiply(h, self.tanh[part], out=through)
            np.subtract(gate[:, 3], through, out=through)
            yield from zip(slope[::-1], through[::-1], strict=True)


@replaceable
def sigmoid_of_tanh(like: Any, batch: int, size: int) -> Arrays:
    """Return arrays s and t (4, B, H) for which s tanh(s a) + t is σ(a) for the gates i, f and o, and tanh(a) for g.

    Of full size: broadcasting these small factors would cost more than the product.

    Args:
        like: an array of the dtype, in the memory where they are to be.
        batch, size: B and H.
    """
    return _factors(batch, size, like.dtype)


@functools.lru_cache(maxsize=2)
def _factors(batch: int, size: int, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    scale = np.full((4, batch, size), 0.5, dtype)
    shift = scale.copy()
    scale[2], shift[2] = 1, 0
    scale.flags.writeable = shift.flags.writeable = False
    return scale, shift


def lstm(
    x: Any,
    weight_ih: Any,
    weight_hh: Any,
    h: Any,
    c: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    reset: Any = None,
    lengths: Any = None,
) -> Arrays:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000): outputs, last h and c.

    (i, f, o) = σ(W_i x + b_i + W_h h + b_h), g = tanh(the same with its own rows), c' = f c + i g, h' = o tanh c'.
    Arguments and errors as in `rnn`; c is the second part of the state, (B, H).
    """
    return parted(LSTM, x, weight_ih, weight_hh, (h, c), (bias_ih, bias_hh), reset, lengths)
