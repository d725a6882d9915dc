"""DQN and double DQN as agents: targets by hand, when they learn, their additions in every combination, their state."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, testing
from dbrrl.agents import DQN, DoubleDQN
from dbrrl.buffers import Batch
from dbrrl.errors import AnomalyError, ConfigError, GraphError, SpaceError

from .feeding import BOX, OBSERVATIONS, content, feed, spaces
from .making import make_q_learner as make

ADDITIONS = ("dueling", "prioritized", "noisy")


class Table(nn.Module):
    """Q(s, ·) = a row of a table; the observation is the row's number."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = nn.Parameter(np.array(rows, np.float32))

    def forward(self, observation: Any) -> Any:
        return self.rows[observation[:, 0].astype(np.int64)]


def tables(kind: type[DQN]) -> tuple[Any, Batch]:
    """An agent whose two networks are tables, and three transitions: on, cut after two steps, ended."""
    agent = kind(spaces.Box(0.0, 9.0, (1,), np.float32), spaces.Discrete(2), kind.Config())
    agent.network = Table([[1.0, 2.0], [5.0, 3.0]])
    agent.target_network.rows.array[...] = [[10.0, 20.0], [30.0, 40.0]]
    column = np.array([[0.0], [1.0], [1.0]], np.float32)
    reward, discount = np.array([1.0, 2.0, 3.0], np.float32), np.array([0.5, 0.25, 0.0], np.float32)
    return agent, Batch(
        observation=column,
        action=np.array([0, 1, 0]),
        reward=reward,
        discount=discount,
        next_observation=column,
        index=np.arange(3),
        weight=None,
    )


def test_targets_worked_out_by_hand() -> None:
    """Rows 0, 1, 1 follow. The target's best: 20, 40. The network's choice: action 1, then 0, judged 20 and 30."""
    agent, batch = tables(DQN)
    np.testing.assert_array_equal(agent.target(batch), [1 + 0.5 * 20, 2 + 0.25 * 40, 3])
    agent, batch = tables(DoubleDQN)
    np.testing.assert_array_equal(agent.target(batch), [1 + 0.5 * 20, 2 + 0.25 * 30, 3])


def test_the_loss_is_hubers_and_its_error_the_priority() -> None:
    """Q(s, a) = 1, 3, 5 against y = 11, 12, 3: errors 10, 9, 2, each beyond 1, so |δ| - 1/2."""
    agent, batch = tables(DQN)
    loss, metrics = agent.loss(batch)
    np.testing.assert_allclose(metrics()["error"], [10, 9, 2])
    np.testing.assert_allclose(loss.numpy(), [9.5, 8.5, 1.5])
    np.testing.assert_array_equal(metrics()["loss"], loss.numpy())


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_the_protocol_is_kept_with_every_observation(device: str, observation: str) -> None:
    steps = 8 if observation in ("image", "dict") else 30
    testing.check_agent(lambda: make(space=OBSERVATIONS[observation], device=device), steps=steps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DQN, DoubleDQN])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("chosen", list(itertools.product([False, True], repeat=3)))
def test_additions_combine_freely(device: str, kind: type[DQN], n_step: int, chosen: tuple[bool, ...]) -> None:
    settings = dict(zip(ADDITIONS, chosen, strict=True)) | {"n_step": n_step, "total_steps": 100, "tau": 0.5}
    testing.check_agent(lambda: make(kind, **settings, target_update_interval=3, device=device), steps=20)


def test_the_nature_settings(device: str) -> None:
    agent = make(optimizer="rmsprop", optimizer_eps=0.01, learning_rate=2.5e-4, epsilon_schedule="exponential")
    optimizer = agent.optimizer
    assert (optimizer.alpha, optimizer.eps, optimizer.centered, optimizer.eps_inside_root) == (0.95, 0.01, True, True)
    testing.check_agent(lambda: make(optimizer="rmsprop", device=device))


