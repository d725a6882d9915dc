"""Freed memory is kept on Linux, unless the user has set the allocator."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dbrrl
from dbrrl.backend.allocator import keep_freed_memory
from dbrrl.experiment import build

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The calls of glibc's mallopt, which are recorded and not made."""
    calls: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return calls


def test_glibc_is_asked_to_keep_blocks(asked: list[tuple[int, int]]) -> None:
    keep_freed_memory()
    trim_threshold, mmap_threshold = -1, -3  # their numbers in malloc.h
    assert dict(asked) == {trim_threshold: 256 * 2**20, mmap_threshold: 32 * 2**20}


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_user_has_set_stays(asked: list[Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1000")
    keep_freed_memory()
    assert asked == []


def test_other_systems_are_left_alone(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory()
    assert asked == []


def test_an_import_changes_no_setting() -> None:
    code = """
import ctypes
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        assert name != "mallopt"
        return super().__getattr__(name)
ctypes.CDLL = Library
import dbrrl.agents, dbrrl.buffers, dbrrl.experiment, dbrrl.functional
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_run_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(build.backend, "keep_freed_memory", lambda: asked.append(None))
    dbrrl.Experiment("ppo", "CartPole-v1", out=None, progress=False, final_episodes=1).run(steps=16)
    assert len(asked) == 1


def test_a_library_without_mallopt_is_left_alone(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # as musl
    keep_freed_memory()
    assert asked == []
