"""Gradient steps against gradients in closed form, on the CPU and recorded on the stand-in for a GPU."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from dbrrl import backend, nn, optim
from dbrrl import functional as F
from dbrrl.buffers import Batch
from dbrrl.errors import AnomalyError, ArgumentError
from dbrrl.learning.captured_step import CapturedStep
from dbrrl.learning.gradient_step import GradientStep, StepMetrics, means
from tests import standin

CENTERS = np.array([[1.0, -2.0], [3.0, 0.0], [2.0, 8.0]], np.float32)


class Point(nn.Module):
    """A point in the plane."""

    def __init__(self) -> None:
        self.x = nn.Parameter(np.array([4.0, 1.0], np.float32))


class Quadratic:
    """scale · mean |x - center|² / 2, whose gradient is scale · (x - mean center); counts how often it is evaluated."""

    def __init__(self, point: Point) -> None:
        self.point, self.losses, self.metrics = point, 0, 0

    def __call__(self, batch: Batch, scale: Any = 1.0) -> tuple[Any, Any]:
        self.losses += 1
        distance = (((self.point.x - batch.center) ** 2) / 2).sum(axis=1)

        def metrics() -> Mapping[str, Any]:
            self.metrics += 1
            return {"distance": distance.array, "mean_distance": distance.array.mean()}

        return scale * F.weighted_mean(distance), metrics


def made(limit: float | None = None, rate: float = 0.5) -> tuple[GradientStep, Quadratic]:
    loss = Quadratic(Point())
    return GradientStep(loss, optim.SGD(loss.point, rate), limit), loss


def batch(rows: int = 3) -> Batch:
    return Batch(center=CENTERS[:rows])


def test_a_step_goes_along_the_gradient() -> None:
    step, loss = made()
    x = np.array([4.0, 1.0])
    for rows in (3, 1, 2):
        gradient = x - CENTERS[:rows].mean(axis=0)
        metrics = step(batch(rows))
        x = x - 0.5 * gradient
        np.testing.assert_allclose(loss.point.x.numpy(), x, rtol=1e-6)
        assert metrics.grad_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


@pytest.mark.parametrize(("limit", "factor"), [(1.0, 1 / math.hypot(2, 1)), (100.0, 1.0), (None, 1.0)])
def test_a_gradient_is_scaled_down_to_the_largest_norm(limit: float | None, factor: float) -> None:
    step, loss = made(limit)
    metrics = step(batch())  # the gradient is (2, -1)
    np.testing.assert_allclose(loss.point.x.numpy(), [4 - 0.5 * 2 * factor, 1 + 0.5 * factor], rtol=1e-6)
    assert metrics.grad_norm == pytest.approx(math.hypot(2, 1))  # before it was clipped


def test_a_loss_may_be_a_list_of_weighted_terms() -> None:
    step, loss = made()
    x = loss.point.x
    step.loss = lambda batch: ([(2.0, (x * x).sum()), (-0.5, x.sum())], dict)
    metrics = step(batch())
    np.testing.assert_allclose(x.numpy(), [4 - 0.5 * (4 * 4 - 0.5), 1 - 0.5 * (4 - 0.5)], rtol=1e-6)
    assert metrics.grad_norm == pytest.approx(math.hypot(15.5, 3.5))


@pytest.mark.parametrize("weight", [None, [1.0, 1.0, 1.0], [0.5, 2.0, 0.0]])
def test_a_loss_may_be_one_number_per_transition_which_the_weights_of_the_batch_scale(weight: Any) -> None:
    step, loss = made()
    x = loss.point.x
    step.loss = lambda batch: ((((x - batch.center) ** 2) / 2).sum(axis=1), dict)
    weights = None if weight is None else np.array(weight, np.float32)
    step(batch().add(weight=weights) if weight is not None else batch())
    each = np.array([4.0, 1.0]) - CENTERS
    gradient = (each * np.ones((3, 1)) if weights is None else each * weights[:, None]).sum(axis=0) / 3
    np.testing.assert_allclose(x.numpy(), np.array([4.0, 1.0]) - 0.5 * gradient, rtol=1e-6)


def test_numbers_reach_the_loss() -> None:
    step, loss = made()
    step(batch(), scale=0.1)
    np.testing.assert_allclose(loss.point.x.numpy(), [4 - 0.5 * 0.2, 1 + 0.5 * 0.1], rtol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_array_by_keyword_is_refused_on_every_device(device: str) -> None:
    loss = Quadratic(Point())
    step: GradientStep = GradientStep(loss, optim.SGD(loss.point, 0.5))
    if device == "cuda":
        step = CapturedStep(loss, optim.SGD(loss.point, 0.5), None, "cpu", lambda: None)
    with pytest.raises(ArgumentError, match=r"scale: expected a number, got an array of shape \(2,\): .*batch.add"):
        step(Batch(center=CENTERS), scale=np.ones(2))
    assert loss.losses == 0


def test_metrics_are_computed_once_and_only_when_one_is_asked_for() -> None:
    step, loss = made()
    metrics = [step(batch()) for _ in range(3)]
    assert (loss.losses, loss.metrics) == (3, 0)
    assert metrics[0].grad_norm == pytest.approx(math.hypot(2, 1)) and loss.metrics == 0
    np.testing.assert_allclose(metrics[0]["distance"], ((np.array([4, 1]) - CENTERS) ** 2).sum(1) / 2)
    assert dict(metrics[0]).keys() == {"distance", "mean_distance"} and len(metrics[0]) == 2
    assert loss.metrics == 1


def test_the_gradient_alone_changes_no_parameter() -> None:
    step, loss = made(limit=1.0)
    step.gradient(batch())
    np.testing.assert_array_equal(loss.point.x.numpy(), [4, 1])
    np.testing.assert_allclose(step.optimizer.gradient, np.array([2, -1]) / math.hypot(2, 1), rtol=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("limit", [None, 1.0])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_gradient_that_is_not_finite_raises_and_leaves_the_parameters(poison: float, limit: float | None) -> None:
    step, loss = made(limit)
    step.optimizer = optim.Adam(loss.point, 0.1)
    step(batch())
    before, state = loss.point.x.numpy().copy(), step.optimizer.state_dict()
    bad = batch().add(center=np.full((3, 2), poison, np.float32))
    with pytest.raises(AnomalyError, match="gradient"):
        step(bad)
    np.testing.assert_array_equal(loss.point.x.numpy(), before)
    np.testing.assert_equal(step.optimizer.state_dict(), state)
    step.error_message = lambda bad, found: f"a batch of {len(bad)}{found}"
    with pytest.raises(AnomalyError, match=rf"a batch of 3 \(loss {poison}\)"):
        step(bad)


def test_metrics_are_numbers_where_they_are_asked_for_as_such() -> None:
    step, _ = made()
    metrics = step(batch())
    assert metrics.numbers() == pytest.approx(
        {"distance": 36.5 / 3, "mean_distance": 36.5 / 3, "grad_norm": math.hypot(2, 1)}
    )


def test_means_of_several_steps() -> None:
    steps = [StepMetrics(lambda i=i: {"a": float(i), "b": np.array([i, i + 2.0])}, 1.0) for i in (1, 2)]  # type: ignore[misc]
    assert means(steps, "agent") == {"a": 1.5, "b": 2.5}


def captured(loss: Quadratic, limit: float | None = None) -> CapturedStep:
    loss.point.to("cuda")
    return CapturedStep(loss, optim.Adam(loss.point, 0.1), limit, "cuda", lambda: None)


@pytest.mark.parametrize("limit", [None, 1.0])
@pytest.mark.parametrize("use_cuda_graphs", [True, False])
def test_a_recorded_step_follows_its_numbers_and_its_batches(limit: float | None, use_cuda_graphs: bool) -> None:
    """Ten steps, of a scale and rows that change from step to step, against the same steps on the CPU."""
    cpu, _ = made(limit)
    cpu.optimizer = optim.Adam(cpu.loss.point, 0.1)  # type: ignore[attr-defined]
    with standin.installed():
        loss = Quadratic(Point())
        step = captured(loss, limit)
        step.use_cuda_graphs = use_cuda_graphs
        there = batch().to("cuda")
        for t in range(10):
            rows, scale = np.array([t % 3, (t + 1) % 3]), 1.0 + 0.3 * t
            expected = cpu(batch()[rows], scale=scale)
            metrics = step(there[backend.to_device(rows, "cuda")], scale=scale)
            np.testing.assert_allclose(backend.to_numpy(metrics["distance"]), expected["distance"], rtol=1e-5)
            assert float(backend.to_numpy(metrics.grad_norm)) == pytest.approx(expected.grad_norm, rel=1e-5)
            found = backend.to_numpy(loss.point.x.array)
            np.testing.assert_allclose(found, cpu.loss.point.x.numpy(), rtol=1e-5)  # type: ignore[attr-defined]
        assert not step.refused
        assert loss.losses == (2 if use_cuda_graphs else 10)  # one step as it is, one recorded, the others replayed


def test_metrics_of_a_recorded_step_outlive_the_next_step() -> None:
    with standin.installed():
        step = captured(Quadratic(Point()))
        there = batch().to("cuda")
        kept = [step(there) for _ in range(5)]
        distances = [backend.to_numpy(metrics["distance"]).sum() for metrics in kept]
    assert all(a > b for a, b in itertools.pairwise(distances))
    assert isinstance(kept[0], StepMetrics)


def test_a_step_is_recorded_anew_for_other_columns_settings_or_optimizers() -> None:
    with standin.installed():
        loss, settings = Quadratic(Point()), {"rate": 1}
        loss.point.to("cuda")
        step = CapturedStep(loss, optim.SGD(loss.point, 0.1), None, "cuda", lambda: settings["rate"])
        there = batch().to("cuda")
        for change in range(4):
            for _ in range(4):
                step(there)
            assert loss.losses == 2 * (change + 1)
            if change == 0:
                settings["rate"] = 2
            elif change == 1:
                step.optimizer = optim.SGD(loss.point, 0.2)
            else:
                there = there.add(weight=there.center[:, 0])
