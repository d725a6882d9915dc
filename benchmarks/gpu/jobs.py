"""The jobs that ours and the peers do alike: their numbers, starting weights and sizes, as NumPy arrays."""

from dataclasses import dataclass, field

import numpy as np

OBSERVATION, ACTIONS, CLIP, ENTROPY, VALUE, MAX_NORM, RATE, EPS = 4, 2, 0.2, 0.01, 0.5, 0.5, 3e-4, 1e-5
IMAGE_ACTIONS, IMAGE_MAX_NORM, IMAGE_RATE, IMAGE_EPS = 6, 10.0, 1e-4, 1e-8
STRIDES = (4, 2, 1)  # of the Nature CNN's convolutions


@dataclass(frozen=True)
class Sizes:
    """How much the report does. The stand-in's are small: there only the code is looked at."""

    batches: tuple[int, ...] = (256, 4096, 65536)
    image_batches: tuple[int, ...] = (256, 32)  # the one that has a bar first, should the time be over
    image: tuple[int, int, int] = (4, 84, 84)
    num_envs: tuple[int, ...] = (64, 1024, 8192)
    rounds: int = 11
    turn: float = 0.02  # seconds
    launches: int = 2000
    nodes: tuple[int, int] = (100, 500)
    steps_seconds: float = 1.5  # of each of three slices
    rollout: dict[str, int] = field(default_factory=lambda: {"n_steps": 32, "minibatches": 4, "n_epochs": 4})
    solve_envs: int = 256
    solve_rollouts: int = 25
    solve_batch: int = 2048
    solve_seeds: tuple[int, ...] = (0, 1, 2)
    points: int = 10  # of each case of the table of ops
    every: int = 1  # every so many cases


TINY = Sizes(
    batches=(8,), image_batches=(2,), image=(4, 36, 36), num_envs=(4,), rounds=3, turn=1e-4, launches=5, nodes=(2, 4),
    steps_seconds=0.02, rollout={"n_steps": 4, "minibatches": 2, "n_epochs": 1}, solve_envs=4, solve_rollouts=1,
    solve_batch=64, solve_seeds=(0,), points=1, every=4,
)  # fmt: skip


@dataclass(frozen=True)
class PPOJob:
    """One update of PPO on `rows` of a rollout twice as long.

    start: W and b of the policy's three layers, then of the value's, W as (out, in).
    columns: observation (2 n, 4), action, old log π, old V, G and A (2 n,), float32 but for the action.
    """

    start: list[np.ndarray]
    columns: list[np.ndarray]
    rows: np.ndarray


@dataclass(frozen=True)
class ImageJob:
    """One update of Q(s, a) towards given targets, on images (n, 4, 84, 84) of bytes.

    start: W and b of three convolutions and two linear layers, W as (out, in, ...).
    """

    start: list[np.ndarray]
    images: np.ndarray
    action: np.ndarray
    target: np.ndarray


def ppo_job(batch: int, start: list[np.ndarray]) -> PPOJob:
    """Random transitions; the old policy is near the one that `start` is, so that some ratios are clipped."""
    rng, n = np.random.default_rng(0), 2 * batch
    observation = rng.normal(size=(n, OBSERVATION)).astype(np.float32)
    action = rng.integers(0, ACTIONS, n)
    old_log_prob = np.log(1 / ACTIONS) + 0.2 * rng.normal(size=n)
    value, gain = rng.normal(size=(2, n))
    columns = [old_log_prob, value, value + gain, gain]
    rows = rng.permutation(n)[:batch]
    return PPOJob(start, [observation, action, *(c.astype(np.float32) for c in columns)], rows)


def image_job(batch: int, shape: tuple[int, int, int], start: list[np.ndarray]) -> ImageJob:
    """Random bytes and targets."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *shape), dtype=np.uint8)
    return ImageJob(start, images, rng.integers(0, IMAGE_ACTIONS, batch), rng.normal(size=batch).astype(np.float32))
