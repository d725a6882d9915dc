"""Objects of one's own in a run: environments, agents, networks; what of them is recorded, and what resuming needs."""

import gc
import json
import multiprocessing
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, evaluate, nn
from dbrrl.agents import A3C, PPO
from dbrrl.errors import CheckpointError, ConfigError, EnvError, RunError, SpaceError
from dbrrl.experiment import Call, Evaluate, Experiment, Run
from dbrrl.learning.agent import Agent

from .stub import Stub

SHORT: dict[str, Any] = {
    "eval_episodes": 2, "final_episodes": 3, "eval_interval": 48, "checkpoint_interval": 16, "steps": 96,
    "curve": False, "tensorboard": False, "progress": False,
}  # fmt: skip
PPO_SHORT: dict[str, Any] = {**SHORT, "n_steps": 8, "batch_size": 8, "n_epochs": 1}


class Failing(Exception):
    """What ends the first part of a run."""


def cart() -> gym.Env:
    return gym.make("CartPole-v1")


class Net(nn.Module):
    """A policy and a value for CartPole, of one hidden layer each."""

    def __init__(self, agent: Agent, width: int = 8) -> None:
        rng = np.random.default_rng(agent.seed)
        self.actor = nn.mlp((4, width, 2), "relu", out_gain=0.01, rng=rng)
        self.critic = nn.mlp((4, width, 1), "relu", out_gain=1.0, rng=rng)

    def policy(self, observation: Any) -> Any:
        return self.actor(observation)

    def value(self, observation: Any) -> Any:
        return self.critic(observation).reshape(-1)

    def forward(self, observation: Any) -> tuple[Any, Any]:
        return self.policy(observation), self.value(observation)


def make_net(agent: Agent) -> Net:
    return Net(agent)


def ppo(**options: Any) -> PPO:
    env = gym.make("CartPole-v1")
    return PPO(env.observation_space, env.action_space, PPO.Config(n_steps=8, batch_size=8, n_epochs=1), **options)


def interrupted(begin: Callable[..., Experiment], out: Path, at: int = 40) -> Path:
    """The folder of a run that an error ended at step `at`."""

    def fail(run: Any) -> None:
        if run.steps >= at:
            raise Failing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiment = begin(out=out, name="cut", callbacks=[Call(fail, 8)])
        with pytest.raises(Failing):
            experiment.run()
    return out / "cut"


def same(one: Run, other: Run) -> bool:
    scores = [[{**row, "elapsed": 0.0} for row in run.scores] for run in (one, other)]
    return checkpoint.same(one.agent.state_dict(), other.agent.state_dict()) and scores[0] == scores[1]


def test_a_function_an_instance_and_a_vector_environment_are_trained_in() -> None:
    plain = Experiment("ppo", "CartPole-v1", num_envs=2, vectorization="sync", preset=False, **PPO_SHORT).run()
    for env in (cart, f"{__name__}:cart", lambda: cart()):
        run = Experiment("ppo", env, num_envs=2, preset=False, **PPO_SHORT).run()
        assert same(run, plain)
    alone = Experiment("ppo", "CartPole-v1", num_envs=1, vectorization="sync", preset=False, **PPO_SHORT).run()
    run = Experiment("ppo", cart(), preset=False, **PPO_SHORT).run()
    assert run.plan.settings.num_envs == 1 and same(run, alone)
    vector = gym.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    run = Experiment("ppo", vector, preset=False, **PPO_SHORT).run()
    assert run.plan.settings.num_envs == 3 == run.agent.num_envs and not vector.closed


def test_the_instance_itself_is_stepped_and_evaluations_play_in_copies() -> None:
    class Counting(gym.Wrapper):
        steps = 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            return self.env.step(action)

    env = Counting(cart())
    Experiment(Stub, env, **SHORT).run()
    assert env.steps == 96
    other = Counting(cart())
    run = Experiment(Stub, env, eval_env=other, **SHORT).run()
    assert env.steps == 192 and other.steps >= sum(row["evaluation_episodes"] for row in run.scores)


def test_an_environment_with_a_pipe_is_trained_in_and_its_pipe_stays_open() -> None:
    class Piped(gym.Wrapper):
        def __init__(self, env: gym.Env) -> None:
            super().__init__(env)
            self.ends = multiprocessing.Pipe()

    env = Piped(cart())
    with pytest.raises(EnvError, match=r"cannot be copied for evaluations \(TypeError: it has processes\)"):
        Experiment("ppo", env, **PPO_SHORT)
    Experiment("ppo", env, eval_env=cart, preset=False, **PPO_SHORT).run()
    gc.collect()
    env.ends[0].send("still open")
    assert env.ends[1].recv() == "still open"


