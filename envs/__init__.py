"""The adapter to Gymnasium's vector API, batched classic control, toy problems with known answers."""

import importlib
from typing import Any

if __name__ != "dbrrl.envs":
    raise ImportError(
        f"this folder is the package dbrrl.envs, and was imported as {__name__!r}: write `import dbrrl.envs`"
    )

from .registration import register_environments

__all__ = ["ActionMask", "Environments", "Step", "make"]

register_environments()

# Imported at first use: registering environments needs neither. Type checkers read `__init__.pyi`.
_PLACES = {"ActionMask": "action_mask", "Environments": "vector", "Step": "vector", "make": "device"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"dbrrl.envs.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
