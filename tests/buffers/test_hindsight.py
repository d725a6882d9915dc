"""Hindsight replay: relabelled by hand, against a plain list of what happened, through ends, wrap-around and saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.backend.trees import leaves
from dbrrl.buffers import HindsightReplayBuffer, PrioritizedHindsightReplayBuffer, ReplayBuffer
from dbrrl.buffers.cutting import cut
from dbrrl.buffers.hindsight import GoalFunction, GoalLayout
from dbrrl.errors import CheckpointError, ConfigError, EnvError

GAMMA = 0.5
LAYOUT = GoalLayout(slice(0, 2), slice(2, 4), (2,), np.dtype(np.float64))
KINDS = (HindsightReplayBuffer, PrioritizedHindsightReplayBuffer)


def reward(achieved: Any, desired: Any, info: dict[str, Any]) -> Any:
    """A number that tells which goals these were."""
    return np.sum(np.asarray(achieved) * [1, 10], axis=-1) - np.sum(np.asarray(desired) * [3, 7], axis=-1)


def terminated(achieved: Any, desired: Any, info: dict[str, Any]) -> Any:
    """The first number of both is the same."""
    return np.asarray(achieved)[..., 0] == np.asarray(desired)[..., 0]


def make(capacity: int, num_envs: int, kind: Any = HindsightReplayBuffer, **options: Any) -> Any:
    given = [(5,), (1, 2, 2)], [np.float32, np.uint8]
    buffer = kind(capacity, num_envs, *given, names=("vector", "image"), layout=LAYOUT, **options)
    buffer.use(reward, terminated)
    return buffer


class Story:
    """Steps of B goal environments, told to a buffer and kept as a list of dictionaries per environment.

    A vector is the achieved goal, numbers from 0 to 4, the desired one, which stays in an episode, and the time.
    """

    def __init__(self, buffer: Any, seed: int, invalid: bool = False) -> None:
        self.buffer, self.rng, self.invalid = buffer, np.random.default_rng(seed), invalid
        self.told: list[list[dict[str, Any]]] = [[] for _ in range(buffer.num_envs)]
        self.vector, self.time = np.zeros((buffer.num_envs, 5), np.float32), 0
        self.begin(np.ones(buffer.num_envs, bool))

    def begin(self, where: np.ndarray) -> None:
        fresh = self.rng.integers(5, size=(len(where), 4))
        self.vector = self.vector.copy()
        self.vector[where, :4], self.vector[:, 4] = fresh[where], self.time

    def parts(self, vector: np.ndarray) -> list[np.ndarray]:
        image = vector[:, 4].astype(np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
        return [vector, image]

    def step(self) -> None:
        b, rng, seen = self.buffer.num_envs, self.rng, self.vector
        self.buffer.add_action(self.parts(seen), rng.integers(9, size=b))
        self.time += 1
        following = seen.copy()
        following[:, :2], following[:, 4] = rng.integers(5, size=(b, 2)), self.time
        ended = terminated(following[:, :2], following[:, 2:4], {})
        truncated = (rng.random(b) < 0.1) & ~ended
        valid = rng.random(b) < 0.8 if self.invalid else np.ones(b, bool)
        ended &= valid
        truncated &= valid
        paid = reward(following[:, :2], following[:, 2:4], {})
        self.buffer.add_outcome(self.parts(following), paid, ended, truncated, valid if self.invalid else None)
        for i in range(b):
            self.told[i].append({
                "seen": seen[i], "next": following[i], "reward": paid[i], "terminated": ended[i],
                "over": ended[i] or truncated[i], "valid": valid[i],
            })  # fmt: skip
        self.vector = following
        self.begin(ended | truncated | ~valid)

    def happened(self, index: int) -> tuple[list[dict[str, Any]], int]:
        """The environment's steps, and which of them is at a place."""
        ring, told = len(self.buffer.ends) // self.buffer.num_envs, len(self.told[0])
        row, env = divmod(index, self.buffer.num_envs)
        return self.told[env], next(t for t in range(told - 1, -1, -1) if t % ring == row)

    def achieved(self, index: int) -> list[tuple[float, ...]]:
        """The goals that were achieved from a place on to the end of its episode, or so far."""
        steps, t = self.happened(index)
        found = []
        while t < len(steps) and steps[t]["valid"]:
            found.append(tuple(steps[t]["next"][:2]))
            t += 1
            if steps[t - 1]["over"]:
                break
        return found

    def expected(self, index: int, goal: np.ndarray, n_steps: int) -> tuple[float, float, np.ndarray]:
        """Return, discount and last vector of the transition at a place under another goal, by the definition."""
        steps, t = self.happened(index)
        total, k = 0.0, 0
        while True:
            step, k = steps[t + k], k + 1
            achieved = step["next"][:2]
            total += GAMMA ** (k - 1) * reward(achieved, goal, {})
            over = terminated(achieved, goal, {})
            more = t + k < len(steps) and steps[t + k]["valid"] and not step["over"]
            if over or k == n_steps or not more:
                return total, 0.0 if over else GAMMA**k, np.concatenate([achieved, goal, step["next"][4:]])


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize("strategy", ["future", "final"])
@pytest.mark.parametrize("kind", KINDS)
def test_relabelled_transitions_are_what_the_new_goal_makes_of_what_happened(
    n_steps: int, num_envs: int, invalid: bool, strategy: str, kind: Any
) -> None:
    buffer, rng = make(9 * num_envs, num_envs, kind, strategy=strategy, ratio=1.0), np.random.default_rng(2)
    story = Story(buffer, 1, invalid)
    for _ in range(40):
        story.step()
        if not len(story.buffer):
            continue
        batch = story.buffer.sample(12, rng, GAMMA, n_steps)
        for i, index in enumerate(batch.index):
            steps, t = story.happened(int(index))
            goal, possible = batch.observation["vector"][i, 2:4], story.achieved(int(index))
            assert tuple(goal) in (possible if strategy == "future" else possible[-1:])
            total, discount, following = story.expected(int(index), goal, n_steps)
            np.testing.assert_array_equal(batch.observation["vector"][i, [0, 1, 4]], steps[t]["seen"][[0, 1, 4]])
            np.testing.assert_array_equal(batch.next_observation["vector"][i], following)
            assert (batch.next_observation["image"][i] == int(following[4])).all()
            assert batch.reward[i] == pytest.approx(total, abs=1e-5) and batch.discount[i] == discount


