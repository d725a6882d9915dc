"""Everything that computes, on a GPU or on a strict stand-in for CuPy, against the same on the CPU."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import Experiment, Tensor, backend, nn, optim, returns, seeding, testing
from dbrrl import functional as F
from dbrrl.agents import C51, DDPG, DQN, DRQN, IQN, PPO, QRDQN, SAC, TD3, TQC, DoubleDQN, Rainbow, SACDiscrete
from dbrrl.autodiff.engine import backward, grad
from dbrrl.autodiff.tensor import no_grad, wrap
from dbrrl.backend import CounterGenerator
from dbrrl.backend.precision import tf32
from dbrrl.debugging.debug import detect_anomaly, profile
from dbrrl.distributions import Bernoulli, Categorical, MultiCategorical, Normal, SquashedNormal, kl_divergence
from dbrrl.errors import DeviceError
from dbrrl.kernels.cuda.graph import Captured
from dbrrl.learning.captured_step import CapturedStep
from tests.autodiff.table import CASES

FAMILIES = sorted({case.ops[0].__module__ for case in CASES})
spaces = gym.spaces
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
AGENTS = {
    "discrete": (VECTOR, spaces.Discrete(3, start=-1)),
    "box": (VECTOR, spaces.Box(-0.5, 0.5, (2,), np.float32)),
    "image": (IMAGE, spaces.Discrete(2)),
    "dict": (spaces.Dict({"seen": IMAGE, "felt": VECTOR}), spaces.MultiDiscrete([2, 3])),
    "multi-binary": (spaces.Discrete(4), spaces.MultiBinary(2)),
}


pytestmark = pytest.mark.usefixtures("cuda")


def there(x: Any) -> Any:
    """A NumPy array, or a structure of them, on the GPU."""
    return type(x)(map(there, x)) if isinstance(x, (tuple, list)) else backend.to_device(x, "cuda")


def on_gpu(x: Any) -> bool:
    return backend.device_name(x.array if isinstance(x, Tensor) else x) == "cuda:0"


def close(gpu: Any, cpu: Any, rtol: float = 2e-4, atol: float = 2e-5) -> None:
    """Assert that a result lies on the GPU, has the dtype and shape of the one on the CPU, and nearly its values."""
    gpu, cpu = (x.array if isinstance(x, Tensor) else x for x in (gpu, cpu))
    assert on_gpu(gpu) and not on_gpu(cpu)
    assert gpu.dtype == cpu.dtype and gpu.shape == np.shape(cpu)
    np.testing.assert_allclose(backend.to_numpy(gpu), cpu, rtol, atol)


def derivatives(call: Any, arrays: Any) -> list[Any]:
    """Value, first and second derivatives of a function, and what `backward` leaves in `grad`."""
    inputs = [wrap(a).requires_grad_() for a in arrays]
    y = call(*inputs)
    gradients = grad((y * y).sum(), inputs, create_graph=True)
    total = sum((g * g).sum() for g in gradients)
    second = grad(total, inputs, allow_unused=True) if total.requires_grad else []
    again = call(*inputs)
    again.backward(np.ones(again.shape))
    return [y, *gradients, *(g for g in second if g is not None), *(x.grad for x in inputs)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_op_and_its_derivatives(family: str) -> None:
    for case in (case for case in CASES if case.ops[0].__module__ == family):
        for make in case.points:
            arrays = [np.asarray(a, np.float32) for a in make(np.random.default_rng(7))]
            with no_grad():
                plain = case.call(*there(arrays))
            np.testing.assert_allclose(plain.get(), case.call(*arrays), 2e-4, 2e-5, err_msg=case.name)
            assert on_gpu(plain), case.name
            results = derivatives(case.call, there(arrays)), derivatives(case.call, [a.copy() for a in arrays])
            assert len(results[0]) == len(results[1])
            for gpu, cpu in zip(*results, strict=True):
                close(gpu, cpu, 1e-3, 1e-4)


def test_indices_and_constants_may_be_on_either_device() -> None:
    x, index = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([2, 0, 3])
    tensor = Tensor(x, requires_grad=True).to("cuda")
    assert on_gpu(tensor) and tensor.requires_grad
    for place in (there(index), index, index.tolist(), Tensor(index), Tensor(index).to("cuda")):
        close(F.embedding(place, tensor.T), x.T[index])
        assert on_gpu(F.one_hot(place, 4)) == (hasattr(place, "dtype") and on_gpu(place))
        close(F.cross_entropy(tensor, place), F.cross_entropy(x, index))
        close(tensor[:, place], x[:, index])
    close(F.mse_loss(tensor, there(np.ones_like(x))), F.mse_loss(x, np.ones_like(x)))
    close(tensor * x.astype(np.float64) + np.float64(2) - np.ones(4, int), x * x + 2 - np.float32(1))
    close(np.ones((3, 4)) / (tensor + 1), 1 / (x + 1))
    with detect_anomaly(), profile() as costs:
        y = F.dropout(tensor, 0.5, np.random.default_rng(0)).sum()
        y.backward()
    assert on_gpu(tensor.grad) and {cost.name for cost in costs.rows} == {"Multiply", "Sum"}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # NumPy's, of CuPy's arrays
def test_tensors_on_two_devices_do_not_meet() -> None:
    here = Tensor([[1.0, 2.0]], requires_grad=True)
    for meet in (np.add, np.subtract, F.linear, lambda a, b: F.matmul(a, b.T), lambda a, b: F.concatenate([a, b])):
        for pair in ((here, here.to("cuda")), (here.to("cuda"), here)):
            with pytest.raises(DeviceError, match=r"expected tensors on one device, got cpu and cuda:0: move one with"):
                meet(*pair)


def test_a_tensor_on_a_gpu_is_looked_at_and_changed() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]]).to("cuda")
    assert repr(x) == "Tensor([[1., 2.],\n [3., 4.]], dtype=float32)" and f"{x.sum():.1f}" == "10.0"
    assert x.to("cuda") is x and not on_gpu(x.to("cpu")) and x.to("cpu").numpy().tolist() == x.numpy().tolist()
    assert float(x[1, 1]) == 4 and int(x[0, 1]) == 2 and range(9)[Tensor(3).to("cuda")] == 3 and bool(x[0, 0])
    assert (x > np.full((2, 2), 2)).any() and not (x == Tensor(np.zeros((2, 2))).to("cuda")).any()
    x[np.array([0])] = np.array([7.0, 8.0])
    x[:, 1] += 1
    x.data = x.data * 2
    np.testing.assert_array_equal(x.numpy(), [[14, 18], [6, 10]])
    x.data = np.zeros((2, 2))
    assert x.sum().item() == 0 and copy.deepcopy(x).numpy().shape == (2, 2) and on_gpu(x.detach())
    y = x.requires_grad_() * 3
    backward([y.sum(), y.mean()], [1.0, -0.5])
    np.testing.assert_allclose(x.grad.get(), np.full((2, 2), 3 - 0.375))


LAYERS: dict[str, tuple[Any, Any]] = {
    "linear": (lambda r: nn.Linear(4, 3, rng=r), (5, 4)),
    "mlp": (lambda r: nn.mlp((4, 8, 3), rng=r), (5, 4)),
    "relu": (lambda r: nn.mlp((4, 8, 3), "relu", rng=r), (2, 5, 4)),
    "norm": (lambda r: nn.Sequential(nn.LayerNorm(4), nn.Dropout(0.3, r), nn.Linear(4, 2, rng=r), nn.GELU()), (5, 4)),
    "noisy": (lambda r: nn.NoisyLinear(4, 3, rng=r), (5, 4)),
    "pools": (lambda r: nn.Sequential(nn.Conv2d(2, 12, 3, 2, 1, rng=r), nn.MaxPool2d(2), nn.Flatten()), (3, 2, 9, 8)),
    "average": (lambda r: nn.Sequential(nn.Conv2d(2, 3, 2, rng=r), nn.AvgPool2d(2, 1, 1), nn.ELU()), (3, 2, 5, 5)),
    "nature": (lambda r: nn.NatureCNN((1, 36, 36), 16, rng=r), (2, 1, 36, 36)),
    "minatar": (lambda r: nn.MinAtarCNN((2, 6, 5), 16, rng=r, high=1), (2, 2, 6, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    make, shape = LAYERS[name]
    cpu, gpu = make(0), make(0).to("cuda")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    a, b = cpu(x), gpu(there(x))
    close(b, a)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for p, q in zip(cpu.parameters(), gpu.parameters(), strict=True):
        close(q, p)
        close(q.grad, p.grad, 1e-3, 1e-3)
    for module in (cpu, gpu):
        nn.resample_noise(module, np.random.default_rng(1))
        module.load_state_dict(cpu.state_dict())
    close(gpu.eval()(there(x)), cpu.eval()(x))
    assert not on_gpu(gpu.to("cpu")(x))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_networks(kind: Any) -> None:
    cpu, gpu = kind(3, 4, 2, rng=0), kind(3, 4, 2, rng=0).to("cuda")
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    reset, lengths = np.zeros((5, 2), bool), np.array([5, 3])
    reset[2, 0] = True
    (a, state), (b, end) = cpu(x, None, reset, lengths), gpu(there(x), None, reset, lengths)
    close(b, a)
    again = gpu(there(x), end)[0]
    close(again, cpu(x, state)[0])
    a.sum().backward()
    b.sum().backward()
    for p, q in zip(cpu.parameters(), gpu.parameters(), strict=True):
        close(q.grad, p.grad, 1e-3, 1e-4)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda m: optim.SGD(m, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda m: optim.Adam(m, 0.1, weight_decay=0.01),
    "adamw": lambda m: optim.AdamW(m, 0.1),
    "rmsprop": lambda m: optim.RMSprop(m, 0.1, centered=True, momentum=0.5),
    "rmsprop inside": lambda m: optim.RMSprop(m, 0.1, eps_inside_root=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    cpu, gpu = nn.mlp((4, 8, 3), rng=0), nn.mlp((4, 8, 3), rng=0).to("cuda")
    pairs = [(cpu, OPTIMIZERS[name](cpu), x), (gpu, OPTIMIZERS[name](gpu), there(x))]
    norms = []
    for step in range(4):
        for module, optimizer, batch in pairs:
            optimizer.zero_grad()
            (module(batch) ** 2).mean().backward()
            if step == 2:  # a gradient from outside, as a NumPy array
                module.parameters()[0].grad = np.ones((8, 4), np.float32)
            norms.append(float(optimizer.clip_grad_norm(0.5)))
            optimizer.step()
    np.testing.assert_allclose(norms[::2], norms[1::2], rtol=1e-4)
    close(nn.parameters_to_vector(gpu), nn.parameters_to_vector(cpu), 1e-3, 1e-4)
    state = pairs[1][1].state_dict()
    assert all(isinstance(v, (np.ndarray, int, float)) for v in state.values())
    pairs[0][1].load_state_dict(state)
    pairs[1][1].load_state_dict(state)


def sides(*shapes: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """Random arrays here and there."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return arrays, there(arrays)


