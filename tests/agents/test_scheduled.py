"""Settings that change with the run, in every agent; limits that are off."""

import math
import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, schedules, train
from dbrrl.agents import A2C, A3C, C51, DQN, DRQN, PPO, REINFORCE, TRPO
from dbrrl.autodiff.tensor import plain
from dbrrl.buffers import Batch
from dbrrl.errors import ArgumentError, ConfigError
from dbrrl.experiment import Call, Experiment, registry, resolve_plan
from dbrrl.schedules import Schedule, cosine, exponential, linear, piecewise

BOX, THREE = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(3)
KINDS: list[Schedule] = [
    linear(1e-2, 1e-3),
    exponential(1e-2, 1e-4),
    cosine(1e-2, 0.0, 0.5),
    piecewise([(0, 1e-3), (0.5, 1e-2), (1, 0)]),
]
SMALL: dict[Any, dict[str, Any]] = {
    PPO: {"n_steps": 5, "batch_size": 10, "n_epochs": 1},
    A2C: {"n_steps": 5},
    A3C: {"n_steps": 5},
    REINFORCE: {"n_steps": 5},
    TRPO: {"n_steps": 5, "critic_epochs": 1},
    DQN: {"batch_size": 4, "learning_starts": 2, "update_interval": 2, "buffer_size": 100},
    DRQN: {"batch_size": 4, "learning_starts": 2, "update_interval": 2, "buffer_size": 100, "sequence_length": 4},
    C51: {"batch_size": 4, "learning_starts": 2, "update_interval": 2, "buffer_size": 100},
}


def play(agent: Any, steps: int) -> list[float]:
    """Steps of both environments; the step size after each."""
    rng, rates = np.random.default_rng(0), []
    observation = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
    for _ in range(steps):
        agent.act(observation)
        observation = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        agent.observe(observation, rng.normal(size=2), *np.zeros((2, 2), bool), valid=np.ones(2, bool))
        rates.append(0.0 if agent.name == "a3c" else agent.optimizer.learning_rate)
    return rates


def make(kind: Any, **settings: Any) -> Any:
    return kind(BOX, THREE, kind.Config(**{**SMALL[kind], "total_steps": 60, **settings}), num_envs=2, seed=1)


@pytest.mark.parametrize("schedule", KINDS, ids=str)
@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE, TRPO, DQN, C51, DRQN])
def test_the_step_size_follows_its_schedule_over_the_run(kind: Any, schedule: Schedule) -> None:
    rates = play(make(kind, learning_rate=schedule), 30)
    seen = 2 if kind in (DQN, C51, DRQN) else 10  # environment steps between two updates
    behind = 0 if seen == 2 else seen  # a rollout is learned from with the step size of its start
    for step in range(seen, 61, seen):
        assert rates[step // 2 - 1] == pytest.approx(schedule((step - behind) / 60), rel=1e-6)


def test_the_learners_of_a3c_follow_it_by_the_steps_of_all() -> None:
    agent = make(A3C, learning_rate=cosine(1e-2))
    play(agent, 30)
    assert agent.statistics()["learning_rate"] == pytest.approx((cosine(1e-2)(50 / 60) + cosine(1e-2)(55 / 60)) / 2)


@pytest.mark.parametrize("kind", [PPO, A2C, A3C, REINFORCE, DQN, C51])
def test_a_line_to_nothing_is_what_its_word_says_to_the_bit(kind: Any) -> None:
    by_word = make(kind, learning_rate=1e-2, learning_rate_schedule="linear")
    by_schedule = make(kind, learning_rate=linear(1e-2))
    by_text = make(kind, learning_rate="linear:0.01:0")
    for agent in (by_word, by_schedule, by_text):
        play(agent, 25)
    assert checkpoint.same(by_word.state_dict(), by_schedule.state_dict())
    assert checkpoint.same(by_text.state_dict(), by_schedule.state_dict())


@pytest.mark.parametrize("word", [True, False])
@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE, TRPO, DQN, C51, DRQN])
def test_the_step_size_is_set_in_one_place_before_an_update(kind: Any, word: bool, monkeypatch: Any) -> None:
    if word and kind is TRPO:
        return  # it has no such setting
    given = {"learning_rate": 1e-2, "learning_rate_schedule": "linear"} if word else {"learning_rate": linear(1e-2)}
    agent, at = make(kind, **given), []
    monkeypatch.setattr(agent, "anneal", at.append)
    play(agent, 30)
    behind = 0 if kind in (DQN, C51, DRQN) else 10
    assert at == [(step - behind) / 60 for step in range(behind or 2, 61, behind or 2)]
    assert agent.optimizer.learning_rate == 1e-2  # as nothing else sets it


@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE, TRPO, DQN, C51, DRQN])
def test_a_step_size_without_a_schedule_can_be_set_by_hand(kind: Any) -> None:
    agent = make(kind, **({"learning_rate_schedule": "constant"} if kind is A2C else {}))
    agent.optimizer.learning_rate = 0.125
    assert play(agent, 30)[-1] == 0.125 and agent.num_updates


