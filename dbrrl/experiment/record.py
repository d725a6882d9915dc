"""What decides a run's numbers besides its settings: versions, source, commit, machine."""

import functools
import hashlib
import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

from . import git

_LIBRARIES = ("numpy", "gymnasium", "safetensors")
_PACKAGE = Path(__file__).parent.parent


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes, a digest of dbrrl's source, and the git commit of the working folder."""
    record = {"dbrrl": str(sys.modules["dbrrl"].__version__), "python": platform.python_version()}
    record |= {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return record | {"source": _source_digest(), "git_commit": git.commit()}


def differences(recorded: dict[str, Any]) -> list[str]:
    """What is not as recorded: "numpy 2.1.0 is now 2.4.6"; the commit alone changes no number."""
    now = versions()
    names = [name for name in now if name != "git_commit" and recorded.get(name) != now[name]]
    return [f"{name} {recorded.get(name, 'unknown')} is now {now[name]}" for name in names]


def _source_digest() -> str:
    digest = hashlib.sha256()
    folders = (_PACKAGE, _PACKAGE / "agents", _PACKAGE / "envs")
    # glob does not follow the links agents and envs of a checkout by itself.
    files = {file.relative_to(_PACKAGE): file for folder in folders for file in folder.rglob("*.py")}
    for name in sorted(files):
        digest.update(f"{name.as_posix()}\0".encode() + files[name].read_bytes())
    return digest.hexdigest()[:16]
