"""The report's code runs with the stand-in in place of a GPU, and says what it is to say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import accuracy, jobs, measure, ours, page, peers, report, sections, verdicts
from dbrrl.backend import arrays as device_arrays
from dbrrl.errors import ConfigError
from tests import standin
from tests.autodiff.table import CASES, Case

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No peer takes part, installed or not."""
    monkeypatch.setattr(peers, "absent", lambda library, stand_in: "not installed")


def made(folder: Path) -> tuple[dict[str, Any], str]:
    text = (folder / "report.json").read_text(encoding="utf-8")
    return json.loads(text), (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_every_section_runs_on_the_stand_in_and_the_page_says_so(tmp_path: Path) -> None:
    before = device_arrays._cupy
    assert report.main(["--stand-in", "--out", str(tmp_path)]) == 0
    assert device_arrays._cupy is before
    found, text = made(tmp_path)
    assert found["stand_in"] and found["machine"]["gpu"] == "stand-in" and not found["problems"]
    assert text.startswith("# STAND-IN, NOT A GPU: EVERY TIME BELOW IS MEANINGLESS")
    assert list(found["sections"]) == list(sections.SECTIONS)
    assert not any(section["error"] for section in found["sections"].values())
    assert {line["verdict"] for line in found["verdicts"]} == {"MEANINGLESS", "NOT MEASURED"}
    ops = found["sections"]["ops"]["data"]
    assert ops["cases"] == ops["of"] > 30 and not ops["failures"]
    assert all(f"| {family} |" in text for family in ops["families"])
    for name in ("ppo-update", "image-update"):
        for row in found["sections"][name]["data"]["batches"].values():
            assert row["contenders"]["dbrrl"]["us"] > 0 and len(row["contenders"]["dbrrl"]["times_us"]) >= 3
    assert found["sections"]["steps"]["data"]["num_envs"]["4"]["rate"] > 0
    assert found["sections"]["solve"]["data"]["seeds"]["0"]["steps"] == 16
    assert "No figures" not in text and "Not run" not in text and "FAILED" not in text


@pytest.mark.usefixtures("alone")
def test_a_section_that_fails_says_so_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: dict[str, Any], *_: Any) -> None:
        data["num_envs"] = {}
        raise ValueError("no\nway")

    monkeypatch.setitem(sections.SECTIONS, "steps", (broken, 1))
    assert report.main(["--stand-in", "--out", str(tmp_path), "--only", "ops", "steps"]) == 1
    found, text = made(tmp_path)
    assert list(found["sections"]) == ["steps", "ops"] and found["problems"] == ["steps: ValueError: no way"]
    assert "**FAILED: ValueError: no way**" in text and "Not run." in text
    assert found["sections"]["ops"]["data"]["cases"] and "broken" in found["sections"]["steps"]["traceback"]


def test_without_a_gpu_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(device: str) -> Any:
        raise ConfigError("device: 'cuda' needs CuPy")

    monkeypatch.setattr(device_arrays, "_cupy", missing)
    assert report.main(["--out", str(tmp_path / "none")]) == 2
    printed = capsys.readouterr()
    assert printed.err == "device: 'cuda' needs CuPy, or exercise the code with --stand-in\n" and not printed.out
    assert not (tmp_path / "none").exists()


