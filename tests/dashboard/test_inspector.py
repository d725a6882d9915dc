"""Episodes that are played for the inspector, and what agents say in them."""

import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import dbrrl
from dbrrl import Experiment
from dbrrl.autodiff.tensor import Tensor
from dbrrl.dashboard import insight, inspector
from dbrrl.dashboard.access import Refusal
from dbrrl.dashboard.inspector import Inspector
from dbrrl.dashboard.played import Change, EpisodeMade, EpisodeRequest
from dbrrl.envs import make
from dbrrl.experiment import registry
from dbrrl.experiment.directory import RunDirectory
from tests.dashboard import images  # noqa: F401 (registers an environment)

CONTINUOUS = ("ddpg", "td3", "sac", "tqc")
DISTRIBUTIONAL = ("c51", "qr_dqn", "iqn", "rainbow")
OF_VALUES = ("dqn", "double_dqn", "drqn", "sac_discrete", *DISTRIBUTIONAL)
OF_POLICY = ("ppo", "a2c", "a3c", "impala", "trpo", "reinforce", "sac", "tqc", "sac_discrete")
SETTINGS: dict[str, Any] = {
    "steps": 64,
    "num_envs": 2,
    "final_episodes": 1,
    "eval_episodes": 1,
    "curve": False,
    "preset": False,
}


def run(out: Path, agent: str = "ppo", env: str = "CartPole-v1", **other: Any) -> Path:
    settings = dict(SETTINGS)
    if hasattr(registry.agent_class(agent).Config(), "learning_starts"):
        settings |= {"learning_starts": 16, "buffer_size": 100, "batch_size": 8}
    folder = Experiment(agent, env, out=out, name="run", **(settings | other)).run().directory
    assert folder is not None
    return folder


def play(folder: Path, one: Inspector | None = None, **options: Any) -> tuple[Inspector, EpisodeMade]:
    one = one or Inspector()
    request = EpisodeRequest(file="final/agent.dbrrl", **options)
    return one, one.play(folder, RunDirectory(folder).read_config(), folder / request.file, request)


def agent_of(name: str, env: str = "CartPole-v1", **settings: Any) -> tuple[Any, np.ndarray]:
    kind = registry.agent_class(name)
    envs = make(env, 1, seed=np.random.SeedSequence(0))
    observation = envs.reset()
    return kind(envs.observation_space, envs.action_space, kind.Config(**settings), seed=0), observation


def test_an_episode_is_what_gymnasium_makes_of_the_agents_own_actions(tmp_path: Path) -> None:
    folder = run(tmp_path)
    shown, made = play(folder, steps=500)
    agent = dbrrl.agents.PPO.load(folder / "final" / "agent.dbrrl")
    env = gym.make("CartPole-v1")
    env.reset()
    env.unwrapped.state = np.array(shown.moment(made.id, 0).observation)  # type: ignore[attr-defined]
    for step in range(made.length):
        moment = shown.moment(made.id, step)
        assert moment.action == agent.act(np.array([moment.observation], np.float32), explore=False)[0]
        observation, reward, terminated, *_ = env.step(moment.action)
        assert reward == moment.reward and terminated == (step == made.length - 1)
        if not terminated:
            np.testing.assert_allclose(shown.moment(made.id, step + 1).observation, observation, rtol=1e-4, atol=1e-6)
    env.close()
    assert made.total == made.length and made.ended == "terminated"
    assert made.actions == 2 and made.length == len(shown.series(made.id, ["value"])["value"])
    if importlib.util.find_spec("pygame") is None:
        assert 'pip install "dbrrl[video]"' in made.problem
    else:
        assert Image.open(io.BytesIO(shown.frame(made.id, made.length - 1))).size == (600, 400)
    assert play(folder, seed=5)[1].seed == 5 and play(folder, seed=5)[1].total == play(folder, seed=5)[1].total


