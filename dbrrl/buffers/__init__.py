"""Buffers of experience: what agents learn from."""

from dbrrl.buffers.batch import Batch
from dbrrl.buffers.episodic import EpisodicReplayBuffer, Sequences
from dbrrl.buffers.hindsight import HindsightReplayBuffer, PrioritizedHindsightReplayBuffer
from dbrrl.buffers.prioritized import PrioritizedReplayBuffer
from dbrrl.buffers.replay import ReplayBuffer
from dbrrl.buffers.rollout import RolloutBuffer

__all__ = [
    "Batch", "EpisodicReplayBuffer", "HindsightReplayBuffer", "PrioritizedHindsightReplayBuffer",
    "PrioritizedReplayBuffer", "ReplayBuffer", "RolloutBuffer", "Sequences",
]  # fmt: skip
