"""Files as they are written and read: whole or not at all, through no link that someone planted, never without end."""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dbrrl.errors import CheckpointError

# A name of its own for each file that is being written; after a crash it says that it is ours.
_TEMPORARY = re.compile(r"\..+\.dbrrl-[0-9a-f]{16}\.tmp(\.\w+)?")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


def write(path: str | os.PathLike[str], content: Iterable[Any] | bytes) -> None:
    """Put `content`, whole or in pieces, at `path`: a reader, also after a crash, finds the old file or all of this.

    It is written to a new file beside its place, synced to the disk and renamed; a link at `path` is replaced, not
    followed. Raises CheckpointError where it cannot be written.
    """
    place = Path(path)
    try:
        with beside(place) as (temporary, descriptor):
            with os.fdopen(descriptor, "wb") as file:
                pieces: Iterable[Any] = (content,) if isinstance(content, bytes) else content
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        _sync_folder(place.parent)
    except OSError as error:
        raise CheckpointError(
            f"{place}: cannot be written: {error.strerror or error}; files saved earlier are intact"
        ) from error


@contextlib.contextmanager
def beside(place: Path, ending: str = "") -> Iterator[tuple[Path, int]]:
    """A new empty file in the folder of `place`: its path, which ends in `ending`, and a descriptor to close.

    No one can know its name before it is there, and nothing that has the name is opened. At the end of the `with` block
    it is removed, unless it was renamed.
    """
    while True:
        temporary = place.with_name(f".{place.name}.dbrrl-{secrets.token_hex(8)}.tmp{ending}")
        try:
            descriptor = os.open(temporary, _NEW, 0o666)
        except FileExistsError:
            continue
        break
    try:
        yield temporary, descriptor
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes of this user left half-written in `folder`, and nothing else; none in a link."""
    with contextlib.suppress(OSError):
        if is_link(folder):
            return
        for entry in os.scandir(folder):
            ours = _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if ours and (os.name != "posix" or entry.stat(follow_symlinks=False).st_uid == os.geteuid()):
                os.unlink(entry.path)


def is_link(path: Path) -> bool:
    """Whether `path` is a symbolic link, or on Windows a junction."""
    return path.is_symlink() or bool(getattr(os.path, "isjunction", lambda _: False)(path))


def size(path: str | os.PathLike[str]) -> int:
    """Bytes of a regular file; OSError for anything else, which is not opened: a pipe or a device may have no end."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind}, expected a file")
    return status.st_size


def read(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes; OSError for a larger one, and for what is no such file."""
    length = size(path)
    if length > most:
        raise OSError(errno.EFBIG, f"expected at most {most:,} bytes, got {length:,}")
    with os.fdopen(os.open(path, _READ), "rb") as file:
        return file.read(length)


def _sync_folder(folder: Path) -> None:
    # The rename itself is safe from a power cut only once the folder is on the disk; only POSIX can sync one.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
