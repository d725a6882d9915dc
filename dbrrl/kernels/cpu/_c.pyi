"""The extension module: kernels for NumPy's arrays, compiled from src/. Each returns NotImplemented for what it does
not serve, and then has changed nothing.
"""

from typing import Any

from dbrrl.types import Array

compiler: str
sources: str

def levels() -> list[str]: ...
def level() -> str: ...
def use_level(name: str, /) -> None: ...
def set_blas(sgemm: int, dgemm: int, sgemv: int, dgemv: int, wide: bool, /) -> None: ...
def blas() -> str: ...
def adam_step(
    values: Array,
    g: Array,
    first: Array,
    second: Array,
    scratch: Array,
    learning_rate: Any,
    steps: Any,
    betas: tuple[float, float],
    eps: float,
    /,
) -> Any: ...
