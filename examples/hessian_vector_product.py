"""Second derivatives: a Hessian-vector product of a policy's loss, checked, and used for a natural-gradient step."""

import numpy as np

import dbrrl
import dbrrl.functional as F
from dbrrl.autodiff.tensor import Tensor

rng = np.random.default_rng(0)
states = rng.normal(size=(64, 4))
actions = rng.integers(0, 3, 64)
weights = [dbrrl.Tensor(rng.normal(size=s) * 0.5, requires_grad=True) for s in ((16, 4), (16,), (3, 16), (3,))]


def log_policy() -> Tensor:
    """Log-probabilities (64, 3) of a two-layer tanh net."""
    w1, b1, w2, b2 = weights
    return F.log_softmax(F.linear(np.tanh(F.linear(states, w1, b1)), w2, b2))  # type: ignore[no-any-return]


def loss() -> Tensor:
    """Cross entropy of the actions, less some entropy."""
    log_probs = log_policy()
    return -F.pick(log_probs, actions).mean() - 0.1 * F.entropy(log_probs).mean()  # type: ignore[no-any-return]


def product(f: Tensor, vector: list[np.ndarray]) -> list[np.ndarray]:
    """H v: the gradient of (gradient · v), without ever making the matrix H."""
    gradients = dbrrl.grad(f, weights, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, vector, strict=True))
    return [h.numpy() for h in dbrrl.grad(along, weights)]


def slope(step: float, vector: list[np.ndarray]) -> list[np.ndarray]:
    """The gradient beside the weights, `step` along the vector."""
    for w, v in zip(weights, vector, strict=True):
        w.data = w.data + step * v
    gradients = [g.numpy() for g in dbrrl.grad(loss(), weights)]
    for w, v in zip(weights, vector, strict=True):
        w.data = w.data - step * v
    return gradients


vector = [rng.normal(size=w.shape) for w in weights]
exact = product(loss(), vector)
sides = zip(slope(1e-5, vector), slope(-1e-5, vector), strict=True)
numeric = [(up - down) / 2e-5 for up, down in sides]
worst = max(np.max(np.abs(e - n)) for e, n in zip(exact, numeric, strict=True))
print(f"Hessian-vector product against finite differences: largest difference {worst:.1e}")

# The Fisher matrix is the Hessian of the divergence from the policy as it is now.
now = log_policy().numpy()
divergence = (np.exp(now) * (now - log_policy())).sum(axis=1).mean()
fisher = product(divergence, vector)
curvature = sum(np.sum(f * v) for f, v in zip(fisher, vector, strict=True))
print(f"divergence from itself {abs(divergence.item()):.1e}, its curvature along the vector {curvature:.4f}")