def test_an_environment_of_the_evaluations_is_given_in_any_form(tmp_path: Path) -> None:
    run = Experiment(Stub, "CartPole-v1", eval_env=lambda: gym.make("CartPole-v1", max_episode_steps=4), **SHORT).run()
    assert all(row["max"] <= 4 for row in run.scores)
    result = Evaluate(interval=48, episodes=2, env=lambda: gym.make("CartPole-v1", max_episode_steps=3))
    Experiment(Stub, "CartPole-v1", callbacks=[result], **SHORT).run()
    assert [step for step, _ in result.results] == [48, 96]
    assert all(found.lengths.max() <= 3 for _, found in result.results)
    with pytest.raises(SpaceError, match=r"eval_env: expected the observation space of CartPole-v1, .* of Pendulum-v1"):
        Experiment(Stub, "CartPole-v1", eval_env="Pendulum-v1", **SHORT, out=tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_an_agent_that_is_made_already_is_trained_itself_like_one_of_its_class() -> None:
    agent = ppo(num_envs=2, seed=3)
    run = Experiment(agent, "CartPole-v1", **PPO_SHORT).run()
    assert run.agent is agent and agent.config.total_steps == 96 and run.plan.settings.seed == 3
    assert same(run, Experiment("ppo", "CartPole-v1", num_envs=2, seed=3, preset=False, **PPO_SHORT).run())


def test_an_agent_that_has_learned_goes_on_learning_and_its_schedules_end_with_the_run() -> None:
    agent = ppo(num_envs=2)
    env = gym.make_vec("CartPole-v1", 2)
    observation, _ = env.reset(seed=0)
    for _ in range(20):  # two rollouts, and half of one
        after, reward, terminated, truncated, info = env.step(agent.act(observation))
        agent.observe(after, reward, terminated, truncated, info, valid=np.ones(2, bool))
        observation = after
    updates, rollout = agent.num_updates, agent.rollout
    assert updates and rollout.size == 4
    seen = []
    look = Call(lambda run: seen.append(run.agent.rollout.size), 2)
    Experiment(agent, "CartPole-v1", callbacks=[look], **SHORT).run()
    assert agent.num_updates > updates and agent.steps == 40 + 96 and agent.config.total_steps == 40 + 96
    assert seen[0] == 1  # what was half full is dropped: its last transition is not followed by this run's first


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_envs": 4}, "num_envs: the agent that is given was made with 2, got 4: leave it out, or give"),
        ({"seed": 5}, "seed: the agent that is given was made with 0, got 5"),
        ({"device": "cuda"}, "device: the agent that is given was made with cpu, got cuda"),
        ({"learning_rate": 1e-2}, "learning_rate: the agent that is given was made with 0.0003, got 0.01"),
        ({"config": {"gamma": 0.5}}, "gamma: the agent that is given was made with 0.99, got 0.5"),
        ({"config": PPO.Config(n_steps=8)}, "batch_size: the agent that is given was made with 8, got 64"),
        ({"network": make_net}, "network: the agent that is given has its network: set agent.network"),
        ({"env": cart()}, "num_envs: <CartPole-v1 instance> is made already and counts as 1, got 2"),
        ({"config": 3}, "config: expected a Config or a table of settings, got 3"),
    ],
)
def test_what_contradicts_an_agent_is_refused_in_one_line(options: dict[str, Any], line: str) -> None:
    options = {"env": "CartPole-v1", **options}
    with pytest.raises(ConfigError, match=line) as caught:
        Experiment(ppo(num_envs=2), **options)
    assert "\n" not in str(caught.value)


def test_what_agrees_with_an_agent_is_allowed() -> None:
    agent = ppo(num_envs=2)
    plan = Experiment(agent, "CartPole-v1", num_envs=2, learning_rate=3e-4, seed=0, config=agent.config).plan
    assert plan.config == agent.config.replace(total_steps=plan.settings.steps)


