"""How the runner tells an agent of a step: by arguments alone, none of which an environment can name."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from dbrrl.envs import Step
from dbrrl.learning.transition import takes_valid


@contextlib.contextmanager
def observing(agent: Any) -> Iterator[Callable[[Step], None]]:
    """A function that lets `agent` observe a step. It is given nothing of the environment's own infos.

    What the environments gave was checked there, and is not checked again inside the context. An agent whose `observe`
    takes no `valid` is told in an `info` of its own which rows carry a transition.
    """
    before, agent.checks_input = getattr(agent, "checks_input", True), False
    try:
        yield _observer(agent)
    finally:
        agent.checks_input = before


def _observer(agent: Any) -> Callable[[Step], None]:
    observe = agent.observe
    if takes_valid(agent):

        def tell(step: Step) -> None:
            valid = None if step.all_valid else step.valid
            observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=valid)

        return tell
    warnings.warn(
        f"{type(agent).__name__}.observe takes no `valid`, and is given info={{'valid': ...}} in its place: write "
        "observe(self, next_observation, reward, terminated, truncated, info=None, *, valid=None)",
        DeprecationWarning,
        stacklevel=4,
    )

    def tell_in_info(step: Step) -> None:
        info = {} if step.all_valid else {"valid": step.valid}
        observe(step.next_observation, step.reward, step.terminated, step.truncated, info)

    return tell_in_info