@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE, TRPO, DQN, DRQN])
def test_a_loaded_agent_learns_with_the_step_size_it_is_given(kind: Any, tmp_path: Path) -> None:
    agent = make(kind, learning_rate=1e-2)
    play(agent, 10)
    agent.optimizer.learning_rate = 1e-4
    agent.save(tmp_path / "x")
    assert kind.load(tmp_path / "x").optimizer.learning_rate == 1e-4
    assert kind.load(tmp_path / "x", config={"gamma": 0.5}).optimizer.learning_rate == 1e-4
    other = kind.load(tmp_path / "x", config={"learning_rate": 0.5})
    assert other.optimizer.learning_rate == 0.5
    assert checkpoint.same(other.optimizer.state_dict() | {"learning_rate": 1e-4}, agent.optimizer.state_dict())
    falling = kind.load(tmp_path / "x", config={"learning_rate": linear(0.5)})
    assert play(falling, 20)[-1] == pytest.approx(linear(0.5)(60 / 60 if kind in (DQN, DRQN) else 50 / 60))


def test_the_clip_range_follows_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = make(PPO, clip_range="cosine:0.3:0.1"), []
    step = agent.gradient_step

    def spied(batch: Any, **numbers: Any) -> Any:
        seen.append(numbers)
        return step(batch, **numbers)

    monkeypatch.setattr(agent, "gradient_step", spied)
    play(agent, 30)
    assert [one["clip_range"] for one in seen] == pytest.approx([cosine(0.3, 0.1)(p / 6) for p in range(6)])


def test_epsilon_and_beta_follow_theirs() -> None:
    agent = make(DQN, epsilon=piecewise([(0, 1), (0.5, 0.2)]), prioritized=True, priority_beta=exponential(0.1, 1))
    play(agent, 15)
    assert agent.statistics()["epsilon"] == pytest.approx(0.2)
    assert agent.replay.beta == pytest.approx(math.sqrt(0.1))
    assert make(DQN, epsilon=0.3).explorer.schedule(0.7) == 0.3
    assert make(DQN, epsilon_schedule="cosine").explorer.schedule(0.5) == pytest.approx((1 + 0.05) / 2)


@pytest.mark.parametrize("kind", [PPO, A2C, A3C, REINFORCE, DQN, C51])
def test_clipping_of_the_gradient_can_be_off(kind: Any) -> None:
    off, wide, tight = (make(kind, max_grad_norm=norm) for norm in (None, 1e9, 1e-3))
    for agent in (off, wide, tight):
        play(agent, 10)
    assert checkpoint.same(off.state_dict(), wide.state_dict())
    assert not checkpoint.same(off.state_dict(), tight.state_dict())
    assert kind.Config(max_grad_norm="none").max_grad_norm is None


def test_without_a_clip_range_the_objective_is_the_ratio_times_the_advantage() -> None:
    agent = make(PPO, clip_range="none", normalize_advantage=False, value_coef=0.0)
    assert agent.config.clip_range is None
    rng, agent.learned = np.random.default_rng(3), 0
    numbers = {name: rng.normal(size=40).astype(np.float32) for name in ("advantage", "value", "target")}
    old = rng.normal(-1, 1, 40).astype(np.float32)
    observation = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    batch = Batch(observation=observation, action=rng.integers(3, size=40), log_prob=old, **numbers)
    terms, metrics = agent.loss(batch, clip_range=agent.scheduled("clip_range"))
    ratio = np.exp(plain(agent.policy(batch.observation).log_prob(batch.action)) - batch.log_prob)
    assert np.abs(ratio - 1).max() > 0.5
    weight, objective = terms[0]
    expected = float((ratio * batch.advantage).mean())
    assert weight == -1.0 and float(plain(objective)) == pytest.approx(expected, rel=1e-5)
    assert float(metrics()["clip_fraction"]) == 0.0
    play(agent, 30)


