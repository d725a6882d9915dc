"""Steps of optimizers and of target networks on the CPU, one pass over the vectors each."""

from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c
from dbrrl.nn import target
from dbrrl.optim import adam, rmsprop, sgd

replaces(adam.adam_step, "cpu")(_c.adam_step)
replaces(rmsprop.rmsprop_step, "cpu")(_c.rmsprop_step)
replaces(sgd.sgd_step, "cpu")(_c.sgd_step)
replaces(target.approach, "cpu")(_c.approach)
