"""Atari: ale-py's vector environment against Gymnasium's wrappers, its ends, and its way back from a checkpoint."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.envs import Environments, make
from dbrrl.envs import atari as atari_module
from dbrrl.errors import EnvError

ale_py = pytest.importorskip("ale_py", reason="needs ale-py, the extra atari")
pytest.importorskip("cv2", reason="needs OpenCV, the extra atari")


def envs(num_envs: int, game: str = "Breakout", seed: int = 0, **changes: Any) -> Environments:
    vectorization, limit = changes.pop("vectorization", "auto"), changes.pop("max_episode_steps", None)
    return make(
        f"ALE/{game}-v5",
        num_envs,
        seed=np.random.SeedSequence(seed),
        vectorization=vectorization,
        max_episode_steps=limit,
        env_kwargs=changes,
    )


def actions(environments: Environments, steps: int, seed: int = 0) -> np.ndarray:
    count = environments.action_space.n  # type: ignore[attr-defined]
    return np.random.default_rng(seed).integers(0, count, (steps, environments.num_envs))


@pytest.mark.parametrize(("game", "sticky"), [("Pong", 0.25), ("Breakout", 0.0)])
def test_observations_are_those_of_gymnasiums_wrappers(game: str, sticky: float) -> None:
    """Without random no-ops, which the two draw otherwise, all is equal: frames, rewards, lives, ends."""
    words = next(w for s in range(99) if (w := np.random.SeedSequence(s).generate_state(2))[1] < 2**31)
    seed = next(s for s in range(99) if (np.random.SeedSequence(s).generate_state(2) == words).all())
    # AtariEnv makes its emulator's seed of its own; ale-py's vector environment takes it as it is.
    arguments: dict[str, Any] = {"game": game.lower(), "repeat_action_probability": sticky, "use_fire_reset": False}
    vector = atari_module.AtariVector(1, noop_max=1, **arguments)
    vector.seeds[:], vector.seeded[:] = words[1], 0
    observation, _ = vector._reset(np.ones(1, bool), np.ones(1, bool))
    env = gym.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=sticky)
    env = gym.wrappers.AtariPreprocessing(env, noop_max=0)
    env = gym.wrappers.FrameStackObservation(env, 4, padding_type="zero")
    expected, _ = env.reset(seed=seed)
    np.testing.assert_array_equal(observation[0], expected)
    for action in np.random.default_rng(0).integers(0, env.action_space.n, 300):  # type: ignore[attr-defined]
        observation, reward, terminated, truncated, info = vector.step(np.array([action]))
        expected, *rest, single_info = env.step(action)
        np.testing.assert_array_equal(observation[0], expected)
        assert rest == [reward[0], terminated[0], truncated[0]] and info["lives"][0] == single_info["lives"]
        if rest[1] or rest[2]:
            break
    assert game == "Pong" or terminated[0]


def test_a_single_game_gives_the_same_but_for_its_no_ops() -> None:
    """A filmed game, and one with `--vectorization sync`, has the same spaces, ends and rewards in the same range."""
    one, other = envs(2), envs(2, vectorization="sync")
    assert (one.kind, other.kind) == ("vector", "sync")
    assert one.observation_space == other.observation_space == gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert one.action_space == other.action_space
    for environments in (one, other):
        observation = environments.reset()
        assert not observation[:, :3].any() and observation[:, 3].any()  # zeros stand before the first frame
        lengths = []
        for row in actions(environments, 400):
            environments.step(row)
            lengths += [length for _, length in environments.finished]
        assert lengths and 100 < np.mean(lengths) < 350
        environments.close()


@pytest.mark.parametrize("vectorization", ["vector", "sync"])
def test_arguments_mean_the_same_in_both(vectorization: str) -> None:
    """The ball is served with FIRE at the start, and falls without a paddle in its way: a life, an episode."""
    shape = {"img_height": 42, "img_width": 40, "stack_num": 2, "repeat_action_probability": 0.0}
    environments = envs(1, vectorization=vectorization, episodic_life=True, frameskip=8, **shape)
    observation = environments.reset()
    assert observation.shape == (1, 2, 42, 40)
    for _ in range(60):
        step = environments.step(np.zeros(1, np.int64))
        if environments.finished:
            break
    assert step.terminated[0] and environments.finished[0][1] < 60


def test_an_episode_ends_with_its_last_life_or_its_time() -> None:
    environments = envs(3, max_episode_steps=230)
    environments.reset()
    lives, ends = np.full(3, 5), []
    for row in actions(environments, 500):
        before = environments.observation
        step = environments.step(row)
        moved = (step.next_observation[:, :3] == before[:, 1:]).all(axis=(1, 2, 3))
        assert moved.all()  # the true next observation, also where an episode ended
        for env in np.flatnonzero(step.terminated | step.truncated):
            ends.append((bool(step.terminated[env]), int(step.info["lives"][env])))
            assert not step.observation[env, :3].any()
        # Lost lives end nothing.
        lost = (step.info["lives"] < lives) & (step.info["lives"] > 0)
        assert not (step.terminated & lost).any()
        lives = np.where(step.terminated | step.truncated, 5, step.info["lives"])
        assert not (step.terminated & step.truncated).any() and step.valid.all()
        assert all(length <= 230 for _, length in environments.finished)
    assert {terminated for terminated, _ in ends} == {True, False}
    assert all((left == 0) == terminated for terminated, left in ends)


def test_scores_are_unshaped() -> None:
    environments = envs(1, game="MsPacman")
    environments.reset()
    rewards = {float(environments.step(row).reward[0]) for row in actions(environments, 120)}
    assert max(rewards) >= 10
    for name, cure in (("reward_clipping", "clip_reward"), ("life_loss_info", "episodic_life")):
        for vectorization in ("auto", "sync"):
            with pytest.raises(EnvError, match=f"{name}: expected no such argument of an Atari game: .*{cure}"):
                envs(1, vectorization=vectorization, **{name: True})
    with pytest.raises(EnvError, match=r"ALE/Pong-v5: it could not be made: TypeError: .*'frameskop'"):
        envs(1, game="Pong", frameskop=3)
    with pytest.raises(EnvError, match="action: expected 0 to 8, got"):
        environments.step(np.array([9]))


@pytest.mark.parametrize(("steps", "reseed"), [(0, 100), (450, 100), pytest.param(450, 2000, marks=pytest.mark.slow)])
def test_a_checkpoint_is_gone_on_with_exactly(
    steps: int, reseed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several episodes on, some games seeded anew and some not; what comes then is what would have come."""
    monkeypatch.setattr(atari_module, "RESEED", reseed)
    one = envs(3)
    one.reset()
    for row in actions(one, steps):
        one.step(row)
    checkpoint.save(tmp_path / "state", one.state_dict(), kind="x")
    other = envs(3, seed=1)
    assert other.load_state_dict(checkpoint.load(tmp_path / "state", kind="x")) == []
    np.testing.assert_array_equal(other.observation, one.observation)
    seeded = one.vector_env.seeded  # type: ignore[attr-defined]
    assert len(set(seeded)) > 1 if steps == 450 and reseed == 100 else not np.any(seeded)
    ended = 0
    for row in actions(one, 150, seed=1):
        steps_ = [environments.step(row) for environments in (one, other)]
        np.testing.assert_array_equal(steps_[0].observation, steps_[1].observation)
        np.testing.assert_array_equal(steps_[0].reward, steps_[1].reward)
        assert one.finished == other.finished
        ended += len(one.finished)
    assert ended or not steps
    states = [checkpoint.encode(environments.state_dict(), kind="x") for environments in (one, other)]
    assert states[0] == states[1]


