"""What several tests of this folder use."""

from collections.abc import Iterator
from typing import Any

import pytest

from dbrrl.experiment import ray_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of Ray with room for four workers, whatever this machine has."""
    with ray_cluster.connected(4, room=4) as ray:
        yield ray
