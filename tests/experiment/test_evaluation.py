"""Evaluation: fixed quotas, no favor to short episodes, seeds of its own."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dbrrl
from dbrrl import checkpoint, envs, seeding
from dbrrl.agents import PPO
from dbrrl.envs import vector
from dbrrl.errors import DbrrlError
from dbrrl.experiment import Experiment, evaluation, resolve_plan
from dbrrl.learning.agent import Agent
from dbrrl.reporting.statistics import bootstrap_interval

from .stub import Stub


class Scaled(gym.Env[np.ndarray, int]):
    """Episodes of 5 steps that give `reward` each."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward: float = 1.0, rest: float = 0.0) -> None:
        self.reward, self.rest, self.steps = reward, rest, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(1, np.float32), self.reward + self.rest, self.steps == 5, False, {}


class Alternating(gym.Env[np.ndarray, int]):
    """Episodes of 2 and of 18 steps in turn, a reward of 1 a step: the mean return is 10."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episodes, self.steps = 0, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.episodes = 0
        self.episodes += 1
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        ended = self.steps == (2 if self.episodes % 2 else 18)
        return np.zeros(1, np.float32), 1.0, ended, False, {}


def make(num_envs: int) -> vector.Environments:
    name = "tests.experiment.test_evaluation:Alternating"
    return envs.make(name, num_envs, seed=seeding.sequence(0, "evaluation"))


def agent(envs: vector.Environments) -> Agent:
    return Stub(envs.observation_space, envs.action_space)


@pytest.mark.parametrize(("lanes", "episodes"), [(1, 4), (4, 8), (4, 16), (3, 6)])
def test_short_episodes_are_not_favored(lanes: int, episodes: int) -> None:
    envs = make(lanes)
    result = evaluation.evaluate(agent(envs), envs, episodes=episodes)
    assert result is not None and len(result.returns) == episodes
    assert result.returns.mean() == 10 and (result.returns == result.lengths).all()


@pytest.mark.parametrize(("lanes", "episodes"), [(3, 7), (10, 3), (2, 1)])
def test_a_quota_that_does_not_divide_is_met_exactly(lanes: int, episodes: int) -> None:
    envs = make(lanes)
    result = evaluation.evaluate(agent(envs), envs, episodes=episodes)
    assert result is not None and len(result.returns) == episodes


def test_by_steps_every_episode_that_began_is_played_to_its_end() -> None:
    envs = make(2)
    result = evaluation.evaluate(agent(envs), envs, episodes=1, steps=50)
    # Each of two environments starts episodes while it has made fewer than 25 steps: 2, 18, 2, 18.
    assert result is not None and sorted(result.lengths) == [2, 2, 2, 2, 18, 18, 18, 18]


def test_a_signal_ends_it_without_a_result() -> None:
    envs = make(2)
    asked = iter([False] * 5 + [True])
    assert evaluation.evaluate(agent(envs), envs, episodes=4, stop=lambda: next(asked)) is None


@pytest.mark.parametrize("kind", ["batched", "sync"])
def test_the_seeds_are_the_same_each_time_and_not_those_of_training(kind: str) -> None:
    plan = resolve_plan({"agent": "tests.experiment.stub:Stub", "vectorization": kind})
    first, second = (evaluation.environments(plan, 4, kind=kind).reset() for _ in range(2))
    training = envs.make("CartPole-v1", 4, seed=seeding.sequence(0, "environments"), vectorization=kind)
    assert np.array_equal(first, second) and not np.isin(training.reset(), first).any()


def test_rows_and_interval_against_known_values() -> None:
    result = evaluation.Evaluation(np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4, np.int64))
    expected = {"mean": 3.0, "median": 2.5, "stdev": np.sqrt(14 / 3), "min": 1.0, "max": 6.0}
    assert result.row() == pytest.approx(expected)
    assert evaluation.Evaluation(np.array([5.0]), np.ones(1, np.int64)).row()["stdev"] == 0
    assert result.episodes()[2:] == [{"return": 3.0, "length": 1}, {"return": 6.0, "length": 1}]
    reached = evaluation.Evaluation(np.array([0.5, 2.5]), np.array([3, 4]), np.array([0.0, 1.0]))
    rows = [{"return": 0.5, "length": 3, "success": 0}, {"return": 2.5, "length": 4, "success": 1}]
    assert reached.episodes() == rows and repr(reached.episodes()) == repr(rows)
    draw = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(draw)
    half = 1.96 * draw.std(ddof=1) / 20
    assert (low, high) == pytest.approx((draw.mean() - half, draw.mean() + half), abs=0.02)
    assert bootstrap_interval(np.full(9, 500.0)) == (500.0, 500.0)


def test_evaluations_may_have_other_arguments_than_training(tmp_path: Path) -> None:
    env = "tests.experiment.test_evaluation:Scaled"
    quiet = {"steps": 100, "num_envs": 2, "curve": False, "tensorboard": False, "final_episodes": 2}
    others = {"env_kwargs": {"reward": 1.0, "rest": 0.5}, "eval_env_kwargs": {"reward": 100.0}}
    run = Experiment(Stub, env, out=tmp_path, name="run", **others, **quiet).run()  # type: ignore[arg-type]
    assert {row["mean"] for row in run.scores} == {502.5} and run.progress[-1]["mean_return"] == 7.5
    again = Experiment.resume(tmp_path / "run", trust=True).plan
    assert again == run.plan and again.for_evaluation().env_kwargs == {"reward": 100.0, "rest": 0.5}
    assert "eval_env_kwargs" not in resolve_plan({}).to_dict()  # what runs of earlier versions recorded stays equal


class Reaching(Scaled):
    """Each third episode of a copy reaches the goal, which is said at its end."""

    said: Any = staticmethod(bool)

    def __init__(self) -> None:
        super().__init__()
        self.episodes = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.episodes = 1 if seed is not None else self.episodes + 1
        return super().reset(seed=seed)[0], {"is_success": True}  # of no episode that has ended

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, ended, cut, _ = super().step(action)
        said = self.said(self.episodes % 3 == 0) if ended else True  # before the end it does not count
        return observation, reward, ended, cut, {} if said is None else {"is_success": said}


class ReachingInNumbers(Reaching):
    """Says it as a number of NumPy, as Gymnasium-Robotics does."""

    said = np.float32


class ReachingSaidIfReached(Reaching):
    """Says nothing where it is not reached."""

    said: Any = staticmethod(lambda reached: reached or None)


class Unintelligible(Reaching):
    """Says it in words."""

    said = str


REACHING = (Reaching, ReachingInNumbers, ReachingSaidIfReached)


@pytest.mark.parametrize("env", REACHING)
def test_the_rate_of_successes_is_what_infos_say_at_the_ends_of_episodes(env: type[Reaching]) -> None:
    result = dbrrl.evaluate_policy(Stub(env.observation_space, env.action_space), env, 60)  # 6 of each of 10 copies
    assert result.successes is not None and sorted(set(result.successes)) == [0.0, 1.0]
    assert result.row()["success_rate"] == result.successes.mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode))
def test_successes_are_the_same_in_all_autoreset_modes(kind: str, mode: gym.vector.AutoresetMode) -> None:
    make_vector: Any = gym.vector.SyncVectorEnv if kind == "sync" else gym.vector.AsyncVectorEnv
    env = make_vector([Reaching, ReachingSaidIfReached], autoreset_mode=mode)
    result = dbrrl.evaluate_policy(Stub(Reaching.observation_space, Reaching.action_space, num_envs=2), env, 12)
    env.close()
    assert result.successes is not None and result.successes.tolist() == [0, 0, 0, 0, 1, 1] * 2


def test_a_run_keeps_the_rate_of_successes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "steps": 40, "num_envs": 2}
    options |= {"final_episodes": 30, "eval_episodes": 2, "out": tmp_path, "name": "run"}
    run = Experiment(Stub, f"{__name__}:Reaching", **options).run()
    assert run.scores[0]["success_rate"] == 0.0 and run.scores[-1]["success_rate"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("env", [Scaled, Unintelligible, "CartPole-v1"])
def test_without_a_word_of_success_there_is_no_rate(env: Any) -> None:
    made = gym.make(env) if isinstance(env, str) else env()
    result = dbrrl.evaluate_policy(Stub(made.observation_space, made.action_space), env, 6)
    assert result.successes is None and "success_rate" not in result.row()


class Undecided(Scaled):
    """Every second copy that is made never ends an episode."""

    made = 0

    def __init__(self, some: bool = False) -> None:
        super().__init__()
        type(self).made += 1
        self.endless = not some or self.made % 2 == 0

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, ended, cut, info = super().step(action)
        return observation, reward, ended and not self.endless, cut, info


@pytest.mark.parametrize("steps", [None, 40])
@pytest.mark.parametrize("some", [False, True])
def test_episodes_that_never_end_are_said_and_the_setting_that_limits_them(
    monkeypatch: pytest.MonkeyPatch, steps: int | None, some: bool
) -> None:
    monkeypatch.setattr(evaluation, "PATIENCE", 50)
    name = "tests.experiment.test_evaluation:Undecided"
    environments = envs.make(name, 4, seed=seeding.sequence(0), vectorization="sync", env_kwargs={"some": some})
    said: list[str] = []
    agent = Stub(environments.observation_space, environments.action_space, num_envs=4)
    result = evaluation.evaluate(
        agent, environments, episodes=4, steps=steps, stop=lambda: environments.steps >= 620, warn=said.append
    )
    assert result is None and len(said) == 2
    waited = "(2 waited for)" if some else "(4 waited for)"
    assert waited in said[0] and "in 50 steps" in said[0] and "in 500 steps" in said[1]
    assert f"{name}: no episode of the evaluation has ended" in said[0] and "--max-episode-steps N" in said[0]


def test_a_run_whose_episodes_never_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PATIENCE", 50)
    name = "tests.experiment.test_evaluation:Undecided"
    options: dict[str, Any] = {"steps": 20, "curve": False, "tensorboard": False, "final_episodes": 2}
    with pytest.raises(UserWarning, match="no episode of the evaluation has ended in 50 steps"):  # an error in tests
        Experiment(Stub, name, **options).run()
    run = Experiment(Stub, name, **options, max_episode_steps=5).run()
    assert run.scores[-1]["mean"] == 5


def cart() -> gym.Env:
    return gym.make("CartPole-v1")


def test_a_policy_is_evaluated_as_a_run_evaluates_it() -> None:
    options: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "steps": 80, "seed": 3}
    run = Experiment(Stub, "CartPole-v1", final_episodes=25, **options).run()
    before = run.agent.state_dict()
    result = dbrrl.evaluate_policy(run.agent, "CartPole-v1", 25, seed=3)
    assert result.row()["mean"] == run.score and len(result.returns) == 25
    assert checkpoint.same(run.agent.state_dict(), before)
    sync = Experiment(Stub, "CartPole-v1", final_episodes=25, vectorization="sync", **options).run()
    for env in (cart, lambda: cart(), f"{__name__}:cart"):
        assert dbrrl.evaluate_policy(sync.agent, env, 25, seed=3).row()["mean"] == sync.score


def test_a_policy_is_evaluated_in_an_environment_itself_which_stays_open() -> None:
    env, vector = cart(), gym.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    agent = Stub(env.observation_space, env.action_space)
    one, three = (dbrrl.evaluate_policy(agent, made, 7) for made in (env, vector))
    assert len(one.returns) == len(three.returns) == 7 and (one.returns == one.lengths).all()
    env.step(0)
    assert not vector.closed
    assert dbrrl.evaluate_policy(agent, env, 7).returns.tolist() == one.returns.tolist()
    limited = dbrrl.evaluate_policy(agent, cart(), 3, max_episode_steps=4)
    assert limited.lengths.max() <= 4


def test_a_policy_that_explores_learns_nothing_and_trains_on_after_it() -> None:
    env = cart()
    agent = PPO(env.observation_space, env.action_space, PPO.Config(n_steps=8), num_envs=2)
    before = agent.state_dict()
    dbrrl.evaluate_policy(agent, "CartPole-v1", 4, explore=True)
    after = agent.state_dict()
    changed = [name for name in before if not checkpoint.same(before[name], after[name])]
    assert agent.training and changed == ["policy_rng"]


def test_an_agent_with_a_memory_is_told_where_episodes_begin() -> None:
    env = gym.make("CartPole-v1")
    agent = PPO(env.observation_space, env.action_space, PPO.Config(recurrent="gru", recurrent_size=4))
    assert len(dbrrl.evaluate_policy(agent, "CartPole-v1", 12).returns) == 12


@pytest.mark.parametrize(
    ("agent", "env", "options", "line"),
    [
        (PPO, "CartPole-v1", {}, "agent: expected an agent, got the class PPO: make one, or load one from its file"),
        ("ppo", "CartPole-v1", {}, "agent: expected an agent, got 'ppo'"),
        (None, "Pendulum-v1", {}, r"agent: expected one for the observation space of Pendulum-v1, .* got one for"),
        (None, "CartPole-v1", {"episodes": 0}, "episodes: expected a whole number of at least 1, got 0"),
        (None, "CartPole-v1", {"episodes": 2.5}, "episodes: expected a whole number of at least 1, got 2.5"),
        (None, "CartPole-v9", {}, "unknown environment 'CartPole-v9', did you mean"),
        (None, lambda: 3, {}, "expected a gymnasium.Env from the function, got int"),
        (None, 3, {}, "env: expected an id, a class, a function .*, or an environment, got int"),
        (None, gym.make_vec("CartPole-v1", 2), {"explore": True}, "explore: the agent explores in 1 env"),
        (None, cart(), {"env_kwargs": {"g": 1}}, "env_kwargs: <CartPole-v1 instance> is made already"),
    ],
)
def test_a_wrong_call_of_evaluate_policy_is_one_line(agent: Any, env: Any, options: dict[str, Any], line: str) -> None:
    spaces = cart().observation_space, cart().action_space
    with pytest.raises(DbrrlError, match=line) as caught:
        dbrrl.evaluate_policy(Stub(*spaces) if agent is None else agent, env, **options)
    assert "\n" not in str(caught.value)