def test_what_did_not_come_back_is_said() -> None:
    one, other = envs(2), envs(2, seed=1)
    one.reset()
    for row in actions(one, 5):
        one.step(row)
    state = one.state_dict()
    state["environment"]["own"]["seen"] += 1
    lines = other.load_state_dict(state)
    assert len(lines) == 2 and "environment 1 (ALE/Breakout-v5)" in lines[1]
    assert "its observation differs" in lines[1] and "starts a new episode" in lines[1]
    assert not other.observation[:, :3].any()


def test_a_game_of_its_own_is_replayed_too() -> None:
    """Gymnasium's wrappers, with sticky actions, in the second episode."""
    one, other = (envs(1, vectorization="sync", seed=seed) for seed in (0, 1))
    one.reset()
    for row in actions(one, 400):
        one.step(row)
        if one.finished:
            break
    for row in actions(one, 20):
        one.step(row)
    assert other.load_state_dict(one.state_dict()) == []
    for row in actions(one, 30, seed=2):
        np.testing.assert_array_equal(one.step(row).observation, other.step(row).observation)


def test_the_log_of_actions_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atari_module, "RESEED", 30)
    environments = envs(2, max_episode_steps=20)
    environments.reset()
    for row in actions(environments, 200):
        environments.step(row)
    assert len(environments.vector_env.log) == atari_module.FIRST_CAPACITY  # type: ignore[attr-defined]


def test_games_have_the_threads_that_a_process_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (("1", {"num_threads": 1}), ("", {}), ("0", {}), ("many", {})):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert atari_module.threads() == expected
