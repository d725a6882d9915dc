"""The toy problems: their known answers, found again by playing them."""

from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dbrrl.envs  # noqa: F401 - registers dbrrl/*
from dbrrl.envs.probes import ProbeAction, ProbeBoth, ProbeConstant, ProbeDelayed, ProbeObservation

GAMMA = 0.9
PROBES = {
    "Constant": ProbeConstant,
    "Observation": ProbeObservation,
    "Delayed": ProbeDelayed,
    "Action": ProbeAction,
    "Both": ProbeBoth,
}
CHAINS = [f"dbrrl/Chain{a}{b}{c}-v0" for a in ("", "Continuing") for b in ("", "Continuous") for c in ("", "Hidden")]
IDENTITIES = [f"dbrrl/Identity{name}-v0" for name in ("Discrete", "MultiDiscrete", "MultiBinary", "Box")]


def play(env: gym.Env[Any, Any], policy: Any, seed: int | None = None) -> tuple[list[Any], list[float], bool]:
    """One episode: observations, rewards, and whether it was truncated."""
    observation, _ = env.reset(seed=seed)
    observations, rewards, terminated, truncated = [observation], [], False, False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        observations.append(observation)
        rewards.append(float(reward))
    return observations, rewards, truncated


def best(name: str, continuous: bool, observation: np.ndarray) -> Any:
    target = float(observation[0]) if name == "Both" else 1.0
    return np.full(1, 0.5 * target, np.float32) if continuous else int(target > 0)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", PROBES)
def test_probe_pays_what_its_page_says(name: str, continuous: bool) -> None:
    env = gym.make(f"dbrrl/Probe{name}{'Continuous' * continuous}-v0")
    returns, firsts = [], set()
    for episode in range(40):
        seed = 0 if episode == 0 else None
        observations, rewards, truncated = play(env, lambda o: best(name, continuous, o), seed)
        assert not truncated
        discounted = sum(reward * GAMMA**k for k, reward in enumerate(rewards))
        assert PROBES[name].value(float(observations[0][0]), GAMMA) == pytest.approx(discounted)
        returns.append(sum(rewards))
        firsts.add(float(observations[0][0]))
    assert firsts == ({-1.0, 1.0} if name in ("Observation", "Both") else {0.0})
    if name != "Observation":
        assert set(returns) == {PROBES[name].optimal_return}
    assert isinstance(env.action_space, gym.spaces.Box) == continuous


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", ["Action", "Both"])
def test_probe_pays_less_for_another_action(name: str, continuous: bool) -> None:
    env = gym.make(f"dbrrl/Probe{name}{'Continuous' * continuous}-v0")
    env.reset(seed=0)
    for _ in range(10):
        observation, _ = env.reset()
        right = best(name, continuous, observation)
        wrong = -right if continuous else 1 - right
        reward = env.step(wrong)[1]
        assert reward == (pytest.approx(0.0) if continuous else -1.0)


@pytest.mark.parametrize("kind", ["", "Info", "MultiDiscrete"])
def test_masked_pays_for_the_allowed_actions_alone(kind: str) -> None:
    env = gym.make(f"dbrrl/Masked{kind}-v0")
    masked: Any = env.unwrapped
    wide = kind == "MultiDiscrete"

    def largest(observation: Any) -> Any:
        mask = masked.mask() if kind == "Info" else observation["action_mask"]
        first = int(np.flatnonzero(mask[:4]).max())
        return np.array([first, mask[4:].argmax()]) if wide else first

    _, rewards, _ = play(env, largest, seed=0)
    assert sum(rewards) == masked.optimal_return == 11.0 and len(rewards) == 5
    assert not masked.mask().any() and masked.mask().shape == (7 if wide else 4,)
    for action, paid in (((1, 1), [1.0, 0.0]), ((3, 0), [0.0])) if wide else ((1, [1.0, 1.0, 0.0]), (3, [0.0])):
        # The second choice 1 is not allowed at first.
        _, rewards, _ = play(env, lambda o, action=action: np.array(action) if wide else action)
        assert rewards == ([0.0] if wide else paid)


def test_endless_is_only_cut() -> None:
    env = gym.make("dbrrl/Endless-v0")
    _, rewards, truncated = play(env, lambda o: 0, seed=0)
    assert truncated and rewards == [1.0] * 10
    assert env.unwrapped.value(0.0, 0.9) == pytest.approx(10.0)
    assert sum(rewards) == env.unwrapped.optimal_return