@pytest.mark.parametrize("recorded", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (Categorical, [(6, 4)]),
        (lambda x: MultiCategorical(x, (2, 3)), [(6, 5)]),
        (Bernoulli, [(6, 4)]),
        (Normal, [(6, 4), (4,)]),
        (SquashedNormal, [(6, 4), (6, 4)]),
    ],
    ids=["categorical", "multi-categorical", "bernoulli", "normal", "squashed"],
)
def test_distributions(make: Any, shapes: Any, recorded: bool) -> None:
    here, far = sides(*shapes)
    p, q = ([wrap(x).requires_grad_() for x in side] if recorded else side for side in (here, far))
    cpu, gpu = make(*p), make(*q)
    sample = cpu.sample(np.random.default_rng(1))
    close(gpu.sample(np.random.default_rng(1)), sample)
    close(gpu.mode(), cpu.mode())
    close(make(*q).log_prob(there(sample)), make(*p).log_prob(sample))
    if recorded:
        close(gpu.log_prob(sample), cpu.log_prob(sample))
    close(kl_divergence(gpu, make(*q)), kl_divergence(cpu, make(*p)))
    if hasattr(gpu, "rsample"):
        close(gpu.rsample(np.random.default_rng(1)), cpu.rsample(np.random.default_rng(1)))
    if not isinstance(gpu, SquashedNormal):
        close(gpu.entropy(), cpu.entropy())


