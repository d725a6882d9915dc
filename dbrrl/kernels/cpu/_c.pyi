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
def rmsprop_step(
    values: Array,
    g: Array,
    mean_square: Array,
    mean: Array | None,
    velocity: Array | None,
    scratch: Array,
    learning_rate: Any,
    alpha: float,
    eps: float,
    eps_inside_root: bool,
    momentum: float,
    /,
) -> Any: ...
def sgd_step(
    values: Array,
    g: Array,
    velocity: Array | None,
    scratch: Array,
    learning_rate: Any,
    momentum: float,
    nesterov: bool,
    /,
) -> Any: ...
def gae(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    boundary: Array,
    gamma: float,
    lambda_: float,
    /,
) -> Any: ...
def merged(x: Array, mean: Any, var: Any, count: int, /) -> Any: ...
def normalized(x: Array, mean: Array, inverse_std: Array, low: Any, high: Any, /) -> Any: ...
def standardized(x: Array, /) -> Any: ...
def take_wrapped(x: Array, index: Array, /) -> Any: ...
def take_columns(columns: dict[str, Any], index: Array, /) -> Any: ...
def n_step(
    rewards: Array, ends: Array, index: Array, head: int, num_envs: int, gamma: float, n_steps: int, /
) -> Any: ...
def tree_set(nodes: Array, leaves: int, roots: int, index: Array, values: Any, /) -> Any: ...
def tree_find(nodes: Array, leaves: int, roots: int, share: Array, /) -> Any: ...
def lstm_forward(
    x: Array, w_ih: Array, w_hh: Array, h: Array, c: Any, bias_ih: Any, bias_hh: Any, keep: Any, alive: Any, /
) -> Any: ...
def gru_forward(
    x: Array, w_ih: Array, w_hh: Array, h: Array, c: Any, bias_ih: Any, bias_hh: Any, keep: Any, alive: Any, /
) -> Any: ...
def lstm_backward(
    x: Array, w_ih: Array, w_hh: Array, h: Array, c: Any, bias_ih: Any, bias_hh: Any, keep: Any, alive: Any,
    g: Array, before: Array, gates: Array, cells: Any, d: Array, /,
) -> Any: ...  # fmt: skip
def gru_backward(
    x: Array, w_ih: Array, w_hh: Array, h: Array, c: Any, bias_ih: Any, bias_hh: Any, keep: Any, alive: Any,
    g: Array, before: Array, gates: Array, cells: Any, d: Array, /,
) -> Any: ...  # fmt: skip
def apply(name: str, x: Array, y: Array, /) -> Any: ...
def product(a: Array, b: Array, c: Array, transpose_a: bool, transpose_b: bool, beta: float, /) -> Any: ...
def conv_forward(
    x: Array, w: Array, b: Any, stride: tuple[int, int], padding: tuple[int, int], activation: str | None, /
) -> Any: ...
def conv_weight(
    x: Array, g: Array, kernels: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int], /
) -> Any: ...
def conv_input(
    g: Array, w: Array, images: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int], /
) -> Any: ...
def conv_gradient(g: Any, y: Array, activation: str | None, /) -> Any: ...
