"""200 updates of every agent: as programs, op by op, and by NumPy alone."""

from pathlib import Path

import numpy as np
import pytest

from dbrrl.experiment import registry
from dbrrl.kernels.cpu import extension

from .updates import CASES, experience, explained, make, updated, updated_by_numpy, weights

pytestmark = pytest.mark.skipif(extension.module is None, reason=f"no compiled kernels: {extension.reason}")
QUICK = ["ppo", "ppo box", "ppo masks", "dqn with all", "td3", "sac"]
OP_BY_OP = {"trpo", "drqn"}  # a line search asks for numbers; sequences


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """The norm of the difference of two vectors of weights, in units of the norm of one."""
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *SLOW])
def test_programs_learn_what_the_ops_learn(case: str) -> None:
    given = experience(case)
    agents = [updated(case, given, compiled) for compiled in (True, False)]
    found, right = map(weights, agents)
    assert apart(right, weights(make(case))) > 1e-3  # something was learned
    assert apart(found, right) < 1e-5
    for text in explained(agents[0]).values():
        assert text.startswith("runs as") or case in OP_BY_OP, text
    assert all("compiled is False" in text or "not made" in text for text in explained(agents[1]).values())


@pytest.mark.slow
def test_programs_learn_what_numpy_learns(tmp_path: Path) -> None:
    given = {case: experience(case) for case in CASES}
    right = updated_by_numpy(list(CASES), given, tmp_path)
    off = {case: apart(weights(updated(case, given[case], True)), right[case]) for case in CASES}
    assert max(off.values()) < 1e-5, off


def test_no_agent_is_left_out() -> None:
    assert {case.split(" ")[0] for case in CASES} == {*registry.agent_names()} - {"a3c"}  # its learners are A2C's
