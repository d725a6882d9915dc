"""Every function of the define-by-run core, by its usual name (`import dbrrl.functional as F`).

Each takes tensors or plain arrays: with a tensor it records the graph, with plain arrays it only computes.
"""

from dbrrl.autodiff import engine as engine  # attaches Tensor.backward, as the op files attach the operators
from dbrrl.autodiff.arithmetic import add, clip, divide, maximum, minimum, multiply, power, subtract, where
from dbrrl.autodiff.chosen import picked_huber_loss
from dbrrl.autodiff.conv import conv2d
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
    silu,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)
from dbrrl.autodiff.index import embedding, getitem, one_hot, pick, take, take_along_axis
from dbrrl.autodiff.linalg import matmul
from dbrrl.autodiff.loss import cross_entropy, dropout, huber_loss, layer_norm, mse_loss, quantile_huber_loss
from dbrrl.autodiff.lstm import lstm
from dbrrl.autodiff.perceptron import linear, noisy_linear, perceptron
from dbrrl.autodiff.policy import categorical_log_prob, clipped_surrogate, entropy, normal_log_prob
from dbrrl.autodiff.pool import avg_pool2d, max_pool2d
from dbrrl.autodiff.recurrent import gru, rnn
from dbrrl.autodiff.reduce import log_softmax, logsumexp, max, mean, min, softmax, sum
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
from dbrrl.autodiff.steps import sign
from dbrrl.autodiff.variance import std, var

__all__ = [
    "abs", "add", "arctanh", "astype", "avg_pool2d", "broadcast_to", "categorical_log_prob", "clip",
    "clipped_surrogate", "concatenate", "conv2d", "cos", "cross_entropy", "divide", "dropout", "elu",
    "embedding", "entropy", "exp", "expand_dims", "expm1", "gelu", "getitem", "gru", "huber_loss", "layer_norm",
    "leaky_relu", "linear", "log", "log1p", "log_softmax", "logsumexp", "lstm", "matmul", "max", "max_pool2d",
    "maximum", "mean", "min", "minimum", "mse_loss", "multiply", "negative", "noisy_linear", "normal_log_prob",
    "one_hot", "perceptron", "pick", "picked_huber_loss", "power", "quantile_huber_loss", "relu", "reshape", "rnn",
    "sigmoid", "sign", "silu", "sin", "softmax", "softplus", "split", "sqrt", "square", "squeeze", "stack", "std",
    "subtract", "sum", "swapaxes", "take", "take_along_axis", "tanh", "transpose", "var", "where",
]  # fmt: skip
