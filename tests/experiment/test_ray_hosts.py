"""Runs over two hosts, which are network namespaces of this machine, and a cut of the cable between them.

A run waits for the cable; or Ray gives up the worker at its other end, which is replaced. Data-parallel ones end with
the same bits either way. Another version on one of the hosts is refused.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbrrl.errors import ConfigError
from dbrrl.experiment import ray_cluster

try:
    ray_cluster.load()
except ConfigError:
    pytest.skip("needs dbrrl[ray]", allow_module_level=True)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HOSTS = ("dbrrl-one", "dbrrl-two")
ADDRESS = "10.77.0.1:6390"
VARIABLES = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
TRAIN = "--agent ppo --env CartPole-v1 --workers 2 --num-envs 8 --n-steps 64 --batch-size 128 --steps 40960 --no-preset"
TRAIN += " --final-episodes 2 --eval-episodes 2 --eval-interval 8192 --no-curve"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def on(host: str, *words: str, **variables: str) -> "subprocess.Popen[bytes]":
    """Start a command of this Python on a host."""
    command = ["ip", "netns", "exec", host, sys.executable, "-m", *words]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | VARIABLES | variables, stdout=subprocess.DEVNULL)


def have_namespaces() -> bool:
    """Whether this machine lets a test make hosts of its own."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "dbrrl-probe"], capture_output=True).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", "dbrrl-probe"], capture_output=True).returncode == 0


@pytest.fixture
def variables() -> dict[str, str]:
    """Variables of the second host."""
    return {}


@pytest.fixture
def cluster(variables: dict[str, str]) -> Iterator[None]:
    """A head of Ray on one host, and a node on the other, of one processor each."""
    if not have_namespaces():
        pytest.skip("needs network namespaces: root, and the command ip of iproute2")
    logs = tempfile.mkdtemp(prefix="ray-")
    started: list[subprocess.Popen[bytes]] = []
    try:
        for host in HOSTS:
            ip(f"netns add {host}")
        ip(f"link add veth0 netns {HOSTS[0]} type veth peer name veth0 netns {HOSTS[1]}")
        for number, host in enumerate(HOSTS, 1):
            ip(f"-n {host} addr add 10.77.0.{number}/24 dev veth0")
            for device in ("lo", "veth0"):
                ip(f"-n {host} link set {device} up")
        start = ("ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--include-dashboard", "false")
        head = ("--head", "--port", "6390", "--node-ip-address", "10.77.0.1", "--temp-dir", logs)
        started.append(on(HOSTS[0], *start, *head))
        status = ["ip", "netns", "exec", HOSTS[0], sys.executable, "-m", "ray.scripts.scripts", "status"]
        deadline = time.monotonic() + 60
        while (
            time.monotonic() < deadline
            and subprocess.run(
                [*status, "--address", ADDRESS], env=os.environ | VARIABLES, capture_output=True
            ).returncode
        ):
            time.sleep(0.5)
        node = ("--address", ADDRESS, "--node-ip-address", "10.77.0.2")
        started.append(on(HOSTS[1], *start[:-2], *node, **variables))
        while (
            time.monotonic() < deadline
            and b"/2.0 CPU"
            not in subprocess.run(
                [*status, "--address", ADDRESS], env=os.environ | VARIABLES, capture_output=True
            ).stdout
        ):
            time.sleep(0.5)
        yield
    finally:
        for host in HOSTS:
            found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
            for pid in map(int, found):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", host], check=False)
        for process in started:
            process.wait()
        shutil.rmtree(logs, ignore_errors=True)


def rows(run: Path) -> int:
    file = run / "progress.csv"
    return len(file.read_text().splitlines()) if file.exists() else 0


def cut(run: Path, *words: str) -> None:
    """Run a command on the first host, cut the cable for ten seconds after twenty rows of progress, and wait for it.

    With the cable nothing goes on once what was under way is over: no agent learns for long from one worker alone.
    """
    process, deadline = on(HOSTS[0], *words, "--ray-address", ADDRESS), time.monotonic() + 90
    while rows(run) < 20 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    ip(f"-n {HOSTS[0]} link set veth0 down")
    time.sleep(3)
    before = rows(run)
    time.sleep(7)
    assert rows(run) == before > 19
    ip(f"-n {HOSTS[0]} link set veth0 up")
    assert process.wait(timeout=180) == 0


def test_a_cable_that_is_cut_for_ten_seconds_changes_nothing(cluster: None, tmp_path: Path) -> None:
    words = ("dbrrl.train", *TRAIN.split(), "--out", str(tmp_path), "--name")
    cut(tmp_path / "two", *words, "two")
    local = subprocess.run([sys.executable, "-m", *words, "one"], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=120)
    assert local.returncode == 0
    final = [(tmp_path / name / "final" / "agent.dbrrl").read_bytes() for name in ("two", "one")]
    assert final[0] == final[1]


def test_workers_that_do_not_wait_survive_the_cut_without_loss(cluster: None, tmp_path: Path) -> None:
    words = "--agent impala --env CartPole-v1 --workers 2 --num-envs 8 --steps 80000 --no-preset --final-episodes 2"
    words += f" --eval-episodes 2 --no-curve --out {tmp_path} --name run"
    cut(tmp_path / "run", "dbrrl.train", *words.split())
    last = (tmp_path / "run" / "scores.csv").read_text().splitlines()[-1]
    assert last.split(",")[0] == "80000"


@pytest.fixture
def older(tmp_path: Path, variables: dict[str, str]) -> None:
    """Let every Python of the second host have another version of dbrrl."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import dbrrl\n\ndbrrl.__version__ = '0.0.1'\n")
    variables["PYTHONPATH"] = str(tmp_path / "site")


def test_another_version_on_a_host_is_refused(older: None, cluster: None, tmp_path: Path) -> None:
    command = ["ip", "netns", "exec", HOSTS[0], sys.executable, "-m", "dbrrl.train", *TRAIN.split()]
    command += ["--ray-address", ADDRESS, "--out", str(tmp_path), "--name", "run"]
    found = subprocess.run(command, cwd=ROOT, env=os.environ | VARIABLES, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2, found.stderr
    assert "on every host, as in the process that trains, got 0.0.1 on" in found.stderr
    assert "Traceback" not in found.stderr
