"""A loss of one's own, op by op and compiled by dbrrl.compile, in turn in one process: docs/compiled-updates.md.

.venv/bin/python benchmarks/speed/compiled_updates.py
"""

from collections.abc import Callable
from typing import Any

from timing import in_turn

import numpy as np

import dbrrl
from dbrrl import functional as F
from dbrrl import nn, optim
from dbrrl.buffers import Batch

ROUNDS, REPEATS = 15, 50


def made() -> tuple[Any, Any, Callable[..., Any]]:
    """An actor-critic, its optimizer and its loss, as on the page."""
    policy = nn.mlp([4, 64, 64, 2], activation="tanh", rng=0)
    critic = nn.mlp([4, 64, 64, 1], activation="tanh", rng=1)
    networks = nn.Sequential(policy, critic)

    def loss(batch: Batch) -> Any:
        log_prob = F.log_softmax(policy(batch.observation), axis=1)
        chosen = F.pick(log_prob, batch.action)
        error = critic(batch.observation)[:, 0] - batch.target
        total = -(chosen * batch.advantage).mean() + 0.5 * (error * error).mean()
        return total, lambda: {"loss": total.array}

    return networks, optim.Adam(networks, 1e-3), loss


def data(rows: int) -> Batch:
    """A random batch."""
    rng = np.random.default_rng(0)
    return Batch(
        observation=rng.normal(size=(rows, 4)).astype(np.float32), action=rng.integers(0, 2, rows),
        advantage=rng.normal(size=rows).astype(np.float32), target=rng.normal(size=rows).astype(np.float32),
    )  # fmt: skip


def main() -> None:
    """Print how many times as long the steps take op by op."""
    for rows in (64, 256):
        batch = data(rows)
        _, optimizer, loss = made()
        compiled, plain = (dbrrl.compile(loss, optimizer, 0.5) for _ in range(2))
        plain.compiled = False
        one, other = in_turn(lambda: compiled(batch), lambda: plain(batch), ROUNDS, (REPEATS, REPEATS))  # noqa: B023
        print(f"batch {rows}: {compiled.explain()}; op by op takes {other / one:.1f} times as long")


if __name__ == "__main__":
    main()
