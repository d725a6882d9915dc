"""The compiled kernels; everything else about the package is in pyproject.toml.

Where they cannot be compiled the package is installed without them, and NumPy computes: `python -m dbrrl.doctor` says
why, and what to do.
"""

import hashlib
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("dbrrl/kernels/cpu/src")
GNU = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fvisibility=hidden"]


def extension() -> Extension | None:
    """The extension module, which may fail to build; None where there are no headers of NumPy's to build it with."""
    try:
        import numpy
    except ImportError:
        return None
    texts = sorted(path for pattern in ("*.c", "*.h", "*.inc") for path in FOLDER.glob(pattern))
    digest = hashlib.sha256(b"".join(path.read_bytes().replace(b"\r\n", b"\n") for path in texts)).hexdigest()[:16]
    stable = not sysconfig.get_config_var("Py_GIL_DISABLED")
    return Extension(
        "dbrrl.kernels.cpu._c",
        sources=[path.as_posix() for path in texts if path.suffix == ".c"],
        depends=[path.as_posix() for path in texts],
        include_dirs=[numpy.get_include()],
        define_macros=[("DBRRL_SOURCES", f'"{digest}"')] + [("Py_LIMITED_API", "0x030B0000")] * stable,
        extra_compile_args=["/O2", "/std:c11"] if sys.platform == "win32" else GNU,
        py_limited_api=stable,
        libraries=[] if sys.platform == "win32" else ["m"],
        optional=True,
    )


found = extension()
setup(
    ext_modules=[found] if found else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if found and found.py_limited_api else {},
)
