"""Gradient steps on the CPU whose loss and gradient are recorded once, and run in one call of a program."""

import functools
import itertools
import operator
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import numpy as np

from dbrrl.autodiff.recording import observing
from dbrrl.autodiff.tensor import Tensor
from dbrrl.backend.capture import recorder
from dbrrl.buffers.batch import Batch
from dbrrl.compiled import check
from dbrrl.compiled.layout import arrays_of, batch_of, structure_of
from dbrrl.compiled.programs import Programs
from dbrrl.learning.gradient_step import GradientStep, Loss, StepMetrics, Until, check_numbers
from dbrrl.nn.mode import state as mode
from dbrrl.nn.module import structure
from dbrrl.optim import Optimizer

AT_ONCE, LONGEST = 32, 0.25  # steps in one call at the most, and its seconds, after which Ctrl-C is heard


class CompiledStep(GradientStep):
    """A gradient step whose loss is recorded as a program, and run by it while shapes and settings stay the same.

    So the loss must not read numbers that change from step to step, except its keyword arguments and the arrays of the
    batch, and draw none. What cannot be recorded runs op by op. The metrics are computed with every step.

    Args:
        loss, optimizer, max_grad_norm, explain: as of `GradientStep`.
        settings: returns what else a recorded step depends on; another object, another record.
        parameters: returns the tensors that the loss may read, such as those of a target network, beside those of the
            optimizer.
        sizes: returns the numbers of transitions of batches that are recorded; None: all are.

    Attributes:
        compiled: set it to False to run each step op by op.
    """

    compiled = True

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        max_grad_norm: float | None,
        explain: Callable[[Batch, str], str] | None = None,
        settings: Callable[[], Hashable] = lambda: None,
        parameters: Callable[[], Iterable[Tensor]] = tuple,
        sizes: Callable[[], set[int]] | None = None,
    ) -> None:
        super().__init__(loss, optimizer, max_grad_norm, explain)
        self.settings, self.parameters, self.sizes = settings, parameters, sizes
        self.programs = Programs()
        self._loss = loss  # another one, set later, runs op by op: nobody says that it may be recorded
        self._columns: Any = None
        self._given: list[Any] = []
        self._arrays: list[Any] = []
        self._nested = False
        self._in_one_piece = True
        self._layouts: dict[Hashable, int] = {}  # numbers of the batches' layouts, quicker to compare than these
        self._layout = 0
        self._state: tuple[Any, ...] = (None,) * 3  # what the programs depend on beside a batch
        self._version, self._frozen = -1, False
        self._sizes: set[int] | None = None
        self._seconds = 0.0  # of a step, as the latest call of several has shown

    @property
    def refused(self) -> str:
        """The reason why steps run op by op; "" if they do not."""
        return self.programs.refused

    def __call__(self, batch: Batch, **numbers: float) -> StepMetrics:
        """Take one step (see `GradientStep`)."""
        if numbers:
            check_numbers(numbers)
        metrics = self._run(batch, numbers, True)
        if metrics is None:
            metrics = super().gradient(batch, **numbers)
            self.optimizer.step()
        return metrics

    def each(self, batches: Iterable[Batch], until: Until = None, **numbers: float) -> Iterator[StepMetrics]:
        """Take a step on each batch (see `GradientStep`), several of them in one call of a program."""
        return super().each(batches, until, **numbers) if until is not None else self._ahead(iter(batches), numbers)

    def _ahead(self, batches: Iterator[Batch], numbers: dict[str, float]) -> Iterator[StepMetrics]:
        check_numbers(numbers)
        while waiting := list(itertools.islice(batches, AT_ONCE)):
            while waiting:
                taken = self._several(waiting, numbers) or [self(waiting[0], **numbers)]
                del waiting[: len(taken)]
                yield from taken

    def _several(self, batches: list[Batch], numbers: dict[str, float]) -> list[StepMetrics]:
        """Take steps on the first of these batches, as many as a program can in one call; return their metrics."""
        columns, first = batches[0].split()
        found = None
        if first is not None and len(batches) > 1:
            found = self._prepared(batches[0], numbers, True, record=False)
        if found is None:
            return []
        program, (*arrays, _), settings, inside = found
        if not inside or program.results or program.runs < check.RUNS:
            return []
        rows: list[Any] = []
        most = AT_ONCE if self._seconds * AT_ONCE <= LONGEST else int(LONGEST / self._seconds)
        for batch in batches[: min(most, self.optimizer.steps_at_once)]:
            there, picked = batch.split()
            if there is not columns or picked is None or len(picked) != len(first):
                break
            rows.append(np.ascontiguousarray(picked, np.int64))
        if len(rows) < 2:
            return []
        given = settings[: len(numbers) + 1]
        table = [(*given, *(self.optimizer.settings(ahead) or ())) for ahead in range(len(rows))]
        start = time.perf_counter()
        with program.lock:
            packed = program.run_each(arrays, rows, table)
        if packed:
            self._seconds = (time.perf_counter() - start) / len(packed)
            self.optimizer.stepped(len(packed))
        return [RunMetrics(program, one, []) for one in packed]

    def gradient(self, batch: Batch, **numbers: Any) -> StepMetrics:
        """Compute the clipped gradient alone, without a step (see `GradientStep`)."""
        return self._run(batch, numbers, False) or super().gradient(batch, **numbers)

    def explain(self) -> str:
        """Say how the steps run: as a program of how many steps, or op by op, and because of which line."""
        if not self.compiled:
            return "runs op by op: compiled is False"
        if self.loss is not self._loss:
            return "runs op by op: the loss was replaced by another one"
        if self._frozen:
            return "runs op by op: parameters are frozen, or were moved by a newer optimizer"
        found = self.programs.explain()
        if self._sizes is None or found != "has not run yet":
            return found
        return f"{found} by a batch of {' or '.join(map(str, sorted(self._sizes)))} transitions; others run op by op"

    def forget(self) -> None:
        """Drop what was recorded of earlier steps."""
        self.programs.forget()
        self._columns = None

    def _prepared(self, batch: Batch, numbers: dict[str, Any], step: bool, record: bool = True) -> Any:
        """Return the program for a batch, its inputs but for the last, the settings, which are the last, and whether it
        takes the step too; None where the step runs op by op, or the program must be recorded first, unless `record`.
        """
        if self.programs.refused or observing or not self.compiled or self.loss is not self._loss:
            return None
        columns, rows = batch.split()
        same = columns is self._columns and len(columns) == len(self._given) and not self._nested
        if not same or not all(map(operator.is_, columns.values(), self._given)):
            self._take(columns)
        arrays = self._arrays
        if not self._in_one_piece:
            arrays = [np.require(x, requirements=("C", "A")) for x in arrays]
        if rows is not None and not (rows.dtype == np.int64 and rows.flags.c_contiguous):
            rows = np.ascontiguousarray(rows, np.int64)
        optimizer = self.optimizer
        state = self.settings(), optimizer, optimizer.flat.values
        if structure.version != self._version or any(map(operator.is_not, state, self._state)):
            self._state, self._version = state, structure.version
            self._sizes = None if self.sizes is None else self.sizes()
            self.programs.forget()
        n = len(batch)
        if self._sizes is not None and n not in self._sizes:
            return None
        own = optimizer.settings() if step else None
        inside = own is not None
        settings = (*numbers.values(), self.max_grad_norm, *(own or ()))
        inputs = arrays if rows is None else [*arrays, rows]
        key = self._layout, -1 if rows is None else n, inside, mode.allowed, *numbers
        program = self.programs.get(key)
        if program is None and record:
            names, given = tuple(numbers), [*inputs, np.array(settings, np.float64)]
            program = self._record(key, columns, rows is not None, names, inside, given)
        self._frozen = program is not None and not optimizer.flat.ready()
        return None if program is None or self._frozen else (program, inputs, settings, inside)

    def _run(self, batch: Batch, numbers: dict[str, Any], step: bool) -> StepMetrics | None:
        """Let a program compute the gradient, and take the step if that is asked for; None where no program did."""
        found = self._prepared(batch, numbers, step)
        if found is None:
            return None
        program, inputs, settings, inside = found
        checked = None
        if program.runs < check.RUNS:
            right = super().gradient(batch, **numbers)
            _ = right.values_now  # before the weights change
            checked = right, self.optimizer.flat.grads.copy()
        with program.lock:
            try:
                if not program.run(*inputs, program.settings(settings)):
                    return None
            except IndexError:
                return None  # the ops say which number is out of range
            metrics = RunMetrics(program, program.packed.tolist(), [array.copy() for array in program.results])
        if checked is not None:
            self._compare(program, metrics, *checked)
        if inside:
            self.optimizer.stepped()
        elif step:
            self.optimizer.step()
        return metrics

    def _compare(self, program: Any, metrics: StepMetrics, right: StepMetrics, gradient: np.ndarray) -> None:
        """Raise an AnomalyError where a program did not compute the gradient and the metrics that the ops compute."""
        program.runs += 1
        name = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        check.compare(f"norm of the gradient of {name}", metrics.grad_norm / right.grad_norm, 1.0)
        check.compare(f"gradient of {name}", self.optimizer.flat.grads, gradient)
        check.compare_all(f"metrics of {name}", metrics, right)

    def _record(
        self, key: Hashable, columns: Any, picked: bool, names: tuple[str, ...], inside: bool, inputs: list[np.ndarray]
    ) -> Any:
        self.optimizer.zero_grad()
        makes = recorder("cpu")
        closing = makes and functools.partial(makes.closing, self.optimizer, inside, len(names))
        function = self._recorded(columns, picked, names)
        flat = self.optimizer.flat
        return self.programs.record(key, function, inputs, flat.places, self.parameters, closing=closing)

    def _take(self, columns: Any) -> None:
        """Note the arrays of a batch, and the layout that a program depends on."""
        arrays = arrays_of(columns)
        self._columns, self._given, self._arrays = columns, list(columns.values()), arrays
        self._nested = any(isinstance(column, dict) for column in self._given)  # whose arrays may be replaced unseen
        self._in_one_piece = all(x.flags.c_contiguous and x.flags.aligned for x in arrays)
        layout = structure_of(columns), tuple((x.shape, x.dtype.str) for x in arrays)
        self._layout = self._layouts.setdefault(layout, len(self._layouts))

    def _recorded(self, columns: Any, picked: bool, names: tuple[str, ...]) -> Callable[..., dict[str, Any]]:
        """Return the function that is recorded: of the arrays of a batch, the rows that are picked, and numbers."""

        def gradient(*given: Any) -> dict[str, Any]:
            *arrays, settings = given
            rows = arrays.pop() if picked else None
            numbers = {name: settings[i] for i, name in enumerate(names)}
            _, metrics = self.backward(batch_of(structure_of(columns), arrays, rows), **numbers)
            return dict(StepMetrics(metrics, 0.0))

        return gradient


class RunMetrics(StepMetrics):
    """The metrics of a step that a program took."""

    def __init__(self, program: Any, packed: list[float], vectors: list[np.ndarray]) -> None:
        self.grad_norm = packed.pop()
        self._values = None
        self._compute = functools.partial(program.named, packed, vectors)
