"""Memory of a GPU's pool while a block of code runs: held, in use, and at its peak."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Pool:
    """Bytes of CuPy's memory pool: in arrays, kept from the driver (those and what is free for the next), at most."""

    used: int = 0
    held: int = 0
    peak: int = 0

    def __str__(self) -> str:
        used, held, peak = (f"{size / 1e6:.1f} MB" for size in (self.used, self.held, self.peak))
        return f"memory of the GPU {used} used, {peak} at most, {held} held by the pool"


class Watch:
    """Follows the pool from its making to `close`, by a memory hook: also what lives only inside an op is seen."""

    def __init__(self, cupy: Any) -> None:
        self._pool = cupy.get_default_memory_pool()
        self._live = self._peak = int(self._pool.used_bytes())
        change = self._change

        class Hook(cupy.cuda.MemoryHook):  # type: ignore[misc]
            name = f"dbrrl.profile {id(self)}"

            def malloc_postprocess(self, **block: Any) -> None:
                change(block["mem_size"])

            def free_postprocess(self, **block: Any) -> None:
                change(-block["mem_size"])

        self._hook = Hook()
        self._hook.__enter__()

    def _change(self, size: int) -> None:
        self._live += size
        self._peak = max(self._peak, self._live)

    def read(self) -> Pool:
        """The figures now."""
        return Pool(int(self._pool.used_bytes()), int(self._pool.total_bytes()), self._peak)

    def close(self) -> Pool:
        """The figures at the end."""
        self._hook.__exit__(None, None, None)
        return self.read()
