"""Looking into a computation as it runs: the first NaN and the line that made it, time and memory per op, pictures."""

import linecache
import math
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import observing, plain, state
from dbrrl.backend import array_module, to_numpy
from dbrrl.debugging.draw import draw_graph as draw_graph
from dbrrl.debugging.gpu_memory import Pool, Watch
from dbrrl.errors import AnomalyError, GraphError

PACKAGE = str(Path(__file__).resolve().parent.parent)
READ_BY_USERS = ("agents", "envs", "learning")  # their lines are named like a user's own


class _Observer:
    """Stands between the engine and the ops of this thread while its block runs; observers may be nested."""

    inner: "_Observer | None" = None

    def __enter__(self) -> Self:
        self.inner = state.observer
        state.observer = self
        observing.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        state.observer = self.inner
        observing.remove(self)

    def forward(self, op: Op, arrays: list[Any]) -> Any:
        """Run op.forward, or the observer outside this one."""
        return op.forward(*arrays) if self.inner is None else self.inner.forward(op, arrays)

    def backward(self, op: Op, g: Any, y: Any, values: Any) -> Any:
        """Run op.backward, or the observer outside this one."""
        return op.backward(g, y, *values) if self.inner is None else self.inner.backward(op, g, y, values)


class detect_anomaly(_Observer):
    """Context manager: the first op that makes a NaN or an infinity raises AnomalyError, in this thread.

    The error names the op, forward or backward, and the source line that called it, outside the library's core:
    yours, or one of an agent's page. A NaN that comes in with the data is reported at the first op that meets it;
    an infinity that comes in (the -inf of a mask, say) is let pass.

    Inside, plain arrays that backward needs are checksummed too, so that one changed in place after forward raises
    GraphError. Otherwise only the changes of Tensors are noticed. All this takes several times as long.
    """

    def forward(self, op: Op, arrays: list[Any]) -> Any:
        """Check what goes in and what comes out."""
        op.trace = _user_line()
        for i, a in enumerate(arrays):
            if _holds(np.isnan, a):
                raise AnomalyError(
                    f"detect_anomaly: input {i} of {_name(op)} (shape {np.shape(a)}) held NaN before any op made one, "
                    f"at {op.trace}: expected finite data; check observations, rewards, and what was computed before"
                )
        with np.errstate(all="ignore"):
            y = super().forward(op, arrays)
        if _holds(np.isnan, y):
            raise self._error(op, "forward", "NaN", y)
        if _holds(np.isinf, y) and not any(_holds(np.isinf, a) for a in arrays):
            raise self._error(op, "forward", "an infinity", y)
        op.saved = _checksums(op, arrays)
        return y

    def backward(self, op: Op, g: Any, y: Any, values: Any) -> Any:
        """Check that nothing changed since forward, then each gradient."""
        if op.saved is not None and op.saved != _checksums(op, [plain(v) for v in values]):
            raise GraphError(
                f"an array that the backward of {_name(op)} needs was changed in place after forward, at {op.trace}: "
                "expected the values that forward saw; change a copy"
            )
        with np.errstate(all="ignore"):
            gradients = super().backward(op, g, y, values)
        given = gradients if type(gradients) is tuple else (gradients,)
        if len(given) != len(values):
            raise GraphError(
                f"backward of {_name(op)} gave {len(given)} gradients for {len(values)} inputs: expected one for each, "
                "None where there is none"
            )
        for i, gx in enumerate(given):
            for test, what in ((np.isnan, "NaN"), (np.isinf, "an infinity")):
                if gx is not None and _holds(test, plain(gx)) and not _holds(test, plain(g)):
                    raise self._error(op, f"backward (gradient of input {i})", what, plain(gx))
        return gradients

    def _error(self, op: Op, way: str, what: str, y: Any) -> AnomalyError:
        bad = int(np.size(y) - np.count_nonzero(np.isfinite(y)))
        return AnomalyError(
            f"detect_anomaly: {way} of {_name(op)} gave {what} ({bad} of {np.size(y)} elements, shape {np.shape(y)}) "
            f"from inputs without, at {op.trace or 'a line before detect_anomaly()'}: expected finite numbers; "
            "check the inputs of that line (log of 0, division by 0, overflow)"
        )


def _name(op: Op) -> str:
    return type(op).__name__


def _holds(test: Any, x: Any) -> bool:
    kind = getattr(x, "dtype", None)
    if kind is None:
        return isinstance(x, float) and bool(test(x))
    return kind.kind == "f" and bool(test(x).any())


def _checksums(op: Op, arrays: list[Any]) -> tuple[int, ...]:
    """Checksums of the arrays that backward reads: the inputs, and those that the op keeps itself."""
    kept = [v for k, v in sorted(vars(op).items()) if k not in ("output", "gradient", "inputs", "saved")]
    read = [*(arrays if op.saves_inputs else ()), *kept]
    return tuple(
        zlib.crc32(np.ascontiguousarray(to_numpy(a)).data) for a in read if hasattr(a, "dtype") and hasattr(a, "nbytes")
    )