@pytest.mark.slow
def test_a_run_records_a_schedule_and_goes_on_with_it_to_the_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "learning_rate": cosine(1e-3, 1e-5), "clip_range": {"name": "piecewise", "points": [[0, 0.3], [1, 0.1]]},
        "n_steps": 8, "batch_size": 8, "n_epochs": 1, "num_envs": 2, "steps": 192, "checkpoint_interval": 32,
        "eval_episodes": 1, "final_episodes": 2, "curve": False, "tensorboard": False, "progress": False,
    }  # fmt: skip
    whole = Experiment("ppo", "CartPole-v1", out=tmp_path, name="whole", **options).run()
    table = tomllib.loads((tmp_path / "whole" / "config.toml").read_text())["config"]
    assert table["learning_rate"] == "cosine:0.001:1e-05" and table["clip_range"] == "piecewise:0.0=0.3,1.0=0.1"
    assert table["learning_rate_schedule"] == "constant" == table["clip_range_schedule"]  # the preset's is no more

    def fail(run: Any) -> None:
        if run.steps >= 100:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Experiment("ppo", "CartPole-v1", out=tmp_path, name="cut", callbacks=[Call(fail, 4)], **options).run()
    again = Experiment.resume(tmp_path / "cut", progress=False).run()
    assert checkpoint.same(again.agent.state_dict(), whole.agent.state_dict())
    assert again.plan.config.learning_rate == cosine(1e-3, 1e-5)
    loaded = PPO.load(tmp_path / "whole" / "final" / "agent.dbrrl")
    assert loaded.config == whole.agent.config


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"learning_rate": "linear:1e-3:0", "learning_rate_schedule": "linear"}, "learning_rate_schedule: has no eff"),
        ({"learning_rate": "linear"}, r"learning_rate: schedule: expected linear:START:END, .*, got 'linear'"),
        ({"learning_rate": "linear:-1:0"}, "learning_rate: expected a number above 0, or a schedule"),
        ({"learning_rate": "exponential:1:0"}, "learning_rate: exponential schedule: expected two numbers of one sign"),
        ({"learning_rate": "fast"}, r"learning_rate: schedule: expected linear:START:END.*, got 'fast'"),
        ({"learning_rate": True}, "learning_rate: expected a number above 0, or a schedule"),
        ({"gamma": "linear:1:0"}, "gamma: expected a number of at least 0 and at most 1, got 'linear:1:0'"),
    ],
)
def test_wrong_schedules_are_one_line(settings: dict[str, Any], line: str) -> None:
    for make_config in (lambda: PPO.Config(**settings), lambda: resolve_plan({"agent": "ppo", **settings})):
        with pytest.raises(ConfigError, match=line) as caught:
            make_config()
        assert "\n" not in str(caught.value)


def test_a_wrong_schedule_on_the_command_line_names_its_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--learning-rate: schedule: expected linear:START:END, .*got 'cosine:1:x'"):
        train.main(["--agent", "ppo", "--learning-rate", "cosine:1:x"])


def test_what_is_given_wins_over_what_a_preset_or_a_file_schedules() -> None:
    preset = resolve_plan({"agent": "ppo", "env": "CartPole-v1"})
    assert preset.config.learning_rate_schedule == "linear"
    given = resolve_plan({"agent": "ppo", "env": "CartPole-v1", "learning_rate": "cosine:1e-3:0"})
    assert (given.config.learning_rate, given.config.learning_rate_schedule) == (cosine(1e-3), "constant")
    file = {"agent": "ppo", "config": {"learning_rate": 1e-3, "learning_rate_schedule": "linear"}}
    assert resolve_plan({"learning_rate": linear(1.0)}, file=file).config.learning_rate_schedule == "constant"
    assert A2C.Config(learning_rate=cosine(1.0)).learning_rate_schedule == "constant"
    assert A2C.Config().replace(learning_rate=cosine(1.0)).learning_rate == cosine(1.0)
    with pytest.raises(ConfigError, match="learning_rate_schedule: has no effect where learning_rate is a schedule"):
        resolve_plan({"learning_rate_schedule": "linear"}, file=file | {"config": {"learning_rate": "cosine:1:0"}})


def test_a_setting_that_varies_is_known() -> None:
    assert schedules.varies(A2C.Config(), "learning_rate") and not schedules.varies(PPO.Config(), "learning_rate")
    assert schedules.at(PPO.Config(clip_range=None), "clip_range", 0.5) is None
    assert schedules.at(A2C.Config(learning_rate=1.0), "learning_rate", 0.25) == 0.75


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac", "tqc"])
def test_agents_for_continuous_actions_follow_schedules_too(name: str) -> None:
    kind: Any = registry.agent_class(name)
    settings: dict[str, Any] = {"batch_size": 4, "learning_starts": 4, "buffer_size": 100, "hidden_sizes": (8,)}
    settings |= {"total_steps": 40, "learning_rate": cosine(1e-2, 1e-3), "max_grad_norm": None}
    if name in ("ddpg", "td3"):
        settings |= {"noise": "gaussian", "noise_scale": piecewise([(0, 0.3), (0.5, 0.0)])}
    agent = kind(BOX, gym.spaces.Box(-2, 2, (1,), np.float32), kind.Config(**settings), num_envs=2, seed=1)
    observation = np.zeros((2, 3), np.float32)
    for step in range(1, 21):
        agent.act(observation)
        agent.observe(observation, np.ones(2), *np.zeros((2, 2), bool), valid=np.ones(2, bool))
        if agent.num_updates:
            assert agent.critic_optimizer.learning_rate == pytest.approx(cosine(1e-2, 1e-3)(step / 20), rel=1e-6)
    acted = [agent.explore(observation) for _ in range(2)]
    assert np.array_equal(*acted) is (name in ("ddpg", "td3"))  # whose noise is over
    actions, values = agent.act_greedily(observation), agent.value(observation)
    critics = plain(agent.critics(agent.preprocessor(observation), actions))
    expected = critics.mean(axis=(0, 2)) if name == "tqc" else critics.min(axis=0)
    assert np.allclose(values, expected, atol=1e-6)
    assert agent.value(observation[0]) == pytest.approx(values[0], abs=1e-6)
    if name in ("sac", "tqc"):
        assert np.allclose(agent.action_distribution(observation).mode(), actions, atol=1e-6)
    else:
        with pytest.raises(ArgumentError, match=f"{name} has no distribution of actions"):
            agent.action_distribution(observation)
