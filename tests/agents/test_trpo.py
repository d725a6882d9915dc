"""TRPO: the Fisher matrix by finite differences, the step in closed form, the trust region kept in every space."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import functional as F
from dbrrl import nn, testing
from dbrrl.agents import TRPO
from dbrrl.agents.trpo import fisher_product
from dbrrl.buffers import Batch
from dbrrl.errors import AnomalyError, ConfigError, SpaceError

from .feeding import ACTIONS, BOX, IMAGE, OBSERVATIONS, TWO, content, feed
from .formulas import ACTIONS as LOSS_ACTIONS
from .formulas import advantages, mlp, play, policy, unpacked

kinds = pytest.mark.parametrize("kind", LOSS_ACTIONS)


def make(
    observation: Any = BOX, action: Any = TWO, *, num_envs: int = 2, seed: int = 0, device: str = "cpu", **settings: Any
) -> Any:
    config = {"n_steps": 8, "critic_epochs": 2, "critic_batch_size": 8} | settings
    return TRPO(observation, action, TRPO.Config(**config), num_envs=num_envs, seed=seed, device=device)


class Noted(TRPO):
    """Keeps the batch of its latest update, and its weights before and after the policy's step."""

    def policy_step(self, batch: Batch) -> Any:
        self.found, self.before = batch, nn.parameters_to_vector(self.network).astype(np.float64)
        metrics = super().policy_step(batch)
        self.after = nn.parameters_to_vector(self.network).astype(np.float64)
        return metrics


def noted(kind: str, **settings: Any) -> Any:
    """An agent after one update on random transitions, and these."""
    config = {"n_steps": 12, "gamma": 0.9, "gae_lambda": 0.8, "hidden_sizes": (6,), "log_std_init": -0.5} | settings
    agent: Any = Noted(BOX, LOSS_ACTIONS[kind], TRPO.Config(**config), num_envs=3, seed=1)
    agent.played = play(agent, 12)
    return agent


