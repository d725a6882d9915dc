"""From the steps of a trace to a program that C runs in one call: fewer steps, shared memory, and their code."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dbrrl.kernels.cpu.names import LOOPS, REDUCTIONS, native
from dbrrl.kernels.cpu.record import Buffer, Operand, Recording, Step, refuse
from dbrrl.kernels.cpu.trace import CODES, Traced

_KINDS = ("loop", "reduce", "gemm", "take", "put", "check", "sort", "places", "quantiles", "clip", "adam")  # as in C
_ALIGNMENT = 64  # bytes, of a vector of the widest processors
_LARGE, _APART = 1 << 14, 9 * _ALIGNMENT  # bytes: large arrays at the same place of their pages slow each other down
_MOST_AXES = 4
_SHORT = 8  # elements of a last axis from which on a run along it is worth its start


class Program:
    """Steps that run in one call.

    Args:
        record: the trace.
        outputs: arrays whose numbers are read after a run.
        written: pairs of a traced array and the memory of somebody else, contiguous, into which its numbers go.
        last: steps after all that.

    Attributes:
        code: it, as the extension module takes it.
        run: `run(*inputs)` runs it once; False where another thread is running it now, or a gradient was not finite:
            then no step was taken. IndexError: a number of a row or of a choice was out of range.
    """

    def __init__(
        self,
        record: Recording,
        outputs: Sequence[Traced],
        written: Sequence[tuple[Traced, np.ndarray]] = (),
        last: Sequence[Step] = (),
    ) -> None:
        steps = list(record.steps)
        homes: dict[int, tuple[Buffer, int]] = {}
        for x, target in written:
            steps += _placed(x, target, record, homes)
        steps += last
        kept = {id(x.buffer) for x in outputs}
        steps = _without_copies(steps, kept | homes.keys())
        steps = [_moved(step, homes) for step in _needed(steps, kept | homes.keys())]
        self.steps = steps
        self.inputs = list(record.inputs)
        places, size = _memory(steps, kept)
        stay = list({id(b): b for s in steps for b in (x.buffer for x in s.operands) if b.kind == "fixed"}.values())
        numbers = {id(b): 1 + i for i, b in enumerate(self.inputs)}
        numbers |= {id(b): 1 + len(self.inputs) + i for i, b in enumerate(stay)}
        code = np.array([word for step in steps for word in _code(step, numbers, places)], np.int64)
        sizes = np.array([b.size for b in self.inputs], np.int64)
        memory = _aligned(size)
        addresses = np.array([memory.ctypes.data, *(b.address for b in stay)], np.int64)
        self._kept = memory, [b.array for b in stay]  # the program has only their addresses
        self.code = native.program_make(code.tobytes(), len(steps), sizes.tobytes(), addresses.tobytes())
        self.run: Callable[..., bool] = functools.partial(native.program_run, self.code)
        self.outputs = [_output(x, memory, places, homes) for x in outputs]
        self.memory = size


def _aligned(size: int) -> np.ndarray:
    """Return bytes, all 0, whose address is a multiple of _ALIGNMENT."""
    block = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size]


def _output(x: Traced, memory: np.ndarray, places: dict[int, int], homes: dict[int, tuple[Buffer, int]]) -> np.ndarray:
    """Return the array from which an output is read."""
    if x.buffer.kind == "own" and id(x.buffer) not in homes and id(x.buffer) in places:
        start = places[id(x.buffer)] + x.operand.offset
        return np.ndarray(x.shape, x.dtype, memory, start, x.strides)
    return x.values


def _placed(x: Traced, target: np.ndarray, record: Recording, homes: dict[int, tuple[Buffer, int]]) -> list[Step]:
    """Return the steps that copy x into the memory of `target`; none where its own buffer can be that memory."""
    buffer = record.buffer_of(target)
    offset = target.__array_interface__["data"][0] - buffer.address
    whole = x.buffer.kind == "own" and x.values.nbytes == x.buffer.size and x.operand.contiguous
    if whole and x.dtype == target.dtype and id(x.buffer) not in homes:
        homes[id(x.buffer)] = buffer, offset
        return []
    to = Operand(buffer, offset, target.shape, target.strides, target.itemsize)
    return [Step("loop", f"{CODES[target.dtype]}_from_{CODES[x.dtype]}", (to, x.operand))]


def _without_copies(steps: list[Step], kept: set[int]) -> list[Step]:
    """Return steps in which an array that is only copied, whole, into another one is that other one from the start."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        for x in step.operands:
            first.setdefault(id(x.buffer), i)
            last[id(x.buffer)] = i
    same: dict[int, Buffer] = {}  # buffers that became another one
    result = []
    for i, step in enumerate(steps):
        if step.name in _PLAIN_COPIES:
            to, x = step.operands
            whole = to.contiguous and x.contiguous and to.shape == x.shape
            whole = whole and math.prod(x.shape) * x.itemsize == x.buffer.size == to.buffer.size
            own = to.buffer.kind == x.buffer.kind == "own" and id(x.buffer) not in kept
            if whole and own and first[id(to.buffer)] == i == last[id(x.buffer)]:
                same[id(x.buffer)] = to.buffer
                continue
        result.append(step)

    def root(buffer: Buffer) -> Buffer:
        while id(buffer) in same:
            buffer = same[id(buffer)]
        return buffer

    if same:
        for step in result:
            step.operands = tuple(
                Operand(root(x.buffer), x.offset, x.shape, x.strides, x.itemsize) for x in step.operands
            )
    return result


