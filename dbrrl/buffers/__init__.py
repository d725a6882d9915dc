"""Buffers of experience: what agents learn from."""

from dbrrl.buffers.batch import Batch
from dbrrl.buffers.episodic import EpisodicReplayBuffer, Sequences
from dbrrl.buffers.prioritized import PrioritizedReplayBuffer
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.buffers.rollout import RolloutBuffer

__all__ = ["Batch", "EpisodicReplayBuffer", "PrioritizedReplayBuffer", "ReplayBuffer", "RolloutBuffer", "Sequences"]