def test_returns() -> None:
    (reward, value, following), far = sides((7, 3), (7, 3), (7, 3))
    rng = np.random.default_rng(1)
    ends = [rng.random((7, 3)) < 0.2, rng.random((7, 3)) < 0.4]
    close(returns.gae(*far, *there(ends), 0.9, 0.8), returns.gae(reward, value, following, *ends, 0.9, 0.8))
    for f, more in ((returns.n_step, (3,)), (returns.lambda_return, (0.8,)), (returns.discounted, ())):
        close(f(far[0], far[2], *there(ends), 0.9, *more), f(reward, following, *ends, 0.9, *more))
    assert returns.explained_variance(far[0], far[1]) == pytest.approx(returns.explained_variance(reward, value))


def agent(name: str, device: str, **settings: Any) -> PPO:
    config = PPO.Config(**{"n_steps": 8, "batch_size": 8, "n_epochs": 2, "hidden_sizes": (8,), **settings})
    return PPO(*AGENTS[name], config, num_envs=2, seed=3, device=device)


def same_draws(learner: PPO) -> PPO:
    """An agent on the CPU that draws what one on a GPU draws."""
    for name, path in (("policy_rng", "policy"), ("batch_rng", "minibatches")):
        setattr(learner, name, CounterGenerator(seeding.sequence(learner.seed, path), np))
    return learner


