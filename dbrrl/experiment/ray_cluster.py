"""The cluster of Ray that has a run's workers: one that the run starts on this machine, or one at an address."""

import contextlib
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl import backend
from dbrrl.errors import ConfigError, RunError

PATIENCE = 10.0  # seconds for a cluster to answer
CURE = "pip install 'dbrrl[ray]'"


def load(address: str | None = None) -> Any:
    """Return the module `ray`; ConfigError where it is not installed.

    Ray has no option for a cluster that listens on the loopback alone: on Linux it asks for a variable that it reads
    as it is imported. It is set where no other host is to be reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leaves CUDA_VISIBLE_DEVICES as it is
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"workers: several workers need Ray, which is not installed: {CURE}") from error
    return ray


@contextlib.contextmanager
def connected(workers: int, address: str | None = None, room: int | None = None) -> Iterator[Any]:
    """Yield `ray`, connected to a cluster with room for the workers; a cluster that was started here ends after it.

    Args:
        workers: how many there will be.
        address: of a cluster; None: one is started here, or that is used which this process is connected to.
        room: how many workers the cluster that is started takes; None: as many as there are.

    Raises:
        ConfigError: Ray is not installed, or there are fewer processors than workers.
        RunError: nothing answers at the address.
    """
    ray = load(address)
    if ray.is_initialized():  # somebody else's connection, who ends it
        check_room(ray, workers)
        yield ray
        return
    if address is None and room is None and workers > (cores := backend.cpu_count()):
        raise ConfigError(
            f"workers: expected at most one per processor, of which there are {cores}, got {workers}: give fewer, or "
            "the address of a larger cluster"
        )
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "configure_logging": False}
        if address is None:
            logs = stack.enter_context(tempfile.TemporaryDirectory(prefix="dbrrl-ray-", ignore_cleanup_errors=True))
            options |= {"address": "local", "num_cpus": room or workers, "include_dashboard": False}
            options |= {"_node_ip_address": "127.0.0.1", "_temp_dir": logs}
        try:
            if address is not None:
                knock(address)
            ray.init(**options)
        except (OSError, ValueError, RuntimeError) as error:
            where = "no cluster of Ray could be started here" if address is None else f"no cluster answers at {address}"
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            cure = "check it with `ray status`; set RAY_AUTH_MODE=token where the cluster asks for a token"
            raise RunError(f"ray_address: {where} ({line}): {cure}") from error
        stack.callback(ray.shutdown)
        check_room(ray, workers)
        yield ray


def knock(address: str) -> None:
    """Raise OSError where nothing listens at host:port; Ray itself would ask for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def check_room(ray: Any, workers: int) -> None:
    """Raise ConfigError if the cluster has fewer processors than there are workers."""
    there = int(ray.cluster_resources().get("CPU", 0))
    if there < workers:
        raise ConfigError(
            f"workers: expected at most one per processor of the cluster, which has {there}, got {workers}: give fewer"
        )


def check_gpus(ray: Any, count: int) -> None:
    """Raise ConfigError if the cluster has fewer GPUs than are needed."""
    there = int(ray.cluster_resources().get("GPU", 0))
    if there < count:
        raise ConfigError(
            f"device: workers on 'cuda' have a GPU each, expected {count} in the cluster, which has {there}: "
            "give fewer workers, or device=cpu"
        )


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all hosts."""
    return {
        "dbrrl": str(sys.modules["dbrrl"].__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def compare(expected: dict[str, str]) -> None:
    """Raise ConfigError, on a worker's host, if its versions are not those of the process that runs the experiment."""
    for name, own in versions().items():
        if own != expected[name]:
            raise ConfigError(
                f"workers: expected {name} {expected[name]} on every host, as in the process that trains, got {own} on "
                f"{platform.node()}: install the same version there"
            )


def host() -> str:
    """Return Ray's identifier of the host that this worker is on."""
    return str(load().get_runtime_context().get_node_id())
