"""Passes steps from environments to an agent's `observe`, without the environments' infos."""

import contextlib
import warnings
from collections.abc import Callable, Iterator

from dbrrl.envs import Step
from dbrrl.learning.agent import Agent
from dbrrl.learning.asynchronous import Learner
from dbrrl.learning.transition import takes_valid


@contextlib.contextmanager
def observing(agent: Agent | Learner) -> Iterator[Callable[[Step], None]]:
    """Yield a function that passes a step to `agent.observe`, with nothing of the environment's own infos.

    The environments have checked their results; inside the context the agent does not check them again. An agent whose
    `observe` takes no `valid` gets it as info={"valid": ...}.
    """
    before, agent.checks_input = getattr(agent, "checks_input", True), False
    try:
        yield _observer(agent)
    finally:
        agent.checks_input = before


def _observer(agent: Agent | Learner) -> Callable[[Step], None]:
    observe = agent.observe
    if takes_valid(agent):

        def pass_on(step: Step) -> None:
            valid = None if step.all_valid else step.valid
            observe(step.next_observation, step.reward, step.terminated, step.truncated, valid=valid)

        return pass_on
    warnings.warn(
        f"{type(agent).__name__}.observe takes no `valid`, and is given info={{'valid': ...}} in its place: write "
        "observe(self, next_observation, reward, terminated, truncated, info=None, *, valid=None)",
        DeprecationWarning,
        stacklevel=4,
    )

    def pass_in_info(step: Step) -> None:
        info = {} if step.all_valid else {"valid": step.valid}
        observe(step.next_observation, step.reward, step.terminated, step.truncated, info)

    return pass_in_info
