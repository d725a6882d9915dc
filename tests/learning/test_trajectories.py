"""What one process plays and another learns from is what one process does by itself; ratios are of two policies."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, nn
from dbrrl.agents import IMPALA
from dbrrl.envs import make
from dbrrl.errors import CheckpointError
from dbrrl.learning import trajectories
from dbrrl.learning.experience import Weights
from dbrrl.seeding import sequence
from tests.agents.making import Known

STEPS = 8
SETTINGS: dict[str, Any] = {"n_steps": STEPS, "hidden_sizes": (8,), "recurrent_size": 4, "learning_rate": 0.01}
MEMORIES = pytest.mark.parametrize("recurrent", ["none", "lstm", "gru"])


def made(env: str = "CartPole-v1", num_envs: int = 2, seed: int = 0, **settings: Any) -> Any:
    """An agent, and its environments."""
    envs = make(env, num_envs, seed=sequence(seed, "environments"), vectorization="sync", max_episode_steps=5)
    if settings.get("recurrent", "none") == "none":
        settings = {"recurrent": "none"} | settings
    config = {**SETTINGS, **settings}
    if config["recurrent"] == "none":
        del config["recurrent_size"]
    agent = IMPALA(envs.observation_space, envs.action_space, IMPALA.Config(**config), num_envs=num_envs, seed=seed)
    envs.reset()
    return agent, envs


def play(agent: Any, envs: Any, rows: int) -> None:
    for _ in range(rows):
        step = envs.step(agent.act(envs.observation))
        agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)


def weights(agent: Any) -> np.ndarray:
    return np.array(nn.parameters_to_vector(agent.network))


NORMALIZED = {"normalize_observation": True, "normalize_reward": True}


@MEMORIES
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "tests.learning.test_experience:Places"])
@pytest.mark.parametrize("settings", [{}, NORMALIZED])
def test_a_learner_does_what_one_process_does(recurrent: str, env: str, settings: dict[str, Any]) -> None:
    if settings and env.startswith("tests."):
        pytest.skip("its observations are numbers of places")
    settings = settings | {"recurrent": recurrent}
    direct, envs = made(env, **settings)
    actor, own = made(env, **settings)
    learner, _ = made(env, **settings)
    recorder = trajectories.Recorder(actor)
    for k in range(4):
        play(direct, envs, STEPS)
        recorder.begin(Weights(learner).get())
        play(actor, own, STEPS)
        chunk = recorder.taken(own.observation)
        trajectories.learn(learner, [checkpoint.decode(checkpoint.encode(chunk, kind="test"), kind="test")])
        np.testing.assert_allclose(weights(learner), weights(direct), rtol=0, atol=1e-6 * (k + 1))
        assert learner.steps == direct.steps == 2 * STEPS * (k + 1) and learner.num_updates == direct.num_updates
    if settings.get("normalize_observation"):
        ours, theirs = learner.observation_norm.statistics, direct.observation_norm.statistics
        assert ours.count == theirs.count
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9)
        np.testing.assert_allclose(ours.var, theirs.var, rtol=1e-7)


@MEMORIES
def test_chunks_stand_side_by_side(recurrent: str) -> None:
    chunks, columns = [], []
    for seed in range(3):
        actor, envs = made(num_envs=1 + seed, seed=seed, recurrent=recurrent)
        recorder = trajectories.Recorder(actor)
        recorder.begin(Weights(actor).get())
        play(actor, envs, STEPS)
        chunks.append(recorder.taken(envs.observation))
        assert chunks[-1]["rollout"]["size"] == STEPS and chunks[-1]["rollout"]["finals"]
        columns.append(1 + seed)
    found: list[Any] = []
    learner, _ = made(num_envs=6, recurrent=recurrent)
    learner.learn = found.append
    trajectories.learn(learner, chunks)
    [rollout] = found
    for i, chunk in enumerate(chunks):
        own = slice(sum(columns[:i]), sum(columns[: i + 1]))
        np.testing.assert_array_equal(rollout.reward[:, own], chunk["rollout"]["rewards"])
        np.testing.assert_array_equal(rollout.observation[:STEPS, own], chunk["rollout"]["observations"][0])
        np.testing.assert_array_equal(rollout.observation[STEPS, own], chunk["following"][0])
        np.testing.assert_array_equal(rollout.behavior["log_mu"][:, own], chunk["behavior"]["log_mu"])
    finals = sum(len(chunk["rollout"]["finals"]) for chunk in chunks)
    value, following = rollout.values()
    assert finals and value.shape == following.shape == (STEPS, 6)
    alone, _ = made(num_envs=3, recurrent=recurrent)
    alone.network.load_state_dict(learner.network.state_dict())
    alone.learn = found.append
    trajectories.learn(alone, chunks[2:])
    np.testing.assert_allclose(found[1].values()[0], value[:, 3:], atol=1e-6)
    np.testing.assert_allclose(found[1].values()[1], following[:, 3:], atol=1e-6)


def test_a_shorter_rollout_is_given_too() -> None:
    actor, envs = made()
    learner, _ = made()
    recorder = trajectories.Recorder(actor)
    recorder.begin(Weights(learner).get())
    play(actor, envs, 3)
    trajectories.learn(learner, [recorder.taken(envs.observation)])
    assert learner.steps == 6 and learner.num_updates == 1
    recorder.begin(Weights(learner).get())
    play(actor, envs, STEPS)
    trajectories.learn(learner, [recorder.taken(envs.observation)])
    assert learner.steps == 6 + 2 * STEPS and learner.num_updates == 2


def test_ratios_are_those_of_the_two_policies() -> None:
    """Both policies have logits (w, 0), with w of 1 where it acts and of -1 where it learns."""
    box, two = gym.spaces.Box(-9.0, 9.0, (1,), np.float32), gym.spaces.Discrete(2)
    actor, learner = (IMPALA(box, two, IMPALA.Config(n_steps=50), num_envs=4, seed=0) for _ in range(2))
    for agent, w in ((actor, 1.0), (learner, -1.0)):
        agent.network = Known()
        agent.network.w.array[...] = w
    recorder = trajectories.Recorder(actor)
    recorder.begin(Weights(actor).get())
    no, zeros, actions = np.zeros(4, bool), np.zeros((4, 1), np.float32), []
    for _ in range(50):
        actions.append(actor.act(zeros))
        actor.observe(zeros, np.zeros(4), no, no)
    trajectories.learn(learner, [recorder.taken(zeros)])
    first = np.array(actions) == 0
    chance = 1 / (1 + np.exp(-1.0))  # of the first action where it acts; 1 - chance where it learns
    expected = np.where(first, (1 - chance) / chance, chance / (1 - chance)).mean()
    assert 0.6 < first.mean() < 0.85
    assert learner.statistics()["mean_ratio"] == pytest.approx(expected, rel=1e-5)


@MEMORIES
def test_what_was_read_from_a_file_is_checked(recurrent: str) -> None:
    actor, envs = made(recurrent=recurrent, normalize_observation=True)
    learner, _ = made(recurrent=recurrent, normalize_observation=True)
    recorder = trajectories.Recorder(actor)
    recorder.begin(Weights(actor).get())
    play(actor, envs, STEPS)
    good = recorder.taken(envs.observation)
    before = checkpoint.encode(learner.state_dict(), kind="test")
    assert trajectories.check(learner, good, 2) is good
    rollout, wrong = good["rollout"], np.full(3, np.nan)
    bad: list[dict[str, Any]] = [
        *({**good, name: None} for name in good),
        {name: x for name, x in good.items() if name != "start"},
        {**good, "rollout": {**rollout, "rewards": wrong}},
        {**good, "rollout": {**rollout, "size": STEPS - 1}},
        {**good, "rollout": {**rollout, "size": 0}},
        {**good, "following": [x[:1] for x in good["following"]]},
        {**good, "following": [x * np.nan for x in good["following"]]},
        {**good, "behavior": {"log_mu": good["behavior"]["log_mu"][:1]}},
        {**good, "moments": good["moments"][:1]},
        {**good, "start": [*good["start"], np.zeros((1, 2, 4), np.float32)]},
    ]
    for one in bad:
        with pytest.raises(CheckpointError):
            trajectories.check(learner, one, 2)
    assert checkpoint.encode(learner.state_dict(), kind="test") == before
