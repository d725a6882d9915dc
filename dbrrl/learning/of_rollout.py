"""Methods of `OnPolicyAgent`: what its networks say of a rollout, without a graph."""

from typing import Any

from dbrrl import nn
from dbrrl.backend.trees import leaves, mapped, tree_of
from dbrrl.buffers.batch import Batch, flat_rows
from dbrrl.types import Observation


def log_prob(self: Any, batch: Batch) -> Any:
    """Return log π(a|s) of a batch's actions under the present policy, (n,), without a graph."""
    if self._evaluates(len(batch)):
        names, given = self.preprocessor.names, tree_of((), [batch.action, *leaves(batch.observation)])
        log_prob = lambda x: self.policy(tree_of(names, [*x.values()][1:])).log_prob(x["0"])  # noqa: E731
        return self.computed(log_prob, given, noise=True)
    with nn.evaluation(noise=True):
        return self.policy(batch.observation).log_prob(batch.action).array


def values(self: Any, observations: Observation, ended: Any, finals: Observation | None, state: list[Any]) -> Any:
    """As `PolicyState.values`."""
    rows, envs = leaves(observations)[0].shape[:2]
    if not self._evaluates((rows - 1) * envs):
        return self.memory.values(observations, ended, finals, state)
    found = self.computed(lambda x: self.network.value(x), mapped(flat_rows, observations), noise=True)
    return found.reshape(rows, envs), None if finals is None else self.network.value(finals).array


def is_full(self: Any, n: int) -> bool:
    """Whether n transitions are a full rollout, which a program evaluates; others would each need one."""
    return not self.recurrent and self.device == "cpu" and n == self.n_steps * self.num_envs
