"""Rollouts keep every row as it came, and go on exactly where they were saved."""

from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.buffers import RolloutBuffer
from dbrrl.errors import CheckpointError, ConfigError, GraphError

STEPS, ENVS = 3, 2
NOTHING = (np.zeros(ENVS), np.zeros(ENVS, bool), np.zeros(ENVS, bool))


def make(**changes: Any) -> RolloutBuffer:
    settings: dict[str, Any] = {
        "n_steps": STEPS, "num_envs": ENVS, "shapes": [(4,), (1, 2, 2)], "dtypes": [np.float32, np.uint8],
        "action_shape": (2,), "action_dtype": np.int64,
    }  # fmt: skip
    return RolloutBuffer(**(settings | changes))


def row(t: int) -> dict[str, Any]:
    r = np.random.default_rng(t)
    return {
        "parts": [r.normal(size=(ENVS, 4)).astype(np.float32), r.integers(0, 256, (ENVS, 1, 2, 2), np.uint8)],
        "action": r.integers(0, 9, (ENVS, 2)),
        "result": (r.normal(size=ENVS), r.random(ENVS) < 0.5, r.random(ENVS) < 0.5, r.random(ENVS) < 0.5),
    }


def begin(buffer: RolloutBuffer, t: int) -> None:
    buffer.add_action(row(t)["parts"], row(t)["action"])


def end(buffer: RolloutBuffer, t: int) -> None:
    buffer.add_outcome(*row(t)["result"])
    if t == 1:
        buffer.finals.append((t, 0, [part[0].copy() for part in row(9)["parts"]]))


MOVES = [move for t in range(STEPS) for move in ((begin, t), (end, t))]


def contents(buffer: RolloutBuffer) -> Any:
    return {**vars(buffer), "full": buffer.full}


def test_rows_are_kept_as_they_came() -> None:
    buffer = make()
    for move, t in MOVES:
        assert not buffer.full
        move(buffer, t)
    buffer.close(row(STEPS)["parts"])
    assert buffer.full and buffer.size == STEPS
    for i, (dtype, store) in enumerate(zip((np.float32, np.uint8), buffer.observations, strict=True)):
        assert store.dtype == dtype
        np.testing.assert_array_equal(store, [row(t)["parts"][i] for t in range(STEPS + 1)])
    np.testing.assert_array_equal(buffer.actions, [row(t)["action"] for t in range(STEPS)])
    for k, store in enumerate((buffer.rewards, buffer.terminated, buffer.truncated, buffer.valid)):
        np.testing.assert_array_equal(store, np.array([row(t)["result"][k] for t in range(STEPS)]).astype(store.dtype))
    assert buffer.rewards.dtype == np.float32
    buffer.clear()
    assert buffer.size == 0 and not buffer.full and buffer.finals == []


def test_a_row_is_copied_and_may_be_begun_again() -> None:
    buffer, given = make(), row(0)
    buffer.add_action(row(5)["parts"], row(5)["action"])
    buffer.add_action(given["parts"], given["action"])
    given["parts"][0][:] = 0
    buffer.add_outcome(np.full(ENVS, 0.5), np.ones(ENVS, bool), np.zeros(ENVS, bool))
    np.testing.assert_array_equal(buffer.observations[0][0], row(0)["parts"][0])
    np.testing.assert_array_equal(buffer.valid[0], True)
    np.testing.assert_array_equal(buffer.rewards[0], 0.5)
    assert buffer.size == 1


@pytest.mark.parametrize("cut", range(len(MOVES) + 1))
def test_a_rollout_saved_anywhere_goes_on_exactly(cut: int, tmp_path: Any) -> None:
    whole, other = make(), make()
    for move, t in MOVES[:cut]:
        move(whole, t)
    for move, t in MOVES[:3]:  # what stood there before is forgotten
        move(other, t + 5 if t else 7)
    checkpoint.save(tmp_path / "rollout", whole.state_dict(), kind="rollout")
    other.load_state_dict(checkpoint.load(tmp_path / "rollout", kind="rollout"))
    assert whole.state_dict()["size"] == cut // 2 and whole.state_dict()["begun"] == bool(cut % 2)
    np.testing.assert_equal(other.state_dict(), whole.state_dict())
    for buffer in (whole, other):
        for move, t in MOVES[cut:]:
            move(buffer, t)
        buffer.close(row(STEPS)["parts"])
    np.testing.assert_equal(contents(other), contents(whole))


def test_a_state_is_a_copy() -> None:
    buffer = make()
    for move, t in MOVES[:5]:
        move(buffer, t)
    state = buffer.state_dict()
    kept = make()
    kept.load_state_dict(state)
    for array in (*buffer.observations, buffer.actions, buffer.rewards, buffer.terminated, buffer.finals[0][2][0]):
        array[...] = 0
    np.testing.assert_equal(kept.state_dict(), state)


def test_order_of_calls() -> None:
    buffer = make()
    with pytest.raises(GraphError, match=r"observe\(\): expected act\(\) before it"):
        buffer.add_outcome(*NOTHING)
    for move, t in MOVES:
        move(buffer, t)
    with pytest.raises(GraphError, match="expected a rollout with room"):
        begin(buffer, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("size"),
        lambda s: s.pop("finals"),
        lambda s: s.update(size=9),
        lambda s: s.update(begun=False),
        lambda s: s.update(size=None),
        lambda s: s["observations"].pop(),
        lambda s: s.update(rewards=s["rewards"][:1]),
        lambda s: s.update(actions=s["actions"][..., 0]),
        lambda s: s.update(finals=[{"row": 0}]),
    ],
)
def test_a_wrong_state_changes_nothing(change: Any) -> None:
    buffer, other = make(), make()
    for move, t in MOVES[:5]:
        move(buffer, t)
    begin(other, 7)
    before, state = other.state_dict(), buffer.state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=r"rollout: .*expected"):
        other.load_state_dict(state)
    np.testing.assert_equal(other.state_dict(), before)


@pytest.mark.parametrize(
    "changes", [{"n_steps": 2}, {"num_envs": 3}, {"action_shape": ()}, {"shapes": [(4,), (1, 2, 3)]}]
)
def test_a_rollout_of_other_sizes_is_refused(changes: Any) -> None:
    buffer = make()
    for move, t in MOVES[:5]:
        move(buffer, t)
    with pytest.raises(CheckpointError, match="load with the same spaces, n_steps and num_envs"):
        make(**changes).load_state_dict(buffer.state_dict())


def test_what_does_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"RolloutBuffer: expected at most .* GB .* smaller n_steps or num_envs"):
        make(n_steps=10**12)