_PLAIN_COPIES = {f"{code}_from_{code}" for code in ("f4", "f8", "i8", "i4", "i1", "b1")}


def _needed(steps: list[Step], kept: set[int]) -> list[Step]:
    """Return the steps without those whose results nobody reads."""
    read = set(kept)
    result = []
    for step in reversed(steps):
        written = step.operands[: 2 if step.kind == "quantiles" else 1]
        if step.kind != "check" and all(x.buffer.kind == "own" and id(x.buffer) not in read for x in written):
            continue
        read.update(id(x.buffer) for x in step.operands)
        result.append(step)
    return result[::-1]


def _moved(step: Step, homes: dict[int, tuple[Buffer, int]]) -> Step:
    """Return a step whose operands are in the memory that they were given."""
    operands = []
    for x in step.operands:
        if id(x.buffer) in homes:
            buffer, start = homes[id(x.buffer)]
            x = Operand(buffer, start + x.offset, x.shape, x.strides, x.itemsize)
        operands.append(x)
    return Step(step.kind, step.name, tuple(operands), step.numbers, step.flags)


def _memory(steps: list[Step], kept: set[int]) -> tuple[dict[int, int], int]:
    """Return the place of each own buffer, and the bytes in all: buffers that are never needed together share."""
    span: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for i, step in enumerate(steps):
        for x in step.operands:
            if x.buffer.kind == "own":
                span.setdefault(id(x.buffer), [i, i])[1] = i
                size = -(-max(x.buffer.size, 1) // _ALIGNMENT) * _ALIGNMENT
                sizes[id(x.buffer)] = size + (_APART if size >= _LARGE else 0)
    for buffer in kept & span.keys():
        span[buffer][1] = len(steps)
    places: dict[int, int] = {}
    most = 0
    for buffer in sorted(span, key=lambda b: (-sizes[b], span[b][0])):
        taken = sorted(
            (places[other], places[other] + sizes[other])
            for other in places
            if span[other][0] <= span[buffer][1] and span[buffer][0] <= span[other][1]
        )
        at = 0
        for start, stop in taken:
            if at + sizes[buffer] <= start:
                break
            at = max(at, stop)
        places[buffer] = at
        most = max(most, at + sizes[buffer])
    return places, most


def _code(step: Step, numbers: dict[int, int], places: dict[int, int]) -> Iterable[int]:
    """Return the words of one instruction, as program.c reads them."""
    which, k = 0, list(step.numbers)
    shape: Sequence[int] = ()
    strides: list[Sequence[int]] = [() for _ in step.operands]
    if step.kind == "loop":
        which = LOOPS[step.name]
        shape, strides = _joined(step.operands[0].shape, [x.strides for x in step.operands])
    elif step.kind == "reduce":
        which = REDUCTIONS[step.name]
        to, x = step.operands
        k = [x.shape[-1], x.strides[-1]]
        shape, strides = _joined(to.shape, [to.strides, x.strides[:-1]], by=1)
    words: list[int] = [_KINDS.index(step.kind), which, step.flags, len(step.operands), len(shape), len(k), *shape]
    for x, steps in zip(step.operands, strides, strict=True):
        own = x.buffer.kind == "own"
        words += [0 if own else numbers[id(x.buffer)], x.offset + (places[id(x.buffer)] if own else 0), *steps]
    return words + k


def _joined(shape: Sequence[int], strides: list[Any], by: int = 0) -> tuple[list[int], list[Sequence[int]]]:
    """Return axes that say the same in fewer: those of one element go, neighbours in all operands are one.

    The last axis is the one along which operand `by` has the smallest stride.
    """
    axes = [(n, tuple(s[i] for s in strides)) for i, n in enumerate(shape) if n != 1]
    axes.sort(key=lambda axis: -abs(axis[1][by]))
    if len(axes) > 1 and 4 * axes[-1][0] <= max(n for n, _ in axes) and axes[-1][0] < _SHORT:
        axes.append(axes.pop(max(range(len(axes)), key=lambda i: axes[i][0])))  # few long runs in place of many short
    joined: list[tuple[int, tuple[int, ...]]] = []
    for n, steps in axes:
        if joined and all(before == step * n for before, step in zip(joined[-1][1], steps, strict=True)):
            joined[-1] = (joined[-1][0] * n, steps)
        else:
            joined.append((n, steps))
    if len(joined) > _MOST_AXES:
        raise refuse(f"an array of {len(joined)} axes")
    joined = joined or [(1, (0,) * len(strides))]
    return [n for n, _ in joined], [[steps[j] for _, steps in joined] for j in range(len(strides))]