def feed(learner: Any, steps: int) -> list[np.ndarray]:
    """Random transitions, the same for every agent; the actions."""
    space = copy.deepcopy(learner.observation_space)
    space.seed(0)
    batch = gym.vector.utils.batch_space(space, 2)
    batch.seed(0)
    rng, actions, observation = np.random.default_rng(0), [], batch.sample()
    for _ in range(steps):
        actions.append(learner.act(observation))
        observation, (terminated, truncated) = batch.sample(), rng.random((2, 2)) < 0.1
        learner.observe(observation, rng.normal(size=2), terminated, truncated & ~terminated)
    return actions


@pytest.mark.parametrize("name", AGENTS)
def test_ppo_on_a_gpu_does_what_it_does_on_the_cpu(name: str, tmp_path: Path) -> None:
    settings = {"entropy_coef": 0.01, "clip_range_value": 0.2 if name == "box" else None}
    cpu, gpu = same_draws(agent(name, "cpu", **settings)), agent(name, "cuda", **settings)
    for here, far in zip(feed(cpu, 20), feed(gpu, 20), strict=True):
        assert type(far) is np.ndarray and far.dtype == here.dtype
        np.testing.assert_allclose(far, here, rtol=1e-3, atol=1e-4)
    assert gpu.num_updates == cpu.num_updates > 0
    close(nn.parameters_to_vector(gpu.network), nn.parameters_to_vector(cpu.network), 1e-2, 1e-3)
    assert gpu.statistics() == pytest.approx(cpu.statistics(), rel=0.02, abs=1e-3)
    gpu.save(tmp_path / "agent")
    for device in ("cpu", "cuda"):
        loaded = PPO.load(tmp_path / "agent", device=device)
        assert loaded.device == device and on_gpu(loaded.network.parameters()[0]) == (device == "cuda")
        for a, b in zip(feed(loaded, 12), feed(PPO.load(tmp_path / "agent", device="cuda"), 12), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        assert loaded.num_updates > gpu.num_updates


def test_a_rollout_may_be_on_both_devices() -> None:
    rng, ends = np.random.default_rng(0), []
    steps = []
    for t in range(8):
        truncated = np.array([t == 2, t in (1, 5)])
        steps.append((rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=2), truncated))
    for side in (0, 8, 3, -3):  # all here, all there, here then there, there then here
        learner = agent("discrete", "cuda", n_steps=8, total_steps=0)
        observation = np.zeros((2, 3), np.float32)
        for t, (following, reward, truncated) in enumerate(steps):
            far = side == 8 or (side == 3 and t >= 3) or (side == -3 and t < 3)
            learner.act(observation)
            given = following, reward, np.zeros(2, bool), truncated
            learner.observe(*(there(given) if far else given))
            observation = following
        ends.append(backend.to_numpy(nn.parameters_to_vector(learner.network)))
        assert learner.num_updates == 4
    for other in ends[1:]:
        np.testing.assert_allclose(other, ends[0], rtol=1e-5, atol=1e-6)


def test_what_an_update_depends_on_is_recorded_anew() -> None:
    ends = []
    for captured, other in ((True, True), (False, True), (False, False)):
        learner = agent("discrete", "cuda")
        learner.use_cuda_graphs = captured
        feed(learner, 40)
        if other:
            learner.optimizer = optim.SGD(learner.network, 1.0)
        feed(learner, 40)
        ends.append(backend.to_numpy(nn.parameters_to_vector(learner.network)))
        assert not captured or (learner.step.graph._graphs and not learner.step.refused)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-4, atol=1e-6)
    assert np.abs(ends[0] - ends[2]).max() > 1e-3  # Adam went elsewhere


def test_tf32_has_graphs_of_its_own() -> None:
    seen: list[bool] = []
    replayed = Captured(lambda x: (seen.append(tf32.on), x + 1)[1])
    x = there(np.zeros(3))
    for on in (False, True, False):
        with backend.using_tf32(on):
            for _ in range(3):
                replayed(x)
    assert seen == [False, False, True, True]  # run once, recorded once


