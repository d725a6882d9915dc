"""Networks: modules that own parameters."""

from dbrrl.nn import init
from dbrrl.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from dbrrl.nn.flat import Flat, flatten
from dbrrl.nn.layers import Linear, Sequential
from dbrrl.nn.module import Module, Parameter

__all__ = [
    "ELU", "GELU", "Flat", "LeakyReLU", "Linear", "Module", "Parameter", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softplus", "Tanh", "flatten", "init",
]  # fmt: skip
