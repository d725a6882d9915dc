"""Experience that is made in one process and learned from in another: `Recorder` in the first, `feed` in the second."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dbrrl import nn
from dbrrl.backend.trees import leaves
from dbrrl.types import Array, State


class Recorder:
    """Stands in for the replay buffer of an agent that only acts: it keeps what would have been stored."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

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

    def taken(self) -> State:
        """Return the complete rows as arrays, time first, and forget them.

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
