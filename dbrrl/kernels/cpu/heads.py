"""Log-probabilities, entropies and losses of rows of a few numbers on the CPU."""

from typing import Any

from dbrrl.autodiff import chosen, policy, reduce
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import replaces
from dbrrl.kernels.cpu import _c

_LONGEST = 1024  # entries of a row; the sums of longer ones are more exact in pairs, as NumPy forms them


@replaces(reduce.LogSoftmax, "cpu")
class _LogSoftmax:
    """Over the last axis."""

    def forward(self: Any, x: Any) -> Any:
        return _c.log_softmax(x) if self.axis == x.ndim - 1 and x.shape[-1] <= _LONGEST else NotImplemented

    def backward(self: Any, g: Any, y: Any, x: Any) -> Any:
        return _c.log_softmax_back(g, y) if self.axis == y.ndim - 1 and y.shape[-1] <= _LONGEST else NotImplemented


@replaces(reduce.Softmax, "cpu")
class _Softmax:
    """Over the last axis."""

    def forward(self: Any, x: Any) -> Any:
        return _c.softmax(x) if self.axis == x.ndim - 1 and x.shape[-1] <= _LONGEST else NotImplemented

    def backward(self: Any, g: Any, y: Any, x: Any) -> Any:
        return _c.softmax_back(g, y) if self.axis == y.ndim - 1 and y.shape[-1] <= _LONGEST else NotImplemented


@replaces(policy.Entropy, "cpu")
class _Entropy:
    """The probabilities are kept for the gradient."""

    def forward(self: Any, log_probs: Any) -> Any:
        found = _c.entropy(log_probs)
        if found is NotImplemented:
            return found
        y, self.p = found
        return y

    def backward(self: Any, g: Any, y: Any, log_probs: Any) -> Any:
        return _c.entropy_back(g, log_probs, self.p) if hasattr(self, "p") else NotImplemented


@replaces(policy.CategoricalLogProb, "cpu")
class _CategoricalLogProb:
    """`probs` is turned, as in the formula, whose rows are the choices."""

    def forward(self: Any, logits: Any) -> Any:
        found = _c.log_prob(logits, self.index)
        if found is NotImplemented:
            return found
        y, self.rows = found
        self.probs = self.rows.T
        return y

    def backward(self: Any, g: Any, y: Any, logits: Any) -> Any:
        if not hasattr(self, "rows"):
            return NotImplemented
        found = _c.log_prob_back(g, self.index, self.rows)
        if found is NotImplemented:
            self.chosen(plain(logits))  # sets the places that the formula reads
        return found


@replaces(policy.ClippedSurrogate, "cpu")
class _ClippedSurrogate:
    """Forwards: the gradient is a product of what is kept."""

    def forward(self: Any, log_prob: Any) -> Any:
        found = _c.surrogate(log_prob, self.old, self.advantage, self.clip_range)
        if found is NotImplemented:
            return found
        y, self.ratio, self.active = found
        return y


@replaces(chosen.PickedHuber, "cpu")
class _PickedHuber:
    """Differences are kept for the gradient, errors for the priorities of replay."""

    def forward(self: Any, x: Any, b: Any) -> Any:
        found = _c.picked_huber(x, self.index, b)
        if found is NotImplemented:
            return found
        y, self.d, self.error, self.inside = found
        self.by_kernel = True
        return y

    def backward(self: Any, g: Any, y: Any, x: Any, b: Any) -> Any:
        if not hasattr(self, "by_kernel"):
            return NotImplemented
        found = _c.picked_huber_back(g, self.index, self.d, x.shape[1])
        if found is NotImplemented:
            self.chosen(plain(x))  # sets the places that the formula reads
            return found
        return found[0], -found[1] if self.needs(1) else None
