"""Our batched classic control against Gymnasium's own environments, from the same states and actions."""

import time

import gymnasium as gym
import numpy as np
import pytest

import dbrrl.envs  # noqa: F401 - registers dbrrl/*
from dbrrl.envs.registration import BATCHED
from dbrrl.errors import EnvError

STEPS = 10_000
COPIES = 20
# How far one step may differ. CartPole and Pendulum do the same float64 operations in the same order.
# The mountain cars may differ by a cosine's last bit: Gymnasium takes math.cos from the C library, we np.cos,
# which is NumPy's own where the processor has AVX-512. Acrobot's equations are shortened (see its page).
TOLERANCE = {
    "CartPole-v1": 0.0,
    "Pendulum-v1": 0.0,
    "MountainCar-v0": 1e-17,
    "MountainCarContinuous-v0": 1e-7,
    "Acrobot-v1": 1e-11,
}
# Gymnasium squares Pendulum's float32 torque with the C library's powf, not always equal to u * u; the last
# bit of 0.001 u^2 <= 0.004 is 2.4e-10.
REWARD_TOLERANCE = {"Pendulum-v1": 3e-10}


def lead(env_id: str, state: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Actions for a batch that reach every part of a problem: goals and limits, not only the start."""
    batch = state.shape[1]
    with_swing = np.where(generator.random(batch) < 0.2, generator.random(batch) < 0.5, state[-1] > 0)
    if env_id in ("CartPole-v1", "Acrobot-v1"):
        return generator.integers(0, 2 if env_id == "CartPole-v1" else 3, batch)
    if env_id == "MountainCar-v0":
        return 2 * with_swing.astype(np.int64)
    scale = 2.0 if env_id == "Pendulum-v1" else 1.0
    force = generator.uniform(0.0, scale, batch) * np.where(with_swing, 1.0, -1.0)
    return force[:, None].astype(np.float32)


@pytest.mark.parametrize("env_id", BATCHED)
def test_step_for_step_equal_to_gymnasium(env_id: str) -> None:
    """10,000 steps: Gymnasium's environment is put in our state, both take our action."""
    generator = np.random.default_rng(0)
    ours = gym.make_vec(f"dbrrl/{env_id}", COPIES)
    single = gym.make(env_id).unwrapped
    single.reset(seed=0)
    atol = TOLERANCE[env_id]
    observation, _ = ours.reset(seed=1)
    seen_end = False
    for _ in range(STEPS // COPIES):
        before = ours.state.copy()
        action = lead(env_id, before, generator)
        observation, reward, terminated, truncated, info = ours.step(action)
        reached = info.get("final_obs", observation)
        seen_end |= bool(terminated.any())
        for row in range(COPIES):
            single.state = before[:, row].copy()
            if hasattr(single, "steps_beyond_terminated"):
                single.steps_beyond_terminated = None
            expected, expected_reward, expected_end, _, _ = single.step(action[row])
            assert expected.dtype == reached.dtype
            np.testing.assert_allclose(reached[row], expected, rtol=6e-8 if atol else 0.0, atol=atol)
            assert reward[row] == pytest.approx(expected_reward, rel=0.0, abs=REWARD_TOLERANCE.get(env_id, 0.0))
            assert terminated[row] == expected_end
            ended = terminated[row] or truncated[row]
            if not ended:
                np.testing.assert_allclose(ours.state[:, row], np.asarray(single.state), rtol=0, atol=atol)
    assert seen_end or env_id in ("Pendulum-v1", "Acrobot-v1")
    assert observation.dtype == np.float32 and reward.dtype == np.float64


@pytest.mark.parametrize("env_id", BATCHED)
def test_spaces_and_limits_are_gymnasiums(env_id: str) -> None:
    theirs, ours = gym.spec(env_id), gym.spec(f"dbrrl/{env_id}")
    assert ours.max_episode_steps == theirs.max_episode_steps
    assert ours.reward_threshold == theirs.reward_threshold
    single = gym.make(f"dbrrl/{env_id}")
    reference = gym.make(env_id)
    assert single.observation_space == reference.observation_space
    assert single.action_space == reference.action_space
    vector = gym.make_vec(f"dbrrl/{env_id}", 3)
    assert vector.single_observation_space == reference.observation_space
    assert vector.max_episode_steps == theirs.max_episode_steps


@pytest.mark.parametrize("env_id", BATCHED)
def test_starts_are_distributed_as_gymnasiums(env_id: str) -> None:
    ours = gym.make_vec(f"dbrrl/{env_id}", 4000)
    drawn, _ = ours.reset(seed=0)
    reference = gym.make(env_id)
    reference.reset(seed=0)
    theirs = np.stack([reference.unwrapped.reset()[0] for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), theirs.mean(axis=0), atol=0.06)
    np.testing.assert_allclose(drawn.std(axis=0), theirs.std(axis=0), atol=0.04)
    np.testing.assert_allclose(drawn.min(axis=0), theirs.min(axis=0), atol=0.01)
    np.testing.assert_allclose(drawn.max(axis=0), theirs.max(axis=0), atol=0.01)


@pytest.mark.parametrize("copies", [1, 6, 7])
def test_few_carts_move_as_many_do(copies: int) -> None:
    """Bit for bit, though few are computed one by one; from states on both sides of all limits."""
    generator = np.random.default_rng(copies)
    few, many = (gym.make_vec("dbrrl/CartPole-v1", count).unwrapped for count in (copies, 64))
    for _ in range(200):
        many.state[...] = generator.uniform(-1, 1, (4, 64)) * [[2.5], [3.0], [0.22], [3.0]]
        few.state[...] = many.state[:, :copies]
        action = generator.integers(0, 2, 64)
        reward, ended = few.advance(action[:copies])
        np.testing.assert_array_equal(ended, many.advance(action)[1][:copies])
        np.testing.assert_array_equal(few.state, many.state[:, :copies])
        assert ended.dtype == bool and reward.shape == (copies,)


def test_time_limit_cuts_each_copy_at_its_own_step() -> None:
    env = gym.make_vec("dbrrl/CartPole-v1", 16, max_episode_steps=12)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    age = np.zeros(16, int)
    cuts = 0
    for _ in range(200):
        _, _, terminated, truncated, info = env.step(generator.integers(0, 2, 16))
        age += 1
        assert np.array_equal(truncated, age >= 12)
        ended = terminated | truncated
        assert ("final_obs" in info) == ended.any()
        age[ended] = 0
        cuts += int(truncated.sum())
    assert cuts > 50 and len(set(age.tolist())) > 1


def test_final_observation_is_the_one_before_the_reset() -> None:
    env = gym.make_vec("dbrrl/MountainCar-v0", 3, max_episode_steps=5)
    env.reset(seed=0)
    for step in range(5):
        observation, _, _, truncated, info = env.step(np.full(3, 2))
        if step < 4:
            last = observation
    assert truncated.all()
    assert (info["final_obs"][:, 0] > last[:, 0]).all() and (info["final_obs"][:, 1] > 0).all()
    assert (observation[:, 1] == 0).all() and info["_final_obs"].all()


@pytest.mark.parametrize("env_id", BATCHED)
def test_state_dict_continues_bit_for_bit(env_id: str) -> None:
    generator = np.random.default_rng(3)
    env = gym.make_vec(f"dbrrl/{env_id}", 6, max_episode_steps=30)
    env.reset(seed=5)
    for _ in range(50):
        env.step(lead(env_id, env.state, generator))
    state = env.state_dict()
    other = gym.make_vec(f"dbrrl/{env_id}", 6, max_episode_steps=30)
    other.load_state_dict(state)
    for _ in range(80):
        action = lead(env_id, env.state, generator)
        for ours, theirs in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(ours, theirs)


def test_results_are_new_arrays() -> None:
    """A buffer may keep what a step gave, and change it."""
    env = gym.make_vec("dbrrl/CartPole-v1", 4)
    env.reset(seed=0)
    first = env.step(np.ones(4, np.int64))[:4]
    kept = [array.copy() for array in first]
    for _ in range(30):
        env.step(np.ones(4, np.int64))
    for array, copy in zip(first, kept, strict=True):
        assert np.array_equal(array, copy)
        array[...] = 5
    assert env.step(np.ones(4, np.int64))[1].tolist() == [1.0] * 4


@pytest.mark.parametrize("env_id", BATCHED)
def test_single_environment_follows_the_batch(env_id: str) -> None:
    generator = np.random.default_rng(1)
    single = gym.make(f"dbrrl/{env_id}")
    batch = gym.make_vec(f"dbrrl/{env_id}", 1)
    first, _ = single.reset(seed=7)
    assert np.array_equal(first, batch.reset(seed=7)[0][0])
    for _ in range(30):
        action = lead(env_id, batch.state, generator)
        one, many = single.step(action[0]), batch.step(action)
        if many[2][0] or many[3][0]:
            break
        assert np.array_equal(one[0], many[0][0]) and one[1] == many[1][0]


def test_single_environment_is_drawn_by_gymnasium() -> None:
    pytest.importorskip("pygame")
    env = gym.make("dbrrl/CartPole-v1", render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray) and frame.shape == (400, 600, 3) and frame.dtype == np.uint8
    assert len(np.unique(frame)) > 2
    env.close()


@pytest.mark.parametrize("single", [False, True])
def test_hidden_cartpole_is_cartpole_without_its_velocities(single: bool) -> None:
    names = ("dbrrl/CartPoleHidden-v0", "dbrrl/CartPole-v1")
    hidden, plain = (gym.make(name) if single else gym.make_vec(name, 5) for name in names)
    seen, whole = hidden.reset(seed=0)[0], plain.reset(seed=0)[0]
    generator, ended = np.random.default_rng(0), 0
    for _ in range(100):
        assert seen.dtype == np.float32 and np.array_equal(seen, whole[..., ::2])
        assert hidden.observation_space.contains(seen)
        action = generator.integers(0, 2, None if single else 5)
        (seen, *results, info), (whole, *others, about) = hidden.step(action), plain.step(action)
        assert all(np.array_equal(one, other) for one, other in zip(results, others, strict=True))
        if np.any(results[1]):
            ended += 1
            if single:
                seen, whole = hidden.reset()[0], plain.reset()[0]
            else:
                assert np.array_equal(info["final_obs"], about["final_obs"][:, ::2])
    assert ended and (single or hidden.max_episode_steps == plain.max_episode_steps == 500)


def test_a_batch_is_far_faster_than_gymnasiums_loop() -> None:
    """A safe bar; benchmarks/speed/envs.py measures (over 100 times at 1,024 copies)."""
    copies, times = 256, []
    for env_id, repeats in (("dbrrl/CartPole-v1", 50), ("CartPole-v1", 5)):
        kind = "vector_entry_point" if repeats == 50 else "sync"
        env = gym.make_vec(env_id, copies, vectorization_mode=kind)
        env.reset(seed=0)
        action = np.zeros(copies, np.int64)
        rounds = []
        for _ in range(repeats):
            start = time.perf_counter()
            env.step(action)
            rounds.append(time.perf_counter() - start)
        times.append(float(np.median(rounds)))
    assert times[1] > 10 * times[0]


def test_two_environments_share_no_space() -> None:
    one, other = gym.make("dbrrl/CartPole-v1"), gym.make("dbrrl/CartPole-v1")
    one.action_space.seed(0)
    other.action_space.seed(0)
    drawn = [one.action_space.sample() for _ in range(20)]
    assert drawn == [other.action_space.sample() for _ in range(20)]


def test_errors_are_one_line() -> None:
    env = gym.make_vec("dbrrl/CartPole-v1", 2)
    with pytest.raises(EnvError, match=r"expected reset\(\) before step\(\), got none: call it first"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(EnvError, match="expected no reset options"):
        env.reset(options={"low": -0.1})
