"""Metrics of several gradient steps: their names, when they are computed, what stays of an earlier step."""

from typing import Any

import numpy as np
import pytest

from dbrrl.learning.gradient_step import StepMetrics
from dbrrl.learning.joined_metrics import JoinedMetrics


def step(norm: float = 1.0, **values: Any) -> StepMetrics:
    return StepMetrics(lambda: values, norm)


def test_names_have_the_step_before_the_metric() -> None:
    joined = JoinedMetrics({"critic": step(2.0, loss=np.array([1.0, 3.0])), "actor": step(0.5, loss=4.0)}, {})
    assert joined.numbers() == {
        "critic_loss": 2.0, "critic_grad_norm": 2.0, "actor_loss": 4.0, "actor_grad_norm": 0.5
    }  # fmt: skip
    assert sorted(joined) == ["actor_loss", "critic_loss"] and len(joined) == 2
    assert joined["critic_loss"].tolist() == [1, 3]
    with pytest.raises(KeyError):
        joined["critic_value"]


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def refuse() -> Any:
        raise AssertionError("computed")

    JoinedMetrics({"critic": StepMetrics(refuse, 1.0)}, JoinedMetrics({"actor": StepMetrics(refuse, 1.0)}, {}))


def test_a_step_that_was_not_taken_keeps_its_metrics() -> None:
    first = JoinedMetrics({"critic": step(loss=1.0), "actor": step(loss=2.0)}, {})
    second = JoinedMetrics({"critic": step(loss=3.0)}, first)
    third = JoinedMetrics({"critic": step(loss=4.0)}, second.numbers())  # as after a resume
    fourth = JoinedMetrics({"critic": step(loss=5.0)}, third)
    for joined, loss in ((second, 3.0), (third, 4.0), (fourth, 5.0)):
        assert joined.numbers() == {
            "critic_loss": loss, "critic_grad_norm": 1.0, "actor_loss": 2.0, "actor_grad_norm": 1.0
        }  # fmt: skip
    assert fourth["actor_loss"] == 2.0 and len(fourth.steps) == 1
    fifth = JoinedMetrics({"actor": step(loss=6.0)}, fourth)
    assert fifth.numbers()["actor_loss"] == 6.0
