"""A DQN update written by hand in NumPy, without checks or choices: what `dbrrl.agents.DQN` is measured against."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

ROWS, ACTIONS, OBSERVATION = 10_000, 2, 4


class Floor:
    """Draw a batch, its targets from a target network, Huber's gradient, backward, clip, Adam: relu networks."""

    def __init__(self, hidden_sizes: list[int], batch_size: int) -> None:
        rng = self.rng = np.random.default_rng(0)
        shapes = [(out, inputs) for inputs, out in pairwise([OBSERVATION, *hidden_sizes, ACTIONS])]
        size = sum(rows * (columns + 1) for rows, columns in shapes)
        self.values = (0.1 * rng.standard_normal(size)).astype(np.float32)
        self.target = self.values.copy()
        self.grads, self.first, self.second, self.scratch = (np.zeros(size, np.float32) for _ in range(4))
        self.layers, self.target_layers, self.grad_layers = (
            self.views(vector, shapes) for vector in (self.values, self.target, self.grads)
        )
        self.observations = rng.standard_normal((ROWS + 1, OBSERVATION)).astype(np.float32)
        self.actions = rng.integers(0, ACTIONS, ROWS)
        self.rewards, self.discounts = np.ones(ROWS, np.float32), np.full(ROWS, 0.99, np.float32)
        self.batch_size, self.row, self.ones = batch_size, np.arange(batch_size), np.ones(batch_size, np.float32)
        self.zeros = [np.zeros((batch_size, out), np.float32) for out, _ in shapes]

    @staticmethod
    def views(vector: Any, shapes: list[tuple[int, int]]) -> list[tuple[Any, Any]]:
        """Weight and bias of each layer, in one vector."""
        found, at = [], 0
        for out, inputs in shapes:
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

    def update(self) -> None:
        """One gradient step."""
        index = self.rng.integers(0, ROWS, self.batch_size)
        y = self.forward(self.observations.take(index + 1, 0), self.target_layers)[-1].max(1)
        y *= self.discounts.take(index)
        y += self.rewards.take(index)
        outputs = self.forward(self.observations.take(index, 0), self.layers)
        place = self.row, self.actions.take(index)
        error = np.clip(outputs[-1][place] - y, -1, 1)
        error *= 1 / self.batch_size
        g = np.zeros_like(outputs[-1])
        g[place] = error
        for i in range(len(self.layers) - 1, -1, -1):
            grad_weight, grad_bias = self.grad_layers[i]
            np.dot(g.T, outputs[i], out=grad_weight)
            np.dot(self.ones, g, out=grad_bias)
            if i:
                g = g.dot(self.layers[i][0])
                g *= np.greater(outputs[i], 0)
        self.adam()

    def adam(self, max_norm: float = 10.0) -> None:
        """Clip, then Adam, its constants taken together."""
        g, scratch = self.grads, self.scratch
        norm = math.sqrt(g @ g)
        if norm > max_norm:
            g *= max_norm / norm
        self.first *= 0.9
        self.first += g
        self.second *= 0.999
        np.multiply(g, g, out=scratch)
        self.second += scratch
        np.sqrt(self.second, out=scratch)
        scratch += 1e-8
        np.divide(self.first, scratch, out=scratch)
        scratch *= 1e-3
        self.values -= scratch
