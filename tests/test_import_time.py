"""`import dbrrl` costs little more than `import gymnasium`, and loads no slow library before its use."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_RATIO = 1.3
REPEATS = 9
LAZY = ["matplotlib", "tensorboard", "cupy", "pygame", "moviepy", "scipy", "tqdm", "tyro", "pandas", "torch"]

MEASURE = """
import sys, time
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start)
"""


def seconds(module: str) -> float:
    """Time of one import in a fresh process."""
    return float(run(MEASURE, module))


def run(code: str, *arguments: str) -> str:
    """The output of `code` in a new process at the root of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_import_takes_little_longer_than_gymnasium() -> None:
    for module in ("gymnasium", "dbrrl"):  # byte code is written and files are cached once, uncounted
        seconds(module)
    times: dict[str, list[float]] = {"gymnasium": [], "dbrrl": []}
    for _ in range(REPEATS):
        for module, taken in times.items():
            taken.append(seconds(module))
    # A busy machine slows both sides now and then: either measure of the middle or of the best may pass.
    ratios = [center(times["dbrrl"]) / center(times["gymnasium"]) for center in (statistics.median, min)]
    assert min(ratios) <= MAX_RATIO, f"median ratio {ratios[0]:.2f}, best ratio {ratios[1]:.2f}"


@pytest.mark.parametrize("names", ["[]", "dbrrl.__all__"])
def test_slow_libraries_wait_for_their_use(names: str) -> None:
    code = (
        f"import dbrrl, sys, json; [getattr(dbrrl, name) for name in {names}];"
        "print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))"
    )
    assert json.loads(run(code, *LAZY)) == []


def test_kernels_wait_for_an_array_on_a_gpu() -> None:
    code = "import dbrrl.functional, dbrrl.envs, sys; print([name for name in sys.modules if 'dbrrl.kernels' in name])"
    assert run(code).strip() == "[]"


def test_import_registers_the_environments() -> None:
    code = "import dbrrl, gymnasium; print(gymnasium.spec('dbrrl/CartPole-v1').id)"
    assert run(code).strip() == "dbrrl/CartPole-v1"


def test_every_part_of_the_face_is_loaded_by_import_dbrrl_alone() -> None:
    uses = ("testing.check_gradients", "returns.gae", "schedules.linear", "normalize.RunningMeanStd", "agents.PPO")
    for use in uses:
        assert run(f"import dbrrl; print(dbrrl.{use}.__name__)").strip() == use.partition(".")[2]