@pytest.mark.parametrize("name", ["ppo", "c51", pytest.param("sac", marks=pytest.mark.slow)])
def test_what_is_said_at_each_step_makes_series_over_the_episode(name: str, tmp_path: Path) -> None:
    folder = run(tmp_path, name, "Pendulum-v1" if name == "sac" else "CartPole-v1")
    shown, made = play(folder, steps=30)
    moments = [shown.moment(made.id, step) for step in range(made.length)]
    found = shown.series(made.id, made.statistics)
    assert {len(values) for values in found.values()} == {made.length}
    assert found["reward"] == [m.reward for m in moments] and found["value"] == [m.value for m in moments]
    assert found["return so far"] == pytest.approx(np.cumsum([m.reward for m in moments]))
    assert found["observation 1"] == [m.observation[1] for m in moments]
    own = {
        "ppo": {"probability 0": lambda m: m.policy["probs"][0], "entropy": lambda m: m.entropy},
        "sac": {"mean 0": lambda m: m.policy["mean"][0], "deviation 0": lambda m: m.policy["std"][0]},
        "c51": {"Q 1": lambda m: m.q[1]},
    }
    for statistic, of in own[name].items():
        assert found[statistic] == [of(m) for m in moments]
    known = {"reward", "return so far", "value", "entropy", *(f"observation {index}" for index in range(4))}
    others = {"ppo": {"probability 0", "probability 1"}, "sac": {"mean 0", "deviation 0"}}
    others["c51"] = {"Q 0", "Q 1", "5 % of the return", "50 % of the return", "95 % of the return"}
    absent = {"ppo": set(), "sac": {"entropy", "observation 3"}, "c51": {"entropy"}}
    assert set(made.statistics) == (known | others[name]) - absent[name]
    if name == "c51":
        returns = moments[0].returns
        assert returns is not None
        values, probs = np.array(returns["values"][moments[0].action]), np.array(returns["probs"][moments[0].action])
        for share in (0.05, 0.5, 0.95):
            quantile = found[f"{share:.0%}".replace("%", " % of the return")][0]
            assert probs[values < quantile].sum() < share <= probs[values <= quantile].sum() + 1e-9
    with pytest.raises(Refusal, match="no statistic 'Q 7'"):
        shown.series(made.id, ["Q 7"])


def test_an_action_is_changed_by_hand_and_the_episode_goes_on_from_there(tmp_path: Path) -> None:
    folder = run(tmp_path)
    shown, made = play(folder)
    plain = [shown.moment(made.id, step) for step in range(made.length)]
    other = 1 - plain[3].action
    shown, again = play(folder, shown, changes=[Change(3, other)])
    changed = [shown.moment(again.id, step) for step in range(again.length)]
    assert [m.observation for m in changed[:4]] == [m.observation for m in plain[:4]]
    assert changed[3].action == other and changed[3].changed and not changed[2].changed
    assert changed[4].observation != plain[4].observation
    for action in (7, 0.9, [0], [0, 1]):
        with pytest.raises(Refusal, match=rf"step 0: the action {re.escape(str(action))} is not in Discrete\(2\)"):
            play(folder, changes=[Change(0, action)])


def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(tmp_path, "sac", "Pendulum-v1")
    shown, made = play(folder, steps=5, changes=[Change(1, [0.5])])
    assert made.ended == "cut after 5 steps" and made.actions == 0 and shown.moment(made.id, 1).action == [0.5]
    monkeypatch.setattr(inspector, "LONGEST", 0.0)
    assert play(folder)[1].ended == "cut: it took too long"
    monkeypatch.undo()
    for limit, value in (("KEPT", 1), ("_HELD", 3_000)):
        monkeypatch.setattr(inspector, limit, value)
        _, later = play(folder, shown, steps=2)
        with pytest.raises(Refusal, match="no such episode any more"):
            shown.moment(made.id, 0)
        assert shown.moment(later.id, 1).step == 1
        monkeypatch.undo()
        _, made = play(folder, shown, steps=2)
    with pytest.raises(Refusal, match=r"expected|is not in Box"):
        play(folder, changes=[Change(0, [0.5, 0.5])])
    assert shown._playing.acquire(blocking=False)
    with pytest.raises(Refusal, match="another episode is being played") as refused:
        play(folder, shown)
    assert refused.value.status == 503


