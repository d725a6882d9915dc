"""The extension module: which level it runs at, and what is said where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dbrrl.backend.threads import cblas
from dbrrl.errors import ConfigError
from dbrrl.kernels.cpu import extension

ROOT = Path(__file__).parents[3]
compiled = pytest.mark.skipif(extension.module is None, reason=extension.reason or "there are compiled kernels")


def output(code: str, choice: str = "auto", *options: str) -> str:
    """What `code` prints in a new process with DBRRL_KERNELS=choice."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DBRRL_KERNELS": choice}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_kernels_that_exist_are_those_of_this_checkout() -> None:
    built = list(extension.SOURCES.parent.glob("_c.*[od]"))
    if not built:
        pytest.skip("the extension module is not compiled")
    assert "other sources" not in extension.reason, "compile them again: python -m pip install -e ."


def test_numpy_computes_where_kernels_are_turned_off_or_missing(tmp_path: Path) -> None:
    module, reason = extension.load("numpy")
    assert module is None and reason == "DBRRL_KERNELS=numpy turns them off: unset it"
    code = (
        "import sys; sys.modules['dbrrl.kernels.cpu._c'] = None\n"
        "import numpy as np, dbrrl.nn as nn, dbrrl.optim as optim, dbrrl.kernels.cpu.extension as e\n"
        "layer = nn.Linear(2, 2, rng=np.random.default_rng(0))\n"
        "step = optim.Adam(layer); step.gradient[:] = 1; step.step(); print(e.module, e.reason)"
    )
    said = output(code)
    assert said.startswith("None they were not compiled when dbrrl was installed: ") and "python -m pip install" in said


def test_kernels_of_other_sources_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if extension.module is None:
        pytest.skip(extension.reason)
    (tmp_path / "optim.c").write_text("int x;")
    monkeypatch.setattr(extension, "SOURCES", tmp_path)
    module, reason = extension.load("auto")
    assert module is None and reason.startswith("they were compiled from other sources than those of this checkout: ")


def test_a_choice_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"DBRRL_KERNELS: expected one of auto, avx512, .*, numpy, got 'fast'"):
        extension.load("fast")
    if extension.module is None:
        return
    monkeypatch.setattr(extension.importlib, "import_module", lambda name: _Old())
    monkeypatch.setattr(extension, "SOURCES", Path("nowhere"))
    with pytest.raises(ConfigError, match="no avx512: expected auto, numpy or one of plain, avx2"):
        extension.load("avx512")


@compiled
def test_a_replay_buffer_by_itself_runs_on_the_kernels() -> None:
    code = (
        "import sys; from dbrrl.buffers import ReplayBuffer; ReplayBuffer(8, 1, [(1,)], ['f4']);"
        "print('dbrrl.kernels.cpu.replay' in sys.modules)"
    )
    assert output(code) == "True"


@pytest.mark.parametrize("command", ["train --agent ppo --env CartPole-v1 --out runs", "doctor"])
def test_a_command_refuses_a_choice_there_is_not_in_one_line(tmp_path: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DBRRL_KERNELS": "fast"}
    words = [sys.executable, "-m", *f"dbrrl.{command}".split()]
    found = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    expected = "error: DBRRL_KERNELS: expected one of auto, avx512, avx2, plain, numpy, got 'fast'"
    assert found.returncode and found.stderr.splitlines()[-1] == expected and "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


class _Old:
    """An extension module on a processor without AVX-512."""

    sources = ""

    def levels(self) -> list[str]:
        return ["plain", "avx2"]


@compiled
def test_the_level_is_the_best_there_is_or_that_of_the_variable() -> None:
    code = "import dbrrl.kernels.cpu.extension as e; print(e.module.level(), e.module.levels()[-1])"
    level, best = output(code).split()
    assert level == best
    assert output(code, "plain").split() == ["plain", best]
    code = "import dbrrl.kernels.cpu.extension as e; print(e.module, e.reason)"
    assert output(code, "numpy") == "None DBRRL_KERNELS=numpy turns them off: unset it"


@compiled
def test_a_level_there_is_not_is_refused() -> None:
    for name in ("sse", 3, ""):
        with pytest.raises(ValueError, match="level: expected"):
            extension.module.use_level(name)


@compiled
def test_matrix_products_are_those_of_numpy() -> None:
    functions, wide = cblas("sgemm", "dgemm")
    expected = "own" if functions is None else "64-bit" if wide else "32-bit"
    assert extension.module.blas() == expected
    assert cblas("no_such_function") == (None, False)


def test_kernels_are_loaded_with_the_first_optimizer_and_not_before() -> None:
    code = (
        "import sys, numpy as np, dbrrl.nn as nn, dbrrl.optim as optim, dbrrl.functional\n"
        "layer = nn.Linear(2, 2, rng=np.random.default_rng(0)); before = 'dbrrl.kernels.cpu' in sys.modules\n"
        "optim.SGD(layer, 0.1); print(before, 'dbrrl.kernels.cpu' in sys.modules)"
    )
    assert output(code) == "False True"


def test_float64_is_the_type_of_numpy_numbers() -> None:
    assert isinstance(np.float64(1), float)  # which kernels take for a number
