"""Rainbow: the double choice by hand, all parts on, its protocol, its learning."""

import numpy as np
import pytest

from dbrrl import Tensor, testing
from dbrrl.agents import C51, Rainbow
from dbrrl.buffers import Batch, PrioritizedReplayBuffer
from dbrrl.explorers import Greedy

from .making import make_q_learner as make
from .probes import PROBES, QUICK_NOISY, train

ATOMS = {"atoms": 21, "value_min": -2.0, "value_max": 2.0}


@pytest.mark.parametrize(("kind", "chosen"), [(C51, 0), (Rainbow, 1)])
def test_the_network_chooses_and_the_target_judges(kind: type[C51], chosen: int) -> None:
    """Atoms 0 and 1. The target prefers action 0, the network action 1; discount 1, reward 0: m is p of the choice."""
    agent = make(kind, atoms=2, value_min=0.0, value_max=1.0)
    logits = np.array([[[0.0, 2.0], [0.0, 1.0], [0.0, -1.0]]], np.float32)
    agent.target_network = lambda observation: Tensor(logits)
    agent._network = lambda observation: Tensor(logits[:, [1, 0, 2]])
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    batch = Batch(observation=none, reward=none, discount=one, next_observation=none)
    p = 1 / (1 + np.exp(-logits[0, chosen, 1]))
    np.testing.assert_allclose(agent.target(batch), [[1 - p, p]], rtol=1e-5)


def test_every_part_is_in_it() -> None:
    agent = make(Rainbow)
    assert isinstance(agent.replay, PrioritizedReplayBuffer) and isinstance(agent.explorer, Greedy)
    assert agent.network.value is not None and agent.config.n_step == 3
    assert any(hasattr(module, "noise_in") for module in agent.network.modules())
    assert agent.network(np.zeros((1, 3), np.float32)).shape == (1, 3, 51)


@pytest.mark.parametrize("off", ["dueling", "prioritized", "noisy", None])
def test_the_protocol_is_kept_with_any_part_off(device: str, off: str | None) -> None:
    settings = {} if off is None else {off: False}
    testing.check_agent(lambda: make(Rainbow, **settings, **ATOMS, total_steps=100, device=device), steps=20)


@pytest.mark.parametrize("name", ["Action", "Both", "Delayed"])
def test_probes_give_their_known_return(name: str) -> None:
    run = train("rainbow", f"dbrrl/Probe{name}-v0", 0, steps=3000, **{**QUICK_NOISY, **ATOMS})
    assert PROBES[name][0].optimal_return - run.score < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_chain_is_walked_to_its_end(seed: int) -> None:
    settings = {**QUICK_NOISY, **ATOMS, "noisy_sigma": 1.0}
    assert train("rainbow", "dbrrl/Chain-v0", seed, steps=6000, **settings).score == 1.0
