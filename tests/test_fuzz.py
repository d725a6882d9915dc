"""Nonsense in files whose checksum is right: every case is an error of ours, or is no nonsense; always the same cases.

A case replaces one entry of an agent, of a run's checkpoint or of a settings file. `-m slow` makes more of them.
"""

import contextlib
import copy
import math
import random
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, evaluate, plot, train
from dbrrl.errors import DbrrlError
from dbrrl.experiment import Experiment, command, registry
from dbrrl.experiment.settings import read, resolve_plan
from dbrrl.reporting import toml

BOX, CHOICE = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
SMALL: dict[str, Any] = {"hidden_sizes": (4,)}
AGENTS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 4, "batch_size": 4, "normalize_observation": True, "normalize_reward": True, **SMALL},
    "a2c": {"n_steps": 3, "recurrent": "gru", "recurrent_size": 3, **SMALL},
    "a3c": {"n_steps": 3, **SMALL},
    "impala": {"n_steps": 3, **SMALL},
    "reinforce": {"n_steps": 3, **SMALL},
    "trpo": {"n_steps": 3, "cg_iterations": 2, **SMALL},
    "rainbow": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "atoms": 5},
    "sac": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "prioritized": True},
    "sac_discrete": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "prioritized": True},
    "td3": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "noise": "ornstein_uhlenbeck"},
    "iqn": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "exploration": "ez_greedy"},
    "drqn": {"buffer_size": 12, "learning_starts": 4, "batch_size": 4, **SMALL, "recurrent_size": 3},
}
NUMBERS = [-1, -(10**30), 10**30, -1.5, 0.5, math.nan, math.inf, -math.inf]
OTHERS: list[Any] = [None, True, "text", "", [], [1, "a"], {}, {"a": 1}, np.zeros(0), np.array(["a"], "S1").view("u1")]
FREE = ("latest", "best", "return")  # statistics: any number


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every entry, tables and lists included."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inside:
        yield from places(entry, (*at, key))


def got(value: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        value = value[key]
    return value


def variants(old: Any, draw: random.Random) -> Any:
    """Something else in the place of `old`."""
    if isinstance(old, np.ndarray) and draw.random() < 0.7:
        new = old.copy()
        kinds = ["dtype", "axis", "longer"] + (["nan", "inf"] * 3 if new.dtype.kind == "f" and new.size else [])
        kind = draw.choice(kinds)
        if kind in ("nan", "inf"):
            new.flat[draw.randrange(new.size)] = float(kind)
            return new
        longer = np.concatenate([new.ravel(), new.ravel(), np.zeros(1, new.dtype)])
        return {"dtype": new.astype(np.complex64), "axis": new[None], "longer": longer}[kind]
    return copy.deepcopy(draw.choice(NUMBERS + OTHERS))


def nonsense(old: Any, new: Any, at: tuple[Any, ...]) -> bool:
    """Whether `new` certainly cannot be in the place of `old`; what may be right, as another number, is not judged."""
    if isinstance(old, np.ndarray):
        if not isinstance(new, np.ndarray) or new.dtype.kind != old.dtype.kind or new.shape != old.shape:
            return True
        return old.dtype.kind == "f" and bool(np.isfinite(old).all()) and not np.isfinite(new).all()
    number = isinstance(old, int | float) and not isinstance(old, bool)
    if number and isinstance(new, int | float) and not isinstance(new, bool):
        if any(word in map(str, at) for word in FREE):
            return False
        return not math.isfinite(new) or (isinstance(old, int) and (new < 0 or new != int(new)))
    return type(old) is not type(new)


def judged(at: tuple[Any, ...]) -> bool:
    """Settings and spaces are checked by their own rules (a number may be written as 1.0, or left out as "none")."""
    return not {"config", "plan", "spaces", "env_kwargs"} & set(at)


def cases(state: Any, count: int, seed: str) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """(place, old, new state) of `count` cases."""
    draw, known = random.Random(seed), list(places(state))
    for _ in range(count):
        at = draw.choice(known)
        old, new = got(state, at), copy.deepcopy(state)
        got(new, at[:-1])[at[-1]] = variants(old, draw)
        yield at, old, new


def trained(name: str) -> Any:
    cls = registry.agent_class(name)
    actions = CHOICE if gym.spaces.Discrete in cls.action_spaces else BOX
    agent = cls(BOX, actions, cls.Config(**AGENTS[name]), num_envs=2, seed=3)
    draw = np.random.default_rng(0)

    def observation() -> np.ndarray:
        return draw.uniform(-1, 1, (2, 3)).astype(np.float32)

    seen = observation()
    for step in range(9):
        agent.act(seen)
        seen, ends = observation(), np.array([step % 4 == 3, False])
        agent.observe(seen, draw.normal(size=2), ends, np.array([False, step == 7]))
    return agent


many = pytest.mark.parametrize("count", [120, pytest.param(500, marks=pytest.mark.slow)])


@many
@pytest.mark.parametrize("name", AGENTS)
def test_an_altered_agent_is_refused(name: str, count: int, tmp_path: Path) -> None:
    agent, path = trained(name), tmp_path / "agent.dbrrl"
    agent.save(path)
    record = checkpoint.load(path, kind="agent")
    type(agent).load(path)
    wrong = []
    for at, old, new in cases(record, count, name):
        try:
            path.write_bytes(checkpoint.encode(new, kind="agent"))
            type(agent).load(path)
        except DbrrlError:
            continue
        except Exception as error:
            wrong.append(f"{at}: {error!r}")
            continue
        if judged(at) and nonsense(old, got(new, at), at):
            wrong.append(f"{at}: {old!r} as {got(new, at)!r} loads")
    assert not wrong, "\n".join(sorted(set(wrong)))


KINDS = ("auto", "sync", "vector")


def trained_run(folder: Path, **more: Any) -> Path:
    options = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 1, "eval_episodes": 1}
    sizes = {"n_steps": 4, "batch_size": 4, "num_envs": 2, "preset": False, **SMALL}
    Experiment("ppo", out=folder, name="run", **options, **sizes, **more).run(steps=30)
    return folder / "run"


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_checkpoint_of_a_run_is_refused(
    kind: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path, vectorization=kind)
    monkeypatch.setattr(Experiment, "_finish", lambda experiment, loop: None)  # it is put back, and no more
    *older, path = sorted((run / "checkpoints").iterdir())
    for file in older:
        file.unlink()
    tables = {file: file.read_bytes() for file in run.glob("*.csv")}
    state = checkpoint.load(path, kind="run")
    state["loop"]["finished"] = False
    agent, wrong = state.pop("agent"), []  # the agent has a test of its own
    for at, old, new in cases(state, count, kind):
        path.write_bytes(checkpoint.encode(new | {"agent": agent}, kind="run"))
        for file, content in tables.items():
            file.write_bytes(content)
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # an environment that begins anew
                Experiment.resume(run, progress=False).run(steps=40)
        except DbrrlError:
            continue
        except Exception as error:
            if at[:3] != ("environments", "environment", "attributes"):  # those are read by the environment's own code
                wrong.append(f"{at}: {error!r}")
            continue
        # What an environment holds is its own matter: it is put back, or begins a new episode and says so.
        if judged(at) and at[:2] != ("environments", "environment") and nonsense(old, got(new, at), at):
            wrong.append(f"{at}: {old!r} as {got(new, at)!r} is gone on with")
    assert not wrong, "\n".join(sorted(set(wrong)))