def test_the_command_runs_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "report.py"), "--stand-in", "--only", "launches"]
    done = subprocess.run([*command, "--out", "here"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "] launches" in done.stdout and made(tmp_path / "here")[0]["sections"]["launches"]["data"]["node_us"]


def test_a_wrong_op_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    tanh = next(case for case in CASES if case.name == "tanh")

    def rounded(x: Any) -> Any:  # to a TF32's precision
        return np.rint(x * 2**11) / 2**11

    def breaks(x: Any) -> Any:
        raise TypeError("no such kernel")

    wrong = Case("wrong", tanh.call, lambda x: rounded(np.tanh(x)), tanh.points, tanh.ops)
    broken = Case("broken", breaks, np.tanh, tanh.points, tanh.ops)
    monkeypatch.setattr(accuracy, "CASES", [tanh, wrong, broken])
    data: dict[str, Any] = {}
    accuracy.measure(data, measure.StandIn(), jobs.Sizes(points=2), measure.Deadline(60))
    assert [line.partition(":")[0] for line in data["failures"]] == ["wrong", "wrong", "broken", "broken"]
    assert data["families"]["elementwise"]["worst"] == "wrong" and data["cases"] == 3
    late: dict[str, Any] = {}
    accuracy.measure(late, measure.StandIn(), jobs.Sizes(), measure.Deadline(-1))
    assert late["failures"] == ["the time was over after 0 of 3 cases"]


def test_errors_are_relative_to_the_largest_element() -> None:
    exact = np.array([0.0, -4.0])
    assert accuracy.error(exact + np.array([2e-6, 0]), exact) == pytest.approx(5e-7)
    assert accuracy.error(np.array([1e-9]), np.zeros(1)) == pytest.approx(1e-8)
    assert accuracy.error(np.zeros((2, 1)), exact) == accuracy.error(exact * np.nan, exact) == np.inf
    assert accuracy.error(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def contender(library: str, us: float, captured: bool = True, tf32: bool = False) -> dict[str, Any]:
    return {"library": library, "us": us, "least_us": us, "captured": captured, "tf32": tf32, "apart": 0.0}


def measured(quick: bool) -> dict[str, Any]:
    """A report with figures on one side of all bars."""
    updates = {"a": contender("dbrrl", 149 if quick else 151), "b": contender("dbrrl", 90, captured=False)}
    updates["c"] = contender("PyTorch", 150)
    eager = {"d": contender("PyTorch", 100, captured=False), "e": contender("PyTorch", 50, tf32=True)}
    ours = {"f": contender("dbrrl", 119 if quick else 121), "g": contender("dbrrl", 59 if quick else 61, tf32=True)}
    seeds = {str(k): {"seconds": 2.9, "score": 500.0 if quick or k else 474.0, "episodes": 100} for k in range(2)}
    data = {
        "steps": {"num_envs": {"8192": {"rate": 5.1e6 if quick else 4.9e6}}},
        "solve": {"seeds": seeds},
        "ppo-update": {"batches": {"256": {"contenders": updates}}},
        "image-update": {"batches": {"256": {"contenders": {**eager, **ours}}}},
        "ops": {"failures": [] if quick else ["tanh: error 1"], "cases": 3, "of": 3},
    }
    return {"stand_in": False, "sections": {name: {"data": x, "error": None} for name, x in data.items()}}


def test_verdicts_on_both_sides_of_the_bars() -> None:
    for quick, verdict in ((True, "PASS"), (False, "FAIL")):
        lines = verdicts.verdicts(measured(quick))
        assert [line["verdict"] for line in lines] == [verdict] * 7, lines
    assert lines[1]["figure"].startswith("2.90 s and a mean score of 474.0 over 100 episodes")
    assert lines[4]["figure"] == "121.0 us, 1.21 times d (100.0 us)"
    assert verdicts.problems(measured(False)) == ["ops: tanh: error 1"]
    empty = {"stand_in": False, "sections": {}}
    assert {line["verdict"] for line in verdicts.verdicts(empty)} == {"NOT MEASURED"}


def test_contenders_that_break_or_do_something_else_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    machine = measure.StandIn()
    monkeypatch.setattr(machine, "stand_in", False)
    start = [np.ones(3, np.float32)]

    def make(name: str, step: float, library: str = "dbrrl", refused: str = "") -> Any:
        weights, row = start[0].copy(), {"library": library, "captured": False, "tf32": False}

        def call() -> None:
            weights[:] += step

        return name, lambda: measure.Contender(name, call, weights=weights.copy, refused=lambda: refused, row=row)

    def absent() -> Any:
        raise ours.AbsentError("not there")

    data: dict[str, Any] = {}
    mine = [make("plain", 0.1), make("refused", 0.1, refused="it synchronized"), ("later", absent)]
    theirs = [make("peer", 0.1, "PyTorch"), make("other", 0.2, "JAX")]
    sections.compare(data, machine, mine, theirs, start, jobs.TINY, measure.Deadline(60))
    assert list(data["contenders"]) == ["plain", "peer", "other"] and data["left_out"]["later"].endswith("not there")
    assert len(data["problems"]) == 2 and "it synchronized" in data["problems"][0] and "other" in data["problems"][1]
    assert data["contenders"]["peer"]["apart"] == 0
    assert data["contenders"]["other"]["apart"] == pytest.approx(1, rel=1e-4)
    text = page.contenders({"peers": {"jax": "not installed"}, "batches": {"8": data}})
    assert "PROBLEM: other" in text and "Left out: later" in text and "jax: not installed, left out" in text


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_peer_does_the_same_updates(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    standin.install(monkeypatch)
    others = {"torch": "jax", "jax": "torch"}[library]
    inner = peers.absent
    monkeypatch.setattr(peers, "absent", lambda name, stand_in: "not asked" if name == others else inner(name, True))
    for section in (sections.ppo_update, sections.image_update):
        data: dict[str, Any] = {}
        section(data, measure.StandIn(), jobs.TINY, measure.Deadline(60), print)
        for row in data["batches"].values():
            assert not row["problems"] and len(row["contenders"]) >= 2
            assert all(one["apart"] < 1e-3 for one in row["contenders"].values())