def test_an_agent_for_other_spaces_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"agent: expected one for the observation space of Pendulum-v1, .* got"):
        Experiment(ppo(num_envs=2), "Pendulum-v1", out=tmp_path, **SHORT).run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"env": lambda: 3}, EnvError, "<factory .*>: expected a gymnasium.Env from the function, got int"),
        ({"env": cart(), "num_envs": 4}, ConfigError, "num_envs: <CartPole-v1 instance> is made already and"),
        ({"env": cart(), "vectorization": "async"}, ConfigError, "vectorization: <CartPole-v1 instance> is made"),
        ({"env": cart(), "env_kwargs": {"g": 1}}, ConfigError, "env_kwargs: <CartPole-v1 instance> is made already"),
        ({"env": gym.spaces.Discrete(2)}, EnvError, "expected an id, a class, a function .*, got Discrete"),
        ({"env": cart(), "max_episode_steps": 900}, EnvError, "ends its episodes after 500 steps itself, got 900"),
        ({"network": nn.Linear(2, 2, rng=np.random.default_rng(0))}, ConfigError, "network: expected a func.* Linear"),
        ({"network": lambda: 3}, ConfigError, r"expected .*lambda.* to take the agent, network\(agent\), got"),
        ({"network": lambda agent: 3}, ConfigError, "to return a dbrrl.nn.Module, got int"),
        ({"network": lambda agent: Net}, ConfigError, "to return a dbrrl.nn.Module, got the class Net"),
        ({"network": f"{__name__}:nothing"}, ConfigError, "network '.*:nothing': .* has no 'nothing'"),
        ({"network": "nowhere:net"}, ConfigError, "network 'nowhere:net': no module 'nowhere'"),
        ({"agent": cart()}, ConfigError, "agent: expected a name, a class or an agent, got <TimeLimit"),
        ({"agent": None}, ConfigError, "agent: expected a name, a class or an agent, got None"),
        ({"agent": "a3c", "env": lambda: cart()}, ConfigError, "env: a3c runs a process per environment, none"),
        ({"agent": "a3c", "network": lambda agent: 3}, ConfigError, "network: a3c runs a process per environment"),
        ({"agent": Stub, "network": make_net}, ConfigError, "network: stub has not one network that can be replaced"),
    ],
)
def test_wrong_objects_are_refused_in_one_line_before_a_folder_is_made(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line) as caught:
        Experiment(**{"agent": "ppo", "env": "CartPole-v1", **options}, out=tmp_path, **SHORT).run()
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_asynchronous_agent_that_is_made_already_trains_like_one_of_its_class(tmp_path: Path) -> None:
    env, options = gym.make("CartPole-v1"), {**SHORT, "steps": 64}
    agent = A3C(env.observation_space, env.action_space, A3C.Config(deterministic=True), num_envs=2)
    run = Experiment(agent, "CartPole-v1", eval_env=lambda: cart(), **options).run()
    plain = Experiment("a3c", "CartPole-v1", num_envs=2, deterministic=True, preset=False, **options).run()
    assert run.agent is agent and checkpoint.same(run.agent.state_dict(), plain.agent.state_dict())


def test_a_factory_that_gives_one_environment_twice_is_refused_before_training(tmp_path: Path) -> None:
    env = cart()
    with pytest.raises(EnvError, match="gave the same environment twice"):
        Experiment(Stub, lambda: env, num_envs=1, out=tmp_path, **SHORT).run()
    assert not list(tmp_path.iterdir())


def test_an_asynchronous_agent_that_has_learned_is_refused() -> None:
    env = gym.make("CartPole-v1")
    agent = A3C(env.observation_space, env.action_space)
    agent.num_updates = 1
    with pytest.raises(ConfigError, match=r"a3c runs a process per environment, .* expected an agent that has not"):
        Experiment(agent, "CartPole-v1", **SHORT).run()


GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a lambda": ({"env": lambda: cart(), "num_envs": 2}, {"env": lambda: cart()}, "env"),
    "an instance": ({"env": cart()}, {"env": cart()}, "env"),
    "a network": ({"network": lambda agent: Net(agent)}, {"network": lambda agent: Net(agent)}, "network"),
    "of evaluations": ({"eval_env": lambda: cart()}, {"eval_env": lambda: cart()}, "eval_env"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GIVEN)
