"""Record of what affects a run's numbers besides its settings: versions, source, commit, uncommitted changes."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from . import git

_LIBRARIES = ("numpy", "gymnasium", "safetensors")
_PACKAGE = Path(__file__).parent.parent


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries, a digest of dbrrl's source, and the git commit of the working folder."""
    record = {"dbrrl": str(sys.modules["dbrrl"].__version__), "python": platform.python_version()}
    record |= {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return record | {"source": _source_digest(), "git_commit": git.commit()}


def differences(recorded: dict[str, Any]) -> list[str]:
    """Return what has changed since `recorded`: "numpy 2.1.0 is now 2.4.6"; the commit is not compared."""
    now = versions()
    names = [name for name in now if name != "git_commit" and recorded.get(name) != now[name]]
    return [f"{name} {recorded.get(name, 'unknown')} is now {now[name]}" for name in names]


def start(step: int) -> dict[str, bytes]:
    """Return the files, as content by name, that record a process which starts or resumes a run at `step`.

    "command.txt": a line with the time, the step, the commit and path of the working folder, and the command line.
    "uncommitted.patch" (after a resume "uncommitted-step-N.patch"): changes since that commit, if there are any.
    """
    patch = git.uncommitted()
    about = f"{time.strftime('%Y-%m-%d %H:%M:%S')}, step {step}, commit {git.commit(patch)}, in {_folder()}"
    name = f"uncommitted-step-{step}.patch" if step else "uncommitted.patch"
    line = f"{about}: {shlex.join(_command())}\n"
    return {"command.txt": line.encode(errors="replace")} | ({name: patch} if patch else {})


def _command() -> list[str]:
    """Return the command line of this process, or of the command that started it as a worker."""
    words = sys.orig_argv
    return words if "--multiprocessing-fork" not in words else [sys.executable, *sys.argv]


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "a folder that was removed"


def _source_digest() -> str:
    digest = hashlib.sha256()
    folders = (_PACKAGE, _PACKAGE / "agents", _PACKAGE / "envs")
    # rglob does not follow links, which agents and envs are in a checkout.
    files = {file.relative_to(_PACKAGE): file for folder in folders for file in folder.rglob("*.py")}
    for name in sorted(files):
        digest.update(f"{name.as_posix()}\0".encode() + files[name].read_bytes())
    return digest.hexdigest()[:16]
