"""The adapter to Gymnasium's vector API, batched classic control, toy problems with known answers."""

if __name__ != "dbrrl.envs":
    raise ImportError(
        f"this folder is the package dbrrl.envs, and was imported as {__name__!r}: write `import dbrrl.envs`"
    )

from .device import make
from .registration import register_environments
from .vector import Environments, Step

__all__ = ["Environments", "Step", "make"]

register_environments()
