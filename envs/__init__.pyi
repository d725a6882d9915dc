from .action_mask import ActionMask as ActionMask
from .device import make as make
from .registration import register_environments as register_environments
from .vector import Environments as Environments
from .vector import Step as Step

__all__ = ["ActionMask", "Environments", "Step", "make"]