def test_a_run_with_an_object_says_what_resuming_needs_and_goes_on_exactly_with_it(tmp_path: Path, kind: str) -> None:
    options, again, field = GIVEN[kind]

    def begin(**more: Any) -> Experiment:
        return Experiment(**{"agent": "ppo", "env": "CartPole-v1", "preset": False, **options, **more}, **PPO_SHORT)

    with pytest.warns(UserWarning, match=rf"{field}: <.*> is an object, .* Experiment.resume\(RUN, {field}=\.\.\.\)"):
        whole = begin(out=tmp_path, name="whole").run()
    folder = interrupted(begin, tmp_path)
    recorded = tomllib.loads((folder / "config.toml").read_text())[field]
    assert recorded.startswith("<") and recorded.endswith(">")
    for trust in (False, True):
        with pytest.raises(RunError, match=rf"was made with {field} <.*give it again, in Python: Experiment.resume\('"):
            Experiment.resume(folder, trust=trust, progress=False)
    assert same(Experiment.resume(folder, progress=False, **again).run(), whole)


@pytest.mark.slow
def test_what_a_module_holds_is_recorded_by_name_and_a_command_goes_on_with_it(tmp_path: Path) -> None:
    def begin(**more: Any) -> Experiment:
        return Experiment("ppo", cart, network=make_net, num_envs=2, preset=False, **PPO_SHORT, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = begin(out=tmp_path, name="whole").run()
    folder = interrupted(begin, tmp_path)
    table = tomllib.loads((folder / "config.toml").read_text())
    assert (table["env"], table["network"]) == (f"{__name__}:cart", f"{__name__}:make_net")
    with pytest.raises(ConfigError, match=r"env: the file names .*:cart, code that is neither dbrrl's nor"):
        Experiment.resume(folder)
    with pytest.raises(ConfigError, match=r"network: the file names .*:make_net, .* add --trust or --network"):
        Experiment.resume(folder, env=cart)
    words = [sys.executable, "-m", "dbrrl.train", "--resume", str(folder), "--trust", "--quiet"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = [PPO.load(run / "final" / "agent.dbrrl", network=make_net) for run in (folder, tmp_path / "whole")]
    assert checkpoint.same(files[0].state_dict(), files[1].state_dict())
    assert checkpoint.same(files[0].state_dict(), whole.agent.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("steps_before", [0, 20])
def test_a_run_of_an_agent_that_is_made_already_goes_on_from_its_files_alone(tmp_path: Path, steps_before: int) -> None:
    def begin(**more: Any) -> Experiment:
        agent, env = ppo(num_envs=2), gym.make_vec("CartPole-v1", 2)
        observation, _ = env.reset(seed=0)
        for _ in range(steps_before):
            observation, *rest = env.step(agent.act(observation))
            agent.observe(observation, *rest, valid=np.ones(2, bool))
        return Experiment(agent, "CartPole-v1", **SHORT, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = begin(out=tmp_path, name="whole").run()
    assert same(Experiment.resume(interrupted(begin, tmp_path), progress=False).run(), whole)


def test_the_start_of_such_a_run_is_saved_as_nothing_else_leads_back_to_it(tmp_path: Path) -> None:
    agent = ppo(num_envs=2)
    before = {name: array.copy() for name, array in agent.network.state_dict().items()}
    begin = lambda **more: Experiment(agent, "CartPole-v1", **{**SHORT, "checkpoint_interval": 90}, **more)  # noqa: E731
    folder = interrupted(begin, tmp_path, at=8)
    first = checkpoint.load(folder / "checkpoints" / "step-000000000000.dbrrl", kind="run")["agent"]
    assert checkpoint.same(first["state"]["network"], before)
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(RunError, match="began with an agent that was made already, of which nothing was saved"):
        Experiment.resume(folder, progress=False).run()
    with pytest.raises(ConfigError, match="agent: a run goes on with the agent of its checkpoint, got another"):
        Experiment.resume(folder, agent=agent)


@pytest.mark.slow
def test_a_replaced_network_of_an_agent_is_asked_for_again(tmp_path: Path) -> None:
    def begin(**more: Any) -> Experiment:
        agent = ppo(num_envs=2)
        agent.network = Net(agent)
        return Experiment(agent, "CartPole-v1", **SHORT, **more)

    with pytest.warns(UserWarning, match="network: <network of the agent that was given> is an object"):
        whole = begin(out=tmp_path, name="whole").run()
    folder = interrupted(begin, tmp_path)
    with pytest.raises(RunError, match=r"was made with network <network of the agent that was given>"):
        Experiment.resume(folder)
    with pytest.raises(CheckpointError, match="does not fit"):
        Experiment.resume(folder, network=lambda agent: Net(agent, width=9), progress=False).run()
    assert same(Experiment.resume(folder, network=make_net, progress=False).run(), whole)


@pytest.mark.slow
def test_the_command_that_evaluates_says_which_object_it_lacks_and_takes_another_environment(tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Experiment("ppo", out=tmp_path, name=name, num_envs=2, preset=False, **{**PPO_SHORT, **options}).run()
        return str(tmp_path / name)

    for folder in (run("env", env=lambda: cart()), run("eval", eval_env=lambda: cart())):
        with pytest.raises(EnvError, match=r"env: the run was made with <factory .*or evaluate_policy\(agent, env\)"):
            evaluate.main([folder, "--episodes", "2"])
        evaluate.main([folder, "--episodes", "2", "--env", "CartPole-v1"])
    with pytest.raises(ConfigError, match=r"network: the run was made with <network .*load the agent with network="):
        evaluate.main([run("net", network=lambda agent: Net(agent)), "--episodes", "2"])


def test_another_name_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    folder = interrupted(lambda **more: Experiment(Stub, cart, **SHORT, **more), tmp_path)
    with pytest.raises(RunError, match=r"its env is .*:cart, got <factory .*: leave it out"):
        Experiment.resume(folder, agent=Stub, env=lambda: cart())
    other = interrupted(lambda **more: Experiment(Stub, cart(), **SHORT, **more), tmp_path / "other")
    with pytest.raises(RunError, match="its env is <CartPole-v1 instance>, got CartPole-v1: give that object"):
        Experiment.resume(other, agent=Stub, env="CartPole-v1")


def test_a_given_vector_environment_says_that_its_episodes_begin_anew(tmp_path: Path) -> None:
    vector = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    anew = pytest.warns(UserWarning, match="env: a run that goes on begins new episodes in <")
    with pytest.warns(UserWarning, match="env: <CartPole-v1 instance> is an object"), anew:
        Experiment(Stub, vector, out=tmp_path, **SHORT).run()


@pytest.mark.slow
def test_an_asynchronous_agent_makes_environments_and_networks_by_their_names(tmp_path: Path) -> None:
    options = {**SHORT, "num_envs": 2, "deterministic": True, "n_steps": 8, "preset": False}
    run = Experiment("a3c", cart, network=make_net, **options).run()
    assert isinstance(run.agent.network, Net) and run.agent.num_updates > 0  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_command_reaches_a_function_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import gymnasium as gym\n\n\n"
        "def make_env(limit=500):\n    return gym.make('CartPole-v1', max_episode_steps=limit)\n"
    )
    words = ["--agent", "ppo", "--env", "mine:make_env", "--env-kwargs", json.dumps({"limit": 5}), "--steps", "64"]
    words += ["--n-steps", "8", "--batch-size", "8", "--final-episodes", "2", "--no-curve", "--no-tensorboard"]
    command = [sys.executable, "-m", "dbrrl.train", *words, "--num-envs", "2", "--name", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "score 5.00" in done.stdout
    evaluate = [sys.executable, "-m", "dbrrl.evaluate", "runs/run", "--episodes", "2"]
    done = subprocess.run(evaluate, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "the file names mine:make_env" in done.stderr
    done = subprocess.run([*evaluate, "--trust"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "mean 5.00" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_commands_take_the_names_that_a_file_alone_is_not_trusted_with(tmp_path: Path) -> None:
    def begin(**more: Any) -> Experiment:
        options = {**PPO_SHORT, "num_envs": 2, "preset": False}
        return Experiment("ppo", cart, eval_env=f"{__name__}:cart", network=make_net, **options, **more)

    folder = interrupted(begin, tmp_path)
    words = [sys.executable, "-m", "dbrrl.train", "--resume", str(folder), "--quiet"]
    names = [f"--env={__name__}:cart", f"--eval-env={__name__}:cart", f"--network={__name__}:make_net"]

    def run(words: list[str]) -> tuple[int, str]:
        root = Path(__file__).parents[2]
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = run([*words, *names[:2]])
    assert code == 2 and "network: the file names" in said
    code, said = run([*words, *names])
    assert code == 0, said
    file = str(folder / "final" / "agent.dbrrl")
    code, said = run([sys.executable, "-m", "dbrrl.evaluate", file, "--env=CartPole-v1", "--episodes=2", *names[2:]])
    assert code == 0 and "mean" in said, said
