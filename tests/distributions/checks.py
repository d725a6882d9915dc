"""Checks for the tests of all distributions."""

from typing import Any

import numpy as np

from dbrrl.backend import to_numpy


def array(x: Any) -> Any:
    """The values of a tensor or an array, wherever it lies."""
    return to_numpy(getattr(x, "array", x))


def assert_frequencies(counts: Any, probabilities: Any) -> None:
    """Pearson's chi-square of counts (k,) passes its mean by less than five deviations; what is excluded never is."""
    counts, expected = np.asarray(counts, float), np.asarray(probabilities, float) * np.sum(counts)
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = max(len(counts) - 1, 1)
    assert np.sum((counts - expected) ** 2 / expected) < freedom + 5 * np.sqrt(2 * freedom)
