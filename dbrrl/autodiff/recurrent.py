"""Recurrent networks over whole sequences, each one op: RNN and GRU."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dbrrl.autodiff.elementwise import sigmoid, tanh
from dbrrl.autodiff.linear import linear
from dbrrl.autodiff.sequence import Arrays, Recurrence, chunks, empty, parted


class RNN(Recurrence):
    """h' = tanh a with a = W_i x + b_i + W_h h + b_h; da = (1 - h'²) dh', dh = W_hᵀ da."""

    gates = slots = 1

    @staticmethod
    def step(projected: Any, state: Arrays, w: Any, biases: Arrays) -> Arrays:
        return (tanh(projected + linear(state[0], w)),)

    def forwards(self, projected: Iterator[Any], w: Any, biases: Arrays, y: Any) -> Callable[..., Arrays]:
        rows, w = zip(y, projected, strict=False), w[0]

        def step(h: Any) -> Arrays:
            after, p = next(rows)
            np.matmul(h, w, out=after)
            after += p[0]
            return (np.tanh(after, out=after),)

        return step

    def backwards(self, d: Any, w: Any, y: Any, before: Any) -> Callable[..., Arrays]:
        np.multiply(y[: len(d)], y[: len(d)], out=d)
        np.subtract(1, d, out=d)
        rows = zip(d[::-1], strict=True)

        def step(dh: Any) -> Arrays:
            (da,) = next(rows)
            da *= dh
            return (np.matmul(da, w, out=dh),)

        return step


class GRU(Recurrence):
    """(r, z) = σ(a), v = W_hn h + b_hn, n = tanh(W_in x + b_in + r v), h' = n + z (h - n), a as in `gru`.

    da_z = dh' (h - n) z (1 - z), da_n = dh' (1 - z) (1 - n²), da_r = da_n v r (1 - r), dv = da_n r;
    dh = z dh' + W_hᵀ (da_r, da_z, dv). The slots are those of n, r, z and v.
    """

    gates, slots = 3, 4

    @staticmethod
    def bias(biases: Arrays) -> Any:
        return biases[0] if biases else None  # b_hn is gated by r: b_h belongs to the state's share

    @staticmethod
    def step(projected: Any, state: Arrays, w: Any, biases: Arrays) -> Arrays:
        (h,), size = state, w.shape[1]
        recurrent = linear(h, w, biases[1] if biases else None)
        gates = sigmoid(projected[:, : 2 * size] + recurrent[:, : 2 * size])
        r, z = gates[:, :size], gates[:, size:]
        n = tanh(projected[:, 2 * size :] + r * recurrent[:, 2 * size :])
        return (n + z * (h - n),)

    @staticmethod
    def shares(d: Any) -> tuple[Any, Any]:
        size = d.shape[-1] // 4
        return np.concatenate([d[..., size : 3 * size], d[..., :size]], -1), d[..., size:]

    def forwards(self, projected: Iterator[Any], w: Any, biases: Arrays, y: Any) -> Callable[..., Arrays]:
        (_, batch, size), steps = y.shape, len(y) - 1
        if biases:
            b_h = np.broadcast_to(biases[1].reshape(3, 1, size), (3, batch, size)).copy()
        self.gate, self.n = self.room(y, steps, 3, batch, size), self.room(y, steps, batch, size)
        rows = zip(self.gate, projected, self.n, y, strict=False)

        def step(h: Any) -> Arrays:
            gate, p, n, after = next(rows)
            np.matmul(h, w, out=gate)
            if biases:
                gate += b_h
            rz = gate[:2]
            rz += p[:2]
            rz *= 0.5
            np.tanh(rz, out=rz)
            rz *= 0.5
            rz += 0.5
            r, z, v = gate
            np.multiply(r, v, out=n)
            n += p[2]
            np.tanh(n, out=n)
            np.subtract(h, n, out=after)
            after *= z
            after += n
            return (after,)

        return step

    def backwards(self, d: Any, w: Any, y: Any, before: Any) -> Callable[..., Arrays]:
        (steps, batch, size) = before.shape
        rows = d.reshape(steps, batch, 4, size).swapaxes(1, 2)[::-1]
        turns = zip(self._slopes(before), rows, d[::-1, :, size:], strict=True)
        da, back = empty(y, 4, batch, size), empty(y, batch, size)

        def step(dh: Any) -> Arrays:
            (slope, r, z), row, state_share = next(turns)
            np.multiply(slope[0], dh, out=da[0])
            np.multiply(slope[1], da[0], out=da[1])
            np.multiply(slope[2], dh, out=da[2])
            np.multiply(r, da[0], out=da[3])
            row[...] = da
            np.matmul(state_share, w, out=back)
            dh *= z
            dh += back
            return (dh,)

        return step

    def _slopes(self, before: Any) -> Iterator[Any]:
        """From the last step to the first: da_n / dh', da_r / da_n and da_z / dh' (3, B, H), then r and z."""
        for part in chunks(len(before), self.gate[:1].nbytes):
            r, z, v = self.gate[part].swapaxes(0, 1)
            n = self.n[part]
            slope = 1 - self.gate[part].swapaxes(0, 1)
            slope_r, update, slope_n = slope
            slope_r *= r
            slope_r *= v
            np.multiply(n, n, out=slope_n)
            np.subtract(1, slope_n, out=slope_n)
            slope_n *= update
            update *= z
            update *= before[part] - n
            yield from zip(zip(slope_n[::-1], slope_r[::-1], update[::-1], strict=True), r[::-1], z[::-1], strict=True)


def rnn(
    x: Any,
    weight_ih: Any,
    weight_hh: Any,
    h: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    reset: Any = None,
    lengths: Any = None,
) -> Arrays:
    """Plain recurrent network (Elman 1990) over a sequence: outputs (T, B, H), and the last h.

    h' = tanh(W_i x + b_i + W_h h + b_h).

    Args:
        x: (T, B, n), of at least one step.
        weight_ih, weight_hh: (H, n) and (H, H); H rows for each gate of `gru` (r, z, n) and `lstm` (i, f, g, o).
        h: the state before the first step, (B, H).
        bias_ih, bias_hh: as many as the weights have rows, or both None.
        reset: booleans (T, B): the state is zeroed before these steps (first steps of episodes).
        lengths: integers (B,): a sequence ends after so many steps; later outputs are 0, and its state stays.

    Raises:
        ShapeError: they do not fit one another.
    """
    return parted(RNN, x, weight_ih, weight_hh, (h,), (bias_ih, bias_hh), reset, lengths)


def gru(
    x: Any,
    weight_ih: Any,
    weight_hh: Any,
    h: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    reset: Any = None,
    lengths: Any = None,
) -> Arrays:
    """Gated recurrent unit (Cho et al. 2014) in PyTorch's form: outputs (T, B, H), and the last h.

    r = σ(W_ir x + b_ir + W_hr h + b_hr), z = σ(W_iz x + b_iz + W_hz h + b_hz),
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h. Arguments and errors as in `rnn`.
    """
    return parted(GRU, x, weight_ih, weight_hh, (h,), (bias_ih, bias_hh), reset, lengths)
