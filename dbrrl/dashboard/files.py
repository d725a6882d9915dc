"""The files in a run's folder: those that may be looked at, found by listing, never by a path that was sent."""

import os
from pathlib import Path

from . import tables
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
    found: list[File] = []
    waiting = [("", str(folder), 0)]
    while waiting and len(found) < MOST:
        name, place, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{name}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                kind = _KINDS.get(os.path.splitext(entry.name)[1].lower(), "other")
                found.append(File(path, status.st_size, status.st_mtime, kind))  # type: ignore[arg-type]
            elif depth < _DEPTH and entry.is_dir(follow_symlinks=False):
                waiting.append((f"{path}/", entry.path, depth + 1))
    return sorted(found[:MOST], key=lambda file: file.path)


def content(folder: Path, path: str) -> bytes | None:
    """Return the content of a file that `listed` names; None if it names none of this path, or it is too large."""
    known = next((file for file in listed(folder) if file.path == path), None)
    if known is None or known.size > LARGEST:
        return None
    try:
        return tables.read(folder / known.path, 0, LARGEST)
    except OSError:
        return None
