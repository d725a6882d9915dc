"""Networks: modules that own parameters."""

import warnings
from typing import Any

from dbrrl.nn import init
from dbrrl.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from dbrrl.nn.conv import AvgPool2d, Conv2d, Flatten, MaxPool2d
from dbrrl.nn.encoder import Encoder
from dbrrl.nn.ensemble import EnsembleLinear, EnsembleMLP
from dbrrl.nn.flat import Flat
from dbrrl.nn.frozen import frozen
from dbrrl.nn.layers import Embedding, LayerNorm, Linear
from dbrrl.nn.mode import evaluation
from dbrrl.nn.module import Module, Parameter
from dbrrl.nn.networks import MinAtarCNN, NatureCNN, image_network, mlp
from dbrrl.nn.noise import Dropout, NoisyLinear, noisy_layers, resample_noise
from dbrrl.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from dbrrl.nn.sequential import Sequential
from dbrrl.nn.target import copy_buffers, polyak, target_copy
from dbrrl.nn.vectors import flat_gradient, parameters_to_vector, vector_to_parameters

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "AvgPool2d", "Conv2d", "Dropout", "Embedding", "Encoder", "EnsembleLinear",
    "EnsembleMLP", "Flat", "Flatten", "GRUCell", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "MaxPool2d",
    "MinAtarCNN", "Module", "NatureCNN", "NoisyLinear", "Parameter", "RNNCell", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softplus", "Tanh", "copy_buffers", "evaluation", "flat_gradient", "frozen", "image_network", "init", "mlp",
    "noisy_layers", "parameters_to_vector", "polyak", "resample_noise", "target_copy", "vector_to_parameters",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "flatten":
        warnings.warn(
            "nn.flatten is deprecated: use nn.parameters_to_vector, nn.vector_to_parameters or nn.polyak, or the "
            "`values` and `gradient` of an optimizer",
            DeprecationWarning,
            stacklevel=2,
        )
        return Flat
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