@pytest.mark.parametrize("env_id", CHAINS)
def test_right_chain_returns_exactly_one(env_id: str) -> None:
    env = gym.make(env_id)
    chain: Any = env.unwrapped
    for _ in range(5):
        observations, rewards, truncated = play(env, lambda o: chain.right_action())
        assert sum(rewards) == 1.0 and rewards[-1] == 1.0 and len(rewards) == chain.size
        assert truncated == chain.continuing
        assert all(observation.sum() == 1.0 for observation in observations)
    assert chain.optimal_return == 1.0
    lap = GAMMA ** (chain.size - 1)
    forever = sum(lap * GAMMA ** (chain.size * k) for k in range(400))
    assert chain.value(GAMMA) == pytest.approx(forever if chain.continuing else lap)


@pytest.mark.parametrize("env_id", CHAINS)
def test_wrong_action_ends_or_leads_back(env_id: str) -> None:
    env = gym.make(env_id)
    chain: Any = env.unwrapped
    start, _ = env.reset(seed=1)
    env.step(chain.right_action())
    wrong = np.eye(3, dtype=np.float32)[0] if chain.continuous else 0
    observation, reward, terminated, _, _ = env.step(wrong)
    assert reward == 0.0 and terminated != chain.continuing
    if chain.continuing:
        assert np.array_equal(observation, start)


def test_hidden_chain_shifts_what_is_seen() -> None:
    env = gym.make("dbrrl/ChainHidden-v0")
    env.reset(seed=0)
    starts = {int(env.reset()[0].argmax()) for _ in range(40)}
    assert starts == {0, 1}
    plain = gym.make("dbrrl/Chain-v0")
    assert {int(plain.reset(seed=s)[0].argmax()) for s in range(20)} == {0}


@pytest.mark.parametrize("env_id", IDENTITIES)
def test_identity_pays_one_for_the_target(env_id: str) -> None:
    env = gym.make(env_id)
    identity: Any = env.unwrapped
    _, rewards, truncated = play(env, lambda o: identity.right_action(), seed=0)
    assert truncated and sum(rewards) == identity.optimal_return == 10.0


@pytest.mark.parametrize(
    ("env_id", "expected"), list(zip(IDENTITIES, [1 / 4, (1 / 2 + 1 / 3) / 2, 1 / 2, 1 / 3], strict=True))
)
def test_identity_pays_a_uniform_policy_as_stated(env_id: str, expected: float) -> None:
    env = gym.make(env_id)
    env.action_space.seed(0)
    env.reset(seed=0)
    rewards = [play(env, lambda o: env.action_space.sample())[1] for _ in range(200)]
    assert np.mean(rewards) == pytest.approx(expected, abs=0.03)


def test_identity_shows_its_target() -> None:
    env = gym.make("dbrrl/IdentityMultiDiscrete-v0")
    identity: Any = env.unwrapped
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        first, second = identity.right_action()
        assert observation[:2].argmax() == first and observation[2:].argmax() == second


def test_bits_are_flipped_one_at_a_time_until_they_are_the_goal() -> None:
    env = gym.make("dbrrl/BitFlipping-v0")
    bits: Any = env.unwrapped
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        wrong = int(np.sum(observation["observation"] != observation["desired_goal"]))
        observations, rewards, truncated = play(env, lambda o: bits.right_action(), seed)
        assert rewards == [-1.0] * (wrong - 1) + [0.0] and not truncated and wrong >= 1
        assert all(np.array_equal(o["achieved_goal"], o["observation"]) for o in observations)
        assert [np.abs(a["observation"] - b["observation"]).sum() for a, b in pairwise(observations)] == [1] * wrong
    _, rewards, truncated = play(env, lambda o: 1 - bits.right_action() % 2, 0)
    assert truncated and rewards == [-1.0] * 10


def test_equal_bits_at_first_are_no_goal() -> None:
    env = gym.make("dbrrl/BitFlipping-v0", size=1)
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        assert observation["observation"] != observation["desired_goal"]
    achieved, desired = np.eye(2, dtype=np.float32), np.ones((2, 2), np.float32) * [1, 0]
    bits: Any = env.unwrapped
    np.testing.assert_array_equal(bits.compute_reward(achieved, desired, {}), [0, -1])
    np.testing.assert_array_equal(bits.compute_terminated(achieved, desired, {}), [True, False])
