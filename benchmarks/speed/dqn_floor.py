"""A DQN update written by hand in NumPy, without checks or choices: what `dbrrl.agents.DQN` is measured against."""

import numpy as np
from floor_network import FloorNetwork

ROWS, ACTIONS, OBSERVATION = 10_000, 2, 4


class Floor:
    """Draw a batch, its targets from a target network, Huber's gradient, backward, clip, Adam: relu networks."""

    def __init__(self, hidden_sizes: list[int], batch_size: int) -> None:
        rng = self.rng = np.random.default_rng(0)
        self.network = FloorNetwork((OBSERVATION, *hidden_sizes, ACTIONS), batch_size, rng, 0.1)
        self.observations = rng.standard_normal((ROWS + 1, OBSERVATION)).astype(np.float32)
        self.actions = rng.integers(0, ACTIONS, ROWS)
        self.rewards, self.discounts = np.ones(ROWS, np.float32), np.full(ROWS, 0.99, np.float32)
        self.batch_size, self.row = batch_size, np.arange(batch_size)

    def update(self) -> None:
        """One gradient step."""
        net, index = self.network, self.rng.integers(0, ROWS, self.batch_size)
        y = net.forward(self.observations.take(index + 1, 0), net.target_layers)[-1].max(1)
        y *= self.discounts.take(index)
        y += self.rewards.take(index)
        outputs = net.forward(self.observations.take(index, 0), net.layers)
        place = self.row, self.actions.take(index)
        error = np.clip(outputs[-1][place] - y, -1, 1)
        error *= 1 / self.batch_size
        g = np.zeros_like(outputs[-1])
        g[place] = error
        net.backward(g, outputs)
        net.clip(10.0)
        net.adam(1e-3)
