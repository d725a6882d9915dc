"""Whether memory is freed without the help of Python's collector of cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leaving_no_cycles() -> Iterator[None]:
    """Assert that what the block lets go is freed without the collector: before and after, there are no cycles."""
    while gc.collect():  # what is freed may hold cycles itself
        pass
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()
