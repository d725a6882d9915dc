"""Target networks: copies of a network that are moved towards it (`polyak`)."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from operator import is_
from typing import Any

from dbrrl.autodiff.memory import change
from dbrrl.backend import device_name, replaceable
from dbrrl.errors import ConfigError
from dbrrl.nn.flat import consecutive, join
from dbrrl.nn.module import Module, Parameter, structure
from dbrrl.types import Array


def target_copy(module: Module) -> Module:
    """A copy to compute targets with, in evaluation mode except for modules with exploration noise (`draws`).

    Its parameters share a vector from the start, so that `polyak` moves no array to another place: what a CUDA graph
    has recorded goes on to read the right one.
    """
    copied = copy.deepcopy(module)
    for part in copied.modules():
        part.training = part.training and bool(part.draws)
    groups: dict[Any, list[Parameter]] = {}
    for p in copied.parameters():
        groups.setdefault((p.dtype, device_name(p.array)), []).append(p)
    for parameters in groups.values():
        join(parameters)
    return copied


def copy_buffers(source: Module, target: Module) -> None:
    """Copy the buffers of a network into one of the same structure, except random draws (`draws`)."""
    for (_, giver, attribute), (_, taker, _) in zip(source.named_buffers(), target.named_buffers(), strict=True):
        setattr(taker, attribute, copy.deepcopy(getattr(giver, attribute)))


def polyak(target: Module, online: Module, tau: float = 1.0) -> None:
    """Move the parameters of `target` towards those of `online`: θ⁻ ← (1 - τ) θ⁻ + τ θ (Lillicrap et al. 2016).

    τ = 1 makes a copy. Buffers are copied for every τ, because they are not learned; random draws (`draws`) are not,
    because each network makes its own. Parameters of `online` that are frozen (requires_grad is False) are copied.

    Raises:
        ConfigError: τ is not in [0, 1], or the networks differ in the shapes of their parameters or in their buffers.
    """
    if not 0 <= tau <= 1:
        raise ConfigError(f"polyak: expected tau in [0, 1], got {tau}: 1 makes a copy, 0.005 moves the target slowly")
    pair: Any = vars(target).get("_polyak_pair")
    if pair is None or not pair.is_valid_for(online):
        pair = vars(target)["_polyak_pair"] = Pair(target, online)
    for ours, theirs, learned in pair.vectors:
        if tau == 1 or not learned:
            ours[...] = theirs
        else:
            approach(ours, theirs, tau)
    now = change()
    for p in pair.targets:
        p.memory.changed = now
    if pair.has_buffers:
        copy_buffers(online, target)


@replaceable
def approach(values: Array, goal: Array, tau: float) -> None:
    """Change `values` to (1 - τ) `values` + τ `goal`, arrays of the same shape."""
    values *= 1 - tau
    values += tau * goal


class Pair:
    """The arrays of a target network and of its online network, matched: few, because neighbors are joined.

    A target network keeps its pair, so that `polyak` does not have to search both networks for parameters every time.

    Attributes:
        vectors: (values of the target, values of the online network, whether they are learned or frozen).
    """

    def __init__(self, target: Module, online: Module) -> None:
        self.online, self.targets, self.parameters = online, target.parameters(), online.parameters()
        if [p.shape for p in self.targets] != [p.shape for p in self.parameters]:
            raise ConfigError(
                f"polyak: expected two networks with parameters of the same shapes, got {_shapes(self.targets)} and "
                f"{_shapes(self.parameters)}: make the target with nn.target_copy"
            )
        names = [[name for name, *_ in network.named_buffers()] for network in (target, online)]
        if names[0] != names[1]:
            raise ConfigError(f"polyak: expected two networks with the same buffers, got {names[0]} and {names[1]}")
        self.has_buffers = bool(names[0])
        self.learned = [p.requires_grad for p in self.parameters]
        self.vectors = [vectors for run in self._runs() for vectors in self._matched(run)]
        for p in self.targets:
            p.share()
        self.containers = [(x, _contents(x)) for network in (target, online) for x in _containers(network)]
        self.version = structure.version

    def is_valid_for(self, online: Module) -> bool:
        """Whether nothing changed since: the networks' structure, where their parameters are, which are frozen."""
        return (
            self.online is online
            and self.version == structure.version
            and self.learned == [p.requires_grad for p in self.parameters]
            and all(_same(_contents(container), known) for container, known in self.containers)
        )

    def _runs(self) -> list[slice]:
        """The online network's parameters in pieces whose values are one piece of a vector, learned or frozen alike."""
        starts = [0] if self.parameters else []
        for i, (p, q) in enumerate(pairwise(self.parameters), 1):
            if consecutive([p, q]) is None or p.requires_grad != q.requires_grad:
                starts.append(i)
        return [slice(start, stop) for start, stop in pairwise([*starts, len(self.parameters)])]

    def _matched(self, run: slice) -> list[tuple[Any, Any, bool]]:
        """The entries of `vectors` for a piece: one vector each, or else one entry for each parameter."""
        targets, parameters = self.targets[run], self.parameters[run]
        theirs = consecutive(parameters)
        if theirs is not None and all(p.vector is None for p in targets):
            join(targets)  # an optimizer's parameters stay in its vectors
        ours = consecutive(targets)
        if theirs is None or ours is None:
            return [(p.array, q.array, q.requires_grad) for p, q in zip(targets, parameters, strict=True)]
        return [(ours, theirs, parameters[0].requires_grad)]

    def __reduce__(self) -> Any:
        return type(None), ()  # a copy of the target network has arrays of its own


def _shapes(parameters: list[Parameter]) -> str:
    return ", ".join(str(p.shape) for p in parameters)


def _containers(network: Module) -> Iterator[Any]:
    """The lists, tuples and dicts in which a network's modules keep modules and parameters."""
    pending = [value for module in network.modules() for value in vars(module).values()]
    while pending:
        value = pending.pop()
        if isinstance(value, list | tuple | dict):
            yield value
            pending += _contents(value)


def _same(these: list[Any], those: list[Any]) -> bool:
    return len(these) == len(those) and all(map(is_, these, those))


def _contents(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)
