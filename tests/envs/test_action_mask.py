"""The wrapper that puts the masks of `info` into observations, alone, in vector environments and in runs."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import envs as our_envs
from dbrrl.envs import ActionMask
from dbrrl.envs.masked import ALLOWED, Masked
from dbrrl.errors import EnvError, SpaceError
from dbrrl.experiment import Callback, Experiment, evaluate_policy
from dbrrl.seeding import sequence
from dbrrl.testing import check_env

spaces = gym.spaces
RUN: dict[str, Any] = {"preset": False, "curve": False, "tensorboard": False, "progress": False, "final_episodes": 4}


class Told(gym.Env[Any, Any]):
    """Tells in `info` what it is given."""

    def __init__(self, mask: Any, observation: Any, actions: Any) -> None:
        self.told, self.observation_space, self.action_space = mask, observation, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {} if self.told is None else {"action_mask": self.told}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, action == 1, False, {}


BOX, TWO = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)


def test_the_observation_becomes_a_dict_with_the_mask_of_the_next_action() -> None:
    env = ActionMask(gym.make("dbrrl/MaskedInfo-v0"))
    assert env.observation_space["action_mask"] == spaces.MultiBinary(4)
    observation, _ = env.reset(seed=0)
    for step, actions in enumerate(ALLOWED):
        assert np.flatnonzero(observation["action_mask"]).tolist() == list(actions), step
        assert env.observation_space.contains(observation) and observation["observation"].tolist() == [0.0]
        observation, _, terminated, _, _ = env.step(actions[0])
    assert terminated and not observation["action_mask"].any()
    check_env(ActionMask(gym.make("dbrrl/MaskedInfo-v0")), steps=20)


def test_a_dict_gets_one_key_more_and_a_tuple_of_masks_is_joined() -> None:
    inner = spaces.Dict({"a": BOX, "b": TWO})
    mask = (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8))
    env = ActionMask(Told(mask, inner, spaces.MultiDiscrete([2, 3])))
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"a", "b", "action_mask"}
    assert observation["action_mask"].tolist() == [1, 0, 0, 1, 1]
    assert observation["action_mask"].dtype == np.int8


def test_a_mask_that_is_missing_or_of_another_size_is_an_error() -> None:
    with pytest.raises(EnvError, match="info: expected 'action_mask' where an action follows, got none"):
        ActionMask(Told(None, BOX, TWO)).reset()
    with pytest.raises(EnvError, match=r"info\['action_mask'\]: expected 2 numbers"):
        ActionMask(Told(np.ones(3), BOX, TWO)).reset()
    env = ActionMask(Told(np.ones(2), BOX, TWO))
    env.reset()
    assert env.step(1)[0]["action_mask"].tolist() == [0, 0]  # no action follows a true end
    with pytest.raises(EnvError, match="got none"):
        env.step(0)


def test_what_cannot_be_masked_is_refused() -> None:
    with pytest.raises(SpaceError, match="expected Discrete or MultiDiscrete actions"):
        ActionMask(Told(np.ones(2), BOX, spaces.MultiBinary(2)))
    with pytest.raises(SpaceError, match="has a key 'action_mask' already"):
        ActionMask(gym.make("dbrrl/Masked-v0"))


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_runner_puts_masks_of_info_into_observations(vectorization: str) -> None:
    options: dict[str, Any] = {"seed": sequence(0, "test"), "vectorization": vectorization}
    envs = our_envs.make("dbrrl/MaskedInfo-v0", 2, action_masks=True, **options)
    try:
        assert set(envs.observation_space.spaces) == {"observation", "action_mask"}
        assert envs.reset()["action_mask"].tolist() == [[1, 1, 0, 0]] * 2
        for action in (1, 2, 3, 2):
            step = envs.step(np.full(2, action))
        assert step.observation["action_mask"].tolist() == [[0, 1, 0, 1]] * 2
        step = envs.step(np.full(2, 3))
        assert step.terminated.all() and envs.finished == [(11.0, 5)] * 2
        assert not step.next_observation["action_mask"].any() and step.observation["action_mask"][0, 1] == 1
    finally:
        envs.close()


def test_what_gives_no_mask_is_left_as_it_is() -> None:
    for name in ("dbrrl/IdentityDiscrete-v0", "dbrrl/IdentityBox-v0", "dbrrl/Masked-v0"):
        envs = our_envs.make(name, 1, seed=sequence(0, "test"), action_masks=True)
        assert envs.observation_space == gym.make(name).observation_space
        envs.close()
    envs = our_envs.make("dbrrl/MaskedInfo-v0", 1, seed=sequence(0, "test"))
    assert isinstance(envs.observation_space, spaces.Box)  # for an agent that heeds no masks
    envs.close()


def test_objects_that_are_given_to_a_run_have_their_masks_too() -> None:
    settings: dict[str, Any] = {**RUN, "steps": 100, "n_steps": 8, "hidden_sizes": (8,)}
    for env in (gym.make("dbrrl/MaskedInfo-v0"), lambda: gym.make("dbrrl/MaskedInfo-v0"), Masked(in_info=True)):
        agent: Any = Experiment("ppo", env, **settings).run().agent
        assert set(agent.observation_space.spaces) == {"observation", "action_mask"}
        assert evaluate_policy(agent, "dbrrl/MaskedInfo-v0", episodes=4).returns.min() >= 2.0
        observation = {"observation": np.zeros(1, np.float32), "action_mask": np.array([0, 1, 1, 0])}
        assert (agent.action_distribution(observation).probs.array == 0).tolist() == [[True, False, False, True]]


@pytest.mark.slow
def test_a_run_on_masks_of_info_is_the_run_on_masks_of_observations() -> None:
    settings: dict[str, Any] = {**RUN, "num_envs": 2, "n_steps": 8, "hidden_sizes": (8,)}
    names = ("Masked", "MaskedInfo")
    runs = [Experiment("ppo", f"dbrrl/{name}-v0", seed=0, steps=200, **settings).run() for name in names]
    one, other = ([p.array for p in run.agent.network.parameters()] for run in runs)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)) and runs[0].score == runs[1].score
    asynchronous: Any = Experiment("a3c", "dbrrl/MaskedInfo-v0", steps=200, **RUN, num_envs=2, hidden_sizes=(8,)).run()
    assert "action_mask" in asynchronous.agent.observation_space.spaces and asynchronous.score >= 4


class Breaks(Callback):
    """Breaks a run off in the middle of an episode."""

    interval = 111

    def on_interval(self, loop: Any) -> None:
        raise RuntimeError("broken off")


@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_a_run_with_masks_goes_on_bit_for_bit(agent: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**RUN, "num_envs": 2, "hidden_sizes": (8,), "seed": 0}
    settings |= {"n_steps": 16} if agent == "ppo" else {"learning_starts": 20, "batch_size": 8, "buffer_size": 100}
    run: dict[str, Any] = {"name": "run", "checkpoint_interval": 90, **settings}
    with pytest.raises(RuntimeError, match="broken off"):
        Experiment(agent, "dbrrl/MaskedInfo-v0", steps=210, out=tmp_path, callbacks=[Breaks()], **run).run()
    on = Experiment.resume(tmp_path / "run").run()
    whole = Experiment(agent, "dbrrl/MaskedInfo-v0", steps=210, **settings).run()
    both = [[p.array for p in run.agent.network.parameters()] for run in (on, whole)]
    assert on.agent.num_updates == whole.agent.num_updates
    assert all(np.array_equal(a, b) for a, b in zip(*both, strict=True))


def test_a_wrapped_environment_is_made_again_from_its_spec() -> None:
    env = ActionMask(gym.make("dbrrl/MaskedInfo-v0"))
    assert env.spec is not None
    again = gym.make(env.spec)
    assert "action_mask" in again.reset(seed=0)[0]
