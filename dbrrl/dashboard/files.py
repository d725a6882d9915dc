"""The files in a run's folder: those that may be looked at, found by listing, never by a path that was sent."""

import contextlib
import os
from pathlib import Path

from . import sendable, tables
from .messages import File

MOST = 2_000  # files that are listed
_DEPTH = 4
_KINDS = {
    ".png": "image", ".gif": "image", ".svg": "text", ".mp4": "video", ".csv": "text", ".toml": "text", ".txt": "text",
    ".jsonl": "text", ".patch": "text", ".dbrrl": "checkpoint", ".wav": "audio", ".mp3": "audio", ".ogg": "audio",
    ".json": "text", ".md": "text", ".log": "text",
}  # fmt: skip
TYPES = {  # which a browser may show; others are saved
    ".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4", ".wav": "audio/wav", ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
}  # fmt: skip
LARGEST = 1 << 28  # bytes of a file that is sent


def listed(folder: Path) -> list[File]:
    """Return the regular files in a folder and below; links and hidden files are left out."""
    return sorted(_found(folder).values(), key=lambda file: file.path)[:MOST]


def _found(folder: Path) -> dict[str, File]:
    """Return the files by their places."""
    found: dict[str, File] = {}
    waiting = [("", str(folder), 0)]
    while waiting and len(found) < MOST:
        name, place, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{name}{sendable.path(entry.name)}"
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):  # it may be gone, or not ours to look at
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    kind = _KINDS.get(os.path.splitext(entry.name)[1].lower(), "other")
                    found[entry.path] = File(path, status.st_size, status.st_mtime, kind)  # type: ignore[arg-type]
                elif depth < _DEPTH and entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{path}/", entry.path, depth + 1))
    return found


def content(folder: Path, path: str) -> bytes | None:
    """Return the content of a file that `listed` names; None if it names none of this path, or it is too large."""
    for place, file in _found(folder).items():
        if file.path == path and file.size <= LARGEST:
            with contextlib.suppress(OSError):
                return tables.read(Path(place), 0, LARGEST)
    return None
