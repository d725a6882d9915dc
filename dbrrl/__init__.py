"""Deep reinforcement learning on its own define-by-run autodiff core."""

__version__ = "0.1.0"
