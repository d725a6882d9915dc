"""Compiled kernels for the CPU, which take the place of functions and ops for NumPy's arrays.

Imported when an agent or an optimizer is made (`backend.replacements`). Without the extension module, or with
DBRRL_KERNELS=numpy, nothing is registered and NumPy computes; `python -m dbrrl.doctor` says why.
"""

from dbrrl.kernels.cpu import extension as extension

if extension.module is not None:
    from dbrrl.kernels.cpu import conv as conv
    from dbrrl.kernels.cpu import heads as heads
    from dbrrl.kernels.cpu import linear as linear
    from dbrrl.kernels.cpu import normalize as normalize
    from dbrrl.kernels.cpu import optim as optim
    from dbrrl.kernels.cpu import recorder as recorder
    from dbrrl.kernels.cpu import recurrent as recurrent
    from dbrrl.kernels.cpu import replay as replay
    from dbrrl.kernels.cpu import returns as returns
    from dbrrl.kernels.cpu import traced_ops as traced_ops
