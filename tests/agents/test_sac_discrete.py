"""SAC for discrete actions: its target and losses written out action by action, its temperature, its state."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import SACDiscrete
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import EnvError, SpaceError
from dbrrl.experiment import Run

from .feeding import ACTIONS, BOX, OBSERVATIONS, content, feed
from .probes import GAMMA, probe_errors, train
from .stubs import Stub, column, three

ALPHA = 0.2
RNG = np.random.default_rng(0)
LOGITS, NEXT_LOGITS = RNG.normal(size=(2, 3, 4)).astype(np.float32)
VALUES, NEXT_VALUES = RNG.normal(size=(2, 2, 3, 4)).astype(np.float32)
QUICK: dict[str, Any] = {
    "learning_starts": 4, "batch_size": 8, "buffer_size": 40, "hidden_sizes": (8, 8), "update_interval": 2
}  # fmt: skip


def make(space: Any = BOX, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any) -> Any:
    config = SACDiscrete.Config(**{**QUICK, **settings})
    return SACDiscrete(space, ACTIONS["discrete"], config, num_envs=num_envs, seed=seed, device=device)


def known(logits: Any, values: Any) -> Any:
    """An agent of four actions with these logits and values for the three transitions, whatever is observed."""
    config = SACDiscrete.Config(buffer_size=10, hidden_sizes=(4,), temperature=ALPHA)
    agent: Any = SACDiscrete(gym.spaces.Box(-2, 2, (1,)), gym.spaces.Discrete(4), config)
    agent.actor, agent.critics = Stub(lambda one, s: one * logits), Stub(lambda one, s: one * values)
    agent.target_critics = agent.critics
    return agent


def batch(**more: Any) -> Any:
    return three(**more).add(action=np.array([2, 0, 3]))


def policy(logits: Any) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def test_the_target_is_the_expectation_over_all_actions() -> None:
    found = known(NEXT_LOGITS, NEXT_VALUES).target(batch())
    for i, (r, d) in enumerate(zip((1, 2, 3), (0.5, 0.9, 0.0), strict=True)):
        p = policy(NEXT_LOGITS[i])
        soft = sum(p[a] * (min(NEXT_VALUES[:, i, a]) - ALPHA * math.log(p[a])) for a in range(4))
        assert found[i] == pytest.approx(r + d * soft, rel=1e-5)


def test_the_loss_of_the_critics_is_that_of_the_actions_taken() -> None:
    agent, y = known(LOGITS, VALUES), np.array([0.5, -1.0, 2.0], np.float32)
    agent.target = lambda batch: y
    loss, metrics = agent.critic_loss(batch())
    for i, a in enumerate((2, 0, 3)):
        errors = [VALUES[k, i, a] - y[i] for k in range(2)]
        assert loss.numpy()[i] == pytest.approx(sum(e * e for e in errors), rel=1e-5)
        assert metrics()["error"][i] == pytest.approx(sum(map(abs, errors)) / 2, rel=1e-5)


def test_the_losses_of_the_policy_and_the_temperature_are_expectations() -> None:
    agent = known(LOGITS, VALUES)
    loss, metrics = agent.actor_loss(batch())
    total, entropies = 0.0, []
    for i in range(3):
        p = policy(LOGITS[i])
        total += sum(p[a] * (ALPHA * math.log(p[a]) - min(VALUES[:, i, a])) for a in range(4)) / 3
        entropies.append(-sum(x * math.log(x) for x in p))
    assert loss.item() == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(metrics()["entropy"], entropies, rtol=1e-5)
    loss, _ = agent.temperature_loss(batch(log_prob=-np.array(entropies, np.float32)))
    assert loss.item() == pytest.approx(ALPHA * (np.mean(entropies) - 0.98 * math.log(4)), rel=1e-4)
    loss.backward()
    assert np.sign(agent.log_temperature.grad[0]) == np.sign(loss.item())


def test_the_policy_becomes_the_softmax_of_the_values_over_the_temperature() -> None:
    """The least of J_π is at π = e^(Q/α) / Z."""
    values = np.array([[1.0, 0.8, 0.5, 0.0]], np.float32)
    agent: Any = SACDiscrete(gym.spaces.Box(-2, 2, (1,)), gym.spaces.Discrete(4), SACDiscrete.Config(
        buffer_size=10, hidden_sizes=(8,), temperature=ALPHA, learning_rate=1e-2))  # fmt: skip
    agent.critics = Stub(lambda one, s: one * np.repeat(values[None], 2, axis=0).repeat(len(s), axis=1))
    for _ in range(400):
        agent.actor_step(batch())
    found = policy(agent.actor(column(0.2)).numpy()[0])
    np.testing.assert_allclose(found, policy(values[0] / ALPHA), atol=0.01)


MASK = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]], bool)
MASKED_SPACE = gym.spaces.Dict({"x": gym.spaces.Box(-2, 2, (1,)), "action_mask": gym.spaces.MultiBinary(4)})


def of_masked(logits: Any, values: Any, **settings: Any) -> Any:
    """As `known`, where observations have masks of actions."""
    config = SACDiscrete.Config(buffer_size=10, hidden_sizes=(4,), temperature=ALPHA, **settings)
    agent: Any = SACDiscrete(MASKED_SPACE, gym.spaces.Discrete(4), config)
    agent.actor, agent.critics = Stub(lambda one, s: one * logits), Stub(lambda one, s: one * values)
    agent.target_critics = agent.critics
    return agent


def masked_batch(mask: Any = MASK, next_mask: Any = MASK, **more: Any) -> Any:
    seen, following = ({"vector": column(0.2, 0.4, -0.6), "action_mask": m} for m in (mask, next_mask))
    return batch(**more).add(observation=seen, next_observation=following, action=np.array([0, 2, 3]))


def soft(i: int, logits: Any, values: Any) -> tuple[float, float]:
    """Σ π (α log π - min Q) and Σ π log π over the actions that row i of MASK allows."""
    allowed = np.flatnonzero(MASK[i])
    p = policy(logits[i, allowed])
    negentropy = sum(x * math.log(x) for x in p)
    value = sum(x * float(min(values[:, i, a])) for x, a in zip(p, allowed, strict=True))
    return ALPHA * negentropy - value, negentropy


def test_masked_actions_are_in_no_expectation() -> None:
    agent = of_masked(NEXT_LOGITS, NEXT_VALUES)
    costs, negentropies = zip(*(soft(i, NEXT_LOGITS, NEXT_VALUES) for i in range(3)), strict=True)
    assert costs[1] == -min(NEXT_VALUES[:, 1, 2])  # the only action there
    expected = np.array([1, 2, 3]) - [0.5, 0.9, 0.0] * np.array(costs)
    np.testing.assert_allclose(agent.target(masked_batch()), expected, rtol=1e-5)
    loss, metrics = agent.actor_loss(masked_batch())
    assert loss.item() == pytest.approx(np.mean(costs), rel=1e-5)
    np.testing.assert_allclose(metrics()["entropy"], -np.array(negentropies), rtol=1e-5, atol=1e-7)
    value = agent.value({"x": column(0.2, 0.4, -0.6), "action_mask": MASK})
    np.testing.assert_allclose(value, ALPHA * np.array(negentropies) - costs, rtol=1e-5)


def test_masked_actions_have_probability_0_and_no_gradient() -> None:
    agent = of_masked(LOGITS, VALUES)
    given = {"x": column(0.2, 0.4, -0.6), "action_mask": MASK}
    assert (agent.action_distribution(given).probs.numpy()[~MASK] == 0).all()
    for far in (0.0, 50.0, 1e30):  # logits and values of what is masked make no difference
        logits, values = Tensor(LOGITS + far * ~MASK, requires_grad=True), VALUES + np.float32(far) * ~MASK
        agent.actor, agent.critics = Stub(lambda one, s, x=logits: x * 1), Stub(lambda one, s, q=values: one * q)
        agent.actor_loss(masked_batch())[0].backward()
        gradient = logits.grad
        assert (gradient[~MASK] == 0).all() and (gradient[1] == 0).all() and (gradient[2] != 0).all()
        for i in range(3):
            np.testing.assert_allclose(gradient[i], by_differences(i), rtol=1e-3, atol=1e-5)


def by_differences(i: int) -> np.ndarray:
    """The gradient of J_π by the logits of row i, by central differences in float64."""
    found, h = np.zeros(4), 1e-6
    for a in range(4):
        shift = np.zeros((3, 4))
        shift[i, a] = h
        found[a] = (soft(i, LOGITS + shift, VALUES)[0] - soft(i, LOGITS - shift, VALUES)[0]) / (2 * h) / 3
    return found


def test_a_true_end_that_allows_nothing_gives_the_reward() -> None:
    following = np.array(MASK)
    following[2] = False  # where the discount is 0
    target = of_masked(NEXT_LOGITS, NEXT_VALUES).target(masked_batch(next_mask=following))
    assert target[2] == 3.0 and np.isfinite(target).all()


def test_the_entropy_asked_for_is_a_share_of_the_largest_of_the_allowed_actions() -> None:
    agent = of_masked(LOGITS, VALUES, target_entropy=0.5)
    log_prob = np.array([-0.3, 0.0, -1.2], np.float32)
    loss, _ = agent.temperature_loss(masked_batch(log_prob=log_prob))
    wanted = 0.5 * np.log([3, 1, 4])
    assert loss.item() == pytest.approx(-ALPHA * np.mean(log_prob + wanted), rel=1e-5)
    only_one = np.tile(MASK[1], (3, 1))
    loss, _ = agent.temperature_loss(masked_batch(only_one, log_prob=np.zeros(3, np.float32)))
    loss.backward()
    assert loss.item() == 0 and agent.log_temperature.grad[0] == 0  # one action: nothing to say about α


def test_with_masks_it_explores_uniformly_until_it_learns_among_the_allowed_actions() -> None:
    agent: Any = SACDiscrete(MASKED_SPACE, gym.spaces.Discrete(4), SACDiscrete.Config(buffer_size=3000), num_envs=3000)
    given = {"x": np.zeros((3000, 1), np.float32), "action_mask": np.tile(MASK[0], (3000, 1)).astype(np.int8)}
    counts = np.bincount(agent.act(given), minlength=4)
    assert counts[2] == 0 and counts[[0, 1, 3]].min() > 900


def test_the_value_of_what_allows_nothing_is_refused() -> None:
    nothing = np.zeros((3, 4), np.int8)
    nothing[:2] = 1
    with pytest.raises(EnvError, match="allowed in environment 2"):
        of_masked(LOGITS, VALUES).value({"x": column(0.2, 0.4, -0.6), "action_mask": nothing})


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(observation: str, device: str) -> None:
    steps = 6 if observation in ("image", "dict") else 12
    testing.check_agent(lambda: make(OBSERVATIONS[observation], device=device), steps=steps)


def test_replay_and_returns_combine(device: str) -> None:
    settings = {"prioritized": True, "n_step": 3, "updates_per_interval": 2, "total_steps": 50}
    testing.check_agent(lambda: make(**settings, device=device), steps=12)


def test_other_actions_are_refused_by_name() -> None:
    with pytest.raises(SpaceError, match="sac_discrete serves actions of the spaces Discrete"):
        SACDiscrete(BOX, BOX)


def test_it_explores_uniformly_until_it_learns_and_then_by_its_policy() -> None:
    agent = make(num_envs=3000, learning_starts=3000, buffer_size=6000, update_interval=3000)
    observation, no = np.full((3000, 3), 0.2, np.float32), np.zeros(3000, bool)
    counts = np.bincount(agent.act(observation) + 1, minlength=3)
    assert counts.min() > 900
    agent.observe(observation, np.zeros(3000), no, no)
    assert agent.num_updates == 1
    agent.actor.advantage.layers[-1].bias.array[...] = [0.0, 1.0, 2.0]
    shares = np.bincount(agent.act(observation) + 1, minlength=3) / 3000
    np.testing.assert_allclose(shares, policy(agent.actor(observation[:1]).numpy()[0]), atol=0.03)
    assert set(agent.act(observation, explore=False)) == {1}  # the space starts at -1


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, tmp_path: Path) -> None:
    agent = make(total_steps=200, prioritized=True, n_step=3)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))
    agent.save(tmp_path / "agent.dbrrl")
    back = SACDiscrete.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 15, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


def test_the_critics_alone_have_a_target_that_follows() -> None:
    agent = make(num_envs=1, learning_starts=0, update_interval=1, tau=0.25)
    before = nn.parameters_to_vector(agent.target_critics).copy()
    feed(agent, 1)
    expected = 0.75 * before + 0.25 * nn.parameters_to_vector(agent.critics)
    np.testing.assert_allclose(nn.parameters_to_vector(agent.target_critics), expected, rtol=1e-5, atol=1e-8)


SOON: dict[str, Any] = {
    "num_envs": 4, "gamma": GAMMA, "learning_rate": 3e-3, "hidden_sizes": (32,), "activation": "tanh", "batch_size": 64,
    "buffer_size": 4000, "learning_starts": 200, "tau": 0.05, "temperature": 0.01, "temperature_learning_rate": 0.0,
}  # fmt: skip


def soft_values(run: Run, observations: Any) -> np.ndarray:
    """Q(s, a) of the most probable action."""
    agent: Any = run.agent
    given = agent.preprocessor(np.asarray(observations, np.float32))
    found = agent.critics(given).array.mean(axis=0)
    return np.asarray(found[np.arange(len(found)), agent.act_greedily(given)])


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("Action", "Delayed")]


@pytest.mark.parametrize("name", ["Both", *SLOW])
def test_probes_give_their_known_return_and_values(name: str) -> None:
    run = train("sac_discrete", f"dbrrl/Probe{name}-v0", 0, steps=4000, **SOON)
    short, error = probe_errors(name, run, soft_values)
    assert short < 0.01 and error < 0.1


@pytest.mark.slow
def test_the_target_is_named() -> None:
    assert train("sac_discrete", "dbrrl/IdentityDiscrete-v0", 0, steps=5000, **{**SOON, "gamma": 0.0}).score >= 10.0