def test_pictures_are_shown_with_what_the_output_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(tmp_path, env="dbrrl-tests/Dot-v0")
    monkeypatch.setattr(inspector, "_LARGEST", 100)
    assert play(folder)[1].ended == "cut: it is too large to be kept"
    monkeypatch.undo()
    shown, made = play(folder, saliency=True)
    assert Image.open(io.BytesIO(shown.frame(made.id, 4))).size == (30, 20)
    moment = shown.moment(made.id, 2)
    assert moment.picture and moment.salient and moment.observation == [] and made.length == 5
    kept = shown._episodes[made.id]
    assert kept.size > sum(map(len, kept.frames)) + 5 * 36 * 36 * (1 + 4)  # pictures as bytes, gradients as float32
    seen = np.asarray(Image.open(io.BytesIO(shown.image(made.id, 2, saliency=False))))
    heat = np.asarray(Image.open(io.BytesIO(shown.image(made.id, 2, saliency=True)))).astype(int)
    assert seen.shape == heat.shape == (144, 144, 3) and seen.max() == 255 and (seen != heat).any()
    assert (heat[..., 0] - heat[..., 2]).max() > 100  # red
    with pytest.raises(Refusal, match="there is no step 5"):
        shown.moment(made.id, 5)
    shown, made = play(folder)
    with pytest.raises(Refusal, match="no gradient"):
        shown.image(made.id, 0, saliency=True)


def test_what_cannot_be_played_is_refused_in_words(tmp_path: Path) -> None:
    folder = run(tmp_path, env="dbrrl-tests/Dot-v0", vectorization="sync")
    config = RunDirectory(folder).read_config()
    file, request = folder / "final" / "agent.dbrrl", EpisodeRequest(file="final/agent.dbrrl")
    for other, message in (
        ({"env_kwargs": {"fails": True}}, "the machine is out of order"),
        ({"env": "CartPole-v1"}, "it cannot be played"),
        ({"env": "tests.dashboard.images:Dot"}, "trust"),
        ({"agent": "dqn"}, "unknown setting"),
        ({"env": "Nowhere-v0"}, "Nowhere"),
    ):
        with pytest.raises(Refusal, match=message) as error:
            Inspector().play(folder, config | other, file, request)
        assert error.value.status == 409 and "\n" not in error.value.text
    trusting = Inspector(trust=True).play(folder, config | {"env": "tests.dashboard.images:Dot"}, file, request)
    assert trusting.length == 5


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("ppo", "sac", "c51") else pytest.param(name, marks=pytest.mark.slow)
        for name in registry.agent_names()
    ],
)
def test_an_agent_says_what_it_has_and_nothing_else(name: str) -> None:
    agent, observation = agent_of(name, "Pendulum-v1" if name in CONTINUOUS else "CartPole-v1")
    said = insight.told(agent, observation, True)
    assert ("q" in said) == (name in OF_VALUES) and ("policy" in said) == (name in OF_POLICY)
    assert ("returns" in said) == (name in DISTRIBUTIONAL) and np.isfinite(said["value"])
    if "policy" in said and name not in CONTINUOUS:
        assert sum(said["policy"]["probs"]) == pytest.approx(1)
        probs = np.array(said["policy"]["probs"])
        assert said["entropy"] == pytest.approx(-(probs * np.log(probs)).sum(), rel=1e-5)
    if name in CONTINUOUS and "policy" in said:
        assert len(said["policy"]["mean"]) == len(said["policy"]["std"]) == 1 and "entropy" not in said
    if name in DISTRIBUTIONAL:
        values, probs = np.array(said["returns"]["values"]), np.array(said["returns"]["probs"])
        np.testing.assert_allclose((values * probs).sum(axis=1), said["q"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    if "q" in said and name != "sac_discrete":
        assert said["value"] == pytest.approx(max(said["q"]))
    assert insight.saliency(agent, observation, True) is not None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppo", {}),
        ("a2c", {"recurrent": "lstm"}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in ("dqn", "iqn", "drqn", "td3", "sac")),
    ],
)
def test_the_gradient_is_that_of_finite_differences(name: str, settings: dict[str, Any]) -> None:
    agent, observation = agent_of(name, "Pendulum-v1" if name in CONTINUOUS else "CartPole-v1", **settings)
    found = insight.saliency(agent, observation, True)
    assert found is not None and found.shape == observation.shape[1:]
    sample = insight._own_action(agent, observation, True)

    def output(x: np.ndarray) -> float:
        return float(agent.chosen_output(Tensor(x.astype(np.float32)), sample, True).array[0])

    given = np.asarray((getattr(agent, "preprocess", None) or agent.preprocessor)(observation), np.float64)
    for index in range(given.shape[1]):
        move = np.zeros_like(given)
        move[0, index] = 1e-2
        slope = (output(given + move) - output(given - move)) / 2e-2
        assert found[index] == pytest.approx(slope, rel=0.05, abs=2e-4)
