"""A request that cannot fit into memory is refused before anything is made, with setting, bytes and cure."""

import re
import tracemalloc
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import train
from dbrrl.buffers import memory
from dbrrl.errors import ConfigError
from dbrrl.experiment import registry
from dbrrl.learning import capacity

VECTOR, TWO = gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(2)
IMAGE = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
WIDE = (10**6, 10**6)
ON_POLICY = ("ppo", "a2c", "a3c", "impala", "reinforce", "trpo")
Q_LEARNERS = ("dqn", "double_dqn", "c51", "qr_dqn", "rainbow", "iqn", "drqn")
WITH_MEMORY = (*ON_POLICY, "drqn")
ACTOR_CRITICS = ("ddpg", "td3", "sac", "tqc", "sac_discrete")
REQUESTS = [
    *((name, {"hidden_sizes": WIDE}) for name in (*ON_POLICY, *Q_LEARNERS)),
    *((name, {"batch_size": 10**11}) for name in Q_LEARNERS),
    *((name, {"n_steps": 10**10}) for name in ON_POLICY),
    *((name, {"recurrent": kind, "recurrent_size": 10**6}) for name in WITH_MEMORY for kind in ("lstm", "gru")),
    ("c51", {"atoms": 10**9}), ("rainbow", {"atoms": 10**9}), ("qr_dqn", {"quantiles": 10**9}),
    ("iqn", {"cosines": 10**9, "hidden_sizes": (64,)}),
    *((name, asked) for name in ACTOR_CRITICS for asked in ({"hidden_sizes": WIDE}, {"batch_size": 10**11})),
    ("tqc", {"quantiles": 10**10}),
]  # fmt: skip
GB = 10**9


def make(name: str, space: gym.Space[Any] = VECTOR, **settings: Any) -> Any:
    found = registry.agent_class(name)
    actions = TWO if gym.spaces.Discrete in found.action_spaces else VECTOR
    return found(space, actions, found.Config(**settings), num_envs=2)


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Any:
    def at_hand(size: int) -> None:
        monkeypatch.setattr(memory, "available_bytes", lambda: size)

    at_hand(64 * GB)
    return at_hand


@pytest.mark.parametrize(("name", "settings"), REQUESTS)
def test_a_request_that_cannot_fit_is_refused_before_anything_is_made(
    name: str, settings: dict[str, Any], available: Any
) -> None:
    field = list(settings)[-1] if name != "iqn" or len(settings) == 1 else "cosines"
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=rf"^{field}: expected at most the 64.0 GB of memory availa") as caught:
            make(name, **settings)
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()
    found = re.search(r" needs ([\d,.]+) GB(, [\d,.]+ GB with the rest)?: give ", str(caught.value))
    assert found is not None and float(found[1].replace(",", "")) > 64


def test_the_bytes_are_those_of_the_weights_and_what_goes_with_them(available: Any) -> None:
    available(10 * GB)
    # The matrices (4, 50000), (50000, 50000): weights, gradient, moment in float32; the draw of the larger in float64.
    expected = 3 * 4 * (4 * 50_000 + 50_000**2) + 8 * 50_000**2
    with pytest.raises(ConfigError, match=rf"50000,50000 needs {expected / GB:.1f} GB"):
        make("dqn", hidden_sizes=(50_000, 50_000))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ON_POLICY, *Q_LEARNERS])
@pytest.mark.parametrize("settings", [{"hidden_sizes": (900, 800)}, {"hidden_sizes": (800,), "recurrent": "lstm"}])
def test_nothing_is_refused_that_fits(name: str, settings: dict[str, Any], available: Any) -> None:
    """The limit is less than an agent takes by its first update, so that no agent is refused that can learn."""
    if "recurrent" in settings:
        if name not in WITH_MEMORY:
            pytest.skip("has no memory")
        settings = settings | {"recurrent_size": 400}
    if name in Q_LEARNERS:
        settings = settings | {"buffer_size": 100, "learning_starts": 1, "update_interval": 1, "batch_size": 8}
    else:
        settings = settings | {"n_steps": 4}
    tracemalloc.start()
    try:
        agent = make(name, **settings)
        for _ in range(4):
            agent.act(np.zeros((2, 4), np.float32))
            agent.observe(np.zeros((2, 4), np.float32), np.ones(2), np.zeros(2, bool), np.zeros(2, bool))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert agent.num_updates and sum(capacity.needs(agent).values()) <= peak


@pytest.mark.parametrize("name", [*ON_POLICY, *Q_LEARNERS])
def test_defaults_need_little(name: str, available: Any) -> None:
    available(10**9)
    assert sum(capacity.needs(make(name)).values()) < 10**8
    if name not in ON_POLICY:
        assert sum(capacity.needs(make(name, IMAGE, buffer_size=100)).values()) < 10**8


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    make("ppo")


def test_the_command_refuses_in_one_line_and_leaves_no_folder(tmp_path: Path, available: Any) -> None:
    words = ["--agent", "dqn", "--batch-size", "100000000000", "--out", str(tmp_path / "runs")]
    with pytest.raises(ConfigError, match=r"^batch_size: expected at most the 64.0 GB .*: give a smaller batch$"):
        train.main(words)
    assert not (tmp_path / "runs").exists()
