"""Every function of the define-by-run core, by its usual name (`import dbrrl.functional as F`).

Each takes tensors or plain arrays: with a tensor it records the graph, with plain arrays it only computes.
"""

from dbrrl.autodiff.arithmetic import add, clip, divide, maximum, minimum, multiply, power, subtract, where
from dbrrl.autodiff.elementwise import (
    abs,
    arctanh,
    cos,
    elu,
    exp,
    expm1,
    gelu,
    leaky_relu,
    log,
    log1p,
    negative,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)
from dbrrl.autodiff.index import embedding, getitem, one_hot, take, take_along_axis
from dbrrl.autodiff.linalg import linear, matmul
from dbrrl.autodiff.loss import cross_entropy, dropout, entropy, huber_loss, layer_norm, mse_loss
from dbrrl.autodiff.reduce import log_softmax, logsumexp, max, mean, min, softmax, std, sum, var
from dbrrl.autodiff.shape import (
    astype,
    broadcast_to,
    concatenate,
    expand_dims,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)

__all__ = [
    "abs", "add", "arctanh", "astype", "broadcast_to", "clip", "concatenate", "cos", "cross_entropy", "divide",
    "dropout", "elu", "embedding", "entropy", "exp", "expand_dims", "expm1", "gelu", "getitem", "huber_loss",
    "layer_norm", "leaky_relu", "linear", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum",
    "mean", "min", "minimum", "mse_loss", "multiply", "negative", "one_hot", "power", "relu", "reshape", "sigmoid",
    "sign", "silu", "sin", "softmax", "softplus", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract",
    "sum", "swapaxes", "take", "take_along_axis", "tanh", "transpose", "var", "where",
]  # fmt: skip
