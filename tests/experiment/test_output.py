"""A command whose output nobody can read any more trains on and saves."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dbrrl.experiment.output import lossy

ROOT = Path(__file__).parents[2]
WORDS = [
    *("--agent", "tests.experiment.stub:Stub", "--steps", "4000", "--eval-interval", "500", "--eval-episodes", "1"),
    *("--final-episodes", "1", "--no-curve", "--no-tensorboard", "--name", "run"),
]


class Closed:
    """A stream whose reader goes away after so many flushes."""

    def __init__(self, left: int, number: int) -> None:
        self.left, self.number, self.text = left, number, ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        if not self.left:
            raise OSError(self.number, os.strerror(self.number))
        self.left -= 1

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_printing_to_a_closed_stream_is_no_error_and_is_told_once(monkeypatch: Any, number: int) -> None:
    out, err = Closed(1, number), Closed(9, number)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with lossy():
        assert sys.stdout.isatty()
        for line in "abc":
            print(line, flush=True)
        assert not sys.stdout.isatty()
    assert sys.stdout is out and out.text == "a\nb\n"  # c came when it was known to be closed
    assert err.text.count("\n") == 1
    assert err.text.startswith(f"standard output is closed ({os.strerror(number)}): the run goes on and saves")


def test_both_streams_may_be_closed_or_missing(monkeypatch: Any) -> None:
    for stream in (Closed(0, errno.EIO), None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        with lossy():
            print("a", flush=True)
            print("b", file=sys.stderr, flush=True)
            assert stream is None or sys.stdout.lost  # type: ignore[attr-defined]
            assert not sys.stdout.isatty()


def test_other_errors_are_raised(monkeypatch: Any) -> None:
    with lossy(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError


def start(tmp_path: Path, *words: str, **options: Any) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "dbrrl.train", *WORDS, *words, "--out", str(tmp_path)]
    return subprocess.Popen(line, env=environment, cwd=ROOT, text=True, **options)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_run_whose_reader_ends_goes_on(tmp_path: Path, words: tuple[str, ...]) -> None:
    process = start(tmp_path, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()  # as `head -1` does
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0 and (tmp_path / "run" / "final" / "agent.dbrrl").exists()
    assert errors.count("\n") == 1 and errors.startswith("standard output is closed (Broken pipe)")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal of its own")
@pytest.mark.parametrize("ignored", [True, False])
def test_a_run_whose_terminal_is_closed_goes_on_or_saves(tmp_path: Path, ignored: bool) -> None:
    terminal, side = os.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)  # inherited, as by nohup
    try:
        steps = ("--steps", "4000" if ignored else "100000000")
        process = start(tmp_path, *steps, stdin=side, stdout=side, stderr=side, start_new_session=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(side)
    while b"environments:" not in os.read(terminal, 4096):
        pass
    os.close(terminal)  # not the terminal that controls the process, which would be sent the signal by the system
    if ignored:
        assert process.wait(60) == 0 and (tmp_path / "run" / "final" / "agent.dbrrl").exists()
    else:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 130 and list((tmp_path / "run" / "checkpoints").glob("step-*.dbrrl"))
