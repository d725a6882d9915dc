from . import agents as agents
from . import distributions as distributions
from . import functional as functional
from . import nn as nn
from . import normalize as normalize
from . import optim as optim
from . import returns as returns
from . import schedules as schedules
from . import testing as testing
from .autodiff.engine import grad as grad
from .autodiff.recording import no_grad as no_grad
from .autodiff.tensor import Tensor as Tensor
from .compiled.public import compile as compile
from .debugging.debug import detect_anomaly as detect_anomaly
from .debugging.debug import profile as profile
from .debugging.draw import draw_graph as draw_graph
from .experiment import Experiment as Experiment
from .experiment import evaluate_policy as evaluate_policy

__version__: str
__all__ = [
    "Experiment",
    "Tensor",
    "agents",
    "compile",
    "detect_anomaly",
    "distributions",
    "draw_graph",
    "evaluate_policy",
    "functional",
    "grad",
    "nn",
    "no_grad",
    "normalize",
    "optim",
    "profile",
    "returns",
    "schedules",
    "testing",
]
