"""The CUDA source of every kernel, compiled for the host, against NumPy and against the formula beside it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import backend, nn, optim, returns
from dbrrl.agents import PPO
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.tensor import wrap
from dbrrl.backend.counter_generator import CounterGenerator, philox
from dbrrl.envs import make
from dbrrl.kernels.cuda import dense
from tests import standin
from tests.autodiff.table import CASES
from tests.on_host import COMPILER, add_compiler

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++ or clang++")
compiled = pytest.mark.usefixtures("compiling")


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = standin.install(monkeypatch)
    add_compiler(cupy, monkeypatch)


def there(x: Any) -> Any:
    return backend.to_device(x, "cuda")


def philox4x32(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds on one block, as the paper writes them."""
    c, k, low = list(counter), list(key), 2**32 - 1
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def test_philox_gives_the_published_answers() -> None:
    """Known answers of Random123, for the blocks of zeros, of ones and of the digits of pi."""
    low, pi = 2**32 - 1, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox4x32([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox4x32([low] * 4, [low] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert philox4x32(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    counters, key = np.array([0, 7, 2**40 + 5], np.uint64), 0x299F31D0A4093822
    words = np.array([[int(w) for w in word] for word in philox(counters, key)]).T
    for n, got in zip(counters, words, strict=True):
        assert got.tolist() == philox4x32([int(n) & low, int(n) >> 32, 0, 0], [key & low, key >> 32])


def test_draws_are_distributed_as_named() -> None:
    g, n = CounterGenerator(np.random.SeedSequence(0), np), 200_000
    for x, mean, deviation in (
        (g.random(n), 0.5, 12**-0.5), (g.random(n, np.float32), 0.5, 12**-0.5), (g.uniform(-2, 4, n), 1, 3**0.5),
        (g.standard_exponential(n), 1, 1), (g.standard_normal(n), 0, 1), (g.integers(2, 5, n), 3, (2 / 3) ** 0.5),
    ):  # fmt: skip
        assert abs(x.mean() - mean) < 5 * deviation / n**0.5 and x.std() == pytest.approx(deviation, rel=0.01)
    assert np.sort(g.permutation(1000)).tolist() == list(range(1000))
    assert abs(np.corrcoef(g.random(n)[:-1], g.random(n)[1:])[0, 1]) < 0.01


def test_a_generator_goes_on_from_its_state() -> None:
    one, other = (CounterGenerator(np.random.SeedSequence(seed), np) for seed in (1, 2))
    one.random(7)
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.standard_normal((3, 2)), other.standard_normal((3, 2)))


@pytest.mark.slow
@needs_compiler
@compiled
def test_a_gpu_draws_what_the_cpu_draws() -> None:
    far, here = (CounterGenerator(np.random.SeedSequence(3), xp) for xp in (backend.module_on("cuda"), np))
    for draw in ("random", "standard_exponential", "standard_normal"):
        np.testing.assert_allclose(getattr(far, draw)((5, 3)).get(), getattr(here, draw)((5, 3)), 2e-6, 1e-6)
    np.testing.assert_array_equal(far.permutation(9).get(), here.permutation(9))


@pytest.mark.slow
@needs_compiler
@compiled
@pytest.mark.parametrize("activation", [None, "tanh", "relu"])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (5, 2, 3), (33, 17, 65), (300, 18, 16)])
def test_dense_layers(m: int, n: int, k: int, activation: str | None) -> None:
    rng = np.random.default_rng(0)
    x, w, b, g = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,), (m, n)))
    y = dense.forward(*map(there, (x, w, b)), activation)
    z = x.astype(np.float64) @ w.T + b
    expected = {None: z, "tanh": np.tanh(z), "relu": np.maximum(z, 0)}[activation]
    np.testing.assert_allclose(y.get(), expected, 1e-4, 1e-4)
    slope = {None: 1.0, "tanh": 1 - expected**2, "relu": expected > 0}[activation]
    gx, gw, gb = dense.backward(there(g), y, there(x), there(w), activation)
    np.testing.assert_allclose(gx.get(), (g * slope) @ w, 1e-3, 1e-3)
    np.testing.assert_allclose(gw.get(), (g * slope).T @ x, 1e-3, 1e-3)
    np.testing.assert_allclose(gb.get(), (g * slope).sum(0), 1e-3, 1e-3)
    np.testing.assert_allclose(dense.sum_columns(there(x)).get(), x.sum(0), 1e-4, 1e-4)