def _user_line() -> str:
    """file:line and text of the innermost frame outside the core."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.removeprefix(PACKAGE).lstrip("/\\").split("/")[0] if file.startswith(PACKAGE) else "agents"
        if inside in READ_BY_USERS:
            text = linecache.getline(file, frame.f_lineno).strip()
            return f"{file}:{frame.f_lineno}: {text}" if text else f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


@dataclass
class OpCost:
    """Cost of one kind of op: seconds, and bytes of the arrays that its forward made."""

    name: str
    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0
    memory: int = 0


class profile(_Observer):
    """Context manager: time and memory per kind of op, in this thread.

        with dbrrl.profile() as p:
            loss(batch).backward()
        print(p)

    An op that another op calls counts for itself, not for its caller. Memory is that of the arrays made in forward,
    views excepted; they live until backward, or until the result is forgotten.

    A GPU works on after a call has returned: it is waited for before and after each op, so that the op's time is its
    own. That takes longer than letting it run on; what is replayed from a recorded graph calls no op and is not seen.
    `gpu` then holds the figures of the GPU's memory pool: used and held at the end, and the most used at once.
    """

    def __init__(self) -> None:
        self.costs: dict[str, OpCost] = {}
        self.elapsed = 0.0
        self._inner_time = [0.0]  # of the ops called by the op under way, at each depth
        self._going_back = 0
        self.gpu: Pool | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.elapsed += time.perf_counter() - self._start
        if self._watch is not None:
            self.gpu, self._watch = self._watch.close(), None

    def _wait(self, array: Any) -> None:
        """Wait for the GPU that holds `array`, if one does and it is not recording a graph."""
        xp = array_module(array)
        if xp is np:
            return
        if self._watch is None:
            self._watch = Watch(xp)
        stream = xp.cuda.get_current_stream()
        if not stream.is_capturing():
            stream.synchronize()

    @property
    def rows(self) -> list[OpCost]:
        """One entry per kind of op, the most expensive first."""
        return sorted(self.costs.values(), key=lambda c: -(c.forward + c.backward))

    def forward(self, op: Op, arrays: list[Any]) -> Any:
        """Time op.forward and count the memory of its result."""
        cost = self._cost(op)
        cost.calls += 1
        y = self._timed(cost, arrays, super().forward, op, arrays)
        if not any(hasattr(a, "dtype") and np.may_share_memory(y, a) for a in arrays):
            cost.memory += getattr(y, "nbytes", 0)
        return y

    def backward(self, op: Op, g: Any, y: Any, values: Any) -> Any:
        """Time op.backward."""
        self._going_back += 1
        try:
            return self._timed(self._cost(op), [plain(g)], super().backward, op, g, y, values)
        finally:
            self._going_back -= 1

    def _cost(self, op: Op) -> OpCost:
        return self.costs.setdefault(_name(op), OpCost(_name(op)))

    def _timed(self, cost: OpCost, arrays: list[Any], function: Any, *args: Any) -> Any:
        near = next((a for a in arrays if hasattr(a, "nbytes")), None)
        self._wait(near)
        self._inner_time.append(0.0)
        start = time.perf_counter()
        try:
            result = function(*args)
            self._wait(near)
            return result
        finally:
            whole = time.perf_counter() - start
            own = whole - self._inner_time.pop()
            self._inner_time[-1] += whole
            if self._going_back:
                cost.backward += own
            else:
                cost.forward += own

    def __str__(self) -> str:
        total = math.fsum(c.forward + c.backward for c in self.rows)
        lines = [f"{'op':<20}{'calls':>8}{'forward ms':>12}{'backward ms':>13}{'share':>7}{'memory kB':>12}"]
        for c in self.rows:
            share = (c.forward + c.backward) / total if total else 0.0
            lines.append(_row(c, f"{share:.0%}"))
        whole = OpCost("all ops")
        for c in self.rows:
            whole.calls, whole.memory = whole.calls + c.calls, whole.memory + c.memory
            whole.forward, whole.backward = whole.forward + c.forward, whole.backward + c.backward
        lines.append(_row(whole, ""))
        lines.append(f"whole block {self.elapsed * 1e3:.3f} ms, outside the ops {(self.elapsed - total) * 1e3:.3f} ms")
        pool = self.gpu if self._watch is None else self._watch.read()
        if pool is not None:
            lines += ["the GPU was waited for before and after each op", str(pool)]
        return "\n".join(lines)


def _row(c: OpCost, share: str) -> str:
    times = f"{c.forward * 1e3:>12.3f}{c.backward * 1e3:>13.3f}"
    return f"{c.name:<20}{c.calls:>8}{times}{share:>7}{c.memory / 1e3:>12.1f}"