def test_an_episode_worked_out_by_hand() -> None:
    """Goals achieved: (1, 0), (2, 0), (3, 0), where the desired (3, 9) ends the episode; γ = 1/2.

    Under (2, 0), which is 6: step 0 has 1 - 6, step 1 has 2 - 6 and ends, step 2 has 3 - 6 and goes on.
    """
    buffer = make(8, 1)
    path = np.array([[0, 0], [1, 0], [2, 0], [3, 0]], np.float32)
    vectors = np.concatenate([path, np.tile(np.float32([3, 9, 7]), (4, 1))], axis=1)
    image = np.zeros((1, 1, 2, 2), np.uint8)
    for t in range(3):
        buffer.add_action([vectors[t : t + 1], image], np.array([t]))
        buffer.add_outcome([vectors[t + 1 : t + 2], image], -9.0, np.array([t == 2]), np.array([False]))
    buffer.add_action([np.full((1, 5), 8, np.float32), image], np.array([0]))  # another episode begins
    for n_steps, rewards, discounts, last in (
        (1, [-5, -4, -3], [0.5, 0, 0.5], [1, 2, 3]),
        (3, [-5 - 2, -4, -3], [0, 0, 0.5], [2, 2, 3]),
    ):
        batch = buffer.gather(np.arange(3), GAMMA, n_steps)
        buffer.relabel(batch, np.arange(3), np.tile(np.float32([2, 0]), (3, 1)), GAMMA, n_steps)
        np.testing.assert_array_equal(batch.reward, rewards)
        np.testing.assert_array_equal(batch.discount, discounts)
        np.testing.assert_array_equal(batch.next_observation["vector"][:, 0], last)
        for observation in (batch.observation, batch.next_observation):
            np.testing.assert_array_equal(observation["vector"][:, 2:], [[2, 0, 7]] * 3)
    index = np.zeros(3000, np.int64)
    drawn = buffer.draw_goals(index, np.random.default_rng(0))[:, 0]
    np.testing.assert_allclose(np.bincount(drawn.astype(int))[1:] / 3000, [1 / 3] * 3, atol=0.03)
    buffer.strategy = "final"
    assert set(buffer.draw_goals(index, np.random.default_rng(0))[:, 0]) == {3.0}


