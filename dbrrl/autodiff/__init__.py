"""The define-by-run core: engine, ops, gradient check and debugging."""

# Tensor's operators and methods, and what NumPy's functions do with a tensor: each file attaches its own.
from dbrrl.autodiff import arithmetic as arithmetic
from dbrrl.autodiff import arrange as arrange
from dbrrl.autodiff import contraction as contraction
from dbrrl.autodiff import cumulative as cumulative
from dbrrl.autodiff import detach as detach
from dbrrl.autodiff import diagonal as diagonal
from dbrrl.autodiff import elementwise as elementwise
from dbrrl.autodiff import engine as engine
from dbrrl.autodiff import index as index
from dbrrl.autodiff import inplace as inplace
from dbrrl.autodiff import linalg as linalg
from dbrrl.autodiff import reduce as reduce
from dbrrl.autodiff import remainder as remainder
from dbrrl.autodiff import shape as shape
from dbrrl.autodiff import steps as steps
from dbrrl.autodiff import trigonometry as trigonometry
from dbrrl.autodiff import variance as variance
