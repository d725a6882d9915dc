"""Every op's value and gradient in float32 on the device, against float64 on the CPU."""

from typing import Any

import numpy as np

from benchmarks.gpu.jobs import Sizes
from benchmarks.gpu.measure import Deadline, Machine
from dbrrl import backend
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import no_grad, wrap
from tests.autodiff.table import CASES, Case

# A float32 is rounded by up to 2**-24 = 6e-8 of itself. The cases' longest sums and chains take about 30 such steps, in
# each of which a GPU's own exp and tanh may be off by two roundings. TF32, with its 2**-11, is far over the bar.
VALUE_BAR = 64 * 2.0**-24
# A gradient goes through the op forward and backward, and its second half reads the rounded results of the first.
GRADIENT_BAR = 4 * VALUE_BAR


def error(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest difference relative to the largest element (to 0.1 if all are below that); inf for another shape."""
    if found.shape != exact.shape:
        return float("inf")
    if not exact.size:
        return 0.0
    largest = max(0.1, float(np.abs(exact).max()))
    worst = float(np.abs(found - exact).max()) / largest
    return worst if np.isfinite(worst) else float("inf")


def results(case: Case, inputs: list[Any], weight: Any) -> list[Any]:
    """The value without a graph, and the gradients of its sum weighted by `weight(value)`."""
    with no_grad():
        plain = case.call(*inputs)
    tensors = [wrap(a).requires_grad_() for a in inputs]
    y = case.call(*tensors)
    return [plain, *grad((y * weight(plain)).sum(), tensors)]


def on_host(x: Any) -> np.ndarray:
    """A result as float64 in NumPy."""
    return np.asarray(backend.to_numpy(getattr(x, "array", x)), np.float64)


def look_at(case: Case, make: Any, machine: Machine) -> tuple[float, float]:
    """The errors of the value and of the gradients at one point."""
    arrays = [np.asarray(a, np.float32) for a in make(np.random.default_rng(7))]
    exact = [a.astype(np.float64) for a in arrays]

    def weights(value: Any) -> np.ndarray:
        return np.random.default_rng(1).uniform(0.5, 1.5, np.shape(value))

    there = results(case, [machine.put(a) for a in arrays], lambda v: machine.put(weights(v).astype(np.float32)))
    here = results(case, [a.copy() for a in exact], lambda v: weights(v).astype(np.float32).astype(np.float64))
    for result in there:
        array = getattr(result, "array", result)
        if backend.device_name(array) == "cpu":
            raise AssertionError(f"{case.name}: expected a result on the device, got one on the CPU")
    value = error(on_host(there[0]), np.asarray(case.reference(*exact), np.float64))
    gradients = [error(on_host(a), on_host(b)) for a, b in zip(there[1:], here[1:], strict=True)]
    return value, max(gradients, default=0.0)


def measure(data: dict[str, Any], machine: Machine, sizes: Sizes, deadline: Deadline) -> None:
    """Fill in the worst error of each family of ops, and each case that is over the bar or raised, by name."""
    families: dict[str, dict[str, Any]] = data.setdefault("families", {})
    failures: list[str] = data.setdefault("failures", [])
    data.update(value_bar=VALUE_BAR, gradient_bar=GRADIENT_BAR, cases=0, of=len(CASES[:: sizes.every]))
    for case in CASES[:: sizes.every]:
        if deadline.over:
            failures.append(f"the time was over after {data['cases']} of {data['of']} cases")
            return
        family = case.ops[0].__module__.rpartition(".")[2]
        row = families.setdefault(family, {"cases": 0, "value": 0.0, "gradient": 0.0, "worst": "", "worst_share": 0.0})
        for make in case.points[: sizes.points]:
            try:
                value, gradient = look_at(case, make, machine)
            except Exception as problem:  # one op that breaks says so, the others are looked at
                failures.append(f"{case.name}: {type(problem).__name__}: {' '.join(str(problem).split())[:300]}")
                continue
            if value > VALUE_BAR or gradient > GRADIENT_BAR:
                failures.append(f"{case.name}: error {value:.1e} in the value, {gradient:.1e} in the gradient")
            share = max(value / VALUE_BAR, gradient / GRADIENT_BAR)
            if share > row["worst_share"]:
                row.update(worst=case.name, worst_share=share)
            row.update(value=max(row["value"], value), gradient=max(row["gradient"], gradient))
        row["cases"] += 1
        data["cases"] += 1
