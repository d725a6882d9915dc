"""Files as they are written and read: no planted link is followed, nothing of the user's goes, nothing is endless."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from dbrrl import checkpoint, evaluate, plot, train
from dbrrl.benchmarks import results
from dbrrl.checkpoint import files
from dbrrl.errors import CheckpointError, ConfigError, RunError
from dbrrl.experiment import Experiment, command, settings
from dbrrl.experiment.directory import RunDirectory
from dbrrl.reporting import table

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices of POSIX")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that can be trained on."""
    options = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 1, "eval_episodes": 1}
    Experiment("ppo", out=tmp_path, name="run", num_envs=2, **options).run(steps=64)  # type: ignore[arg-type]
    return tmp_path / "run"


def go_on(run: Path) -> None:
    Experiment.resume(run, progress=False).run(steps=96)


@posix
def test_a_planted_link_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".x.{os.getpid()}.tmp").symlink_to(victim)
    (tmp_path / ".x.dbrrl-0000000000000000.tmp").symlink_to(victim)
    names = iter(["0000000000000000", "1111111111111111"])  # the first is planted
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    files.write(tmp_path / "x", b"ours")
    assert victim.read_text() == "mine" and (tmp_path / "x").read_bytes() == b"ours"
    assert not (tmp_path / ".x.dbrrl-1111111111111111.tmp").exists()


@posix
def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "x").symlink_to("victim")
    files.write(tmp_path / "x", b"ours")
    assert (tmp_path / "victim").read_text() == "mine" and not (tmp_path / "x").is_symlink()


@posix
def test_a_file_gets_the_mode_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write(tmp_path / "x", b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_names_differ_each_time_and_are_gone_after_an_error(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with contextlib.suppress(KeyError), files.beside(tmp_path / "x", ".gif") as (path, descriptor):
            os.close(descriptor)
            names.add(path.name)
            assert path.exists() and path.suffix == ".gif"
            raise KeyError
    assert len(names) == 3 and not list(tmp_path.iterdir())


@posix
@pytest.mark.parametrize(
    "name", ["best", "final", "checkpoints", "tensorboard", "scores.csv", "progress.csv", "evaluation_episodes.csv"]
)
def test_a_run_goes_on_through_no_link(run: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    if (run / name).exists():
        (run / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (run / name).symlink_to(elsewhere)
    inside = sorted(elsewhere.iterdir()) if elsewhere.is_dir() else [elsewhere]
    before = [(path.name, path.read_bytes()) for path in inside]
    with pytest.raises(RunError, match=f"run/{name}: is a link"):
        go_on(run)
    inside = sorted(elsewhere.iterdir()) if elsewhere.is_dir() else [elsewhere]
    assert [(path.name, path.read_bytes()) for path in inside] == before


@posix
def test_a_link_that_comes_while_the_run_goes_on_is_refused_too(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "final").symlink_to("elsewhere")
    with pytest.raises(RunError, match="final: is a link"):
        directory.prepare(directory.final.parent)
    (tmp_path / "scores.csv").symlink_to("victim")
    with pytest.raises(RunError, match=r"scores.csv: cannot be written"):
        table._append(directory.scores, "1\n")
    assert not (tmp_path / "victim").exists()


def test_only_our_own_temporary_files_are_removed(run: Path) -> None:
    ours = [run / ".config.toml.dbrrl-0123456789abcdef.tmp", run / "best" / ".agent.dbrrl.dbrrl-00000000000000ff.tmp"]
    users = [run / ".notes.tmp", run / "best" / ".x.1234.tmp", run / ".x.dbrrl-0123.tmp", run / "sub" / ours[0].name]
    (run / "sub").mkdir()
    for path in (*ours, *users):
        path.write_text("half")
    folder = run / ".y.dbrrl-0123456789abcdef.tmp"
    folder.mkdir()
    (run / ".x.tmp").mkdir()
    go_on(run)
    assert not any(path.exists() for path in ours)
    assert all(path.read_text() == "half" for path in users) and folder.is_dir() and (run / ".x.tmp").is_dir()


@posix
def test_a_sweep_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / ".a.dbrrl-0123456789abcdef.tmp"
    kept.touch()
    (tmp_path / "best").symlink_to("elsewhere")
    files.sweep(tmp_path / "best")
    files.sweep(tmp_path / "nowhere")
    assert kept.exists()


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a device"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "agent.dbrrl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    word = "device" if "device" in kind else kind
    said = f"{path}: cannot be read: is a {word}, expected a file"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(path, kind="agent")
    with pytest.raises(ConfigError, match=said):
        settings.read(path)
    for read in (table.read, results.read):
        with pytest.raises(RunError, match=said):
            read(path)


@posix
def test_commands_do_not_wait_for_a_pipe(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = run / "pipe"
    os.mkfifo(pipe)
    for module, words in ((evaluate, [pipe, "--env", "CartPole-v1"]), (train, ["--config", pipe])):
        assert command.run(module.main, [str(word) for word in words]) == 2  # type: ignore[attr-defined]
        assert capsys.readouterr().err == f"error: {pipe}: cannot be read: is a pipe, expected a file\n"
    (run / "scores.csv").unlink()
    os.mkfifo(run / "scores.csv")
    assert command.run(plot.main, [str(run), "--out", str(run / "curve.svg")]) == 2
    assert "scores.csv: cannot be read: is a pipe" in capsys.readouterr().err
    with pytest.raises((RunError, CheckpointError), match="is a pipe"):
        go_on(run)


def test_a_file_is_read_as_far_as_it_was_long(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert files.read(path, 5) == b"12345" and files.size(path) == 5
    with pytest.raises(OSError, match="expected at most 4 bytes, got 5"):
        files.read(path, 4)
    os.truncate(path, 1 << 40)  # takes no room on the disk
    for read, error in ((settings.read, ConfigError), (table.read, RunError), (results.read, RunError)):
        with pytest.raises(error, match="expected at most"):
            read(path)
    assert stat.S_ISREG(path.stat().st_mode)
