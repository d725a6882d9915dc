"""`python -m dbrrl.doctor`: what it says of this machine, and of one where something is missing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbrrl import backend, doctor
from dbrrl.errors import ConfigError
from dbrrl.experiment import command
from dbrrl.kernels.cpu import extension

ROOT = Path(__file__).parent.parent


def report(*options: str, **variables: str) -> str:
    """What the command prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "dbrrl.doctor", *options]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return found.stdout


def lines(findings: Iterator[doctor.Finding]) -> str:
    return "\n".join(f"{found.topic}: {found.text} -> {found.cure}" for found in findings)


def test_the_report_names_every_part() -> None:
    text = report("--skip-speed")
    topics = "dbrrl", "Python", "libraries", "processor", "load", "BLAS", "environment", "kernels", "GPU", "optional"
    for topic in topics:
        assert any(line[2:].startswith(f"{topic} ") for line in text.splitlines()), topic
    assert "speed" not in text


def test_kernels_that_are_turned_off_are_said_to_be_with_the_cure() -> None:
    text = report("--skip-speed", DBRRL_KERNELS="numpy")
    assert "! kernels      none, NumPy computes: DBRRL_KERNELS=numpy turns them off\n" in text
    assert "-> unset it\n" in text and "named, after an arrow." in text.splitlines()[-1]


def test_each_reason_has_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "module", None)
    reason = '("a: b") they were not compiled: get a C compiler (gcc), then install again'
    monkeypatch.setattr(extension, "reason", reason)
    (found,) = doctor.kernels()
    assert found.text == 'none, NumPy computes: ("a: b") they were not compiled'
    assert found.cure == "get a C compiler (gcc), then install again"
    assert extension.level() == "numpy"


def test_a_level_below_the_best_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type("Module", (), {"compiler": "", **{n: staticmethod(f) for n, f in _OLD.items()}})
    monkeypatch.setattr(extension, "module", module)
    text = lines(doctor.kernels())
    assert "at level plain; this processor has plain, avx2 -> DBRRL_KERNELS chooses plain: unset it for avx2" in text
    assert "loops of our own; compiler unknown" in text


_OLD: dict[str, Any] = {"level": lambda: "plain", "levels": lambda: ["plain", "avx2"], "blas": lambda: "own"}


def test_what_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "cv2" else object())
    assert lines(doctor.optional()) == 'optional: Atari games: pip install "dbrrl[atari]" -> '
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    assert lines(doctor.optional()) == "optional: all parts are installed -> "
    monkeypatch.setattr(doctor, "_REQUIRED", ("numpy", "no-such-library"))
    assert "no-such-library missing -> python -m pip install no-such-library" in lines(doctor.versions())


def test_a_busy_machine_and_chosen_matrix_products_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (99.0, 0, 0), raising=False)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    text = lines(doctor.processor())
    assert "99.0 programs at work on average in the last minute -> other programs use the cores" in text
    assert "OPENBLAS_CORETYPE=Nehalem" in text and "slow matrix products: unset it" in text


def test_a_gpu_is_named_or_why_none_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "machine_record", lambda device: {"gpu": "H100", "cupy": "14.0"})
    assert lines(doctor.gpu()) == "GPU: H100, CuPy 14.0 -> "

    def fail(device: str) -> Any:
        raise ConfigError("device: no\n driver")

    monkeypatch.setattr(backend, "machine_record", fail)
    assert lines(doctor.gpu()) == "GPU: none is used: device: no driver -> "


def test_speed_is_compared_with_the_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = backend.blas_threads()
    monkeypatch.setattr(doctor, "BLOCK", 0.0001)
    found = list(doctor.speed(0.01))
    assert len(found) == len(doctor.USUAL) + 1 and all("times the usual" in item.text for item in found)
    assert backend.blas_threads() == threads
    for scale, cure in ((10.0, True), (0.1, False)):
        monkeypatch.setattr(doctor, "_least", lambda work, seconds, scale=scale: scale * 1e-3)
        usual = {name: dict.fromkeys(levels, 1.0) for name, levels in doctor.USUAL.items()}
        monkeypatch.setattr(doctor, "USUAL", usual)
        last = list(doctor.speed())[-1]
        assert last.text.startswith(f"at most {scale} times the usual") and bool(last.cure) == cure


def test_an_unknown_flag_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(doctor.main, ["--skip-sped"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown argument '--skip-sped'; did you mean '--skip-speed'")