FAMILIES = ("conv", "linear", "loss", "policy", "reduce")


@pytest.mark.slow
@needs_compiler
@compiled
@pytest.mark.parametrize("family", FAMILIES)
def test_ops_and_their_gradients(family: str) -> None:
    for case in (case for case in CASES if case.ops[0].__module__ == f"dbrrl.autodiff.{family}"):
        arrays = [np.asarray(a, np.float32) for a in case.points[0](np.random.default_rng(7))]
        results = []
        for put in (there, np.array):
            inputs = [wrap(put(a)).requires_grad_() for a in arrays]
            y = case.call(*inputs)
            results.append([backend.to_numpy(v.array) for v in (y, *grad((y * y).sum(), inputs))])
        for far, here in zip(*results, strict=True):
            np.testing.assert_allclose(far, here, 1e-3, 1e-4, err_msg=case.name)


@pytest.mark.slow
@needs_compiler
@compiled
def test_images_of_bytes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 36, 36)).astype(np.uint8)
    cpu, gpu = nn.NatureCNN((2, 36, 36), 8, rng=0), nn.NatureCNN((2, 36, 36), 8, rng=0).to("cuda")
    a, b = cpu(images), gpu(there(images))
    np.testing.assert_allclose(backend.to_numpy(b.array), a.array, 1e-4, 1e-5)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for p, q in zip(cpu.parameters(), gpu.parameters(), strict=True):
        np.testing.assert_allclose(backend.to_numpy(q.grad), p.grad, 1e-3, 1e-3 * np.abs(p.grad).max())


@pytest.mark.slow
@needs_compiler
@compiled
def test_adam_clipping_and_advantages() -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=20).astype(np.float32), rng.normal(size=(5, 20)).astype(np.float32)
    ends = []
    for device in ("cpu", "cuda"):
        parameter = nn.Parameter(backend.to_device(start.copy(), device))
        optimizer = optim.Adam([parameter], 0.01, eps=1e-5)
        for g in gradients:
            optimizer.zero_grad()
            optimizer.flat.grads[...] = backend.to_device(g, device)
            optimizer.clip_grad_norm(1.0)
            optimizer.step()
        ends.append(backend.to_numpy(parameter.array))
    np.testing.assert_allclose(ends[1], ends[0], 1e-5, 1e-6)
    arrays = [rng.normal(size=(6, 3)).astype(np.float32) for _ in range(3)] + [rng.random((6, 3)) < 0.3] * 2
    far = returns.gae(*map(there, arrays), 0.9, 0.8)
    np.testing.assert_allclose(far.get(), returns.gae(*arrays, 0.9, 0.8), 1e-5, 1e-5)


@pytest.mark.slow
@needs_compiler
@compiled
def test_an_agent_learns_with_them() -> None:
    envs = make("dbrrl/CartPole-v1", 3, seed=np.random.SeedSequence(0), device="cuda")
    config = PPO.Config(n_steps=4, batch_size=6, n_epochs=2, hidden_sizes=(4,), entropy_coef=0.01)
    ends = []
    for captured in (True, False):
        agent = PPO(envs.observation_space, gym.spaces.Discrete(2), config, num_envs=3, device="cuda")
        agent.use_cuda_graphs = captured
        envs = make("dbrrl/CartPole-v1", 3, seed=np.random.SeedSequence(0), device="cuda")
        envs.reset()
        for _ in range(16):
            step = envs.step(agent.act(envs.observation))
            agent.observe(step.next_observation, step.reward, step.terminated, step.truncated)
        assert agent.num_updates == 4 * 2 * 2 and not agent.step.refused
        assert bool(agent.step.graph._graphs) == captured
        ends.append(nn.parameters_to_vector(agent.network).get())
    np.testing.assert_allclose(ends[0], ends[1], 1e-5, 1e-6)
