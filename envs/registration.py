"""The table of dbrrl's environments; registering them with Gymnasium imports none of their files."""

from typing import Any, NamedTuple

import gymnasium as gym


class Batched(NamedTuple):
    """A batched classic control problem: its file, its time limit, and the return that counts as solved."""

    module: str
    name: str
    max_episode_steps: int
    reward_threshold: float | None


BATCHED: dict[str, Batched] = {
    "CartPole-v1": Batched("cartpole", "CartPole", 500, 475.0),
    "Acrobot-v1": Batched("acrobot", "Acrobot", 500, -100.0),
    "MountainCar-v0": Batched("mountain_car", "MountainCar", 200, -110.0),
    "MountainCarContinuous-v0": Batched("mountain_car", "MountainCarContinuous", 999, 90.0),
    "Pendulum-v1": Batched("pendulum", "Pendulum", 200, None),
}
"""Gymnasium ids that have a batched equivalent, `dbrrl/<id>`."""

OWN: dict[str, Batched] = {"CartPoleHidden-v0": Batched("cartpole", "CartPoleHidden", 500, 450.0)}
"""Batched environments that Gymnasium has none of, `dbrrl/<id>`."""


class Toy(NamedTuple):
    """A toy problem: `dbrrl/<id>` is `dbrrl.envs.<entry>` with these arguments and this time limit."""

    entry: str
    kwargs: dict[str, Any]
    max_episode_steps: int | None = None


def _toys() -> dict[str, Toy]:
    toys: dict[str, Toy] = {}
    for name in ("Constant", "Observation", "Delayed", "Action", "Both"):
        toys[f"Probe{name}-v0"] = Toy(f"probes:Probe{name}", {})
        toys[f"Probe{name}Continuous-v0"] = Toy(f"probes:Probe{name}", {"continuous": True})
    for continuing in (False, True):
        for continuous in (False, True):
            for hidden in (False, True):
                words = ("Continuing" * continuing, "Continuous" * continuous, "Hidden" * hidden)
                kwargs = {"continuing": continuing, "continuous": continuous, "hidden": hidden}
                toys[f"Chain{''.join(words)}-v0"] = Toy("chain:Chain", kwargs, 3 if continuing else None)
    for name in ("Discrete", "MultiDiscrete", "MultiBinary", "Box"):
        toys[f"Identity{name}-v0"] = Toy(f"identity:Identity{name}", {}, 10)
    toys["BitFlipping-v0"] = Toy("bit_flipping:BitFlipping", {}, 10)
    toys["Endless-v0"] = Toy("probes:Endless", {}, 10)
    toys["Masked-v0"] = Toy("masked:Masked", {})
    toys["MaskedInfo-v0"] = Toy("masked:Masked", {"in_info": True})
    toys["MaskedMultiDiscrete-v0"] = Toy("masked:Masked", {"two_choices": True})
    return toys


TOYS: dict[str, Toy] = _toys()
"""Toy problems with known answers, registered as `dbrrl/<id>`."""


def register_environments() -> None:
    """Register every environment of this package with Gymnasium; a second call changes nothing."""
    for env_id, batched in (BATCHED | OWN).items():
        entry = f"dbrrl.envs.{batched.module}:{batched.name}"
        _register(
            env_id,
            entry_point=f"{entry}Env",
            vector_entry_point=entry,
            max_episode_steps=batched.max_episode_steps,
            reward_threshold=batched.reward_threshold,
        )
    for env_id, toy in TOYS.items():
        _register(
            env_id,
            entry_point=f"dbrrl.envs.{toy.entry}",
            max_episode_steps=toy.max_episode_steps,
            kwargs=toy.kwargs,
        )


def _register(env_id: str, **spec: Any) -> None:
    if f"dbrrl/{env_id}" not in gym.registry:
        gym.register(id=f"dbrrl/{env_id}", **spec)
