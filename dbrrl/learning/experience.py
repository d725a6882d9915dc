"""Experience that is made in one process and learned from in another: `Recorder` in the first, `feed` in the second."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.backend import to_numpy
from dbrrl.backend.trees import leaves
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError
from dbrrl.learning import team
from dbrrl.types import Array, State

ACTING = {"buffer_size": 1, "buffer_file": None}  # settings of an agent that only acts


class Weights:
    """What an agent acts by, as two vectors: the parameters of its networks, and its running statistics."""

    def __init__(self, agent: Any) -> None:
        self.parameters = acting_parameters(agent)
        found = (getattr(agent, name, None) for name in ("observation_norm", "reward_norm"))
        self.normalizers: list[team.Normalizer] = [one for one in found if one is not None]

    def get(self) -> State:
        """Return the vectors."""
        return {"weights": to_numpy(nn.parameters_to_vector(self.parameters)), "moments": self.moments()}

    def set(self, given: State) -> None:
        """Take the vectors of another agent's."""
        nn.vector_to_parameters(given["weights"], self.parameters)
        team.set_all_moments(self.normalizers, given["moments"])

    def moments(self) -> np.ndarray:
        """Return the moments of the running statistics, float64 (n,)."""
        return team.all_moments(self.normalizers)

    def add_moments(self, more: np.ndarray) -> None:
        """Add what another agent has seen to the running statistics."""
        team.set_all_moments(self.normalizers, self.moments() + more)


class Recorder:
    """Stands in for the replay buffer of an agent that only acts: it keeps what would have been stored."""

    def __init__(self, agent: Any) -> None:
        self.rows: list[dict[str, Any]] = []
        self.weights = Weights(agent)
        agent.replay = self

    def begin(self, given: State) -> None:
        """Act by these weights (see `Weights`) from now on."""
        self.weights.set(given)

    def __len__(self) -> int:
        """Nothing can be drawn, so nothing is learned here."""
        return 0

    def state_dict(self) -> State:
        """Nothing is kept from one round to the next."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Do nothing."""

    def add_action(self, observation: Any, action: Array) -> None:
        """Keep the observation acted on, and the action, as `Ring.add_action`."""
        parts = observation if type(observation) is list else leaves(observation)
        self.rows.append({"observation": [np.array(part) for part in parts], "action": np.array(action)})

    def add_outcome(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any, valid: Any = None
    ) -> None:
        """Keep what followed, as `Ring.add_outcome`."""
        parts = next_observation if type(next_observation) is list else leaves(next_observation)
        row = self.rows[-1]
        row["next"] = [np.array(part) for part in parts]
        for name, x in (("reward", reward), ("terminated", terminated), ("truncated", truncated)):
            row[name] = np.array(x).reshape(-1)
        row["valid"] = np.ones(len(row["reward"]), np.bool_) if valid is None else np.array(valid)

    def taken(self, following: Any = None) -> State:
        """Return the complete rows as arrays, time first, and forget them; they say themselves what follows.

        Of next observations only those are there that are not the observation of the row after it: in the last row, and
        where an episode ended. They are `finals`, at the places `final_at`, (n, 2), of time and environment.
        """
        rows, self.rows = self.rows, []
        parts = range(len(rows[0]["observation"]))
        over = np.array([row["terminated"] | row["truncated"] | ~row["valid"] for row in rows])
        over[-1] = True
        time, env = over.nonzero()
        found: State = {name: np.array([row[name] for row in rows]) for name in KEPT}
        found["observation"] = [np.array([row["observation"][k] for row in rows]) for k in parts]
        found["finals"] = [np.array([rows[t]["next"][k][e] for t, e in zip(time, env, strict=True)]) for k in parts]
        return found | {"final_at": np.stack([time, env], 1)}


KEPT = ("action", "reward", "terminated", "truncated", "valid")
CHUNK = (*KEPT, "observation", "finals", "final_at")


def rows_of(chunks: list[State]) -> Iterator[dict[str, Any]]:
    """Yield the rows of chunks that were made at the same time, their environments side by side.

    A row has `observation` and `next`, lists of arrays (B, ...), and `KEPT`, arrays (B, ...).
    """
    following = [_next_observations(chunk) for chunk in chunks]
    parts = range(len(chunks[0]["observation"]))
    for t in range(len(chunks[0]["reward"])):
        row: dict[str, Any] = {name: np.concatenate([chunk[name][t] for chunk in chunks]) for name in KEPT}
        row["observation"] = [np.concatenate([chunk["observation"][k][t] for chunk in chunks]) for k in parts]
        row["next"] = [np.concatenate([one[k][t] for one in following]) for k in parts]
        yield row


def learn(agent: Any, chunks: list[State]) -> int:
    """Store what was acted, and learn as the agent's settings say; return the number of steps."""
    before = agent.steps
    for row in rows_of(chunks):
        agent.replay.add_action(row["observation"], row["action"])
        valid = None if row["valid"].all() else row["valid"]
        agent.store_outcome(row["next"], row["reward"], row["terminated"], row["truncated"], valid)
    return int(agent.steps - before)


def check(agent: Any, chunk: State, num_envs: int) -> State:
    """Return a chunk of so many environments that was read from a file, if it has what this agent stores; else raise
    CheckpointError.
    """
    found = untrusted.table(chunk, "waiting", *CHUNK)
    replay, steps = agent.replay, len(untrusted.array(found["reward"], "reward", np.float64))
    shape = steps, num_envs
    untrusted.array(found["reward"], "reward", np.float64, shape)
    untrusted.array(found["action"], "action", replay.actions.dtype, (*shape, *replay.actions.shape[1:]))
    for name in ("terminated", "truncated", "valid"):
        untrusted.array(found[name], name, np.bool_, shape)
    at = untrusted.array(found["final_at"], "final_at", np.int64, (len(found["final_at"]), 2), at_least=0)
    if len(at) and (at.max(0) >= shape).any():
        raise CheckpointError(f"final_at: expected places below {shape}, got {tuple(at.max(0).tolist())}")
    for name, leading in (("observation", shape), ("finals", (len(at),))):
        parts = untrusted.entries(found[name], name, len(replay.finals.layout))
        for part, (own, dtype) in zip(parts, replay.finals.layout, strict=True):
            untrusted.array(part, name, dtype, (*leading, *own), finite=False)
    return found


def _next_observations(chunk: State) -> list[Array]:
    """Return the true next observations of a chunk, parts (K, B, ...)."""
    time, env = chunk["final_at"].T
    found = []
    for part, finals in zip(chunk["observation"], chunk["finals"], strict=True):
        following = np.concatenate([part[1:], part[-1:]])
        following[time, env] = finals
        found.append(following)
    return found


def acting_parameters(agent: Any) -> list[nn.Parameter]:
    """Return the parameters of an agent's networks, but for those of targets, each once."""
    found: dict[int, nn.Parameter] = {}
    for name, value in vars(agent).items():
        if isinstance(value, nn.Module) and not name.startswith("target"):
            found |= {id(parameter): parameter for parameter in value.parameters()}
    return list(found.values())
