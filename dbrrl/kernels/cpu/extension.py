"""The extension module of compiled kernels: whether there is one, at which level it runs, and by which BLAS.

The environment variable DBRRL_KERNELS chooses the level: "auto" (the best that the processor has), "avx512", "avx2",
"plain", or "numpy": no kernels at all.
"""

import ctypes
import hashlib
import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from dbrrl.backend.threads import cblas, openblas
from dbrrl.errors import ConfigError

CHOICES = ("auto", "avx512", "avx2", "plain", "numpy")
SOURCES = Path(__file__).parent / "src"  # of a checkout; an installed package has none
INSTALL = (
    "python -m pip install -e ."
    if SOURCES.is_dir()
    else "python -m pip install --force-reinstall --no-deps --no-cache-dir dbrrl"
)
_MODULE = "dbrrl.kernels.cpu._c"


def digest(folder: Path) -> str:
    """A digest of the C sources in `folder`, as setup.py puts it into the extension module."""
    texts = sorted(path for pattern in ("*.c", "*.h", "*.inc") for path in folder.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes().replace(b"\r\n", b"\n") for path in texts)).hexdigest()[:16]


def load(choice: str) -> tuple[Any, str]:
    """The extension module, set to the level `choice`, and ""; or None, and why NumPy computes, with the cure.

    Raises:
        ConfigError: the choice is none of `CHOICES`, or a level that this processor does not have.
    """
    if choice not in CHOICES:
        raise ConfigError(f"DBRRL_KERNELS: expected one of {', '.join(CHOICES)}, got {choice!r}")
    if choice == "numpy":
        return None, "DBRRL_KERNELS=numpy turns them off: unset it"
    try:
        found: Any = importlib.import_module(_MODULE)
    except ModuleNotFoundError:
        return None, f"they were not compiled when dbrrl was installed: {_compiler()}, then {INSTALL}"
    except ImportError as error:  # compiled for another platform or NumPy
        return None, f'the extension module does not load ("{error}"): {INSTALL}'
    if SOURCES.is_dir() and found.sources != digest(SOURCES):
        return None, f"they were compiled from other sources than those of this checkout: {INSTALL}"
    levels = found.levels()
    if choice != "auto" and choice not in levels:
        raise ConfigError(
            f"DBRRL_KERNELS: this processor has no {choice}: expected auto, numpy or one of {', '.join(levels)}"
        )
    found.use_level(levels[-1] if choice == "auto" else choice)
    _give_blas(found)
    return found, ""


def _compiler() -> str:
    """What to install, if anything, before the kernels can be compiled."""
    named = os.environ.get("CC", "").split(maxsplit=1)
    names = named[:1] or ["cc", "gcc", "clang", "cl"]
    if any(shutil.which(name) for name in names):
        return "there is a C compiler here"
    what = {"win32": "Build Tools for Visual Studio", "darwin": "xcode-select --install"}.get(sys.platform, "gcc")
    return f"get a C compiler ({what})"


def level() -> str:
    """The level in use, or "numpy"."""
    return "numpy" if module is None else str(module.level())


def _give_blas(found: Any) -> None:
    """Let the kernels multiply matrices by the BLAS that NumPy has loaded, where it is OpenBLAS."""
    functions, wide = cblas("sgemm", "dgemm")
    threads = openblas("get_num_threads")
    if functions is not None and threads is not None:
        found.set_blas(*(ctypes.cast(function, ctypes.c_void_p).value for function in (*functions, threads)), wide)


module, reason = load(os.environ.get("DBRRL_KERNELS") or "auto")
