"""The former place of `backend.DeviceScalar`."""

from dbrrl.backend import DeviceScalar as Dial

__all__ = ["Dial"]
