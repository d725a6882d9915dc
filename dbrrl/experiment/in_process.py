"""The driver of most runs: the environments step together, in this process."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dbrrl import seeding
from dbrrl.checkpoint import State
from dbrrl.envs import make, vector
from dbrrl.errors import AnomalyError
from dbrrl.learning.agent import Agent

from . import shares
from .driver import Episode
from .interruption import ignored_by_children
from .observing import observing
from .settings import Plan


class InProcess:
    """Steps the environments of `plan` together and lets one agent act for all of them.

    Args:
        plan: the run's settings.
        steps: environment steps that the run has done before.
    """

    def __init__(self, plan: Plan, steps: int = 0) -> None:
        settings = plan.settings
        with ignored_by_children():
            self.envs = shares.environments(plan, range(shares.count(plan)))
        envs = self.envs
        self.env_id, self.kind, self.num_envs = envs.env_id, envs.kind, envs.num_envs
        self.observation_space, self.action_space = envs.observation_space, envs.action_space
        self.steps, self.consistent = steps, True
        self._total = settings.steps
        self.events: list[str] = []
        self._ended: list[Episode] = []  # not yet returned
        self._environment_failed = False
        self._plan = plan
        self._goals: vector.Environments | None = None  # one that only computes rewards of goals

    def bind(self, agent: Agent) -> None:
        """Set the agent that acts and learns, and let it know the goals of the environments if it asks for them."""
        self.agent = agent
        if getattr(agent.config, "her", False):
            learner: Any = agent
            learner.use_goals_of(self._goal_environment())

    def _goal_environment(self) -> Any:
        """Return what computes rewards of goals: the environments, or one more where these are in other processes."""
        if self.kind != "async":
            return self.envs.vector_env
        settings, plan = self._plan.settings, self._plan
        self._goals = make(
            plan.env,
            1,
            seed=seeding.sequence(settings.seed, "goals"),
            vectorization="sync",
            max_episode_steps=settings.max_episode_steps,
            env_kwargs=plan.env_kwargs,
        )
        return self._goals.vector_env

    def start(self) -> None:
        """Begin an episode in every environment, unless episodes are under way."""
        if self.envs.observation is None:
            self.envs.reset()

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Step to `until`, or once and until `pause()` is true; return the episodes that ended."""
        agent, envs, num_envs, total = self.agent, self.envs, self.envs.num_envs, self._total
        self.consistent = False
        with observing(agent) as observe:
            while True:
                remaining = total - self.steps
                action = agent.act(envs.observation)
                try:
                    step = envs.step(action, remaining if remaining < num_envs else None)
                except BaseException as error:
                    self._environment_failed = not isinstance(error, AnomalyError)  # that is the agent's failure
                    raise
                observe(step)
                self.steps += num_envs if step.all_valid else int(np.count_nonzero(step.valid))
                if envs.finished:
                    self._ended += envs.finished
                if self.steps >= until or pause():
                    break
        return self._take([])

    def collect(self) -> list[Episode]:
        """Return the episodes that environments on a GPU have not yet reported; all else is up to date."""
        ended = self._take(self.envs.flush_episodes())
        self.consistent = True
        return ended

    def recover(self) -> list[Episode] | None:
        """After a step in which the environments failed, let the agent observe one without a transition.

        So it has observed what followed its last action, as when environments only begin episodes. The environments may
        have failed half-way: a run that is resumed from here begins new episodes. A failure of the agent cannot be
        recovered from.
        """
        if not self._environment_failed:
            return None
        envs, self._environment_failed = self.envs, False
        ended = self._take(envs.flush_episodes())
        with contextlib.suppress(Exception):  # the first error is the one to report
            none, same = np.zeros(envs.num_envs, np.bool_), envs.observation
            step = vector.Step(same, same, np.zeros(len(none)), none, none.copy(), none.copy(), {}, all_valid=False)
            with observing(self.agent) as observe:
                observe(step)
            envs.abandon("a step of theirs failed")
            self.consistent = True
            return ended
        return None

    def state_dict(self) -> State:
        """Return the environments' state."""
        return self.envs.state_dict()

    def load_state_dict(self, state: State) -> list[str]:
        """Put the environments back; one line for each that cannot be put back and begins a new episode."""
        return self.envs.load_state_dict(state)

    def change(self, values: Mapping[str, Any]) -> None:
        """Do nothing: there are none."""

    def statistics(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Release the environments; a second call does nothing."""
        self.envs.close()
        if self._goals is not None:
            self._goals.close()

    def _take(self, more: list[Episode]) -> list[Episode]:
        """Return the episodes not yet returned, and `more` after them."""
        ended, self._ended = self._ended + more, []
        return ended
