"""The same jobs in PyTorch, as fast as its users know how to make it, and which peers there are (JAX: jitted.py)."""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.gpu import jitted, jobs
from benchmarks.gpu.measure import Contender

Maker = tuple[str, Callable[[], Contender]]
WARM_UPS = 3  # updates before a graph is captured


def absent(library: str, stand_in: bool) -> str | None:
    """Why a library takes no part; None if it does. Beside the stand-in it takes part on the CPU."""
    if importlib.util.find_spec(library) is None:
        return "not installed"
    if library == "torch":
        import torch

        return None if stand_in or torch.cuda.is_available() else "installed without CUDA"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the others need memory too
    try:
        import jax

        return None if stand_in or jax.default_backend() == "gpu" else "installed without CUDA"
    except Exception as error:  # a broken installation of a peer is no failure of ours
        return f"installed, and does not start: {' '.join(str(error).split())[:200]}"


def torch_precision(tf32: bool) -> None:
    """Whether PyTorch may round the inputs of products and convolutions to TF32; by its own default, some."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions announce another way to say it
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32


class TorchUpdate:
    """zero_grad, forward, backward, clip_grad_norm_ and Adam; with `graph` captured once and replayed."""

    def __init__(
        self, loss: Callable[[], Any], parameters: list[Any], max_norm: float, adam: str, rate: float, eps: float,
        graph: bool, tf32: bool,
    ) -> None:  # fmt: skip
        import torch

        self.torch, self.loss, self.parameters, self.max_norm = torch, loss, parameters, max_norm
        self.on_gpu = parameters[0].is_cuda
        kind = {"fused": adam == "fused", "foreach": adam == "foreach"}
        self.optimizer = torch.optim.Adam(parameters, rate, eps=eps, capturable=graph, **kind)
        self.graph: Any = None
        torch_precision(tf32)
        if graph:
            self.capture()

    def update(self) -> None:
        """One step, launched from Python."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()

    def capture(self) -> None:
        """Follow PyTorch's notes on CUDA graphs: warm-ups on a side stream, then one update captured."""
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(WARM_UPS):
                self.update()
        cuda.current_stream().wait_stream(side)
        self.graph = cuda.CUDAGraph()
        with cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.update()

    def replay(self) -> None:
        """Launch the graph; bound to this object, which holds the memory that the graph reads."""
        self.graph.replay()

    def contender(self, name: str, tf32: bool, **row: Any) -> Contender:
        """This update and how it is timed."""
        torch, graph = self.torch, self.graph is not None
        return Contender(
            name,
            self.replay if graph else self.update,
            torch.cuda.synchronize if self.on_gpu else (lambda: None),
            lambda: torch_precision(tf32),
            updates=WARM_UPS if graph else 0,
            row={"library": "PyTorch", "captured": graph, "tf32": tf32, **row},
        )


def host(parameters: list[Any]) -> np.ndarray:
    """PyTorch's parameters as one vector on the host, in the logical order of their axes."""
    return np.concatenate([p.detach().cpu().numpy().reshape(-1) for p in parameters])


def torch_ppo(job: jobs.PPOJob, device: str, adam: str, graph: bool, tf32: bool) -> Contender:
    """Rows of the rollout by index, advantages normalized, loss, backward, clip, Adam."""
    import torch
    import torch.nn.functional as F

    def network(weights: list[np.ndarray]) -> Any:
        layers: list[Any] = []
        for w, b in zip(weights[::2], weights[1::2], strict=True):
            layer = torch.nn.Linear(*w.shape[::-1], device=device)
            layer.weight.data.copy_(torch.tensor(w))
            layer.bias.data.copy_(torch.tensor(b))
            layers += [layer, torch.nn.Tanh()]
        return torch.nn.Sequential(*layers[:-1])

    policy, critic = network(job.start[:6]), network(job.start[6:])
    observation, action, old, _, target, advantage = job.columns
    # One gather for all that is float and one for the actions: fewer launches than one for each column.
    floats = torch.tensor(np.column_stack([observation, old, target, advantage]), device=device)
    actions, given = torch.tensor(action, device=device), torch.tensor(job.rows, device=device)
    rows = given.clone()
    n = jobs.OBSERVATION

    def loss() -> Any:
        batch, chosen = floats.index_select(0, rows), actions.index_select(0, rows)
        x, old, target, advantage = batch[:, :n], batch[:, n], batch[:, n + 1], batch[:, n + 2]
        std, mean = torch.std_mean(advantage, correction=0)
        advantage = (advantage - mean) / (std + 1e-8)
        log_p = F.log_softmax(policy(x), 1)
        ratio = torch.exp(log_p.gather(1, chosen[:, None]).squeeze(1) - old)
        clipped = ratio.clamp(1 - jobs.CLIP, 1 + jobs.CLIP)
        objective = torch.min(ratio * advantage, clipped * advantage).mean()
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        value_loss = F.mse_loss(critic(x).squeeze(1), target)
        return jobs.VALUE * value_loss - objective - jobs.ENTROPY * entropy

    parameters = [*policy.parameters(), *critic.parameters()]
    update = TorchUpdate(loss, parameters, jobs.MAX_NORM, adam, jobs.RATE, jobs.EPS, graph, tf32)
    name = torch_name(graph, tf32, adam)
    contender = update.contender(name, tf32, adam=adam)
    contender.weights = lambda: host(parameters)
    if graph:  # each minibatch has rows of its own: the graph's are written before it is launched
        replay = contender.call

        def call() -> None:
            rows.copy_(given)
            replay()

        contender.call = call
    return contender


