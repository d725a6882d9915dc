"""The jobs in JAX: one jitted function an update."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.gpu import jobs
from benchmarks.gpu.measure import Contender


def update(job: Any, loss: Callable[..., Any], max_norm: float, rate: float, eps: float, tf32: bool) -> Contender:
    """One jitted function for gradient, clip and Adam, its state donated; `loss(parameters)` closes over the batch."""
    import jax
    import jax.numpy as jnp

    precision = "tensorfloat32" if tf32 else "highest"

    def step(parameters: Any, m: Any, v: Any, t: Any, batch: Any) -> Any:
        with jax.default_matmul_precision(precision):
            g = jax.grad(loss)(parameters, *batch)
        norm = jnp.sqrt(sum(jnp.vdot(x, x) for x in g))
        scale = jnp.minimum(1.0, max_norm / (norm + 1e-6))
        g, t = [x * scale for x in g], t + 1
        m = [0.9 * a + 0.1 * x for a, x in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * x * x for a, x in zip(v, g, strict=True)]
        one, two = 1 - 0.9**t, 1 - 0.999**t
        moved = [p - rate * (a / one) / (jnp.sqrt(b / two) + eps) for p, a, b in zip(parameters, m, v, strict=True)]
        return moved, m, v, t

    jitted = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    zeros = [[jnp.zeros_like(w) for w in job.start] for _ in range(2)]
    state = [[jnp.array(w) for w in job.start], *zeros, jnp.zeros((), jnp.float32)]
    batch = [jnp.array(x) for x in batch_of(job)]

    def call() -> None:
        state[:] = jitted(*state, batch)

    return Contender(
        "JAX jitted" + (", TF32" if tf32 else ""),
        call,
        lambda: jax.block_until_ready(state),
        weights=lambda: np.concatenate([np.asarray(w).reshape(-1) for w in state[0]]),
        row={"library": "JAX", "captured": True, "tf32": tf32},
    )


def batch_of(job: Any) -> Iterator[np.ndarray]:
    """The arguments of a jitted update besides its state."""
    arrays = [*job.columns, job.rows] if isinstance(job, jobs.PPOJob) else [job.images, job.action, job.target]
    return (x.astype(np.int32) if x.dtype == np.int64 else x for x in arrays)


def ppo(job: jobs.PPOJob, tf32: bool) -> Contender:
    """The same work as `peers.torch_ppo`."""
    import jax
    import jax.numpy as jnp

    def network(weights: Any, x: Any) -> Any:
        for k in range(0, 6, 2):
            x = x @ weights[k].T + weights[k + 1]
            x = jnp.tanh(x) if k < 4 else x
        return x

    def loss(p: Any, *batch: Any) -> Any:
        *columns, rows = batch
        x, action, old, _, target, advantage = (column[rows] for column in columns)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        log_p = jax.nn.log_softmax(network(p[:6], x))
        ratio = jnp.exp(jnp.take_along_axis(log_p, action[:, None], 1)[:, 0] - old)
        clipped = jnp.clip(ratio, 1 - jobs.CLIP, 1 + jobs.CLIP)
        objective = jnp.minimum(ratio * advantage, clipped * advantage).mean()
        entropy = -(jnp.exp(log_p) * log_p).sum(1).mean()
        value_loss = ((network(p[6:], x)[:, 0] - target) ** 2).mean()
        return jobs.VALUE * value_loss - objective - jobs.ENTROPY * entropy

    return update(job, loss, jobs.MAX_NORM, jobs.RATE, jobs.EPS, tf32)


def images(job: jobs.ImageJob, tf32: bool) -> Contender:
    """The same work as `peers.torch_images`."""
    import jax
    import jax.numpy as jnp

    def loss(p: Any, images: Any, action: Any, target: Any) -> Any:
        x = images.astype(jnp.float32) / 255
        for k, stride in enumerate(jobs.STRIDES):
            x = jax.lax.conv_general_dilated(
                x, p[2 * k], (stride, stride), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")
            )
            x = jax.nn.relu(x + p[2 * k + 1][:, None, None])
        x = jax.nn.relu(x.reshape(len(x), -1) @ p[6].T + p[7])
        q = x @ p[8].T + p[9]
        error = jnp.take_along_axis(q, action[:, None], 1)[:, 0] - target
        size = jnp.abs(error)
        return jnp.where(size < 1, 0.5 * error * error, size - 0.5).mean()

    return update(job, loss, jobs.IMAGE_MAX_NORM, jobs.IMAGE_RATE, jobs.IMAGE_EPS, tf32)
