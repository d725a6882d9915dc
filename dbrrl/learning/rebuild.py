"""An agent made again from its record, which may say anything: nothing is made that the record could not fill."""

from typing import Any

from dbrrl.checkpoint import State, untrusted
from dbrrl.learning.spaces import space_from_state


def agent_of(cls: Any, record: State, device: str, acting: bool) -> tuple[Any, bool]:
    """The agent of class `cls` in a record, and whether it lacks the network that took the place of its own.

    Raises whatever a record that is not one of `cls` makes fail.
    """
    with untrusted.budget(untrusted.nbytes(record)):
        untrusted.table(record, "", "spaces", "config", "state", "num_envs", "seed")
        num_envs = untrusted.whole(record["num_envs"], "num_envs", 1)
        untrusted.ask(8 * num_envs, "num_envs")
        record = cls.for_acting(record) if acting else record
        agent = cls(
            space_from_state(record["spaces"]["observation"]),
            space_from_state(record["spaces"]["action"]),
            cls.Config.from_dict(record["config"]),
            num_envs=num_envs,
            seed=untrusted.whole(record["seed"], "seed", at_most=2**128),
            device=device,
        )
        foreign = bool(record.get("replaced")) and not agent.replaced
        if not foreign:
            agent.load_state_dict(agent.state_dict() | record["state"] if acting else record["state"])
        return agent, foreign
