"""Masks of actions: what they may be, and probabilities, log-probabilities and gradients against numbers by hand."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.autodiff.tensor import Tensor
from dbrrl.distributions import Categorical, MultiCategorical, kl_divergence
from dbrrl.distributions.masks import allowed, choices_of, masked, masked_choices, uniform
from dbrrl.errors import ShapeError, SpaceError

spaces = gym.spaces
BOX, FOUR, PAIR = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(4, start=2), spaces.MultiDiscrete([2, 3])
LOGITS = np.log(np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 1.0, 1.0, 3.0]], np.float32))
MASK = np.array([[True, False, True, False], [False, True, True, True]])
SEEN = {"vector": np.zeros((2, 1), np.float32), "action_mask": MASK}
# Renormalized by hand: 1 and 3 of 4; 1, 1 and 3 of 5.
PROBS = np.array([[0.25, 0.0, 0.75, 0.0], [0.0, 0.2, 0.2, 0.6]])


def with_mask(mask: Any, key: str = "action_mask") -> gym.Space[Any]:
    return spaces.Dict({"seen": BOX, key: mask})


def test_a_masked_action_has_probability_0_and_the_others_are_renormalized() -> None:
    policy = Categorical(masked(LOGITS, SEEN))
    np.testing.assert_allclose(policy.probs, PROBS, rtol=1e-6)
    assert (policy.probs[~MASK] == 0).all()
    np.testing.assert_allclose(policy.log_prob(np.array([2, 3])), np.log([0.75, 0.6]), rtol=1e-6)
    by_hand = [-sum(p * math.log(p) for p in row if p) for row in PROBS]
    np.testing.assert_allclose(policy.entropy(), by_hand, rtol=1e-6)
    assert policy.mode().tolist() == [2, 3]


def test_a_masked_action_is_never_drawn() -> None:
    rng, policy = np.random.default_rng(0), Categorical(masked(LOGITS, SEEN))
    drawn = np.array([policy.sample(rng) for _ in range(2000)])
    for row in range(2):
        share = np.bincount(drawn[:, row], minlength=4) / len(drawn)
        assert (share[~MASK[row]] == 0).all()
        np.testing.assert_allclose(share, PROBS[row], atol=0.04)


def test_the_gradient_of_a_masked_logit_is_exactly_0() -> None:
    logits = Tensor(LOGITS, requires_grad=True)
    policy = Categorical(masked(logits, SEEN))
    (policy.log_prob(np.array([0, 1])) * np.array([2.0, -1.0], np.float32) + policy.entropy()).sum().backward()
    assert np.isfinite(logits.grad).all() and (logits.grad[~MASK] == 0).all()
    again = Tensor(LOGITS, requires_grad=True)
    Categorical(masked(again, SEEN)).log_prob(np.array([0, 1])).sum().backward()
    one = np.eye(4)[[0, 1]]
    np.testing.assert_allclose(again.grad, one - PROBS, atol=1e-6)  # d log π(k) = onehot k - π


def test_each_choice_of_a_multi_discrete_has_a_mask_of_its_own() -> None:
    logits = np.log(np.array([[1.0, 3.0, 1.0, 2.0, 7.0]], np.float32))
    seen = {"vector": np.zeros((1, 1)), "action_mask": np.array([[False, True, True, True, False]])}
    policy = MultiCategorical(masked(logits, seen), (2, 3))
    np.testing.assert_allclose(policy.parts[0].probs, [[0, 1]])
    np.testing.assert_allclose(policy.parts[1].probs, [[1 / 3, 2 / 3, 0]], rtol=1e-6)
    np.testing.assert_allclose(policy.log_prob(np.array([[1, 1]])), [math.log(2 / 3)], rtol=1e-6)
    assert policy.mode().tolist() == [[1, 1]]


def test_the_divergence_of_two_policies_under_one_mask_is_finite_with_its_gradient() -> None:
    other = Tensor(LOGITS[:, ::-1].copy(), requires_grad=True)
    divergence = kl_divergence(Categorical(masked(LOGITS, SEEN)), Categorical(masked(other, SEEN)))
    divergence.sum().backward()
    # In the first row 1/4, 3/4 against 4/6, 2/6.
    by_hand = 0.25 * math.log(0.25 / (4 / 6)) + 0.75 * math.log(0.75 / (2 / 6))
    assert divergence.array[0] == pytest.approx(by_hand, rel=1e-5)
    assert np.isfinite(other.grad).all() and (other.grad[~MASK] == 0).all()


def test_without_a_mask_nothing_is_done() -> None:
    assert masked(LOGITS, np.zeros((2, 3))) is LOGITS
    assert masked(LOGITS, {"vector": np.zeros((2, 3))}) is LOGITS
    assert allowed({"vector": np.zeros((2, 3))}) is None and allowed(SEEN) is MASK


def test_outputs_that_are_not_one_for_each_action_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 4\), one for each action, got \(2, 5\)"):
        masked(np.zeros((2, 5)), SEEN)


@pytest.mark.parametrize(
    ("mask", "actions", "sizes"),
    [
        (spaces.MultiBinary(4), FOUR, (4,)),
        (spaces.Box(0, 1, (4,), np.int8), FOUR, (4,)),
        (spaces.Box(0.0, 1.0, (2, 2), np.float32), FOUR, (4,)),
        (spaces.MultiDiscrete([2, 2, 2, 2]), FOUR, (4,)),
        (spaces.MultiBinary(5), PAIR, (2, 3)),
    ],
)
def test_a_mask_is_found_in_any_space_of_0_and_1(mask: Any, actions: Any, sizes: tuple[int, ...]) -> None:
    assert masked_choices(with_mask(mask), actions) == choices_of(actions) == sizes
    assert masked_choices(with_mask(mask, "other"), actions) == ()
    assert masked_choices(mask, actions) == ()


@pytest.mark.parametrize(
    ("mask", "actions", "message"),
    [
        (spaces.MultiBinary(3), FOUR, r"expected MultiBinary\(4\), or a Box of 0 and 1 with 4 entries"),
        (spaces.MultiBinary(2), PAIR, r"expected MultiBinary\(5\)"),
        (spaces.Box(-1, 1, (4,), np.float32), FOUR, r"expected MultiBinary\(4\)"),
        (spaces.MultiDiscrete([2, 2, 2, 3]), FOUR, r"expected MultiBinary\(4\)"),
        (spaces.Discrete(4), FOUR, r"expected MultiBinary\(4\)"),
        (spaces.MultiBinary(2), BOX, r"expected Discrete or MultiDiscrete actions"),
        (spaces.MultiBinary(2), spaces.MultiBinary(2), r"expected Discrete or MultiDiscrete actions"),
    ],
)
def test_a_mask_of_another_size_or_for_other_actions_is_refused(mask: Any, actions: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=r"observation\['action_mask'\]: " + message):
        masked_choices(with_mask(mask), actions)


def test_random_actions_are_drawn_alike_from_the_allowed_ones() -> None:
    mask, rng = np.array([[0, 1, 0, 1], [0, 0, 0, 1]], bool), np.random.default_rng(0)
    drawn = np.array([uniform(mask, rng) for _ in range(1000)])
    assert set(drawn[:, 1]) == {3}
    share = np.bincount(drawn[:, 0], minlength=4) / 1000
    assert share[0] == share[2] == 0 and share[1] == pytest.approx(0.5, abs=0.05)