@pytest.mark.parametrize("wrong", [{"gamma": 1.1}, {"tau": 0.0}, {"n_step": 0}, {"epsilon_end": 2.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DQN.Config(**wrong)


def test_other_spaces_are_refused() -> None:
    with pytest.raises(SpaceError, match="double_dqn serves actions of the spaces Discrete"):
        DoubleDQN(BOX, BOX)
    with pytest.raises(GraphError, match="expected act"):
        make().observe(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))


def test_updates_come_at_the_end_of_intervals() -> None:
    agent = make(num_envs=3, learning_starts=10, update_interval=4, updates_per_interval=2)
    updates = []
    for t in range(8):  # steps 3 6 9 12 15 18 21 24
        feed(agent, 1, first=t)
        updates.append(agent.num_updates)
    assert updates == [0, 0, 0, 2, 2, 4, 6, 8]  # after 12, 16, 20 and 24 steps
    assert set(agent.statistics()) == {"loss", "error", "grad_norm", "epsilon"}


def test_each_of_several_intervals_that_end_with_one_step_has_its_updates() -> None:
    agent, updates = make(num_envs=6, learning_starts=1, update_interval=4), []
    for t in range(4):  # steps 6 12 18 24
        feed(agent, 1, first=t)
        updates.append(agent.num_updates)
    assert updates == [1, 3, 4, 6]


def test_rows_that_are_no_transitions_are_not_counted() -> None:
    agent, row = make(), np.zeros((2, 3), np.float32)
    for _ in range(9):
        agent.act(row)
        agent.observe(row, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), valid=np.zeros(2, bool))
    assert agent.num_updates == agent.steps == len(agent.replay) == 0


def test_rewards_are_scaled_in_what_is_learned() -> None:
    scaled, given = make(reward_scale=0.25, clip_reward=True), make()
    for t in range(12):
        reward, ends = np.array([t - 6.0, 0.5]), np.zeros(2, bool)
        for agent, seen in ((scaled, reward), (given, np.array([np.sign(t - 6.0) / 4, 0.125]))):
            agent.act(np.full((2, 3), t, np.float32))
            agent.observe(np.full((2, 3), t + 1, np.float32), seen, ends, ends)
        assert reward.tolist() == [t - 6.0, 0.5]
    assert scaled.num_updates > 0 and content(scaled) == content(given)


def target_values(agent: Any) -> np.ndarray:
    return nn.parameters_to_vector(agent.target_network)


def test_hard_and_soft_updates_of_the_target() -> None:
    hard, soft = make(target_update_interval=3), make(target_update_interval=1, tau=0.25)
    start, learned = target_values(hard), hard.optimizer.values
    feed(hard, 4)
    assert hard.num_updates == 3
    np.testing.assert_array_equal(target_values(hard), learned)
    feed(hard, 1, first=9)
    assert np.any(target_values(hard) != learned)
    feed(soft, 2)
    assert soft.num_updates == 1
    np.testing.assert_allclose(target_values(soft), 0.75 * start + 0.25 * soft.optimizer.values, rtol=1e-5)


def test_exploration_falls_with_the_steps_of_all_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = make(epsilon_steps=20), []

    def explore(self: Any, values: Any, progress: float) -> np.ndarray:
        seen.append(progress)
        return np.zeros(2, np.int64)

    monkeypatch.setattr(type(agent.explorer), "__call__", explore)
    feed(agent, 4)  # of 2 environments
    assert seen == [0.0, 0.1, 0.2, 0.3]


def test_schedules_end_at_total_steps() -> None:
    agent = make(total_steps=40, learning_rate_schedule="linear", prioritized=True, epsilon_steps=20)
    feed(agent, 10)
    assert agent.optimizer.learning_rate == pytest.approx(5e-4)
    assert agent.replay.beta == pytest.approx(0.7)
    assert agent.statistics()["epsilon"] == pytest.approx(0.05)
    feed(agent, 10, first=10)
    assert agent.optimizer.learning_rate == 0.0 and agent.replay.beta == 1.0


def test_what_follows_the_run_stays_where_its_end_is_unknown() -> None:
    agent = make(prioritized=True, priority_beta=0.4, learning_rate_schedule="linear", learning_starts=0)
    feed(agent, 20)
    assert agent.num_updates > 0
    assert agent.replay.beta == 0.4 and agent.optimizer.learning_rate == agent.config.learning_rate


def test_one_draw_of_noise_serves_all_environments_of_a_step() -> None:
    agent = make(noisy=True, num_envs=64)
    same = np.ones((64, 3), np.float32)
    chosen = [agent.act(same) for _ in range(30)]
    assert all(len(set(actions.tolist())) == 1 for actions in chosen)  # equal observations, equal weights
    assert len({int(actions[0]) for actions in chosen}) > 1  # others in the next step


def test_importance_weights_scale_the_gradient() -> None:
    agent, seen = make(prioritized=True, max_grad_norm=1e9, learning_rate=1e-9), []
    feed(agent, 3)
    batch = agent.replay.sample(8, np.random.default_rng(0), 0.9)
    for scale in (1.0, 0.5):
        metrics = agent.update(batch.add(weight=np.full(8, scale, np.float32)))
        seen.append(metrics.grad_norm)
    assert seen[1] == pytest.approx(seen[0] / 2, rel=1e-3)


def test_noise_explores_and_is_silent_in_evaluation() -> None:
    agent = make(noisy=True, noisy_sigma=5.0)
    same = np.ones((2, 3), np.float32)
    explored, judged = set(), set()
    for _ in range(30):  # each action that explores draws new noise
        explored.add(tuple(agent.act(same).tolist()))
        judged.add(tuple(agent.act(same, explore=False).tolist()))
    assert len(explored) > 1 and len(judged) == 1
    assert "epsilon" not in agent.statistics()
    feed(agent, 4)
    own, other = (next(m for m in n.modules() if hasattr(m, "noise_in")) for n in (agent.network, agent.target_network))
    assert np.any(own.noise_in != other.noise_in)


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    agent = make()
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match=r"dqn: .*gradient.* update 0.*learning rate"):
        feed(agent, 8, scale=1e30)


