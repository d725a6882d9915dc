"""A stack of linear layers written by hand in NumPy, without checks or choices, which the floors of updates share."""

import math
from itertools import pairwise
from typing import Any

import numpy as np


class FloorNetwork:
    """Linear layers with relu between them, in one vector, with Adam's moments and a target network.

    Args:
        sizes: input, hidden ..., output.
        batch_size: rows of every input.
        rng: generator of the initial weights.
        scale: deviation of the initial weights.
    """

    def __init__(self, sizes: tuple[int, ...], batch_size: int, rng: np.random.Generator, scale: float = 0.05) -> None:
        self.shapes = [(out, inputs) for inputs, out in pairwise(sizes)]
        size = sum(rows * (columns + 1) for rows, columns in self.shapes)
        self.values = (scale * rng.standard_normal(size)).astype(np.float32)
        self.target = self.values.copy()
        self.grads, self.first, self.second, self.scratch = (np.zeros(size, np.float32) for _ in range(4))
        self.layers, self.target_layers, self.grad_layers = map(self.views, (self.values, self.target, self.grads))
        self.ones = np.ones(batch_size, np.float32)
        self.zeros = [np.zeros((batch_size, out), np.float32) for out, _ in self.shapes]

    def views(self, vector: Any) -> list[tuple[Any, Any]]:
        """Weight and bias of each layer, in one vector."""
        found, at = [], 0
        for out, inputs in self.shapes:
            end = at + out * inputs
            found.append((vector[at:end].reshape(out, inputs), vector[end : end + out]))
            at = end + out
        return found

    def forward(self, x: Any, layers: list[tuple[Any, Any]]) -> list[Any]:
        """The input and the output of each layer."""
        outputs = [x]
        for i, (weight, bias) in enumerate(layers):
            x = x.dot(weight.T)
            x += bias
            if i + 1 < len(layers):
                np.maximum(x, self.zeros[i], out=x)
            outputs.append(x)
        return outputs

    def backward(self, g: Any, outputs: list[Any], *, weights: bool = True, inputs: bool = False) -> Any:
        """Write the gradients of the layers, or return that of the input, given that of the output."""
        for i in range(len(self.layers) - 1, -1, -1):
            if weights:
                np.dot(g.T, outputs[i], out=self.grad_layers[i][0])
                np.dot(self.ones, g, out=self.grad_layers[i][1])
            if i or inputs:
                g = g.dot(self.layers[i][0])
                if i:
                    g *= np.greater(outputs[i], 0)
        return g

    def clip(self, max_norm: float) -> None:
        """Scale the gradient down to a norm."""
        norm = math.sqrt(self.grads @ self.grads)
        if norm > max_norm:
            self.grads *= max_norm / norm

    def adam(self, step_size: float) -> None:
        """One step of Adam, its constants taken together."""
        g, scratch = self.grads, self.scratch
        self.first *= 0.9
        self.first += g
        self.second *= 0.999
        np.multiply(g, g, out=scratch)
        self.second += scratch
        np.sqrt(self.second, out=scratch)
        scratch += 1e-8
        np.divide(self.first, scratch, out=scratch)
        scratch *= step_size
        self.values -= scratch

    def follow(self, tau: float) -> None:
        """Move the target network by τ."""
        np.subtract(self.values, self.target, out=self.scratch)
        self.scratch *= tau
        self.target += self.scratch
