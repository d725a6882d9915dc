"""Whether an episode reached its goal, as an environment says in `info["is_success"]` when the episode ends."""

import math
from typing import Any

import numpy as np

KEY = "is_success"
"""Key in `info`, as in Gymnasium-Robotics: 1 or True where the goal is reached, 0 or False where it is not."""


def said(info: dict[str, Any]) -> dict[str, float]:
    """Return what one environment's info says of success, alone and as a float; {} if it says nothing."""
    value = info.get(KEY)
    known = isinstance(value, bool | int | float | np.bool_ | np.number)
    return {KEY: float(value)} if known else {}  # type: ignore[arg-type]


def of_ended(info: dict[str, Any], row: int) -> float:
    """Return what the info of a vector environment's step says of the episode that ended in `row`: nan if nothing.

    It may be 0 in place of nan where other rows say something, as Gymnasium joins the infos of copies so. Where an
    environment resets at once (autoreset SAME_STEP), the info of the step itself is in `info["final_info"]`.
    """
    found = info.get("final_info", info)
    values = np.asarray(found.get(KEY)) if isinstance(found, dict) else np.zeros(())
    return said({KEY: values[row]}).get(KEY, math.nan) if values.ndim == 1 else math.nan
