"""Optimizers over one flat vector: each step is a handful of array operations, however deep the network.

All share one form: `step()` reads the flat gradient, changes the flat values in place and keeps its moments as vectors
of the same length. Schedules are data: set `optimizer.learning_rate` before a step.
"""

from dbrrl.optim.adam import Adam, AdamW
from dbrrl.optim.optimizer import Optimizer
from dbrrl.optim.rmsprop import RMSprop
from dbrrl.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]
