"""Deep reinforcement learning on its own define-by-run autodiff core: NumPy on the CPU, CuPy on the GPU.

    import dbrrl
    import dbrrl.functional as F
    from dbrrl.agents import PPO

    run = dbrrl.Experiment(agent="ppo", env="CartPole-v1", seed=0).run(steps=100_000)

The names below load when they are first used, so that `import dbrrl` costs little; their types stand in
`__init__.pyi`. The import enters our environments in Gymnasium's registry, as `dbrrl/CartPole-v1`.
"""

from importlib import import_module
from typing import Any

from dbrrl import envs as envs  # registers the environments
from dbrrl import renamed

__version__ = "0.1.0"

renamed.install()

_MODULES = (
    "agents", "distributions", "functional", "nn", "normalize", "optim", "returns", "schedules", "testing",
)  # fmt: skip
_HOMES = {
    "Experiment": "dbrrl.experiment",
    "Tensor": "dbrrl.autodiff.tensor",
    "compile": "dbrrl.compiled.public",
    "detect_anomaly": "dbrrl.debugging.debug",
    "draw_graph": "dbrrl.debugging.draw",
    "evaluate_policy": "dbrrl.experiment",
    "grad": "dbrrl.autodiff.engine",
    "no_grad": "dbrrl.autodiff.recording",
    "profile": "dbrrl.debugging.debug",
}
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    """Load a name of the face at its first use."""
    if name in _MODULES:
        return import_module(f"dbrrl.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'dbrrl' has no attribute {name!r}")
    import_module("dbrrl.functional")  # the ops attach themselves to Tensor
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
