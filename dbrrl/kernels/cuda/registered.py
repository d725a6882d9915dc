"""All modules of replacements for arrays on a GPU, imported for the registering."""

from dbrrl.kernels.cuda import graph as graph
from dbrrl.kernels.cuda import optim as optim
from dbrrl.kernels.cuda import random as random
