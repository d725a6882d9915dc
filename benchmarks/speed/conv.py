"""Prints the time of the Nature CNN's forward and backward against PyTorch's: both in turn, one thread.

python benchmarks/speed/conv.py     (with a Python that has NumPy and PyTorch)
"""

import importlib
import statistics
import sys
from collections.abc import Callable
from typing import Any

from timing import seconds

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.backend import load_kernels

KERNELS = (((32, 4, 8, 8), 4), ((64, 32, 4, 4), 2), ((64, 64, 3, 3), 1))


def ours(frames: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward with backward, and forward alone, of the Nature CNN on NumPy."""
    rng = np.random.default_rng(0)
    kernels = [Tensor((rng.random(s, np.float32) - 0.5) / 10, requires_grad=True) for s, _ in KERNELS]
    biases = [Tensor(np.zeros(s[0], np.float32), requires_grad=True) for s, _ in KERNELS]
    weight = Tensor((rng.random((512, 3136), np.float32) - 0.5) / 10, requires_grad=True)
    bias = Tensor(np.zeros(512, np.float32), requires_grad=True)

    def forward() -> Any:
        x = frames.astype(np.float32) / np.float32(255)
        for w, b, (_, stride) in zip(kernels, biases, KERNELS, strict=True):
            x = F.conv2d(x, w, b, stride, activation="relu")
        return F.linear(x.reshape(len(frames), -1), weight, bias, "relu")

    def both() -> None:
        for p in (*kernels, *biases, weight, bias):
            p.grad = None
        forward().sum().backward()

    return both, no_grad()(forward)


def theirs(frames: Any, torch: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same on PyTorch."""
    torch.set_num_threads(1)
    nn = torch.nn
    layers = [m for (o, i, k, _), s in KERNELS for m in (nn.Conv2d(i, o, k, s), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU())
    images = torch.from_numpy(frames)

    def both() -> None:
        for p in net.parameters():
            p.grad = None
        net(images.float() / 255).sum().backward()

    return both, torch.no_grad()(lambda: net(images.float() / 255))


def main() -> None:
    """Time both sides in turn and print medians and their ratio."""
    load_kernels("cpu")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        torch = None
        print("PyTorch is not installed here: only dbrrl is timed", file=sys.stderr)
    for batch in (32, 256):
        frames = np.random.default_rng(1).integers(0, 256, (batch, 4, 84, 84), dtype=np.uint8)
        sides = [ours(frames)] + ([theirs(frames, torch)] if torch else [])
        for k, name in enumerate(("forward and backward", "forward")):
            times: list[list[float]] = [[] for _ in sides]
            for repeat in range(45 if batch == 32 else 12):
                for side, kept in zip(sides, times, strict=True):
                    elapsed = seconds(side[k], 1) * 1e3
                    if repeat >= 3:  # the first calls load and warm up
                        kept.append(elapsed)
            medians = [statistics.median(t) for t in times]
            ratio = f", PyTorch {medians[1]:.2f} ms, ratio {medians[0] / medians[1]:.2f}" if torch else ""
            print(f"Nature CNN, batch {batch}, {name}: dbrrl {medians[0]:.2f} ms{ratio}")


if __name__ == "__main__":
    main()
