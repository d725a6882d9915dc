"""Steps of optimizers on the CPU, one pass over the vectors each."""

from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c
from dbrrl.optim import adam, rmsprop, sgd

replaces(adam.adam_step, "cpu")(_c.adam_step)
replaces(rmsprop.rmsprop_step, "cpu")(_c.rmsprop_step)
replaces(sgd.sgd_step, "cpu")(_c.sgd_step)