def test_what_is_recorded_holds_no_copy_from_the_host() -> None:
    rng = np.random.default_rng(0)
    drawn = Captured(lambda x: x + backend.to_device(rng.random(4), "cuda"))
    x = there(np.zeros(4))
    values = [backend.to_numpy(drawn(x)).tolist() for _ in range(4)]
    assert len({tuple(v) for v in values}) == 4 and "a copy from the host" in drawn.refused


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, C51, QRDQN, IQN, Rainbow], ids=lambda kind: kind.__name__)
def test_q_learning_on_a_gpu_does_what_it_does_on_the_cpu(kind: Any) -> None:
    settings = {"hidden_sizes": (8,), "batch_size": 4, "learning_starts": 8, "target_update_interval": 3}
    cpu, gpu = (
        kind(*AGENTS["discrete"], kind.Config(**settings), num_envs=2, seed=3, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(feed(gpu, 20), feed(cpu, 20))
    assert gpu.num_updates == cpu.num_updates > 3
    close(nn.parameters_to_vector(gpu.network), nn.parameters_to_vector(cpu.network), 1e-2, 1e-3)
    assert gpu.statistics() == pytest.approx(cpu.statistics(), rel=0.02, abs=1e-3)


@pytest.mark.parametrize("kind", [DDPG, TD3, SAC, TQC, SACDiscrete], ids=lambda kind: kind.__name__)
def test_actors_and_critics_on_a_gpu_do_what_they_do_on_the_cpu(kind: Any) -> None:
    spaces_of_kind = AGENTS["discrete" if kind is SACDiscrete else "box"]
    settings = {"hidden_sizes": (8, 8), "batch_size": 8, "learning_starts": 8, "buffer_size": 100}
    cpu, gpu = (
        kind(*spaces_of_kind, kind.Config(**settings), num_envs=2, seed=3, device=device) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(feed(gpu, 20), feed(cpu, 20), rtol=1e-2, atol=1e-3)
    assert gpu.num_updates == cpu.num_updates > 3
    for name in ("actor", "critics", "target_critics"):
        one, other = (nn.parameters_to_vector(getattr(agent, name)) for agent in (gpu, cpu))
        close(one, other, 1e-2, 1e-3)
    assert gpu.statistics() == pytest.approx(cpu.statistics(), rel=0.02, abs=1e-3)
    steps = [step for step in vars(gpu).values() if isinstance(step, CapturedStep)]
    assert len(steps) >= 2 and all(step.graph._graphs and not step.refused for step in steps)


@pytest.mark.parametrize(
    "settings",
    [{}, {"recurrent": "gru", "initial_state": "zero", "burn_in": 0}, {"n_step": 3, "learning_rate": "linear:1e-2:0"}],
)
def test_q_learning_with_a_memory_on_a_gpu_does_what_it_does_on_the_cpu(settings: dict[str, Any]) -> None:
    settings = {"recurrent_size": 8, "batch_size": 4, "learning_starts": 8, "target_update_interval": 3} | settings
    cpu, gpu = (
        DRQN(*AGENTS["discrete"], DRQN.Config(**settings), num_envs=2, seed=3, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(feed(gpu, 30), feed(cpu, 30))
    assert gpu.num_updates == cpu.num_updates > 3
    close(nn.parameters_to_vector(gpu.network), nn.parameters_to_vector(cpu.network), 1e-2, 1e-3)
    assert gpu.statistics() == pytest.approx(cpu.statistics(), rel=0.02, abs=1e-3)
    assert gpu.gradient_step.graph._graphs and not gpu.gradient_step.refused


@pytest.mark.parametrize("name", ["discrete", "box"])
def test_ppo_keeps_the_protocol(name: str) -> None:
    options = {"normalize_observation": True, "normalize_reward": True, "target_kl": 0.01}
    testing.check_agent(lambda: agent(name, "cuda", **options))


@pytest.mark.slow
def test_a_run_learns_and_is_loaded_elsewhere(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "n_epochs": 10, "learning_rate": 3e-3}
    quiet: dict[str, Any] = {"curve": False, "tensorboard": False, "progress": False, "final_episodes": 5}
    experiment = Experiment(
        "ppo", "CartPole-v1", seed=0, preset=False, device="cuda", num_envs=8, out=tmp_path, eval_interval=10**6,
        **settings, **quiet,
    )  # fmt: skip
    run = experiment.run(steps=6_000)
    assert run.agent.device == "cuda" and run.score > 60  # at random: about 22
    saved = PPO.load(next((run.directory / "final").glob("*")), device="cpu")
    np.testing.assert_array_equal(saved.optimizer.values, run.agent.optimizer.values.get())
