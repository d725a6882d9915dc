"""The commands under one name."""

import gc
import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import dbrrl
from dbrrl import __main__
from dbrrl.errors import ConfigError
from dbrrl.experiment import command, registry

ROOT = Path(__file__).parent.parent


def test_python_m_dbrrl_lists_commands_and_agents() -> None:
    found = subprocess.run([sys.executable, "-m", "dbrrl"], capture_output=True, text=True, check=True, cwd=ROOT)
    for name in ("train", "evaluate", "plot", "benchmark", "doctor"):
        assert f"python -m dbrrl {name} " in found.stdout
    assert ", ".join(registry.agent_names()) in found.stdout and found.stderr == ""


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_said(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(__main__.main, [flag]) == 0
    assert capsys.readouterr().out == f"dbrrl {dbrrl.__version__}\n"
    assert importlib.metadata.version("dbrrl") == dbrrl.__version__


def test_a_command_gets_the_words_after_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "evaluate", "plot", "benchmark", "doctor"):
        with pytest.raises(SystemExit, match="0"):
            __main__.main([name, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: python -m dbrrl.{name} ")
    with pytest.raises(ConfigError, match="unknown command 'trane'; did you mean 'train'"):
        __main__.main(["trane"])


def test_the_installed_command_is_this_one() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"dbrrl": "dbrrl.__main__:script"} and callable(__main__.script)


def _mistaken(arguments: Sequence[str]) -> None:
    raise ConfigError("no such setting")


@pytest.mark.parametrize(("main", "code"), [(__main__.main, 0), (_mistaken, command.MISTAKE)])
def test_a_process_ends_with_the_code_and_leaves_no_work_to_the_collector(
    main: Callable[[Sequence[str]], None],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["dbrrl"])
    try:
        with pytest.raises(SystemExit) as end:
            command.run_process(main)
        assert end.value.code == code
        assert len(gc.get_objects()) < 0.1 * gc.get_freeze_count()
    finally:
        gc.unfreeze()
