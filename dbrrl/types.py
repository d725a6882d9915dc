"""Names of the types that signatures share."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""An array of NumPy or, on a GPU, of CuPy: the two have one interface."""

Observation: TypeAlias = Array | dict[str, Any]
"""A batch of observations: an array, or a dict of observations by name (`gymnasium.spaces.Dict`)."""

Scalar: TypeAlias = float | Array
"""A number, or an array without axes, such as one on a GPU."""

Metrics: TypeAlias = dict[str, float]
"""Training statistics by name, such as {"policy_loss": -0.02}."""

State: TypeAlias = dict[str, Any]
"""Plain data that a checkpoint can hold: dicts with text keys, lists, text, numbers, True, False, None and arrays."""
