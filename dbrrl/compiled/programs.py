"""Programs of one function by the shapes of its inputs: recorded when one is new, and traced twice to be sure of it."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend.capture import recorder
from dbrrl.errors import DbrrlError

MOST = 32  # programs of one function
_TRACES = 2  # of one program: the second shows numbers that change from call to call and are no inputs


class NotRecorded(DbrrlError):
    """What must not be recorded; the message says why."""


class Programs:
    """The programs of one function.

    Attributes:
        refused: why the function is not run by programs; "" if it is.
    """

    def __init__(self) -> None:
        self.refused = ""
        self._found: dict[Hashable, Any] = {}
        self._traced: dict[Hashable, tuple[Any, int]] = {}  # programs that are not traced often enough, how often
        self._latest: tuple[Any, Any] = (), None  # a key and its program
        self._records = 0

    def __reduce__(self) -> Any:
        return Programs, ()  # a copy records programs of its own

    def get(self, key: Hashable) -> Any:
        """Return the program for a key; None where it is new, or has to be traced once more.

        Raises:
            TypeError, ValueError: the key refers to what cannot be compared, such as an array.
        """
        latest = self._latest
        if key != latest[0]:  # to compare takes a quarter of the time in which a key with a function's code is hashed
            latest = self._latest = key, self._found.get(key)
        return latest[1]

    def record(
        self,
        key: Hashable,
        function: Callable[..., Mapping[str, Any]],
        inputs: Sequence[np.ndarray],
        learned: Any = (),
        others: Callable[[], Iterable[Tensor]] = tuple,
        rng: np.random.Generator | None = None,
        closing: Callable[..., Any] | None = None,
    ) -> Any:
        """Trace a function; return its program for inputs like these, or None where `refused` says why there is none.

        Args:
            key: what the program depends on, shapes and types of the inputs among it.
            function, inputs, learned, rng, closing: as `kernels.cpu.recorder.Recorder.record` takes them.
            others: returns what it takes as `others`.
        """
        makes = recorder("cpu")
        if makes is None:
            self.refused = "there are no compiled kernels here: `python -m dbrrl.doctor` says why"
            return None
        self._records += 1
        if self._records > 8 * MOST:
            self.refused = "its inputs have other shapes nearly every time"
            return None
        before: Any = None if rng is None else rng.bit_generator.state
        try:
            program = self._seen(key, makes.record(function, inputs, learned, others(), rng, closing))
        except Exception as error:  # an error of the function itself comes again, op by op, where it is to be seen
            known = isinstance(error, makes.refusal | NotRecorded)
            self.refused = str(error) if known else f"{type(error).__name__}: {error}"
            program = None
        if program is None and rng is not None:
            rng.bit_generator.state = before  # what was drawn is drawn again
        return program

    def _seen(self, key: Hashable, program: Any) -> Any:
        before, traces = self._traced.pop(key, (None, 0))
        if before is not None and (difference := before.differs(program)):
            self.refused = difference
            return None
        if before is not None:
            before.drawn, program = program.drawn, before
        store = self._found if traces + 1 >= _TRACES else self._traced
        store[key] = program if store is self._found else (program, traces + 1)
        self._latest = (), None
        while len(store) > MOST:
            del store[next(iter(store))]  # the oldest
        return program

    def explain(self) -> str:
        """Say how the function runs: by which programs, or why op by op."""
        if self.refused:
            return f"runs op by op: {self.refused}"
        known = [*self._found.values(), *(program for program, _ in self._traced.values())]
        if not known:
            return "has not run yet"
        sizes = ", ".join(str(n) for n in sorted({len(one.program.steps) for one in known}))
        return f"runs as {'a program' if len(known) == 1 else f'{len(known)} programs'} of {sizes} steps"

    def forget(self) -> None:
        """Drop all programs: for when arrays that they read were replaced by others."""
        self._found.clear()
        self._traced.clear()
        self._latest = (), None
        self.refused, self._records = "", 0
