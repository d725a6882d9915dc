"""Agents by name, own agents by module, presets."""

from pathlib import Path

import pytest

from dbrrl.errors import ConfigError
from dbrrl.experiment import registry

from .stub import Stub


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ppo.py", "dqn.py", "_shared.py", "__init__.py"):
        (tmp_path / name).touch()
    (tmp_path / "ppo.toml").write_text('["CartPole-v1"]\nsteps = 5\nlearning_rate = 0.1\n')
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    registry._presets.cache_clear()
    yield tmp_path
    registry._presets.cache_clear()


def test_names_are_the_pages(folder: Path) -> None:
    assert registry.agent_names() == ["dqn", "ppo"]


@pytest.mark.parametrize("name", ["ppoo", "PPO"])
def test_an_unknown_agent_is_answered_with_the_nearest(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown agent '{name}'; did you mean 'ppo'"):
        registry.agent_class(name)


@pytest.mark.parametrize("name", ["", "os", "../ppo", "_shared", "agents.ppo"])
def test_nothing_but_pages_is_imported(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="unknown agent"):
        registry.agent_class(name)


def test_an_own_agent_by_module_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.agent_class("tests.experiment.stub:Stub").__name__ == Stub.__name__
    with pytest.raises(ConfigError, match="has no 'Stubb'; did you mean 'Stub'"):
        registry.agent_class("tests.experiment.stub:Stubb")
    with pytest.raises(ConfigError, match="no module 'nowhere': check the spelling, and run from the folder"):
        registry.agent_class("nowhere:Agent")
    (tmp_path / "importing_agent.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="no module 'nothing_of_this_name': importing_agent imports it"):
        registry.agent_class("importing_agent:Agent")
    with pytest.raises(ConfigError, match="expected a subclass of"):
        registry.agent_class("tests.experiment.stub:StubConfig")


def test_presets_are_of_the_pair(folder: Path) -> None:
    wanted = {"steps": 5, "learning_rate": 0.1}
    assert registry.preset("ppo", "CartPole-v1") == registry.preset("ppo", "dbrrl/CartPole-v1") == wanted
    assert registry.preset("ppo", "Acrobot-v1") == registry.preset("dqn", "CartPole-v1") == {}
    assert registry.preset("tests.experiment.stub:Stub", "CartPole-v1") == {}


def test_the_module_that_registers_an_environment_is_no_part_of_a_presets_name(folder: Path) -> None:
    assert registry.preset("ppo", "gymnasium.envs:CartPole-v1") == registry.preset("ppo", "CartPole-v1") != {}
    assert registry.preset("ppo", "tests.experiment.stub:Breaking") == {}


def test_a_preset_may_be_of_a_family(folder: Path) -> None:
    (folder / "dqn.toml").write_text('["ALE/*"]\nsteps = 5\n["ALE/Pong-v5"]\nsteps = 6\n')
    assert registry.preset("dqn", "ALE/Breakout-v5") == {"steps": 5}
    assert registry.preset("dqn", "ALE/Pong-v5") == {"steps": 6}
    assert registry.preset("dqn", "Breakout-v5") == registry.preset("dqn", "ale/Breakout-v5") == {}
