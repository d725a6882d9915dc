"""Functions that are evaluated often: the numbers are those of the ops, whatever changes between two calls."""

import threading
from typing import Any

import numpy as np
import pytest

from dbrrl import nn
from dbrrl.agents import DQN, PPO, SAC, TD3
from dbrrl.backend import load_kernels
from dbrrl.compiled.evaluated import Evaluated
from dbrrl.kernels.cpu import extension
from tests.agents.feeding import BOX, TWO, spaces

load_kernels("cpu")
pytestmark = pytest.mark.skipif(extension.module is None, reason=f"no compiled kernels: {extension.reason}")
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def made() -> tuple[Evaluated, Any]:
    net = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))
    return Evaluated("cpu", lambda: None, net.parameters), net


def runs(evaluated: Evaluated) -> bool:
    return evaluated.programs.explain().startswith("runs as")


def test_observations_in_all_kinds_of_memory() -> None:
    evaluated, net = made()
    for x in (X, np.asfortranarray(X), X[::-1], X[:1], np.tile(X, (2, 1))[::2], X[:0]) * 3:
        np.testing.assert_allclose(evaluated(lambda x: net(x), x), net(np.array(x)).array, rtol=1e-5, atol=1e-6)
    assert runs(evaluated)


def test_functions_are_told_apart() -> None:
    evaluated, net = made()

    class Scaled:
        def __init__(self, by: float) -> None:
            self.by = by

        def of(self, x: Any) -> Any:
            return net(x) * self.by

        def __call__(self, x: Any) -> Any:
            return net(x) + self.by

    one, two = Scaled(1.0), Scaled(2.0)
    right = net(X).array
    for _ in range(3):
        np.testing.assert_allclose(evaluated(one.of, X), right, rtol=1e-5)
        np.testing.assert_allclose(evaluated(two.of, X), right * 2, rtol=1e-5)
        np.testing.assert_allclose(evaluated(one, X), right + 1, rtol=1e-5)
        np.testing.assert_allclose(evaluated(two, X), right + 2, rtol=1e-5)
        np.testing.assert_allclose(evaluated(net, X), right, rtol=1e-5)
        for by in (3.0, 4.0):
            np.testing.assert_allclose(evaluated(lambda x, by=by: net(x) * by, X), right * by, rtol=1e-5)
    assert runs(evaluated)


def test_a_function_of_an_array_that_may_change_runs_op_by_op() -> None:
    evaluated, net = made()
    by = np.ones(2, np.float32)
    scaled = lambda x: net(x) * by  # noqa: E731
    for _ in range(4):
        np.testing.assert_allclose(evaluated(scaled, X), net(X).array * by, rtol=1e-5)
        by += 1
    why = evaluated.programs.explain()
    assert "whose numbers may change" in why and "test_evaluated.py" in why


def test_what_is_drawn_is_what_the_ops_draw() -> None:
    evaluated, net = made()
    plain, _ = made()
    plain.compiled = False
    rngs = [np.random.default_rng(3) for _ in range(2)]
    for x in [X, X[:2]] * 4:
        found, right = (
            one(lambda x, rng: net(x) + rng.normal(size=(len(x), 2)).astype(np.float32), x, rng)
            for one, rng in zip((evaluated, plain), rngs, strict=True)
        )
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state
    assert runs(evaluated)


def test_several_threads_get_their_own_results() -> None:
    evaluated, net = made()
    faults: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for _ in range(200):
                np.testing.assert_allclose(evaluated(lambda x: net(x), X * k), right[k], rtol=1e-4, atol=1e-5)
        except BaseException as error:
            faults.append(error)

    right = [net(X * k).array for k in range(4)]
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_threads_draw_from_their_own_generators_what_one_alone_draws() -> None:
    evaluated, net = made()
    x = np.random.default_rng(0).normal(size=(4096, 3)).astype(np.float32)  # whose copies let other threads run

    def noisy(x: Any, rng: Any) -> Any:
        return net(x) + rng.standard_normal((len(x), 2), np.float32)

    def work(k: int) -> None:
        rng = np.random.default_rng(k)
        found[k] = [evaluated(noisy, x * k, rng) for _ in range(60)]

    found: dict[int, list[np.ndarray]] = {}
    evaluated(noisy, x, np.random.default_rng(9))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        rng, plain = np.random.default_rng(k), net(x * k).array
        for result in found[k]:
            np.testing.assert_allclose(result, plain + rng.standard_normal((4096, 2), np.float32), rtol=1e-4, atol=1e-5)
    assert runs(evaluated)


@pytest.mark.parametrize("kind", [PPO, DQN, SAC, TD3])
def test_actions_follow_the_weights(kind: Any) -> None:
    space = TWO if kind in (PPO, DQN) else spaces.Box(-1.0, 1.0, (2,), np.float32)
    agent, other = (kind(BOX, space, num_envs=5, seed=seed) for seed in range(2))
    for _ in range(3):
        agent.act(X, explore=False)
    assert agent.computed.programs.explain().startswith("runs as")
    agent.load_state_dict(other.state_dict())
    other.compiled = False
    for _ in range(3):
        np.testing.assert_allclose(agent.act(X, explore=False), other.act(X, explore=False), rtol=1e-5, atol=1e-6)
