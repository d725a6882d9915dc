"""From names to environments: which kind is chosen, and one clear line for what cannot be made."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.envs.registration import EnvSpec

from dbrrl.envs import make, names
from dbrrl.envs.construct import Request, resolve
from dbrrl.errors import EnvError, SpaceError

ROOT = Path(__file__).parents[2]


def build(env: str, num_envs: int = 2, **options: Any) -> Any:
    return make(env, num_envs, seed=np.random.SeedSequence(0), **options)


@pytest.mark.parametrize(
    ("env", "options", "kind", "class_name"),
    [
        ("CartPole-v1", {}, "batched", "CartPole"),
        ("dbrrl/CartPole-v1", {}, "batched", "CartPole"),
        ("dbrrl/Pendulum-v1", {"vectorization": "vector"}, "batched", "Pendulum"),
        ("Acrobot-v1", {"vectorization": "batched"}, "batched", "Acrobot"),
        ("CartPole-v1", {"vectorization": "vector"}, "vector", "CartPoleVectorEnv"),
        ("CartPole-v1", {"env_kwargs": {"sutton_barto_reward": True}}, "vector", "CartPoleVectorEnv"),
        ("Pendulum-v1", {"env_kwargs": {"g": 9.81}}, "sync", "SameStepSync"),
        ("CartPole-v1", {"vectorization": "sync"}, "sync", "SameStepSync"),
        ("dbrrl/CartPole-v1", {"vectorization": "sync"}, "sync", "SameStepSync"),
        ("dbrrl/Chain-v0", {}, "sync", "SameStepSync"),
        ("FrozenLake-v1", {}, "sync", "SameStepSync"),
        ("FrozenLake-v1", {"vectorization": "async"}, "async", "AsyncVectorEnv"),
        ("fragile:Walk", {}, "sync", "SameStepSync"),
        ("fragile:Ours", {}, "vector", "Ours"),
    ],
)
def test_kind_that_is_chosen(env: str, options: dict[str, Any], kind: str, class_name: str) -> None:
    environments = build(env, **options)
    assert environments.kind == kind
    assert type(environments.vector_env.unwrapped).__name__ == class_name
    assert environments.num_envs == 2 and environments.env_id == env
    environments.close()


class HeavyCart(CartPoleEnv):
    """Takes an argument that the vector class lacks."""

    def __init__(self, gravity: float = 9.8, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.gravity = gravity


def test_an_argument_that_the_vector_class_lacks_is_given_to_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    both: Any = {"entry_point": HeavyCart, "vector_entry_point": CartPoleVectorEnv}
    monkeypatch.setitem(gym.registry, "HeavyCart-v0", EnvSpec("HeavyCart-v0", **both))
    assert build("HeavyCart-v0").kind == "vector"
    environments = build("HeavyCart-v0", env_kwargs={"gravity": 30.0})
    assert environments.kind == "sync" and environments.vector_env.get_attr("gravity") == (30.0, 30.0)
    with pytest.raises(EnvError, match=r"no argument 'gravty', did you mean 'gravity'. \(it takes: gravity\): correct"):
        build("HeavyCart-v0", env_kwargs={"gravty": 30.0})
    with pytest.raises(EnvError, match=r"CartPole-v1: its constructor has no argument 'gravity' \(it takes: sutton_"):
        build("CartPole-v1", env_kwargs={"gravity": 30.0})


@pytest.mark.parametrize("kind", ["batched", "vector", "sync"])
def test_time_limit_can_be_set(kind: str) -> None:
    environments = build("CartPole-v1", vectorization=kind, max_episode_steps=4)
    environments.reset()
    for number in range(4):
        step = environments.step(np.array([0, 1]))
        assert step.truncated.all() == (number == 3)


def test_time_limit_of_a_users_class() -> None:
    environments = build("fragile:Broken", max_episode_steps=2)
    environments.reset()
    environments.step(np.zeros(2, np.int64))
    assert environments.step(np.zeros(2, np.int64)).truncated.all()


def test_gymnasiums_meaning_of_the_colon_is_kept() -> None:
    assert build("dbrrl.envs:dbrrl/CartPole-v1", vectorization="sync").kind == "sync"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Pong-v5", "ALE/Pong-v5"),
        ("PongNoFrameskip-v4", "ALE/Pong-v5"),
        ("MsPacman-ramDeterministic-v0", "ALE/MsPacman-v5"),
        ("breakout", "ALE/Breakout-v5"),
        ("Blackjack-v5", "Blackjack-v1"),  # a game of ale-py, too
        ("LunarLander-v2", "LunarLander-v3"),
        ("mountaincar", "MountainCar-v0"),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_an_id_of_another_time_or_library_is_answered_by_what_it_was(
    name: str, meant: str, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda _: object() if installed else None)
    said = names.instead(name, list(gym.registry))
    assert said.startswith(f", did you mean '{meant}'")
    assert ('pip install "dbrrl[atari]"' in said) is (meant.startswith("ALE/") and not installed)


def test_a_name_far_from_all_is_answered_with_none() -> None:
    assert names.instead("Foo-v5", list(gym.registry)) == names.instead("highway-v0", list(gym.registry)) == ""


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (
            "CartPole-v9",
            "unknown environment 'CartPole-v9', did you mean 'CartPole-v1'.: give a Gymnasium id",
        ),
        ("cartpole", "did you mean 'CartPole-v"),
        ("dbrrl/Cartpole-v1", "did you mean 'dbrrl/CartPole-v1'"),
        ("qqqqqqqqqq", "'qqqqqqqqqq': give a Gymnasium id, module:id where importing the module registers it"),
        ("", "unknown environment '': give"),
        ("nowhere:Env", "nowhere:Env: no module named 'nowhere': check the spelling"),
        ("dbrrl.nowhere:Env", "no module named 'dbrrl.nowhere': check"),
        ("fragile:Wolk", "module 'fragile' has no 'Wolk', did you mean 'Walk'"),
        ("fragile:NESTED", "expected a gymnasium.Env class, or a function of yours that .*, got Dict"),
        ("os:getcwd", "or a function of yours that makes an environment, got builtin_function_or_method"),
        ("fragile:AutoresetMode", "expected a subclass of gymnasium.Env, got class AutoresetMode"),
    ],
)
def test_unknown_name_is_one_line(env: str, line: str) -> None:
    with pytest.raises(EnvError, match=line) as caught:
        build(env)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "options", "line"),
    [
        (
            "FrozenLake-v1",
            {"vectorization": "batched"},
            "FrozenLake-v1 has no batched equivalent .CartPole-v1,",
        ),
        ("FrozenLake-v1", {"vectorization": "vector"}, "FrozenLake-v1 has no vector entry point"),
        ("fragile:Ours", {"vectorization": "sync"}, "fragile:Ours has only a vector entry point"),
        (
            "CartPole-v1",
            {"vectorization": "fast"},
            "expected one of auto, batched, vector, sync, async, got 'fast'",
        ),
        ("CartPole-v1", {"num_envs": 0}, "num_envs: expected at least 1, got 0"),
        (
            "FrozenLake-v1",
            {"env_kwargs": {"colour": 1}},
            r"FrozenLake-v1: its constructor has no argument 'colour' \(it takes: desc, map_name, is_slippery, succ",
        ),
        ("dbrrl/Chain-v0", {"env_kwargs": {"size": -5}}, "dbrrl/Chain-v0: it could not be made"),
    ],
)
def test_what_cannot_be_made_is_one_line(env: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(EnvError, match=line) as caught:
        build(env, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (
            gym.error.DependencyNotInstalled("Box2D is not installed"),
            r'pip install "dbrrl\[box2d\]"',
        ),
        (ImportError("No module named 'mujoco'"), r'pip install "dbrrl\[mujoco\]"'),
        (ModuleNotFoundError("No module named 'ale_py'"), r'pip install "dbrrl\[atari\]"'),
        (
            ImportError("No module named\n 'jax'"),
            "ImportError: No module named 'jax': install it",
        ),
    ],
)
def test_missing_library_names_the_extra(raised: Exception, line: str, monkeypatch: Any) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise raised

    monkeypatch.setattr(gym, "make", refuse)
    with pytest.raises(EnvError, match=f"^LunarLander-v3 needs a library that is not installed: {line}") as caught:
        build("LunarLander-v3")
    assert "\n" not in str(caught.value)


def test_atari_without_its_library(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    monkeypatch.delitem(gym.registry, "ALE/Pong-v5", raising=False)
    with pytest.raises(EnvError, match=r'ALE/Pong-v5 needs a library .*: pip install "dbrrl\[atari\]"'):
        build("ALE/Pong-v5")


def test_robotics_without_its_library(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(EnvError, match=r'FetchReach-v4 needs a library .*: pip install "dbrrl\[robotics\]"'):
        build("gymnasium_robotics:FetchReach-v4")


def test_a_module_that_fails_is_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "failing_module.py").write_text("import math\n1 / 0\n")
    (tmp_path / "missing_module.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvError, match="importing 'failing_module' failed: ZeroDivisionError: division by zero"):
        build("failing_module:Env")
    with pytest.raises(EnvError, match=r"needs a library that is not installed: .*'not_there_at_all'"):
        build("missing_module:Env")


def test_space_that_no_agent_serves() -> None:
    class Spoken(gym.Env[Any, Any]):
        observation_space = gym.spaces.Text(5)
        action_space = gym.spaces.Discrete(2)

    gym.register(id="Spoken-v0", entry_point=Spoken)
    try:
        with pytest.raises(SpaceError, match=r"observation: expected Box, Discrete, .* got Text: encode it"):
            build("Spoken-v0")
    finally:
        del gym.registry["Spoken-v0"]


def test_request_is_plain_data() -> None:
    """A worker process that is started afresh is sent it."""
    request = Request("CartPole-v1", {}, 7)
    assert request().spec.max_episode_steps == 7
    assert resolve("fragile:Walk").id == "fragile:Walk"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_other_name() -> None:
    result = python("import envs")
    assert result.returncode == 1
    assert "this folder is the package dbrrl.envs, and was imported as 'envs'" in result.stderr


def test_import_brings_nothing_slow_and_registers() -> None:
    result = python(
        "import sys, gymnasium as gym, dbrrl.envs\n"
        "slow = {'pygame', 'scipy', 'matplotlib', 'Box2D', 'dbrrl.envs.cartpole', 'dbrrl.envs.probes'}\n"
        "print(sorted(slow & set(sys.modules)), 'dbrrl/CartPole-v1' in gym.registry)"
    )
    assert result.stdout.strip() == "[] True", result.stderr


def test_no_function_of_the_standard_library_is_called_in_an_environments_place(tmp_path: Path) -> None:
    for name in ("os:mkdir", "subprocess:check_call"):
        with pytest.raises(EnvError, match="or a function of yours that makes an environment, got"):
            build(name, env_kwargs={"path": str(tmp_path / "made"), "args": ["touch", str(tmp_path / "made")]})
    assert not (tmp_path / "made").exists()


def test_a_missing_render_mode_is_named() -> None:
    with pytest.raises(EnvError, match=r"fragile:Walk: it has no render mode 'rgb_array' \(it has: none\): add it"):
        build("fragile:Walk", render_mode="rgb_array")
    with pytest.raises(EnvError, match=r"CartPole-v1: it has no render mode 'ascii' \(it has: human, rgb_array\)"):
        build("CartPole-v1", render_mode="ascii")
