"""Exploration around a policy: batched over environments, each explorer with a generator and a state of its own.

Those for discrete actions turn values (B, number of actions) into actions (B,); those for continuous ones add noise to
actions (B, ...), given as an array or as `LazyValues`. `progress` is what their schedules are read at (see
dbrrl.schedules).
"""

from typing import Any

from dbrrl.explorers.base import Explorer, LazyValues
from dbrrl.explorers.continuous import AdditiveGaussian, NoNoise, OrnsteinUhlenbeck, UniformStart, continuous_explorer
from dbrrl.explorers.discrete import Boltzmann, EpsilonGreedy, EZGreedy, Greedy, NoisyGreedy, greedy
from dbrrl.renamed import renamed_in

__all__ = [
    "AdditiveGaussian", "Boltzmann", "EZGreedy", "EpsilonGreedy", "Explorer", "Greedy", "LazyValues", "NoNoise",
    "NoisyGreedy", "OrnsteinUhlenbeck", "UniformStart", "continuous_explorer", "greedy",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    return renamed_in(__name__, name, {"Deferred": "LazyValues"})
