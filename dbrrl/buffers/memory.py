"""What a large buffer will take, asked before it is made."""

import sys
from pathlib import Path

from dbrrl.errors import ConfigError

_GROUP, _FILES = Path("/sys/fs/cgroup"), ("max", "current", "stat")
LARGE = 1 << 30  # bytes from which the size is announced


def available_bytes() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:  # a container may be given less than the machine has
        limit, used, detail = ((_GROUP / f"memory.{name}").read_text(encoding="ascii") for name in _FILES)
        entries = dict(line.split() for line in detail.splitlines())
        files = int(entries.get("active_file", 0)) + int(entries.get("inactive_file", 0))  # given back when needed
        return free if limit.strip() == "max" else min(free, max(int(limit) - int(used) + files, 0))
    except (OSError, ValueError):
        return free


def require_memory(size: int, what: str) -> None:
    """Announce a large buffer of `size` bytes on standard error.

    Raises:
        ConfigError: it cannot fit into the memory that is available.
    """
    free = available_bytes()
    if free is not None and size > free:
        raise ConfigError(
            f"{what}: expected at most the {free / 1e9:.1f} GB of memory available, needs {size / 1e9:.1f} GB: "
            "give a smaller buffer_size"
        )
    if size >= LARGE:
        print(f"{what}: {size / 1e9:.1f} GB of memory as it fills", file=sys.stderr, flush=True)