def torch_images(job: jobs.ImageJob, device: str, adam: str, graph: bool, tf32: bool, channels_last: bool) -> Contender:
    """Bytes to floats, the Nature CNN, Huber loss on Q(s, a), backward, clip, Adam."""
    import torch
    import torch.nn.functional as F

    torch.backends.cudnn.benchmark = True  # the fastest algorithm for each shape, found in the warm-ups
    form = torch.channels_last if channels_last else torch.contiguous_format
    start = [torch.tensor(w, device=device) for w in job.start]
    convs = [w.to(memory_format=form) for w in start[:6:2]]
    hidden, shape = start[6], (-1, convs[2].shape[0], *feature_map(job.images.shape[2:]))
    if channels_last:  # the features lie channel after channel: with the weights in that order they need no copy
        hidden = hidden.view(shape).permute(0, 2, 3, 1).reshape(hidden.shape)
    values = [convs[0], start[1], convs[1], start[3], convs[2], start[5], hidden, *start[7:]]
    parameters = [torch.nn.Parameter(value) for value in values]
    images = torch.tensor(job.images, device=device).contiguous(memory_format=form)
    action = torch.tensor(job.action, device=device)[:, None]
    target = torch.tensor(job.target, device=device)

    def loss() -> Any:
        x = images * (1 / 255)
        for w, b, stride in zip(parameters[:6:2], parameters[1:6:2], jobs.STRIDES, strict=True):
            x = F.relu(F.conv2d(x, w, b, stride), inplace=True)
        x = (x.permute(0, 2, 3, 1) if channels_last else x).flatten(1)
        x = F.relu(F.linear(x, parameters[6], parameters[7]), inplace=True)
        q = F.linear(x, parameters[8], parameters[9])
        return F.huber_loss(q.gather(1, action).squeeze(1), target)

    def weights() -> np.ndarray:
        w = parameters[6].detach()
        if channels_last:
            _, channels, height, width = shape
            w = w.view(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)
        return host([*parameters[:6], w, *parameters[7:]])

    settings = (jobs.IMAGE_MAX_NORM, adam, jobs.IMAGE_RATE, jobs.IMAGE_EPS, graph, tf32)
    update = TorchUpdate(loss, parameters, *settings)
    name = torch_name(graph, tf32, adam, *(["channels_last"] if channels_last else []))
    contender = update.contender(name, tf32, adam=adam, channels_last=channels_last)
    contender.weights = weights
    return contender


def feature_map(size: tuple[int, ...]) -> list[int]:
    """Height and width of what the three convolutions make of an image."""
    return [((((n - 8) // 4 + 1) - 4) // 2 + 1) - 2 for n in size]


def torch_name(graph: bool, tf32: bool, *more: str) -> str:
    """Its name in the report."""
    return ", ".join(["PyTorch " + ("CUDA graph" if graph else "eager"), *more, *(["TF32"] if tf32 else [])])


def ppo_peers(job: jobs.PPOJob, stand_in: bool) -> Iterator[Maker]:
    """Name and maker of each way in which the peers do it."""
    device = "cpu" if stand_in else "cuda"
    if absent("torch", stand_in) is None:
        for graph, adam, tf32 in (
            (True, "fused", False), (True, "foreach", False), (True, "fused", True), (True, "foreach", True),
            (False, "fused", False), (False, "foreach", False),
        ):  # fmt: skip
            if not (graph and stand_in):
                yield torch_name(graph, tf32, adam), lambda a=(adam, graph, tf32): torch_ppo(job, device, *a)
    if absent("jax", stand_in) is None:
        yield "JAX jitted", lambda: jitted.ppo(job, False)


def image_peers(job: jobs.ImageJob, stand_in: bool) -> Iterator[Maker]:
    """Name and maker of each way in which the peers do it."""
    device = "cpu" if stand_in else "cuda"
    if absent("torch", stand_in) is None:
        for tf32 in (False, True):
            for last in (False, True):
                for graph, adam in ((True, "fused"), (True, "foreach"), (False, "fused")):
                    if not (graph and stand_in):
                        yield (
                            torch_name(graph, tf32, adam, *(["channels_last"] if last else [])),
                            lambda a=(adam, graph, tf32, last): torch_images(job, device, *a),
                        )
    if absent("jax", stand_in) is None:
        yield "JAX jitted", lambda: jitted.images(job, False)
        yield "JAX jitted, TF32", lambda: jitted.images(job, True)
