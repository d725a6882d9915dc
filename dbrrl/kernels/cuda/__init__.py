"""Kernels for CUDA, which take the place of functions and ops for arrays on a GPU.

Imported when the first such array is met (`backend.replacements`). Each module registers what it replaces.
"""

from dbrrl.kernels.cuda import arrays as arrays
from dbrrl.kernels.cuda import conv as conv
from dbrrl.kernels.cuda import graph as graph
from dbrrl.kernels.cuda import linear as linear
from dbrrl.kernels.cuda import loss as loss
from dbrrl.kernels.cuda import networks as networks
from dbrrl.kernels.cuda import normalize as normalize
from dbrrl.kernels.cuda import optim as optim
from dbrrl.kernels.cuda import policy as policy
from dbrrl.kernels.cuda import random as random
from dbrrl.kernels.cuda import recurrent as recurrent
from dbrrl.kernels.cuda import returns as returns