def divergence(kind: str, weights: dict[str, np.ndarray], old: dict[str, np.ndarray], x: np.ndarray) -> Any:
    """The mean over the rows x of KL(old ‖ new), as sums over outcomes and the formula for normals, in float64."""
    new_outputs, outputs = mlp(weights, "actor", x), mlp(old, "actor", x)
    if kind == "box":
        s, s_old = np.exp(weights["log_std"]), np.exp(old["log_std"])
        rows = np.log(s / s_old) + (s_old**2 + (outputs - new_outputs) ** 2) / (2 * s**2) - 0.5
        return rows.sum(1).mean()
    if kind == "multi-binary":
        p, q = (1 / (1 + np.exp(-z)) for z in (outputs, new_outputs))
        return (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(1).mean()
    total = 0.0
    for part in [slice(0, 3)] if kind == "discrete" else [slice(0, 2), slice(2, 5)]:
        p, q = (np.exp(z[:, part]) / np.exp(z[:, part]).sum(1, keepdims=True) for z in (outputs, new_outputs))
        total += (p * np.log(p / q)).sum(1).mean()
    return total


def hessian(function: Any, flat: np.ndarray, where: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Second derivatives by the entries `where` of a vector, by central differences."""
    n = len(where)
    found = np.zeros((n, n))
    units = h * np.eye(len(flat))[where]
    for i in range(n):
        for j in range(i + 1):
            a, b = units[i], units[j]
            corners = function(flat + a + b) - function(flat + a - b) - function(flat - a + b) + function(flat - a - b)
            found[i, j] = found[j, i] = corners / (4 * h * h)
    return found


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], device=device))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    settings = {"n_steps": 4, "critic_epochs": 1, "cg_iterations": 3}
    testing.check_agent(lambda: make(OBSERVATIONS[observation], **settings, device=device), steps=6)


@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_the_protocol_is_kept_with_a_memory_and_normalizers(device: str, recurrent: str) -> None:
    settings: dict[str, Any] = {"recurrent": recurrent, "recurrent_size": 4, "cg_iterations": 3}
    settings |= {"normalize_observation": True, "normalize_reward": True}
    testing.check_agent(lambda: make(action=ACTIONS["box"], **settings, device=device))


def test_other_spaces_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SpaceError, match="trpo serves actions of the spaces"):
        make(action=gym.spaces.Text(3))
    for wrong in ({"max_kl": 0.0}, {"backtrack_factor": 1.0}, {"cg_damping": -0.1}, {"critic_epochs": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TRPO.Config(**wrong)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_openai_baselines() -> None:
    c = TRPO.Config()  # against run_mujoco.py of its trpo_mpi
    assert (c.max_kl, c.cg_iterations, c.cg_damping, c.gamma, c.gae_lambda) == (0.01, 10, 0.1, 0.99, 0.98)
    assert (c.critic_epochs, c.learning_rate, c.critic_batch_size) == (5, 1e-3, 64)
    assert (c.backtrack_factor, c.backtrack_steps) == (0.5, 10)


@kinds
@pytest.mark.parametrize("away", [0.0, 0.3])
def test_products_with_the_fisher_matrix_are_those_of_the_hessian_by_finite_differences(kind: str, away: float) -> None:
    agent = make(action=LOSS_ACTIONS[kind], hidden_sizes=(3,), log_std_init=-0.5)
    names = [name for name, p in agent.network.named_parameters() for _ in range(p.size)]
    where = np.array([i for i, name in enumerate(names) if not name.startswith("critic")])
    rng = np.random.default_rng(0)
    first = nn.parameters_to_vector(agent.network) + rng.normal(size=len(names)).astype(np.float32) * 0.5
    nn.vector_to_parameters(first, agent.network)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    old = agent.acting_policy(Batch(observation=x))
    second = first + away * rng.normal(size=len(names)).astype(np.float32)
    nn.vector_to_parameters(second, agent.network)

    def mean_divergence(flat: np.ndarray) -> Any:
        return divergence(kind, unpacked(agent, flat), unpacked(agent, first.astype(float)), x.astype(float))

    expected = hessian(mean_divergence, second.astype(float), where)
    product = fisher_product(old, agent.policy(x), agent.policy_parameters)
    found = np.stack([product(unit) for unit in np.eye(len(where), dtype=np.float32)])
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    damped = fisher_product(old, agent.policy(x), agent.policy_parameters, damping=0.5)
    unit = np.eye(len(where), dtype=np.float32)[2]
    np.testing.assert_allclose(damped(unit), found[2] + 0.5 * unit, rtol=1e-5, atol=1e-7)


@kinds
@pytest.mark.parametrize("max_kl", [0.001, 0.01, 0.3])
def test_a_step_improves_the_surrogate_within_the_trust_region(kind: str, max_kl: float) -> None:
    agent = noted(kind, max_kl=max_kl)
    x, action = np.concatenate(agent.played.observation).astype(float), np.concatenate(agent.played.action)
    first, last = unpacked(agent, agent.before), unpacked(agent, agent.after)
    kl = divergence(kind, last, first, x)
    assert 0.1 * max_kl < kl <= max_kl * (1 + 1e-4)
    assert agent.statistics()["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-6)
    advantage = agent.found.advantage.astype(float)
    advantage = (advantage - advantage.mean()) / advantage.std()
    ratio = np.exp(policy(kind, last, x, action)[0] - policy(kind, first, x, action)[0])
    improvement = (ratio * advantage).mean() - advantage.mean()
    assert improvement > 0
    assert agent.statistics()["improvement"] == pytest.approx(improvement, rel=1e-2, abs=1e-5)


@kinds
def test_advantages_and_targets_are_those_of_generalized_advantage_estimation(kind: str) -> None:
    agent = noted(kind)
    assert any(np.any(t) for t in agent.played.truncated)
    first = unpacked(agent, agent.before)
    expected = advantages(agent.played, lambda o: mlp(first, "critic", o)[:, 0], 0.9, 0.8).reshape(-1)
    np.testing.assert_allclose(agent.found.advantage, expected, atol=1e-5)
    np.testing.assert_allclose(agent.found.target - agent.found.value, expected, atol=1e-5)


class Gaussian(nn.Module):
    """A normal whose mean is one weight, whatever is observed, and V(s) another."""

    def __init__(self) -> None:
        self.w, self.log_std = nn.Parameter(np.float32([0.3])), nn.Parameter(np.float32([-0.5]))
        self.critic = nn.Linear(1, 1, rng=0)

    def policy(self, observation: Any) -> Any:
        return F.broadcast_to(self.w, (len(observation), 1))

    def value(self, observation: Any) -> Any:
        return self.critic(observation)[:, 0]

    def forward(self, observation: Any) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)


def gaussian(**settings: Any) -> tuple[Any, Batch, np.ndarray]:
    """An agent of that network, a batch, and the gradient of its surrogate by the mean and log σ, in closed form."""
    config = TRPO.Config(cg_damping=0.0, normalize_advantage=False, **settings)
    one = gym.spaces.Box(-9, 9, (1,), np.float32)
    agent: Any = TRPO(one, one, config)
    agent.network = Gaussian()
    rng = np.random.default_rng(0)
    action, advantage = rng.normal(size=(40, 1)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    batch = Batch(observation=np.zeros((40, 1), np.float32), action=action, advantage=advantage)
    z = (action[:, 0] - 0.3) / np.exp(-0.5)
    gradient = np.array([(z / np.exp(-0.5) * advantage).mean(), ((z**2 - 1) * advantage).mean()])
    return agent, batch, gradient


def test_the_step_of_a_normal_is_the_natural_gradient_in_closed_form() -> None:
    """Its Fisher matrix is diagonal: 1 / σ² by the mean and 2 by log σ."""
    agent, batch, gradient = gaussian(max_kl=1e-4)
    metrics = agent.policy_step(batch)
    natural = gradient / np.array([np.exp(1.0), 2.0])
    step = np.sqrt(2e-4 / (natural @ gradient)) * natural * metrics["step_share"]
    moved = np.concatenate([agent.network.w.numpy() - np.float32(0.3), agent.network.log_std.numpy() + np.float32(0.5)])
    np.testing.assert_allclose(moved, step, rtol=1e-3)
    assert metrics["step_share"] in (0.5, 1.0)
    expected_kl = 1e-4 * metrics["step_share"] ** 2  # to second order
    assert metrics["kl"] == pytest.approx(expected_kl, rel=0.05)
    assert metrics["improvement"] == pytest.approx(gradient @ step, rel=0.05)


def test_a_step_that_leaves_the_trust_region_is_shortened_until_it_does_not() -> None:
    agent, batch, gradient = gaussian(max_kl=0.01, backtrack_factor=0.8, backtrack_steps=100)
    batch = batch.add(log_prob=agent.acting_policy(batch).log_prob(batch.action))
    old = agent.acting_policy(batch)
    metrics = agent.line_search(batch, old, (10 * gradient).astype(np.float32))
    assert 0 < metrics["kl"] <= 0.01 and metrics["step_share"] < 0.5
    nn.vector_to_parameters(np.float32([0.3, -0.5]), agent.policy_parameters)
    nearly = agent.line_search(batch, old, (10 * gradient * metrics["step_share"] / 0.8).astype(np.float32))
    assert nearly["step_share"] == 0.8  # the next longer one was too long


def test_where_no_step_is_better_the_policy_stays_as_it_was() -> None:
    agent, batch, gradient = gaussian()
    batch = batch.add(log_prob=agent.acting_policy(batch).log_prob(batch.action))
    found = agent.line_search(batch, agent.acting_policy(batch), -gradient.astype(np.float32))
    assert found == {"improvement": 0.0, "kl": 0.0, "step_share": 0.0}
    assert agent.network.w.numpy()[0] == np.float32(0.3) and agent.network.log_std.numpy()[0] == np.float32(-0.5)
    metrics = agent.policy_step(batch.add(advantage=np.zeros(40, np.float32)))  # nothing to gain: a gradient of 0
    assert metrics["step_share"] == 0 and agent.network.w.numpy()[0] == np.float32(0.3)


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_fitting_the_value_leaves_the_policy_where_its_step_ended(recurrent: str) -> None:
    """Also where both share a convolutional encoder or a memory: these belong to the policy."""
    settings = {"n_steps": 4, "recurrent": recurrent, "recurrent_size": 4}
    agent: Any = Noted(BOX if recurrent == "lstm" else IMAGE, TWO, TRPO.Config(**settings), num_envs=2)
    space, rng = agent.observation_space, np.random.default_rng(0)
    for _ in range(4):
        agent.act(np.stack([space.sample() for _ in range(2)]))
        agent.observe(np.stack([space.sample() for _ in range(2)]), rng.normal(size=2), *np.zeros((2, 2), bool))
    names = np.array([name for name, p in agent.network.named_parameters() for _ in range(p.size)])
    last, critic = nn.parameters_to_vector(agent.network), np.char.startswith(names, "critic")
    np.testing.assert_array_equal(last[~critic], agent.after[~critic].astype(np.float32))
    assert np.any(last[critic] != agent.after[critic]) and np.any(agent.after[~critic] != agent.before[~critic])


def test_a_network_without_a_critic_of_its_own_is_refused() -> None:
    class Shared(Gaussian):
        def __init__(self) -> None:
            super().__init__()
            self.critic, self.values = None, self.critic  # type: ignore[assignment]

        def value(self, observation: Any) -> Any:
            return self.values(observation)[:, 0]

    one = gym.spaces.Box(-9, 9, (1,), np.float32)
    agent = TRPO(one, one)
    with pytest.raises(ConfigError, match=r"network: expected a module `critic`, .* got none: trpo"):
        agent.network = Shared()


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match=r"trpo: .*gradient.*learning rate"):
        feed(make(), 8, scale=1e30)


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
@pytest.mark.parametrize("steps", [3, 8, 19])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, recurrent: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"normalize_observation": True, "normalize_reward": True, "recurrent_size": 4}
    agent = make(action=ACTIONS["box"], recurrent=recurrent, cg_iterations=3, **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = TRPO.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0
