"""Values that come from a file are checked, and a small file cannot ask for large objects."""

import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError
from dbrrl.experiment import registry
from tests.agents.feeding import actions_for

BOX = gym.spaces.Box(-1, 1, (4,))
MANY = 10**7
# The agent, where in its record, and what is put there: 8 to 300 kB of file that would ask for gigabytes.
DEMANDS: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "layers": ("ppo", ("config", "hidden_sizes"), [6000, 6000]),
    "many layers": ("a2c", ("config", "hidden_sizes"), [1] * 5000),
    "layers of a Q-network": ("dqn", ("config", "hidden_sizes"), [6000, 6000]),
    "layers of learners": ("a3c", ("config", "hidden_sizes"), [6000, 6000]),
    "learners": ("a3c", ("num_envs",), MANY),
    "environments": ("ppo", ("num_envs",), MANY),
    "actions": ("ppo", ("spaces", "action", "n"), MANY),
    "observations": ("ppo", ("spaces", "observation"), {"type": "Discrete", "n": MANY, "start": 0}),
    "bits": ("ppo", ("spaces", "observation"), {"type": "MultiBinary", "n": 10**9}),
    "a dtype that is an array": ("ppo", ("spaces", "observation", "dtype"), "(9999,9999)f4"),
    "a dtype of texts": ("ppo", ("spaces", "observation", "dtype"), "S100000000"),
    "a memory": ("recurrent", ("config", "recurrent_size"), 6000),
    "a batch": ("dqn", ("config", "batch_size"), 10**9),
    "atoms": ("c51", ("config", "atoms"), MANY),
    "quantiles": ("qr_dqn", ("config", "quantiles"), MANY),
    "cosines": ("iqn", ("config", "cosines"), MANY),
    "fractions": ("iqn", ("config", "action_quantiles"), MANY),
}


def record_of(name: str) -> tuple[Any, dict[str, Any]]:
    recurrent = name == "recurrent"
    cls = registry.agent_class("ppo" if recurrent else name)
    names = {"buffer_size": 1000} if "buffer_size" in cls.Config.__dataclass_fields__ else {}
    options: dict[str, Any] = {"recurrent": "lstm", "recurrent_size": 4} if recurrent else names
    return cls, cls(BOX, actions_for(cls), cls.Config(hidden_sizes=(8,), **options), num_envs=2).record()


@pytest.mark.parametrize("acting", [False, True])
@pytest.mark.parametrize("demand", DEMANDS)
def test_a_small_file_that_asks_for_much_is_refused_before_it_is_made(
    demand: str, acting: bool, tmp_path: Path
) -> None:
    name, place, value = DEMANDS[demand]
    cls, record = record_of(name)
    at: Any = record
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    path = tmp_path / "agent.dbrrl"
    checkpoint.save(path, record, kind="agent")
    size, started = path.stat().st_size, time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            cls.from_record(checkpoint.load(path, kind="agent"), path, acting=acting)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * size + 6e6 and time.process_time() - started < 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("name", "field"), [("dqn", "buffer_size"), ("rainbow", "buffer_size"), ("ppo", "n_steps")])
def test_what_a_large_buffer_does_not_hold_takes_no_memory(name: str, field: str) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    cls, record = record_of(name)
    record["config"][field] = 4 * 10**7  # each array is more than what malloc takes from memory that was used before
    before = resident()
    agent = cls.from_record(record)
    assert getattr(agent.config, field) == 4 * 10**7
    assert resident() - before < 60e6


@pytest.mark.parametrize(
    "sizes", [(), (64, 64), *(pytest.param(s, marks=pytest.mark.slow) for s in ((256, 256), (512,) * 4))]
)
@pytest.mark.parametrize("name", [*registry.agent_names(), "recurrent"])
def test_every_agent_as_it_is_made_can_be_read_again(name: str, sizes: tuple[int, ...]) -> None:
    cls, record = record_of(name)
    config = cls.Config.from_dict(record["config"] | {"hidden_sizes": sizes})
    record = cls(BOX, actions_for(cls), config, num_envs=3, seed=1).record()
    for acting in (False, True):
        assert cls.from_record(record, acting=acting).config.hidden_sizes == sizes


def test_rows_without_entries_are_not_believed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {"fine": np.zeros((0, 10**6)), "rows": np.zeros((7, 0))}, kind="run")
    checkpoint.load(tmp_path / "x", kind="run")
    checkpoint.save(tmp_path / "x", {"rows": np.zeros((10**9, 0))}, kind="run")
    with pytest.raises(CheckpointError, match=r"the array 'rows' has 1,000,000,000 rows and no entries"):
        checkpoint.load(tmp_path / "x", kind="run")


@pytest.mark.parametrize("value", [-1, True, 1.0, None, "1", 2**60, float("nan"), [], np.zeros(1)])
def test_what_is_no_count_is_named(value: Any) -> None:
    with pytest.raises(CheckpointError, match="steps: expected a whole number from 0 to"):
        untrusted.whole(value, "steps")
    assert untrusted.whole(np.int64(3), "steps") == 3


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 10**400, -2])
def test_what_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(CheckpointError, match="rate: expected a finite number of 0 or more"):
        untrusted.number(value, "rate", 0)
    assert untrusted.number(1, "rate") == 1.0 and untrusted.number(float("inf"), "rate", finite=False) > 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1.0, 2.0], "expected an array of float32, got"),
        (np.zeros(2, np.int64), "expected an array of float32, got an array of int64"),
        (np.zeros(3, np.float32), r"expected shape \(2,\), got \(3,\)"),
        (np.array([0, np.nan], np.float32), "expected finite numbers"),
        (np.array([0, -np.inf], np.float32), "expected finite numbers"),
        (np.array([0, -1], np.float32), "expected numbers of 0 or more, got -1"),
    ],
)
def test_what_is_no_such_array_is_named(value: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=f"w: {said}"):
        untrusted.array(value, "w", np.float32, (2,), at_least=0)


def test_a_foreign_error_becomes_ours_and_keeps_its_cause() -> None:
    with pytest.raises(CheckpointError, match=r"replay: .*KeyError: 'x'.*: take another") as caught:  # noqa: SIM117
        with untrusted.state_of("replay", "take another"):
            {}["x"]
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_budget_ends_with_its_file() -> None:
    untrusted.ask(10**15, "weights")
    with untrusted.budget(10):
        untrusted.ask(1000, "weights")
        with pytest.raises(CheckpointError, match="as large as what the file holds, got weights of 2,000,000 bytes"):
            untrusted.ask(2_000_000, "weights")
    untrusted.ask(10**15, "weights")