def test_what_is_not_relabelled_is_as_without_hindsight() -> None:
    """Also where an episode was terminated, whose final observation is kept here and not there."""
    told = [Story(make(60, 2, ratio=0.0), 3), Story(make(60, 2, ratio=0.25), 3)]
    plain = ReplayBuffer(60, 2, [(5,), (1, 2, 2)], [np.float32, np.uint8], names=("vector", "image"))
    plain.use = lambda *functions: None  # type: ignore[attr-defined]
    told.append(Story(plain, 3))
    for _ in range(40):
        for story in told:
            story.step()
    never, seldom, without = (story.buffer.sample(4000, np.random.default_rng(0), GAMMA, 2) for story in told)
    for name in ("index", "reward", "discount", "action"):
        np.testing.assert_array_equal(getattr(never, name), getattr(without, name))
    np.testing.assert_array_equal(never.observation["vector"], without.observation["vector"])
    on = without.discount > 0
    np.testing.assert_array_equal(never.next_observation["vector"][on], without.next_observation["vector"][on])
    other = np.any(seldom.observation["vector"] != without.observation["vector"], axis=1)
    assert 0.2 < other.mean() < 0.25  # a few goals are the desired ones


def test_what_is_learned_of_rewards_is_learned_of_new_ones() -> None:
    story = Story(make(60, 1, ratio=1.0, learned=lambda reward: 0.1 * np.clip(reward, -1, 1)), 3)
    for _ in range(20):
        story.step()
    batch = story.buffer.sample(100, np.random.default_rng(0), GAMMA)
    np.testing.assert_allclose(np.unique(np.abs(batch.reward).round(6)), [0.0, 0.1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 30])
def test_a_saved_buffer_draws_the_same(kind: Any, steps: int, tmp_path: Path) -> None:
    one, other = (Story(make(14, 2, kind), 4, invalid=True) for _ in range(2))
    for _ in range(steps):
        one.step()
    for _ in range(9):
        other.step()
    checkpoint.save(tmp_path / "buffer", one.buffer.state_dict(), kind="x")
    other.buffer.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    other.rng.bit_generator.state, other.vector, other.time = one.rng.bit_generator.state, one.vector, one.time
    for t in range(25):
        one.step()
        other.step()
        encoded = [checkpoint.encode(s.buffer.state_dict(), kind="x") for s in (one, other)]
        assert encoded[0] == encoded[1]
        drawn = [s.buffer.sample(4, np.random.default_rng(t), GAMMA) for s in (one, other)]
        for name in ("index", "reward", "discount"):
            np.testing.assert_array_equal(getattr(drawn[0], name), getattr(drawn[1], name))
        np.testing.assert_array_equal(leaves(drawn[0].next_observation)[0], leaves(drawn[1].next_observation)[0])