def test_a_reward_that_is_no_number_in_the_replay_buffer_ends_the_run() -> None:
    agent = make()
    feed(agent, 8)
    agent.replay.rewards[:] = np.nan
    with np.errstate(all="ignore"), pytest.raises(AnomalyError, match="dqn: reward: expected finite numbers, got nan"):
        agent.update(agent.sample())


@pytest.mark.parametrize("settings", [{}, {"exploration": "ez_greedy"}, {"noisy": True}])
def test_while_it_does_not_train_it_explores_with_any_number_and_nothing_changes(settings: dict[str, Any]) -> None:
    agent = make(epsilon_start=1.0, epsilon_end=1.0, **settings)
    feed(agent, 8)
    if agent.explorer.per_episode_state:
        agent.explorer.left[:] = 9
    drawn = agent.explorer.rng.bit_generator.state
    before, agent.training = content(agent), False
    actions = {tuple(agent.act(np.zeros((5, 3), np.float32))) for _ in range(20)}
    if not agent.config.noisy:
        assert len(actions) > 10
        agent.explorer.rng.bit_generator.state = drawn
        assert content(agent) == before
    agent.training = True
    feed(agent, 8)


def test_same_seed_same_bits_other_seed_others() -> None:
    one, same, other = make(seed=3), make(seed=3), make(seed=4)
    for agent in (one, same, other):
        feed(agent, 20)
    assert content(one) == content(same) != content(other)


def test_exploring_actions_last_until_the_episode_ends() -> None:
    agent = make(exploration="ez_greedy", epsilon_end=0.0, epsilon_steps=1)
    same, ends = np.ones((2, 3), np.float32), np.array([True, False])
    agent.act(same)  # ε is 1 at the first step alone
    agent.explorer.left[:] = 9
    agent.observe(same, np.zeros(2), ends, ~ends)
    np.testing.assert_array_equal(agent.explorer.left, [0, 0])
    np.testing.assert_array_equal(agent.act(same), agent.act(same, explore=False))
    agent.explorer.left[:], agent.explorer.action[:] = 9, 2
    np.testing.assert_array_equal(agent.act(same), [1, 1])  # the space starts at -1
    agent.observe(same, np.zeros(2), ~ends, np.zeros(2, bool))
    np.testing.assert_array_equal(agent.explorer.left, [8, 0])
    assert agent.statistics()["epsilon"] == 0.0


