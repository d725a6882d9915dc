"""Buffers of experience: what agents learn from."""

from dbrrl.buffers.rollout import RolloutBuffer

__all__ = ["RolloutBuffer"]
