"""Workers that learn together: their steps are those of one process with all environments, to rounding."""

import threading
from typing import Any

import numpy as np
import pytest

from dbrrl import nn, seeding
from dbrrl.agents import A2C, PPO, TRPO
from dbrrl.backend import nccl, to_numpy
from dbrrl.buffers.batch import Batch
from dbrrl.envs import make
from dbrrl.experiment import shares
from dbrrl.learning import team, team_steps
from dbrrl.learning.gradient_step import GradientStep
from dbrrl.normalize import ObservationNormalizer, RunningMeanStd
from dbrrl.optim import SGD
from tests import standin

ENVS, SHARES, STEPS = 8, 4, 32


class Together:
    """Sums over threads, which wait for one another."""

    def __init__(self, size: int) -> None:
        self.size, self.given, self.barrier = size, [np.zeros(0)] * size, threading.Barrier(size, timeout=60)

    def exchange(self, index: int) -> "Side":
        return Side(self, index)

    def run(self, work: Any) -> list[Any]:
        """Return what work(index) gives for each, all at the same time; an error of one is raised."""
        results: list[Any] = [None] * self.size
        errors: list[BaseException] = []

        def one(index: int) -> None:
            try:
                results[index] = work(index)
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(index,)) for index in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise next((one for one in errors if not isinstance(one, threading.BrokenBarrierError)), errors[0])
        return results


class Side:
    def __init__(self, all_of: Together, index: int) -> None:
        self.all_of, self.index, self.size = all_of, index, all_of.size

    def sum(self, vector: np.ndarray) -> np.ndarray:
        self.all_of.given[self.index] = np.array(vector)
        self.all_of.barrier.wait()
        total = np.sum(self.all_of.given, 0, dtype=vector.dtype)
        self.all_of.barrier.wait()
        return total


def agents(kind: Any, workers: int, rollouts: int, device: str = "cpu", **settings: Any) -> list[Any]:
    """Train in Pendulum with ENVS environments over all workers, without processes; return their agents.

    On a device arrays there are added up by NCCL.
    """
    identifier = nccl.identifier() if device != "cpu" else ()
    together, envs_each, shares_each = Together(workers), ENVS // workers, SHARES // workers
    for name in ("batch_size", "critic_batch_size"):
        if name in settings:
            settings[name] //= workers
    config = kind.Config(n_steps=STEPS, total_steps=rollouts * STEPS * envs_each, **settings)

    def work(index: int) -> Any:
        root = seeding.sequence(0, "environments")
        own = np.random.SeedSequence(root.entropy, spawn_key=root.spawn_key, n_children_spawned=index * envs_each)
        envs = make("Pendulum-v1", envs_each, seed=own, vectorization="sync")
        agent = kind(envs.observation_space, envs.action_space, config, num_envs=envs_each, seed=0, device=device)
        shares.give_streams(agent, range(index * shares_each, (index + 1) * shares_each))
        if workers > 1:
            exchange: team.Exchange = together.exchange(index)
            if device != "cpu":
                exchange = team.OnGPUs(exchange, nccl.Communicator(index, workers, identifier))
            team_steps.join(agent, team.Workers(exchange))
        envs.reset()
        for _ in range(rollouts * STEPS):
            step = envs.step(agent.act(envs.observation))
            agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
        return agent

    return together.run(work)


def weights(agent: Any) -> np.ndarray:
    return np.concatenate([to_numpy(p.array).ravel() for p in agent.network.parameters()])


CASES = [
    (PPO, {"batch_size": 64, "n_epochs": 3, "learning_rate_schedule": "linear"}, 4, 2e-5),
    (PPO, {"batch_size": 128, "n_epochs": 2, "recurrent": "lstm", "normalize_advantage": False}, 2, 2e-6),
    (A2C, {"normalize_advantage": True}, 8, 1e-6),
    (TRPO, {"critic_batch_size": 64}, 1, 2e-4),  # conjugate gradients amplify what rounding differs
]


@pytest.mark.parametrize(("kind", "settings", "rollouts", "close"), CASES)
def test_workers_learn_what_one_process_learns(kind: Any, settings: Any, rollouts: int, close: float) -> None:
    (alone,) = agents(kind, 1, rollouts, **settings)
    start = weights(kind(alone.observation_space, alone.action_space, num_envs=1, seed=0, config=alone.config))
    assert np.abs(weights(alone) - start).max() > 20 * close
    for workers in (2, 4):
        found = agents(kind, workers, rollouts, **settings)
        for one in found[1:]:
            np.testing.assert_array_equal(weights(one), weights(found[0]))
        np.testing.assert_allclose(weights(found[0]), weights(alone), rtol=0, atol=close)
        assert found[0].num_updates == alone.num_updates
        for name in ("value_loss", "entropy", "learning_rate"):
            if name in alone.latest:
                assert found[0].latest[name] == pytest.approx(alone.latest[name], rel=1e-3)


