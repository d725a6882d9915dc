"""Runs of another machine, joined from its table."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbrrl import benchmark
from dbrrl.experiment import command

SUITE = """
[protocol]
eval_episodes = 2
final_episodes = 2
[[cells]]
agents = ["ppo", "a2c"]
envs = ["CartPole-v1"]
[cells.settings]
steps = {steps}
num_envs = 2
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark of each of the two agents: `ppo` and `a2c`."""
    folder = tmp_path_factory.mktemp("made")
    suite = folder / "own.toml"
    suite.write_text(SUITE.format(steps=64))
    for agent in ("ppo", "a2c"):
        words = [suite, "--jobs", 1, "--agents", agent, "--out", folder / agent]
        assert command.run(benchmark.main, [str(word) for word in words]) == 0
    return folder


@pytest.fixture
def call(made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(SUITE.format(steps=64))
    for agent in ("ppo", "a2c"):
        shutil.copytree(made / agent, agent)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = command.run(benchmark.main, ["own.toml", "--jobs", "1", *map(str, arguments)])
        return code, *capfd.readouterr()

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_runs_of_two_machines_make_one_table_and_are_not_run_again(call: Call) -> None:
    tables = [Path(name, "results.csv") for name in ("ppo", "a2c")]
    code, output, errors = call("--out", "both", "--join", *tables)
    assert (code, errors) == (0, "")
    assert "ppo/results.csv: 1 of 1 runs joined" in output and "2 runs, 2 done before" in output
    assert sorted(map(str, rows(Path("both/results.csv")))) == sorted(str(row) for path in tables for row in rows(path))
    page = Path("both/report/own.md").read_text()
    assert "| ppo |" in page and "| a2c |" in page
    _, output, _ = call("--out", "both")
    assert "2 runs, 2 done before" in output  # they stay joined
    _, output, _ = call("--out", "both", "--seeds", 2, "--agents", "a2c")
    assert "2 runs, 1 done before" in output
    assert {(row["agent"], row["seed"]) for row in rows(Path("both/results.csv"))} == {
        ("ppo", "0"), ("a2c", "0"), ("a2c", "1"),
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_of_the_folder_stays_as_it_is(call: Call) -> None:
    before = rows(Path("ppo/results.csv"))
    Path("other.csv").write_text(Path("ppo/results.csv").read_text().replace("Linux", "Solaris"))
    _, output, _ = call("--out", "ppo", "--agents", "ppo", "--join", "other.csv")
    assert "0 of 1 runs joined" in output and rows(Path("ppo/results.csv")) == before
    assert Path("ppo/runs/ppo_CartPole-v1_seed0/final/agent.dbrrl").exists()


@pytest.mark.slow
def test_runs_with_other_settings_are_refused_or_left_out(call: Call) -> None:
    Path("own.toml").write_text(SUITE.format(steps=32))
    code, _, errors = call("--out", "both", "--join", "ppo/results.csv", "a2c/results.csv")
    assert code == 2 and not list(Path("both/runs").iterdir())
    assert errors == (
        "error: ppo/results.csv: ppo on CartPole-v1, seed 0: made with other settings: steps is 64 there and 32 "
        "now: leave such runs out, and run them here, with --renew\n"
    )
    code, output, _ = call("--out", "both", "--join", "ppo/results.csv", "--renew", "--agents", "ppo")
    assert code == 0 and "0 of 1 runs joined, 1 with other settings left out" in output
    assert {row["steps"] for row in rows(Path("both/results.csv")) if row["final"] == "True"} == {"32"}


@pytest.mark.slow
def test_joined_runs_are_checked_again_where_the_suite_has_changed(call: Call) -> None:
    call("--out", "both", "--agents", "ppo", "--join", "ppo/results.csv")
    Path("own.toml").write_text(SUITE.format(steps=32))
    code, _, errors = call("--out", "both", "--agents", "ppo")
    assert code == 2 and "steps is 64 there and 32 now" in errors
    code, output, _ = call("--out", "both", "--agents", "ppo", "--renew")
    assert code == 0 and "set aside as both/superseded/ppo_CartPole-v1_seed0-1" in output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"suite": "classic"}, "holds the suite 'classic', not 'own': join a table of this one"),
        ({"settings": ""}, "has no settings of its runs: expected a table that this version of dbrrl wrote"),
        ({"settings": "[1"}, "expected settings as JSON, got '[1'"),
        ({"settings": '{"agent": 1}'}, "expected the settings of a run with its preset"),
        ({"mean": "much"}, "expected the table of a benchmark, got something else"),
    ],
)
def test_another_table_is_refused_before_anything_runs(change: dict[str, str], said: str, call: Call) -> None:
    found = rows(Path("ppo/results.csv"))
    with Path("other.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(row | change for row in found)
    code, _, errors = call("--out", "both", "--join", "other.csv")
    assert code == 2 and errors.startswith("error: other.csv: ") and said in errors and errors.count("\n") == 1
    assert not list(Path("both/runs").iterdir())


def test_code_that_a_table_names_is_not_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.syspath_prepend(".")
    text = Path("ppo/results.csv").read_text()
    assert text.count('""agent"":""ppo""') == 1
    Path("other.csv").write_text(text.replace('""agent"":""ppo""', '""agent"":""mine:Agent""'))
    code, _, errors = call("--out", "both", "--join", "other.csv")
    assert code == 2 and "made with other settings" in errors and not Path("ran").exists()


def test_a_table_that_is_missing_is_an_error_of_one_line(call: Call) -> None:
    code, _, errors = call("--out", "both", "--join", "none.csv")
    assert (code, errors) == (2, "error: none.csv: cannot be read: No such file or directory\n")
