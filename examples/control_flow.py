"""Python's control flow is the graph: sequences of any length, depth by data, a loop that ends by value."""

import numpy as np

import dbrrl
import dbrrl.functional as F
from dbrrl import nn, optim
from dbrrl.autodiff.tensor import Tensor

rng = np.random.default_rng(0)


class SumReader(nn.Module):
    """An LSTM cell written out, and a linear layer that reads the sum of the sequence from its last state."""

    def __init__(self, size: int) -> None:
        self.gates = nn.Linear(1 + size, 4 * size, rng=1)
        self.out = nn.Linear(size, 1, rng=2)
        self.size = size

    def forward(self, sequence: np.ndarray) -> Tensor:
        """Prediction (1, 1) for a sequence (length,): the loop runs as often as there are elements."""
        h: Tensor | np.ndarray = np.zeros((1, self.size), np.float32)
        c = h
        for x in sequence:
            i, f, g, o = F.split(self.gates(F.concatenate([[[x]], h], axis=1)), 4, axis=1)
            c = F.sigmoid(f) * c + F.sigmoid(i) * np.tanh(g)
            h = F.sigmoid(o) * np.tanh(c)
        return self.out(h)  # type: ignore[no-any-return]


reader = SumReader(16)
optimizer = optim.Adam(reader, learning_rate=0.01)
for step in range(301):
    optimizer.zero_grad()
    batch = [rng.normal(size=rng.integers(1, 7)).astype(np.float32) for _ in range(8)]  # lengths differ
    predictions = F.concatenate([reader(s) for s in batch])
    loss = F.mse_loss(predictions[:, 0], np.array([s.sum() for s in batch]))
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"LSTM step {step}: error {loss.item():.3f}")

# Depth decided by the data: the layer is applied until the activations have settled.
layer = nn.Linear(4, 4, rng=3)
x, depth = dbrrl.Tensor(rng.normal(size=(1, 4)).astype(np.float32), requires_grad=True), 0
y, change = x, 1.0
while change > 1e-3:
    before, y = y, np.tanh(layer(y))
    change, depth = abs(y - before).max().item(), depth + 1
y.sum().backward()
print(f"settled after {depth} layers, gradient of the input {np.round(x.grad, 4)}")

# A while loop that ends on a computed value: √a by Newton's method; the gradient is 1 / (2 √a).
a = dbrrl.Tensor(np.array(9.0), requires_grad=True)
root = a
while abs(root * root - a) > 1e-9:
    root = (root + a / root) / 2
print(f"root {root.item():.4f}, gradient {dbrrl.grad(root, a).item():.4f}")
