"""PPO as an agent: spaces, schedules, early stop, normalizers, its state, networks of your own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint, nn, testing
from dbrrl.agents import PPO
from dbrrl.buffers import Batch
from dbrrl.errors import AnomalyError, CheckpointError, ConfigError, EnvError, GraphError, ShapeError, SpaceError
from dbrrl.learning.gradient_step import StepMetrics

from .feeding import ACTIONS, OBSERVATIONS, content, feed, spaces
from .making import Shared
from .making import make_ppo as make


@pytest.mark.parametrize("action", ACTIONS)
def test_the_protocol_is_kept_in_every_action_space(device: str, action: str) -> None:
    testing.check_agent(lambda: make(action=ACTIONS[action], device=device))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    # A small rollout keeps the images' convolutions few.
    testing.check_agent(lambda: make(OBSERVATIONS[observation], n_steps=4, n_epochs=1, device=device), steps=6)


@pytest.mark.parametrize("observation", ["box", "discrete", "dict"])
def test_the_protocol_is_kept_with_normalizers(device: str, observation: str) -> None:
    settings = {"normalize_observation": True, "normalize_reward": True, "n_steps": 4}
    testing.check_agent(lambda: make(OBSERVATIONS[observation], ACTIONS["box"], **settings, device=device), steps=6)


def test_other_spaces_are_refused() -> None:
    with pytest.raises(SpaceError, match="ppo serves actions of the spaces"):
        make(action=spaces.Text(3))
    with pytest.raises(SpaceError, match="ppo serves observations of the spaces"):
        make(spaces.Text(3))


@pytest.mark.parametrize(
    "wrong",
    [{"clip_range": 0.0}, {"gamma": 1.1}, {"n_epochs": 0}, {"learning_rate": -1.0}, {"hidden_sizes": (0,)}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PPO.Config(**wrong)


def test_the_gradient_is_clipped_and_adam_has_its_eps() -> None:
    agent = make(max_grad_norm=1e-3, adam_eps=1e-2)
    feed(agent, 8, scale=10.0)
    assert np.linalg.norm(agent.optimizer.gradient) == pytest.approx(1e-3, rel=1e-4)
    assert agent.optimizer.eps == 1e-2


def test_a_single_observation_gives_a_single_action() -> None:
    agent = make(action=ACTIONS["box"], num_envs=1)
    one = agent.act(np.ones(3, np.float32), explore=False)
    assert one.shape == (2,)
    np.testing.assert_array_equal(one, agent.act(np.ones((1, 3), np.float32), explore=False)[0])
    feed(agent, 7)
    agent.act(np.ones(3, np.float32))
    agent.observe(np.ones(3, np.float32), 1.0, False, True)
    assert agent.num_updates == 2


def test_actions_are_clipped_to_the_box_and_samples_kept() -> None:
    agent = make(action=ACTIONS["box"])
    action = agent.act(np.ones((2, 3), np.float32))
    sample = agent.rollout.actions[0]
    assert np.abs(sample).max() > 0.1
    np.testing.assert_array_equal(action, np.clip(sample, np.float32(-0.1), np.float32(0.1)))


def test_weights_begin_orthogonal_with_their_gains() -> None:
    weights = make(spaces.Box(-1.0, 1.0, (64,), np.float32), hidden_sizes=(64,)).network.state_dict()
    for name, gain in (("actor.layers.0", 2**0.5), ("actor.layers.2", 0.01), ("critic.layers.2", 1.0)):
        w = weights[f"{name}.weight"]
        np.testing.assert_allclose(w @ w.T, gain**2 * np.eye(len(w)), atol=1e-5)
        assert not weights[f"{name}.bias"].any()
    spread = make(action=ACTIONS["box"], log_std_init=-1.5).network.log_std
    np.testing.assert_array_equal(spread.numpy(), [-1.5, -1.5])


def test_updates_come_when_the_rollout_is_full_or_the_run_ends() -> None:
    agent = make(total_steps=22)  # 16 + 6: three rows more
    updates = []
    for t in range(11):
        feed(agent, 1, first=t)
        updates.append(agent.num_updates)
    assert updates == [0] * 7 + [4] * 3 + [6]  # 2 epochs of 2 minibatches, then 2 of the 6 transitions left
    learned = {"policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance"}
    assert set(agent.statistics()) == learned | {"learning_rate"}
    assert np.isfinite(list(agent.statistics().values())).all()


def test_schedules_fall_to_nothing_at_total_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = {"learning_rate_schedule": "linear", "clip_range_schedule": "linear"}
    agent = make(learning_rate=1e-3, clip_range=0.4, total_steps=64, **linear)
    seen, epochs = [], agent.epochs

    def noted(columns: Any, clip_range: float) -> Any:
        seen.append((agent.optimizer.learning_rate, clip_range))
        return epochs(columns, clip_range)

    monkeypatch.setattr(agent, "epochs", noted)
    feed(agent, 40)
    parts = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_allclose([rate for rate, _ in seen], parts * 1e-3)
    np.testing.assert_allclose([clip for _, clip in seen], parts * 0.4, atol=1e-7)


def test_a_large_step_of_the_policy_ends_the_update() -> None:
    settings = {"learning_rate": 0.1, "n_epochs": 20}
    free, held = make(**settings), make(target_kl=1e-3, **settings)
    feed(free, 8)
    feed(held, 8)
    assert free.num_updates == 40 and 2 <= held.num_updates < 20


@pytest.mark.parametrize(("share", "updates"), [(1.4, 6), (1.6, 1)])
def test_the_bound_is_one_and_a_half_times_target_kl(
    share: float, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make(batch_size=16, n_epochs=6, target_kl=0.01)
    step = agent.gradient_step

    def moved(batch: Batch, **numbers: float) -> StepMetrics:
        metrics = step(batch, **numbers)
        return StepMetrics(lambda: dict(metrics) | {"approx_kl": share * 0.01}, metrics.grad_norm)

    monkeypatch.setattr(agent, "gradient_step", moved)
    before = nn.parameters_to_vector(agent.network)
    feed(agent, 8)
    assert agent.num_updates == updates
    assert np.any(nn.parameters_to_vector(agent.network) != before)  # the minibatch beyond it is learned from, too


def test_every_epoch_sees_every_transition_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = make(num_envs=5, n_epochs=3), []
    loss, agent.compiled = agent.loss, False  # a program does not call it
    monkeypatch.setattr(
        agent.step, "loss", lambda batch, **numbers: seen.append(batch.observation[:, 0]) or loss(batch, **numbers)
    )
    feed(agent, 8)
    assert [len(batch) for batch in seen] == [8] * 15
    epochs = np.array(seen).reshape(3, 40)
    acted = agent.rollout.observations[0][:8, :, 0].reshape(-1)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.sort(acted))
    assert len({tuple(epoch) for epoch in [*epochs, acted]}) == 4


def test_nothing_to_learn_where_no_row_is_valid() -> None:
    agent, row = make(), np.zeros((2, 3), np.float32)
    for _ in range(8):
        agent.act(row)
        agent.observe(row, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), valid=np.zeros(2, bool))
    assert agent.num_updates == agent.steps == agent.rollout.size == 0


def test_observe_needs_an_action_first() -> None:
    with pytest.raises(GraphError, match="expected act"):
        make().observe(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    agent = make()
    with (
        np.errstate(all="ignore"),
        pytest.raises(AnomalyError, match=r"ppo: .*gradient.* update 0.*lower the learning rate"),
    ):
        feed(agent, 8, scale=1e30)


def test_same_seed_same_bits_other_seed_others() -> None:
    one, same, other = make(seed=3), make(seed=3), make(seed=4)
    orders = [agent.batch_rng.permutation(9).tolist() for agent in (one, same, other)]
    assert orders[0] == orders[1] != orders[2]
    for agent in (one, same, other):
        feed(agent, 20)
    assert content(one) == content(same) != content(other)


@pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])
@pytest.mark.parametrize("steps", [3, 8, 13])
def test_a_saved_agent_goes_on_bit_for_bit(steps: int, recurrent: str, tmp_path: Path) -> None:
    settings = {"normalize_observation": True, "normalize_reward": True, "learning_rate_schedule": "linear"}
    agent = make(total_steps=100, recurrent=recurrent, **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = PPO.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 20, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


def test_normalizers_learn_in_training_and_stand_still_in_evaluation() -> None:
    agent: Any = make(normalize_observation=True, normalize_reward=True)
    feed(agent, 8, scale=50.0)
    scaled = agent.preprocess(np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32) * 50)
    assert 0.5 < scaled.std() < 1.5
    assert agent.observation_norm.statistics.count == 16  # those acted on, each once
    before = content(agent)
    agent.act(np.full((5, 3), 1e4, np.float32), explore=False)
    assert content(agent) == before
    assert np.abs(agent.preprocess(np.full((1, 3), 1e9, np.float32))[0]).max() == 10
    agent.act(np.full((2, 3), 1e4, np.float32))
    assert content(agent) != before


def test_bounded_observations_are_scaled_before_the_network() -> None:
    bounds = spaces.Box(np.float32([-2, 0, -np.inf]), np.float32([2, 10, np.inf]))
    x = np.float32([[1, 7.5, 3], [-2, 0, -4]])
    scaled = make(bounds, scale_observation=True).preprocess(x)
    np.testing.assert_array_equal(scaled, [[0.5, 0.5, 3], [-1, -1, -4]])
    np.testing.assert_array_equal(make(bounds).preprocess(x), x)


def test_rewards_are_divided_by_the_spread_of_returns() -> None:
    plain, scaled = make(n_steps=200), make(n_steps=200, normalize_reward=True, gamma=0.0)
    for agent in (plain, scaled):
        feed(agent, 150)
    assert scaled.rollout.rewards[100:150].std() == pytest.approx(1.0, abs=0.15)
    feed_large = make(n_steps=200, normalize_reward=True, gamma=0.0)
    feed(feed_large, 150, scale=1000.0)
    np.testing.assert_allclose(feed_large.rollout.rewards[2:150], scaled.rollout.rewards[2:150], rtol=1e-3)


def test_explained_variance_is_that_of_the_value_before_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, found = make(), []
    epochs = agent.epochs
    monkeypatch.setattr(agent, "epochs", lambda batch, clip_range: found.append(batch) or epochs(batch, clip_range))
    feed(agent, 8)
    (batch,) = found
    np.testing.assert_array_equal(batch.target, batch.advantage + batch.value)
    expected = 1 - batch.advantage.var() / batch.target.var()
    assert agent.statistics()["explained_variance"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_the_return_that_scales_rewards_starts_anew_after_either_end(end: str) -> None:
    agent, yes, no = make(normalize_reward=True), np.array([True, False]), np.zeros(2, bool)
    for t in range(2):
        agent.act(np.zeros((2, 3), np.float32))
        ends = {"terminated": no, "truncated": no} | ({end: yes} if t else {})
        agent.observe(np.zeros((2, 3), np.float32), np.ones(2), **ends)
    assert agent.reward_norm is not None
    np.testing.assert_allclose(agent.reward_norm.returns, [0, 1 + agent.config.gamma])


def test_a_network_of_your_own_takes_the_place() -> None:
    agent = make()
    agent.network = Shared(2)
    before = agent.network.state_dict()
    feed(agent, 8)
    after = agent.network.state_dict()
    assert agent.num_updates == 4 and all(np.any(before[name] != after[name]) for name in after)
    other = make()
    other.network = Shared(2)
    other.load_state_dict(agent.state_dict())
    assert content(agent) == content(other)


def test_a_saved_network_of_your_own_is_restored(tmp_path: Path) -> None:
    agent, other = make(), make(seed=1)
    agent.network, other.network = Shared(2), Shared(2)
    feed(agent, 11)
    agent.save(tmp_path / "own")
    other.restore(tmp_path / "own")
    for each in (agent, other):
        feed(each, 8, first=11)
    assert content(agent) == content(other)
    with pytest.raises(CheckpointError, match="another config, num_envs"):
        make(num_envs=3, gamma=0.5).restore(tmp_path / "own")


@pytest.mark.parametrize("wrong", [None, len, nn.Linear(3, 2)])
def test_what_can_be_no_network_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"network: expected an nn.Module with policy\(observation\)"):
        make().network = wrong


def test_another_number_of_environments_than_the_agents_is_said() -> None:
    agent, ends = make(num_envs=4), np.zeros(4, bool)
    for n in (1, 3):
        with pytest.raises(ShapeError, match=rf"act\(\): expected observations of 4 environments.*got {n}"):
            agent.act(np.zeros((n, 3), np.float32))
    assert agent.act(np.zeros((3, 3), np.float32), explore=False).shape == (3,)
    agent.act(np.zeros((4, 3), np.float32))
    following = np.zeros((4, 3), np.float32)
    for results, name in (
        ((1.0, ends, ends), "reward"),
        ((np.ones((4, 1)), ends, ends), "reward"),
        ((np.ones(4), False, ends), "terminated"),
        ((np.ones(4), ends, ends[:3]), "truncated"),
    ):
        with pytest.raises(ShapeError, match=rf"observe\(\): expected {name} of shape \(4,\)"):
            agent.observe(following, *results)
    agent.observe(following, np.ones(4), ends, ends)
    assert agent.rollout.size == 1


def test_nothing_is_learned_from_acts_that_explore_outside_training() -> None:
    agent = make(normalize_observation=True, normalize_reward=True)
    feed(agent, 3)
    before = agent.state_dict()
    agent.training = False
    for count in (1, 5):  # any batch size
        assert agent.act(np.full((count, 3), 100.0, np.float32)).shape == (count,)
    after = agent.state_dict()
    assert before.pop("policy_rng") != after.pop("policy_rng")
    assert checkpoint.encode(before, kind="agent") == checkpoint.encode(after, kind="agent")


def test_an_observation_that_is_not_finite_is_named_before_it_is_learned() -> None:
    agent = make(n_steps=4)
    feed(agent, 2)
    agent.act(np.zeros((2, 3), np.float32))
    following = np.zeros((2, 3), np.float32)
    following[1] = np.nan
    agent.observe(following, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    before = agent.network.state_dict()
    agent.act(following)
    with pytest.raises(EnvError, match=r"observation: expected finite numbers, got .*nan.* in environment 1"):
        agent.observe(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    assert all((value == before[name]).all() for name, value in agent.network.state_dict().items())


@pytest.mark.parametrize("reward", [np.nan, np.inf, -1e39])
def test_a_reward_that_float32_does_not_hold_is_named_at_once(reward: float) -> None:
    agent = make(n_steps=4)
    feed(agent, 2)
    before, steps = agent.network.state_dict(), agent.steps
    agent.act(np.zeros((2, 3), np.float32))
    with pytest.raises(EnvError, match=r"reward: expected a finite number .* in environment 1"):
        agent.observe(np.zeros((2, 3), np.float32), np.array([0, reward]), np.zeros(2, bool), np.zeros(2, bool))
    assert agent.steps == steps
    assert all((value == before[name]).all() for name, value in agent.network.state_dict().items())