SETTINGS: dict[str, Any] = {
    "agent": "ppo", "env": "CartPole-v1", "steps": 100, "stop_at": 1.5, "curve": False, "env_kwargs": {"gravity": 9.8},
    "eval_env_kwargs": {}, "config": {"learning_rate": 0.1, "hidden_sizes": [4], "activation": "tanh"},
    "versions": {"numpy": "2"}, "machine": {"cpu": "x"}, "preset": {}, "chosen": {"threads": 1},
}  # fmt: skip
TEXTS = [
    "config = 1", "env_kwargs = 1", "[config]\nenv_kwargs = 1", "x = " + "[" * 5000, "a = " + "{a=" * 3000,
    "a" + ".a" * 9000 + " = 1", "[a" + ".a" * 400_000 + "]",
    "x = {a" + ".a" * 300_000 + " = 1}", "steps = " + "9" * 5000, "steps = 1e400", "steps = nan", "agent = []",
    "env = {a = 1}",
    "[config]\nagent = 3", "seed = 1979-05-27", "\x00", "= 1", "[[config]]", "versions = 1", "agent = 'ppo:'",
    "agent = ':'", "env = ':'", "agent = '..:x'", "agent = 'no.such:x'", "agent = '.a:b'",
]  # fmt: skip


def foreign(text: bytes, path: Path) -> str:
    """The error that is not ours which a settings file of this text ends in; "" where there is none."""
    path.write_bytes(text)
    try:
        resolve_plan({}, file=read(path), trusted=True)
    except DbrrlError:
        return ""
    except Exception as error:
        return f"{text[:60]!r}: {error!r}"
    return ""


def test_a_settings_file_of_nonsense_is_refused_in_our_words(tmp_path: Path) -> None:
    assert [found for text in TEXTS if (found := foreign(text.encode(), tmp_path / "x.toml"))] == []


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_an_altered_settings_file_is_refused_in_our_words(count: int, tmp_path: Path) -> None:
    wrong = []
    for _, _, new in cases(SETTINGS, count, "settings"):
        with contextlib.suppress(TypeError, AttributeError):  # not everything can be written as TOML
            wrong.append(foreign(toml.dumps(new).encode(), tmp_path / "x.toml"))
    draw, whole = random.Random("bytes"), toml.dumps(SETTINGS).encode()
    for _ in range(count):
        text = bytearray(whole)
        text[draw.randrange(len(text))] = draw.randrange(256)
        wrong.append(foreign(bytes(text), tmp_path / "x.toml"))
    assert len(wrong) > count
    assert not list(filter(None, wrong)), "\n".join(sorted(set(wrong)))


@pytest.mark.parametrize("line", ["versions = 1", "config = 1", "config = []", "seed = 'a'", "env = 1", "agent = 1"])
def test_a_runs_altered_config_is_no_foreign_error(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(tmp_path)
    table = tomllib.loads((run / "config.toml").read_text())
    rest = {key: value for key, value in table.items() if key != line.partition(" ")[0]}
    (run / "config.toml").write_text(f"{line}\n" + toml.dumps(rest))
    for module, words in ((evaluate, ["--episodes", "1"]), (plot, ["--out", str(tmp_path / "x.png")])):
        command.run(module.main, [str(run), *words])  # type: ignore[attr-defined]
        assert "--debug shows the traceback" not in capsys.readouterr().err
    command.run(train.main, ["--resume", str(run), "--steps", "40"])
    assert "--debug shows the traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_weights_that_are_no_numbers_are_not_evaluated(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cls, path, env = registry.agent_class(name), tmp_path / "agent.dbrrl", gym.make("CartPole-v1")
    made: Any = cls(env.observation_space, env.action_space, cls.Config(**SMALL))
    made.network.parameters()[0].array[...] = np.nan
    made.save(path)
    assert command.run(evaluate.main, [str(path), "--env", "CartPole-v1", "--episodes", "1"]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and "expected finite numbers, got nan or inf" in errors and errors.count("\n") == 1