ON_GPUS: list[tuple[Any, dict[str, Any]]] = [
    (PPO, {"batch_size": 64, "n_epochs": 2, "normalize_observation": True}),
    (PPO, {"batch_size": 64, "n_epochs": 2, "target_kl": 1e-4}),
    (PPO, {"batch_size": 128, "n_epochs": 2, "recurrent": "lstm", "target_kl": 1e-4}),
    (A2C, {"normalize_advantage": True}),
    (TRPO, {"critic_batch_size": 64}),
]


@pytest.mark.parametrize(("kind", "settings"), ON_GPUS)
def test_workers_with_a_gpu_each_learn_what_one_learns(
    kind: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.install(monkeypatch)
    (alone,) = agents(kind, 1, 2, "cuda", **settings)
    found = agents(kind, 2, 2, "cuda", **settings)
    np.testing.assert_array_equal(weights(found[0]), weights(found[1]))
    assert found[0].num_updates == alone.num_updates > 0
    if "normalize_observation" in settings:  # statistics within a rollout are each worker's own
        return
    close = 2e-4 if kind is TRPO else 2e-5
    np.testing.assert_allclose(weights(found[0]), weights(alone), rtol=0, atol=close)
    for name in ("value_loss", "entropy", "approx_kl"):
        if name in alone.latest:
            assert found[0].latest[name] == pytest.approx(found[1].latest[name], rel=1e-6)
            assert found[0].latest[name] == pytest.approx(alone.latest[name], rel=1e-2, abs=1e-6)


def test_advantages_are_standardized_over_all_parts() -> None:
    rng = np.random.default_rng(0)
    parts = [(3 + rng.standard_normal(size)).astype(np.float32) for size in (5, 7, 1)]
    whole = np.concatenate(parts).astype(np.float64)
    together = Together(3)
    found = together.run(lambda i: team.Workers(together.exchange(i)).standardized(parts[i]))
    np.testing.assert_allclose(np.concatenate(found), (whole - whole.mean()) / whole.std(), rtol=1e-5)
    equal = together.run(lambda i: team.Workers(together.exchange(i)).standardized(np.full(4, 0.1, np.float32)))
    assert np.concatenate(equal).tolist() == [0] * 12


def test_running_statistics_are_those_of_all_observations() -> None:
    rng, together = np.random.default_rng(1), Together(3)
    seen = [[rng.normal(5, 2, (4 + i, 2)) for _ in range(3)] for i in range(3)]
    teams = [team.Workers(together.exchange(i)) for i in range(3)]
    normalizers = [ObservationNormalizer((2,)) for _ in range(3)]
    for t in range(3):

        def one(i: int, t: int = t) -> None:
            normalizers[i].update(seen[i][t])
            teams[i].agree([normalizers[i]])

        together.run(one)
        whole = np.concatenate([seen[i][k] for i in range(3) for k in range(t + 1)])
        for normalizer in normalizers:
            statistics: RunningMeanStd = normalizer.statistics
            np.testing.assert_allclose(statistics.mean, whole.mean(0), rtol=1e-12)
            np.testing.assert_allclose(statistics.var, whole.var(0), rtol=1e-10)
            assert statistics.count == len(whole)
            given = np.array([[5.0, 7.0]], np.float32)
            np.testing.assert_allclose(normalizer(given), (given - whole.mean(0)) / whole.std(0), rtol=1e-5, atol=1e-6)
        if t == 1:  # a run that goes on from here
            for old in range(3):
                other = team.Workers(together.exchange(old))
                other.load_state_dict(teams[old].state_dict())
                teams[old] = other


def test_a_step_is_clipped_by_the_norm_of_the_mean() -> None:
    together = Together(2)
    slopes = [np.array([3.0, 0.0], np.float32), np.array([3.0, 8.0], np.float32)]  # their mean is (3, 4)

    def one(i: int) -> tuple[np.ndarray, float, float]:
        layer = nn.Linear(2, 1, bias=False)
        layer.weight.array[...] = 0

        def loss(batch: Batch) -> Any:
            found = layer(batch.x).sum()
            return found, lambda: {"seen": np.float32(10 * i)}

        own = GradientStep(loss, SGD(layer, learning_rate=1.0), max_grad_norm=1.0)
        step = team_steps.TeamStep(own, team.Workers(together.exchange(i)), standardize=False)
        metrics = step(Batch(x=slopes[i][None]))
        return layer.weight.array.ravel().copy(), float(metrics["seen"]), float(metrics.grad_norm)

    for moved, seen, norm in together.run(one):
        np.testing.assert_allclose(moved, [-0.6, -0.8], rtol=1e-6)
        assert (seen, norm) == (5.0, pytest.approx(5.0))