def test_a_state_that_is_none_of_its_own_is_refused() -> None:
    story = Story(make(14, 2), 4)
    for _ in range(9):
        story.step()
    for name, wrong in (("left", np.full(20, 99, np.int32)), ("running", np.array([-1, 0])), ("achieved", None)):
        state = story.buffer.state_dict()
        state[name] = wrong
        with pytest.raises(CheckpointError, match=name):
            make(14, 2).load_state_dict(state)
    plain = ReplayBuffer(14, 2, [(5,), (1, 2, 2)], [np.float32, np.uint8])
    with pytest.raises(CheckpointError, match="expected an entry"):
        make(14, 2).load_state_dict(plain.state_dict())


def test_functions_are_asked_once_where_they_answer_for_many() -> None:
    calls: list[Any] = []

    def counted(achieved: Any, desired: Any, info: dict[str, Any]) -> Any:
        calls.append(achieved.shape)
        return reward(achieved, desired, info)

    pairs = np.arange(6.0).reshape(3, 2), np.ones((3, 2))
    function = GoalFunction(counted, "compute_reward", LAYOUT)
    calls.clear()
    np.testing.assert_allclose(function(*pairs), reward(*pairs, {}))
    assert calls == [(3, 2)]
    for alone in (
        lambda achieved, desired, info: float(np.linalg.norm(achieved - desired)),  # of all pairs it would be one norm
        lambda achieved, desired, info: 0.0 if (achieved == desired).all() else -1.0,
        lambda achieved, desired, info: False,
    ):
        function = GoalFunction(alone, "compute_reward", LAYOUT)
        assert not function.together
        np.testing.assert_allclose(function(*pairs), [alone(a, d, {}) for a, d in zip(*pairs, strict=True)])
    assert GoalFunction(lambda a, d, info: False, "x", LAYOUT)(*pairs).shape == (3,)


def test_goals_are_given_as_the_environment_has_them() -> None:
    layout = GoalLayout(slice(0, 4), slice(4, 8), (2, 2), np.dtype(np.int8))
    goals = layout.goals(np.arange(8, dtype=np.float32).reshape(2, 4))
    assert goals.shape == (2, 2, 2) and goals.dtype == np.int8 and layout.size == 4


def test_what_is_missing_is_said_before_anything_is_stored() -> None:
    buffer = HindsightReplayBuffer(8, 1, [(5,)], [np.float32], layout=LAYOUT)
    x, no, yes = np.zeros((1, 5), np.float32), np.array([False]), np.array([True])
    with pytest.raises(ConfigError, match=r"compute_reward, got none: call agent.use_goals_of\(env\)"):
        buffer.add_action([x], np.array([0]))
    buffer.use(reward, None)
    buffer.add_action([x], np.array([0]))
    with pytest.raises(EnvError, match=r"has no compute_terminated\(achieved_goal"):
        buffer.add_outcome([x], 0.0, yes, no)
    buffer.add_outcome([x], 0.0, yes, no, no)  # a row that is no transition
    with pytest.raises(ConfigError, match=r"her: expected compute_reward.*got KeyError: 'distance'"):
        buffer.use(lambda achieved, desired, info: info["distance"], None)
    with pytest.raises(ConfigError, match="on the host"):
        HindsightReplayBuffer(8, 1, [(5,)], [np.float32], layout=LAYOUT, device="cuda")


def test_no_goal_comes_from_beyond_a_cut() -> None:
    buffer = make(20, 1, ratio=1.0)
    image = np.zeros((1, 1, 2, 2), np.uint8)
    for t in range(6):
        if t == 3:
            cut(buffer)
        vector = np.float32([[t, 0, 9, 9, 0]])
        buffer.add_action([vector, image], np.array([0]))
        buffer.add_outcome([vector + 1, image], 0.0, np.array([False]), np.array([False]))
    rng = np.random.default_rng(0)
    for index, possible in ((0, {1, 2, 3}), (2, {3}), (3, {4, 5, 6})):
        assert set(buffer.draw_goals(np.full(200, index), rng)[:, 0]) == possible
