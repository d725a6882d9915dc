"""Steps of optimizers on the CPU, one pass over the vectors each."""

from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c
from dbrrl.optim import adam

replaces(adam.adam_step, "cpu")(_c.adam_step)
