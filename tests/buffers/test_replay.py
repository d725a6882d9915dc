"""Replay: what is sampled is what a plain list of transitions says, through wrap-around, ends, cuts and saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.backend.trees import leaves
from dbrrl.buffers import EpisodicReplayBuffer, ReplayBuffer
from dbrrl.buffers import memory as memory_module
from dbrrl.buffers.cutting import cut
from dbrrl.errors import CheckpointError, ConfigError, GraphError, ShapeError
from tests import standin
from tests.standin import host

GAMMA = 0.9


def make(capacity: int, num_envs: int, kind: Any = ReplayBuffer, **changes: Any) -> Any:
    return kind(capacity, num_envs, [(2,), (1, 2, 2)], [np.float32, np.uint8], **changes)


class Story:
    """Steps of B environments, told to a buffer and kept as a list of dictionaries per environment."""

    def __init__(self, buffer: Any, seed: int, invalid: bool = False) -> None:
        self.buffer, self.rng, self.invalid = buffer, np.random.default_rng(seed), invalid
        self.told: list[list[dict[str, Any]]] = [[] for _ in range(buffer.num_envs)]
        self.observation = self.fresh()

    def draw(self) -> list[np.ndarray]:
        b = self.buffer.num_envs
        return [self.rng.normal(size=(b, 2)).astype(np.float32), self.rng.integers(0, 256, (b, 1, 2, 2), np.uint8)]

    def following(self) -> list[np.ndarray]:
        """A possible successor of `observation`."""
        return self.draw()

    def fresh(self) -> list[np.ndarray]:
        """A possible first observation of an episode."""
        return self.draw()

    def step(self) -> None:
        b, rng = self.buffer.num_envs, self.rng
        action, reward = rng.integers(0, 9, b), rng.normal(size=b).astype(np.float32)
        terminated, truncated = rng.random(b) < 0.15, rng.random(b) < 0.15
        valid = rng.random(b) < 0.8 if self.invalid else np.ones(b, bool)
        following, fresh = self.following(), self.fresh()
        self.buffer.add_action(self.observation, action)
        self.buffer.add_outcome(following, reward, terminated, truncated, valid if self.invalid else None)
        for env in range(b):
            self.told[env].append({
                "seen": [p[env] for p in self.observation], "action": action[env], "reward": float(reward[env]),
                "terminated": terminated[env], "ended": terminated[env] or truncated[env], "valid": valid[env],
                "next": [p[env] for p in following],
            })  # fmt: skip
        ended = terminated | truncated
        self.observation = [
            np.where(ended.reshape(-1, *[1] * (p.ndim - 1)), f, p) for p, f in zip(following, fresh, strict=True)
        ]

    def expected(self, env: int, t: int, n_steps: int) -> tuple[float, float, Any]:
        """Return, discount and last observation of the transition that begins at t, by the definition."""
        steps, total, k = self.told[env], 0.0, 0
        while True:
            step = steps[t + k]
            total += GAMMA**k * step["reward"]
            k += 1
            last = k == n_steps or step["ended"] or t + k == len(steps) or not steps[t + k]["valid"]
            if last:
                return total, 0.0 if step["terminated"] else GAMMA**k, step["next"]

    def check(self, n_steps: int) -> int:
        """Every complete row of the buffer against the list; how many there are."""
        buffer, length = self.buffer, len(self.told[0])
        kept = min(length, buffer.rows)
        ring = len(buffer.ends) // buffer.num_envs
        count = 0
        for t in range(length - kept, length):
            batch = buffer.gather(np.arange(buffer.num_envs) + (t % ring) * buffer.num_envs, GAMMA, n_steps)
            for env in range(buffer.num_envs):
                step = self.told[env][t]
                if not step["valid"]:
                    continue
                count += 1
                total, discount, following = self.expected(env, t, n_steps)
                assert batch.action[env] == step["action"]
                assert batch.reward[env] == pytest.approx(total, abs=1e-6)
                assert batch.discount[env] == pytest.approx(discount, abs=1e-6)
                for part, seen in zip(leaves(batch.observation), step["seen"], strict=True):
                    np.testing.assert_array_equal(host(part[env]), seen)
                for part, seen in zip(leaves(batch.next_observation), following, strict=True):
                    if discount:  # nothing is read from what follows a true end
                        np.testing.assert_array_equal(host(part[env]), seen)
        return count


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("invalid", [False, True])
def test_transitions_are_those_that_happened(n_steps: int, num_envs: int, invalid: bool, place: Any) -> None:
    story = Story(make(7 * num_envs, num_envs, **place), seed=n_steps, invalid=invalid)
    for _ in range(40):
        story.step()
        assert story.check(n_steps) == len(story.buffer)


def test_a_return_worked_out_by_hand() -> None:
    """Rewards 1 2 4 | 8 16 with a time limit after the third and a true end after the fifth; γ = 1/2, n = 3."""
    buffer = ReplayBuffer(10, 1, [(1,)], [np.float32])
    for t, reward in enumerate([1.0, 2.0, 4.0, 8.0, 16.0]):
        buffer.add_action([np.array([[t]], np.float32)], np.array([0]))
        buffer.add_outcome([np.array([[10 * (t + 1)]], np.float32)], reward, t == 4, t == 2)
    batch = buffer.gather(np.arange(5), 0.5, 3)
    np.testing.assert_array_equal(batch.reward, [1 + 1 + 1, 2 + 2, 4, 8 + 8, 16])
    np.testing.assert_array_equal(batch.discount, [1 / 8, 1 / 4, 1 / 2, 0, 0])
    np.testing.assert_array_equal(leaves(batch.next_observation)[0][:3, 0], [30, 30, 30])


def test_all_that_is_valid_is_drawn_alike_and_nothing_else() -> None:
    story = Story(make(12, 2), seed=0, invalid=True)
    for _ in range(30):
        story.step()
    batch = story.buffer.sample(60_000, np.random.default_rng(0), GAMMA)
    places, counts = np.unique(batch.index, return_counts=True)
    assert len(places) == len(story.buffer) < 12 and story.buffer.valid[places].all()
    assert np.abs(counts / 60_000 * len(places) - 1).max() < 0.05
    assert story.buffer.head not in set((places // 2).tolist())


@pytest.mark.parametrize("steps", [0, 3, 25])
def test_a_saved_buffer_goes_on_bit_for_bit(steps: int, tmp_path: Path, place: Any) -> None:
    """Also in another place than the one it was saved in."""
    one, other = (Story(make(14, 2, **where), seed=1, invalid=True) for where in ({}, place))
    for _ in range(steps):
        one.step()
    one.buffer.add_action(one.draw(), np.array([1, 2]))
    checkpoint.save(tmp_path / "buffer", one.buffer.state_dict(), kind="x")
    other.buffer.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    other.rng.bit_generator.state, other.observation = one.rng.bit_generator.state, one.observation
    for _ in range(20):
        one.step()
        other.step()
        drawn = [s.buffer.sample(5, np.random.default_rng(0), GAMMA, 3) for s in (one, other) if len(s.buffer)]
        fields = [[*leaves(d.observation), *leaves(d.next_observation), d.reward, d.discount] for d in drawn]
        for a, b in zip(*fields, strict=True):
            np.testing.assert_array_equal(a, host(b))
        encoded = [checkpoint.encode(s.buffer.state_dict(), kind="x") for s in (one, other)]
        assert encoded[0] == encoded[1]


def test_what_does_not_fit_is_refused() -> None:
    story = Story(make(8, 2), seed=0)
    story.step()
    state = story.buffer.state_dict()
    for other in (make(8, 4), make(8, 1), ReplayBuffer(8, 2, [(3,)], [np.float32])):
        with pytest.raises(CheckpointError, match=r"replay: observations: expected (shape|1 entries, got 2)"):
            other.load_state_dict(state)
    with pytest.raises(CheckpointError, match="replay: expected an entry 'head'"):
        make(8, 2).load_state_dict({"size": 1})
    with pytest.raises(GraphError, match="expected act"):
        make(8, 2).add_outcome([], 0.0, False, False)
    for name, sizes in (("capacity", (0, 1)), ("num_envs", (8, 0))):
        with pytest.raises(ConfigError, match=f"ReplayBuffer: expected {name} of at least 1, got 0"):
            make(*sizes)
    with pytest.raises(ConfigError, match="expected frame_stack of at least 1, got 0"):
        make(8, 1, frame_stack=0)
    with pytest.raises(ConfigError, match="expected length of at least 1, got 0"):
        make(8, 1, EpisodicReplayBuffer).sample(1, np.random.default_rng(0), 0)


@pytest.mark.parametrize("rows", [1, 3])
def test_another_number_of_environments_is_refused_and_nothing_is_kept(rows: int) -> None:
    buffer, none = make(8, 2), np.zeros(2, np.bool_)
    odd, good = ([np.zeros((n, 2)), np.zeros((n, 1, 2, 2))] for n in (rows, 2))
    for parts, action in ((odd, np.zeros(rows)), (good, np.zeros(rows)), (odd, np.zeros(2))):
        with pytest.raises(ShapeError, match=r"act\(\): expected observations and actions of 2 environments"):
            buffer.add_action(parts, action)
    buffer.add_action(good, np.zeros(2))
    for parts, reward in ((odd, np.zeros(rows)), (good, np.zeros(rows)), (odd, np.zeros(2)), (good, 1.0)):
        with pytest.raises(ShapeError, match=r"observe\(\): expected observations and rewards of 2 environments"):
            buffer.add_outcome(parts, reward, none, none)
    assert len(buffer) == 0
    with pytest.raises(GraphError, match="expected a transition"):
        make(8, 2).sample(1, np.random.default_rng(0), GAMMA)


def test_memory_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with pytest.raises(ConfigError, match=r"ReplayBuffer: expected at most .* GB .* needs 36"):
        ReplayBuffer(10**9, 1, [(9000,)], [np.float32])
    buffer = make(100, 1)
    assert buffer.nbytes == 101 * (8 + 4 + 8 + 4 + 1 + 8) + 12
    monkeypatch.setattr(memory_module, "LARGE", 1000)
    make(100, 1)
    assert "ReplayBuffer: 0.0 GB" in capsys.readouterr().err
    monkeypatch.setattr(memory_module, "available_bytes", lambda: None)
    make(100, 1)


def test_final_observations_go_with_their_rows() -> None:
    buffer, row = ReplayBuffer(10, 1, [(1,)], [np.float32]), [np.zeros((1, 1), np.float32)]
    sizes = set()
    for t in range(200):
        buffer.add_action(row, 0)
        # Where an episode ended in both ways nothing is bootstrapped, so that its final observation is not kept.
        buffer.add_outcome(row, 0.0, np.array([t % 6 == 1]), np.array([t % 2 == 0 or t % 6 == 1]))
        assert len(buffer.state_dict()["finals"]["arrays"][0]) == min(-(-(t + 1) // 2), 5)
        sizes.add(buffer.nbytes)
    assert len(sizes) == 4  # room for 1, 2, 4 and 8


def test_a_sampled_batch_is_on_the_device_and_only_indices_are_copied_to_it(place: Any) -> None:
    story = Story(make(20, 2, **place), seed=0)
    for _ in range(30):
        story.step()
    story.buffer.gather(np.arange(4), GAMMA)  # whatever is made once
    with standin.copies() as count:
        batch = story.buffer.gather(np.arange(6), GAMMA)
    parts = [*leaves(batch.observation), *leaves(batch.next_observation)]
    assert {type(part) for part in parts} == {standin.Array if place else np.ndarray}
    assert type(batch.reward) is type(batch.action) is type(batch.discount) is np.ndarray
    # An index for each of the four parts, and of the truncated among the six the final observations.
    finals = 4 if place and np.any(story.buffer.ends[:6] == 2) else 0
    assert count == standin.Copies(to_device=(4 + finals) if place else 0)


def test_a_row_that_goes_on_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    buffer = make(20, 2, device="cuda")
    row, action, no = Story(buffer, 0).draw(), np.zeros(2, np.int64), np.zeros(2, bool)
    buffer.add_action(row, action)
    for _ in range(3):
        row = [part + 1 for part in row]
        with standin.copies() as count:
            buffer.add_outcome(row, np.zeros(2), no, no)
            buffer.add_action(row, action)
        assert count == standin.Copies(to_device=2)  # its two parts


def test_what_a_gpu_reads_is_not_overwritten_before_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    waits: list[str] = []
    monkeypatch.setattr(standin.Stream, "synchronize", lambda stream: waits.append("wait"))
    story = Story(make(20, 2, device="cuda", pinned=True), seed=0)
    for _ in range(5):
        story.step()
    assert not waits
    story.buffer.sample(4, np.random.default_rng(0), GAMMA)
    story.step()
    story.step()
    assert waits == ["wait"]


def test_a_gpu_without_room_and_a_file_for_one_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    standin.install(monkeypatch)
    with pytest.raises(ConfigError, match=r"at most the 1.0 GB free on cuda, needs 4.0 GB: .* \"pinned\" or \"host\""):
        ReplayBuffer(10**6, 1, [(1000,)], [np.float32], device="cuda")
    with pytest.raises(ConfigError, match=r"buffer_file: .*frames cannot hold what is on cuda"):
        make(20, 2, device="cuda", file=tmp_path / "frames")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"episodic replay: .* leave device out"):
        make(20, 2, EpisodicReplayBuffer, device="cuda")


@pytest.mark.parametrize("begun", [False, True])
def test_what_comes_after_a_cut_does_not_follow_what_came_before_it(begun: bool) -> None:
    buffer = ReplayBuffer(20, 2, [(1,)], [np.float32])
    numbers = iter(range(100))

    def step(ended: list[bool]) -> None:
        nonlocal observation
        buffer.add_action([observation], np.zeros(2, np.int64))
        observation = np.full((2, 1), next(numbers), np.float32)
        buffer.add_outcome([observation], np.ones(2), np.array(ended), np.zeros(2, bool))

    observation = np.full((2, 1), next(numbers), np.float32)
    step([False, False])
    step([False, True])
    if begun:
        buffer.add_action([observation], np.zeros(2, np.int64))
    cut(buffer)
    cut(buffer)  # a second time nothing is under way
    observation = np.full((2, 1), 50, np.float32)
    for _ in range(3):
        step([False, False])
    found = buffer.gather(np.arange(4), 0.9, 3)
    assert found.next_observation[:, 0].tolist()[0::2] == [2.0, 2.0]  # of the first environment
    assert np.allclose(found.reward, [1.9, 1.9, 1.0, 1.0])
    assert np.allclose(found.discount, [0.81, 0.0, 0.9, 0.0])
    for _ in range(40):  # the marks go with their rows
        step([False, False])
    assert len(buffer.finals) == 0 and not buffer.ends.any()
