"""An LSTM learns to recall the first token of a sequence, however long: a plain Python loop unrolls it."""

from typing import Any

import numpy as np

from dbrrl import Tensor, nn, no_grad, optim
from dbrrl import functional as F

TOKENS, HIDDEN, BATCH, LONGEST = 4, 32, 32, 12


class Recall(nn.Module):
    """Reads tokens one by one and says, after the last, which came first."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.embedding = nn.Embedding(TOKENS, HIDDEN, rng=rng)
        self.cell = nn.LSTMCell(HIDDEN, HIDDEN, rng=rng)
        self.head = nn.Linear(HIDDEN, TOKENS, rng=rng)

    def forward(self, tokens: np.ndarray) -> Tensor:
        """Tokens (T, B), any T, to logits (B, TOKENS)."""
        state: Any = None
        for step in tokens:
            state = self.cell(self.embedding(step), state)
        hidden, _ = state
        logits: Tensor = self.head(hidden)
        return logits


def batch(rng: np.random.Generator, length: int) -> np.ndarray:
    """Random tokens (length, BATCH)."""
    return rng.integers(0, TOKENS, (length, BATCH))


def main() -> None:
    """Train on lengths drawn anew for each update, then measure every length on fresh sequences."""
    rng = np.random.default_rng(0)
    model = Recall(rng)
    optimizer = optim.Adam(model, learning_rate=1e-2)
    for update in range(1, 501):
        tokens = batch(rng, int(rng.integers(1, LONGEST + 1)))
        loss = F.cross_entropy(model(tokens), tokens[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.clip_grad_norm(1.0)
        optimizer.step()
        if update % 100 == 0:
            print(f"update {update}: loss {loss.item():.4f} on sequences of length {len(tokens)}")
    with no_grad():
        for length in (1, 4, LONGEST):
            tokens = batch(rng, length)
            recalled = np.mean(model(tokens).data.argmax(-1) == tokens[0])
            print(f"length {length}: {recalled:.0%} recalled")
            assert recalled > 0.95


if __name__ == "__main__":
    main()
