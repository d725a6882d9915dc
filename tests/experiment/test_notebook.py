"""A run in a notebook: what objects show of themselves, figures, progress, and classes that are of no module."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl.agents import A3C, DQN, PPO
from dbrrl.envs import given
from dbrrl.errors import ConfigError, EnvError
from dbrrl.experiment import Experiment, Run
from dbrrl.reporting import display

from .stub import Stub

QUICK: dict[str, Any] = {"steps": 64, "num_envs": 2, "final_episodes": 2, "eval_episodes": 1, "progress": False}
BOUND = np.arange(99, dtype=np.float32)
WIDE = gym.spaces.Dict({name: gym.spaces.Box(-BOUND, BOUND) for name in "abcdef"})


class Corridor(gym.Env[np.ndarray, int]):
    """Walk right: an environment that only a notebook has."""

    observation_space, action_space = gym.spaces.Box(0, 5, (1,), np.float32), gym.spaces.Discrete(2)

    def __init__(self, length: int = 3) -> None:
        self.length, self.place = length, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        self.place += 1
        return np.full(1, self.place, np.float32), float(action), self.place >= self.length, False, {}


@pytest.fixture(scope="module")
def run() -> Run:
    return Experiment("ppo", "CartPole-v1", **QUICK).run()


def test_objects_show_themselves_in_one_to_five_lines(run: Run, tmp_path: Path) -> None:
    experiment = Experiment("ppo", "CartPole-v1", seed=3, out=tmp_path, learning_rate=0.5, **QUICK)
    two = gym.spaces.Discrete(2)
    agents = [run.agent, PPO(WIDE, two), DQN(WIDE, two), A3C(Corridor.observation_space, two, num_envs=2)]
    for shown in (run, experiment, Experiment(Stub), *agents):
        text = repr(shown)
        assert 1 <= len(text.splitlines()) <= 5 and max(map(len, text.splitlines())) <= 420, text
    assert repr(run).startswith("Run: ppo on CartPole-v1, seed 0\n")
    assert f"score {run.score:.2f} over 2 episodes" in repr(run)
    assert "seed 3, 64 steps" in repr(experiment) and "learning_rate=0.5" in repr(experiment)
    assert repr(agents[1]).startswith("PPO: 1 environments, seed 0, cpu, 0 updates\n")


def test_plot_gives_a_figure_that_a_notebook_shows(run: Run, tmp_path: Path) -> None:
    from matplotlib import get_backend, pyplot
    from matplotlib.figure import Figure

    backend, before = get_backend(), pyplot.get_fignums()
    figure = run.plot()
    assert isinstance(figure, Figure) and figure.axes[0].get_title() == "ppo on CartPole-v1, seed 0"
    assert figure._repr_png_().startswith(b"\x89PNG") and len(figure.legends) == 1  # type: ignore[attr-defined]
    assert run.plot(tmp_path / "curve.png")._repr_png_() == (tmp_path / "curve.png").read_bytes()
    assert (get_backend(), pyplot.get_fignums()) == (backend, before)  # no window, and nothing to close


def test_progress_shows_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel, kind in ((object(), display.Bar), (None, display.Quiet)):  # None: IPython in a pipe
        shell = SimpleNamespace(kernel=kernel)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert type(display.for_run(None)) is kind
        assert type(display.for_run(False)) is display.Quiet
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert type(display.for_run(None)) is display.Quiet


@pytest.mark.parametrize("vectorization", ["auto", "async"])
def test_an_experiment_takes_an_environments_class(vectorization: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Corridor):
        """A class without a module is found as the object that was given."""

    for kind in (Corridor, Local):
        run = Experiment("ppo", kind, vectorization=vectorization, env_kwargs={"length": 4}, **QUICK).run()
        assert run.plan.settings.env == f"{__name__}:{kind.__qualname__.replace('<locals>.', '')}"
        assert run.scores[-1]["mean"] <= 4 and run.agent.observation_space == Corridor.observation_space


def test_what_is_no_class_of_an_environment_is_said() -> None:
    with pytest.raises(EnvError, match="expected an id, a class, a function that makes an environment, or an env"):
        Experiment("ppo", 3)
    with pytest.raises(EnvError, match=r"expected a subclass of gymnasium\.Env, got class Stub"):
        Experiment("ppo", Stub, **QUICK).run()
    with pytest.raises(ConfigError, match=r"expected Callback objects, got <built-in.*: Call\(f, interval\)"):
        Experiment("ppo", Corridor, callbacks=[print])  # type: ignore[list-item]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main module without a file, as in a notebook, that has defined and registered an environment."""
    monkeypatch.setattr(Corridor, "__module__", "__main__")
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setitem(gym.registry, "Corridor-v0", gym.envs.registration.EnvSpec("Corridor-v0", Corridor))
    monkeypatch.setattr(given, "_CLASSES", {})


@pytest.mark.parametrize("env", ["Corridor-v0", Corridor])
def test_a3c_says_why_it_cannot_have_an_environment_of_a_notebook(env: Any, notebook: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"env: this agent runs a process .* env='my_module:Class'") as caught:
        Experiment("a3c", env, out=tmp_path, **QUICK).run()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a3c_has_an_environment_that_a_notebook_registered_from_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    spec = gym.envs.registration.EnvSpec("Cart-v7", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=5)
    monkeypatch.setitem(gym.registry, "Cart-v7", spec)
    run = Experiment("a3c", "Cart-v7", preset=False, **QUICK).run()
    assert run.score == 5.0
