"""Networks: modules that own parameters."""

from dbrrl.nn import init
from dbrrl.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from dbrrl.nn.conv import Conv2d, Flatten
from dbrrl.nn.flat import Flat, flatten
from dbrrl.nn.layers import Linear, Sequential
from dbrrl.nn.module import Module, Parameter
from dbrrl.nn.networks import NatureCNN, mlp

__all__ = [
    "ELU", "GELU", "Conv2d", "Flat", "Flatten", "LeakyReLU", "Linear", "Module", "NatureCNN", "Parameter", "ReLU",
    "Sequential", "SiLU", "Sigmoid", "Softplus", "Tanh", "flatten", "init", "mlp",
]  # fmt: skip