def test_observations_are_scaled_where_the_settings_say_so() -> None:
    space = spaces.Box(np.float32([0.0, -0.1, -np.inf]), np.float32([10.0, 0.1, np.inf]))
    plain, scaled = make(space=BOX), make(space=space, scale_observation=True)
    raw, within = np.float32([[5.0, 0.1, 4.0], [10.0, -0.05, -4.0]]), np.float32([[0, 1, 4], [1, -0.5, -4]])
    for agent, observation in ((plain, within), (scaled, raw)):
        agent.act(observation)
        agent.observe(observation, np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
        np.testing.assert_allclose(agent.replay.sample(8, np.random.default_rng(0), 0.9).observation[:, 2] ** 2, 16)
    one, other = (agent.replay.sample(8, np.random.default_rng(0), 0.9) for agent in (plain, scaled))
    np.testing.assert_allclose(one.observation, other.observation, atol=1e-6)
    np.testing.assert_allclose(one.next_observation, other.next_observation, atol=1e-6)


ADDED = {"prioritized": True, "noisy": True, "dueling": True, "n_step": 3}


@pytest.mark.parametrize("steps", [1, 13, 30])
@pytest.mark.parametrize("settings", [ADDED, {"exploration": "ez_greedy"}], ids=["added", "ez_greedy"])
@pytest.mark.parametrize("kind", [DQN, DoubleDQN])
def test_a_saved_agent_goes_on_bit_for_bit(
    kind: type[DQN], settings: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    agent = make(kind, total_steps=200, **settings)
    feed(agent, steps)
    agent.act(np.ones((2, 3), np.float32))  # in the middle of a step, too
    agent.save(tmp_path / "agent.dbrrl")
    back = kind.load(tmp_path / "agent.dbrrl")
    for one in (agent, back):
        one.observe(np.ones((2, 3), np.float32), np.ones(2), np.zeros(2, bool), np.array([False, True]))
        feed(one, 30, first=50)
    assert content(agent) == content(back) and agent.statistics() == back.statistics()
    assert agent.num_updates == back.num_updates > 0


def test_a_single_observation_gives_a_single_action() -> None:
    agent = make(num_envs=1)
    one = agent.act(np.ones(3, np.float32), explore=False)
    assert one.shape == () and agent.action_space.contains(one)
    agent.act(np.ones(3, np.float32))
    agent.observe(np.ones(3, np.float32), 1.0, False, True)
    assert agent.steps == 1


def test_raw_final_observations_are_put_in_place() -> None:
    agents = [make(), make()]
    final, begun = np.full((2, 3), 0.5, np.float32), np.full((2, 3), -0.5, np.float32)
    shown = np.where([[True], [False]], final, begun)
    ended, no = np.array([True, False]), np.zeros(2, bool)
    for agent in agents:
        agent.act(np.ones((2, 3), np.float32))
    agents[0].observe(shown, np.ones(2), no, ended)
    raw = np.array([final[0], None], dtype=object)
    agents[1].observe(begun, np.ones(2), no, ended, {"final_obs": raw, "final_info": raw})
    assert content(agents[0]) == content(agents[1])


def test_a_network_of_your_own_takes_the_place() -> None:
    agent = make(target_update_interval=1)
    agent.network = nn.Sequential(Same(), nn.Linear(3, 3, rng=0))
    before = agent.network.state_dict()
    feed(agent, 8)
    after = agent.network.state_dict()
    assert agent.num_updates > 0 and all(np.any(before[name] != after[name]) for name in after)
    np.testing.assert_array_equal(target_values(agent), agent.optimizer.values)


class Same(nn.Module):
    """The observation itself."""

    def forward(self, observation: Any) -> Any:
        return observation
