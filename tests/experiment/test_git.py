"""The commit and the uncommitted changes of the working folder: right, bounded, and no program of the folder runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dbrrl.experiment import git

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("git"), reason="programs of a shell, and git")


def call(*words: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *names, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file, which is the working folder."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))  # the temporary folder may be inside a repository
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    call("init", "-q")
    Path("agent.py").write_text("gamma = 0.99\n")
    call("add", ".")
    call("commit", "-qm", "first")
    return folder


def test_a_clean_folder_has_its_commit_and_an_empty_patch(repository: Path) -> None:
    name = git.commit()
    assert len(name) == 40 and set(name) <= set("0123456789abcdef")
    assert git.uncommitted() == b""
    Path("notes.txt").write_text("a file that git does not track")
    assert git.commit() == name


def test_the_patch_brings_the_commit_to_the_folder(repository: Path) -> None:
    Path("agent.py").write_text("gamma = 0.9\n")
    assert git.commit().endswith("-dirty")
    patch = git.uncommitted()
    assert patch is not None and b"-gamma = 0.99\n+gamma = 0.9\n" in patch
    call("checkout", "-q", "agent.py")
    subprocess.run(["git", "apply"], input=patch, check=True)
    assert Path("agent.py").read_text() == "gamma = 0.9\n"


def test_a_subfolder_and_the_users_settings_change_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("agent.py").write_text("gamma = 0.9\n")
    plain = git.uncommitted()
    (repository / "runs").mkdir()
    monkeypatch.chdir(repository / "runs")
    for name, value in {"diff.noprefix": "true", "diff.relative": "true", "color.ui": "always"}.items():
        call("config", name, value)
    assert git.uncommitted() == plain


def test_a_long_patch_is_cut(repository: Path) -> None:
    Path("agent.py").write_text("x = 1\n" * 1_000_000)
    patch = git.uncommitted()
    assert patch is not None and patch.endswith(b"(cut here)\n") and len(patch) < git.LONGEST + 20
    assert git.commit().endswith("-dirty")


def test_a_folder_without_a_commit_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert (git.commit(), git.uncommitted()) == ("none", None)
    call("init", "-q")
    assert (git.commit(), git.uncommitted()) == ("none", None)
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert (git.commit(), git.uncommitted()) == ("none", None)


# Settings of a repository that make plain git run a program: the section, the key, and what it is given.
ATTACKS = {
    "file-system monitor": ("[core]", "fsmonitor"),
    "external diff": ("[diff]", "external"),
    "diff of a kind": ('[diff "trap"]', "command"),
    "conversion to text": ('[diff "trap"]', "textconv"),
    "filter": ('[filter "trap"]', "clean"),
    "filter that stays": ('[filter "trap"]', "process"),
    "filter with an odd name": ('[filter "a=b"]', "clean"),
    "monitor of a submodule": ("[core]", "fsmonitor"),
    "hook": ("", ""),
}


@pytest.fixture(params=ATTACKS)
def trap(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Path:
    """Make the working folder name a program to git; the file that it writes if it runs."""
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {ran}\ncat\n")
    program.chmod(0o755)
    name = request.param
    settings = repository / ".git" / "config"
    if name == "monitor of a submodule":
        call("clone", "-q", ".", "inner")
        call("add", "inner")
        call("commit", "-qm", "second")
        settings = repository / "inner" / ".git" / "config"
    section, key = ATTACKS[name]
    with settings.open("a") as file:
        file.write(f"{section}\n\t{key} = {program}\n" if section else "")
    if not section:
        hook = repository / ".git" / "hooks" / "post-index-change"
        hook.parent.mkdir(exist_ok=True)
        hook.symlink_to(program)
    kind = "a=b" if "a=b" in section else "trap"
    (repository / ".git" / "info").mkdir(exist_ok=True)
    (repository / ".git" / "info" / "attributes").write_text(f"*.py diff={kind} filter={kind}\n")
    Path("agent.py").write_text("gamma = 0.9\n")
    return ran


def test_no_program_that_the_folder_names_runs(trap: Path) -> None:
    git.commit()
    patch = git.uncommitted()
    assert not trap.exists()
    assert patch is None or b"+gamma = 0.9" in patch


def test_plain_git_runs_each_of_them(trap: Path) -> None:
    subprocess.run(["git", "status"], capture_output=True, timeout=10, check=False)
    subprocess.run(["git", "diff", "HEAD"], capture_output=True, timeout=10, check=False)
    assert trap.exists()
