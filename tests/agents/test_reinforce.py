"""REINFORCE: returns and gradients by hand, the exact gradient of a bandit met on average, every space, its state."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn, testing
from dbrrl.agents import REINFORCE
from dbrrl.buffers import Batch
from dbrrl.errors import AnomalyError, ConfigError, SpaceError

from .feeding import ACTIONS, BOX, OBSERVATIONS, TWO, content, feed
from .formulas import ACTIONS as LOSS_ACTIONS
from .formulas import column, mlp, play, policy, unpacked
from .making import Known

baselines = pytest.mark.parametrize("baseline", ["value", "none"])


def make(
    observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> Any:
    config = {"n_steps": 8} | settings
    return REINFORCE(observation, action, REINFORCE.Config(**config), num_envs=num_envs, seed=seed, device=device)


def noted(agent: Any) -> list[Batch]:
    """The batches that an agent learns from, from now on."""
    found: list[Batch] = []
    loss, agent.compiled = agent.step.loss, False
    agent.step.loss = lambda batch: found.append(batch) or loss(batch)
    return found


@baselines
@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str, baseline: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], baseline=baseline, device=device))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    testing.check_agent(lambda: make(OBSERVATIONS[observation], n_steps=4, device=device), steps=6)


@baselines
@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_the_protocol_is_kept_with_a_memory_and_normalizers(device: str, recurrent: str, baseline: str) -> None:
    settings: dict[str, Any] = {"recurrent": recurrent, "recurrent_size": 4, "baseline": baseline}
    settings |= {"normalize_observation": True, "normalize_reward": True}
    testing.check_agent(lambda: make(action=ACTIONS["box"], **settings, device=device))


def test_other_spaces_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SpaceError, match="reinforce serves actions of the spaces"):
        make(action=gym.spaces.Text(3))
    for wrong in ({"learning_rate": 0.0}, {"baseline": "mean"}, {"gamma": 1.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            REINFORCE.Config(**wrong)  # type: ignore[arg-type]


def two_episodes(baseline: str) -> Batch:
    """Both environments see V 1, 2, 3, 4 and then 6, with rewards 1, 2, 4, 8. After the second step the first one's
    episode ends, and the second one's is cut by a time limit in an observation with V = 8.
    """
    agent = make(gym.spaces.Box(-9.0, 9.0, (1,), np.float32), n_steps=4, gamma=0.5, baseline=baseline)
    agent.network = Known()
    found, no = noted(agent), np.zeros(2, bool)
    for v, following, reward in ((1, 2, 1), (2, 8, 2), (3, 4, 4), (4, 6, 8)):
        agent.act(column(v, v))
        ended, limited = (np.array([True, False]), np.array([False, True])) if v == 2 else (no, no)
        agent.observe(column(following, following), np.full(2, float(reward)), ended, limited)
    (batch,) = found
    return batch


def test_returns_by_hand_with_values_where_an_episode_was_cut_off() -> None:
    batch = two_episodes("value")
    # G₃ = 8 + 6/2 = 11, G₂ = 4 + 11/2 = 9.5;  G₁ = 2, or with the limit 2 + 8/2 = 6;  G₀ = 1 + G₁/2
    expected = np.array([[2, 4], [2, 6], [9.5, 9.5], [11, 11]])
    np.testing.assert_array_equal(batch.target.reshape(4, 2), expected)
    np.testing.assert_array_equal(batch.advantage.reshape(4, 2), expected - [[1, 1], [2, 2], [3, 3], [4, 4]])


def test_returns_by_hand_without_a_baseline() -> None:
    """The rewards up to the end of either kind; of the episodes that go on beyond the rollout nothing is learned."""
    batch = two_episodes("none")
    np.testing.assert_array_equal(batch.advantage.reshape(4, 2), [[2, 2], [2, 2], [0, 0], [0, 0]])


class Bandit(nn.Module):
    """Logits that are the weights, whatever is observed, and V(s) another weight."""

    def __init__(self, logits: Any, value: float) -> None:
        self.logits, self.v = nn.Parameter(np.float32(logits)), nn.Parameter(np.float32([value]))

    def policy(self, observation: Any) -> Any:
        return F.broadcast_to(self.logits, (len(observation), len(self.logits)))

    def value(self, observation: Any) -> Any:
        return F.broadcast_to(self.v, (len(observation),))

    def forward(self, observation: Any) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)


LOGITS, REWARDS = np.array([0.5, -0.2, 1.0]), np.array([1.0, 3.0, -2.0])
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum()
EXACT = PROBABILITIES * (REWARDS - PROBABILITIES @ REWARDS)  # dJ/dθ_k = π_k (r_k - J), J = Σ π r


def bandit(baseline: str, num_envs: int, value: float = 0.7) -> Any:
    settings: dict[str, Any] = {"n_steps": 1, "baseline": baseline, "max_grad_norm": 1e6, "learning_rate": 1e-12}
    agent = make(gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(3), num_envs=num_envs, **settings)
    agent.network = Bandit(LOGITS, value)
    return agent


@baselines
@pytest.mark.parametrize("value", [0.7, -5.0])
def test_the_expected_estimate_is_the_exact_gradient_of_a_bandit(baseline: str, value: float) -> None:
    """Σ π(a) times the gradient of a step in which a was drawn; a baseline changes each of them, not the sum."""
    expected, estimates = np.zeros(3), []
    for arm, probability in enumerate(PROBABILITIES):
        agent = bandit(baseline, 1, value)
        while agent.act(column(0))[0] != arm:
            pass
        agent.observe(column(0), REWARDS[[arm]], np.array([True]), np.array([False]))
        estimates.append(-agent.optimizer.gradient[:3])
        expected += probability * estimates[-1]
    np.testing.assert_allclose(expected, EXACT, atol=1e-6)
    centered = REWARDS - value * (baseline == "value")
    np.testing.assert_allclose(estimates, centered[:, None] * (np.eye(3) - PROBABILITIES), atol=1e-6)


@baselines
def test_the_estimate_of_many_draws_is_near_the_exact_gradient(baseline: str) -> None:
    n = 50_000
    agent = bandit(baseline, n)
    action = agent.act(np.zeros((n, 1), np.float32))
    agent.observe(np.zeros((n, 1), np.float32), REWARDS[action], np.ones(n, bool), np.zeros(n, bool))
    single = (REWARDS - 0.7 * (baseline == "value"))[action][:, None] * (np.eye(3)[action] - PROBABILITIES)
    assert np.all(np.abs(-agent.optimizer.gradient[:3] - EXACT) < 5 * single.std(0) / np.sqrt(n))


@pytest.mark.parametrize("kind", LOSS_ACTIONS)
@baselines
def test_the_gradient_is_that_of_the_loss_written_out_again(kind: str, baseline: str) -> None:
    c = REINFORCE.Config(n_steps=12, gamma=0.9, baseline=baseline, max_grad_norm=1e6, hidden_sizes=(6,))
    agent: Any = REINFORCE(BOX, LOSS_ACTIONS[kind], c, num_envs=3, seed=1)
    flat = nn.parameters_to_vector(agent.network).astype(np.float64)
    (first, played) = (unpacked(agent, flat), play(agent, 12))
    assert any(np.any(t) for t in played.truncated) and agent.num_updates == 1
    x, action = np.concatenate(played.observation).astype(np.float64), np.concatenate(played.action)
    advantage, target = np.zeros((12, 3)), np.zeros((12, 3))
    for env in range(3):
        known, total = baseline == "value", mlp(first, "critic", played.following[11])[env, 0]
        for t in reversed(range(12)):
            cut = mlp(first, "critic", played.following[t])[env, 0] if baseline == "value" else 0.0
            total = 0.0 if played.terminated[t][env] else cut if played.truncated[t][env] else total
            known = known or played.terminated[t][env] or played.truncated[t][env]
            target[t, env] = total = played.reward[t][env] + 0.9 * total
            before = mlp(first, "critic", played.observation[t])[env, 0] if baseline == "value" else 0.0
            advantage[t, env] = (total - before) * known
    advantage, target = advantage.reshape(-1), target.reshape(-1)
    assert (advantage == 0).any() == (baseline == "none")

    def loss(values: np.ndarray) -> float:
        weights = unpacked(agent, values)
        error = (mlp(weights, "critic", x)[:, 0] - target) ** 2 if baseline == "value" else np.zeros(1)
        return float(-(policy(kind, weights, x, action)[0] * advantage).mean() + 0.5 * error.mean())

    expected = np.zeros(len(flat))
    for i in range(len(flat)):
        shift = 1e-6 * (np.arange(len(flat)) == i)
        expected[i] = (loss(flat + shift) - loss(flat - shift)) / 2e-6
    np.testing.assert_allclose(agent.optimizer.gradient, expected, atol=2e-4 * np.abs(expected).max())


def test_without_a_baseline_rewards_of_episodes_that_go_on_do_not_count() -> None:
    agents = [make(baseline="none", n_steps=4) for _ in range(2)]
    no = np.zeros(2, bool)
    for agent, last in zip(agents, (5.0, -5.0), strict=True):
        for t in range(4):
            agent.act(np.ones((2, 3), np.float32))
            ended = np.array([t == 1, False])
            agent.observe(np.ones((2, 3), np.float32), np.full(2, 1.0 if t < 2 else last), ended, no)
    assert content(agents[0]) != content(make(baseline="none", n_steps=4)) and agents[0].num_updates == 1
    np.testing.assert_array_equal(*(nn.parameters_to_vector(agent.network) for agent in agents))
    assert np.any(agents[0].optimizer.gradient)


def test_without_a_baseline_the_value_is_not_touched() -> None:
    agent = make(baseline="none")
    before = [p.numpy().copy() for p in agent.network.critic.parameters()]
    feed(agent, 16)
    for p, old in zip(agent.network.critic.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.numpy(), old)
    assert set(agent.statistics()) == {"policy_loss", "entropy", "learning_rate"}


def test_there_is_one_step_of_adam_per_rollout_and_its_size_falls() -> None:
    agent = make(total_steps=44, learning_rate=1e-2, learning_rate_schedule="linear")
    updates, rates = [], []
    for t in range(22):
        feed(agent, 1, first=t)
        updates.append(agent.num_updates)
        rates.append(agent.optimizer.learning_rate if agent.num_updates else 0.0)
    assert updates == [0] * 7 + [1] * 8 + [2] * 6 + [3]
    np.testing.assert_allclose([rates[7], rates[15], rates[21]], 1e-2 * (1 - np.array([0, 16, 32]) / 44))
    assert agent.statistics()["learning_rate"] == rates[-1]


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match=r"reinforce: .*gradient.* update 0.*learning"):
        feed(make(), 8, scale=1e30)


@baselines
@pytest.mark.parametrize("recurrent", ["none", "gru"])
@pytest.mark.parametrize("steps", [3, 8, 19])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, recurrent: str, baseline: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"normalize_observation": True, "normalize_reward": True, "recurrent_size": 4}
    agent = make(total_steps=100, recurrent=recurrent, baseline=baseline, learning_rate_schedule="linear", **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = REINFORCE.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0
