"""`frozen`: the parameters of a module as constants, for the gradients of what goes through it."""

from typing import Any

from dbrrl.nn.module import Module


class frozen:
    """Context manager in which the parameters of a module take no gradient, so that none is computed for them.

    What the module computes is still differentiated with respect to its inputs: an actor learns through a critic that
    stays as it is. Gradients are computed in `backward`, which is to be called inside, too. Afterwards each parameter
    is as it was before.

    Example:
        with nn.frozen(critic):
            actor_step(batch)
    """

    def __init__(self, module: Module) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        for p in self.parameters:
            p.requires_grad = False

    def __exit__(self, *_: Any) -> None:
        for p in self.parameters:
            p.requires_grad = True
