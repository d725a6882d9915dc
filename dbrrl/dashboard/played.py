"""What the inspector's part of the API takes and gives."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from .messages import Taken


class Change(Taken):
    """An action that is set by hand at a step."""

    step: Annotated[int, Meta(ge=0, le=100_000)]
    action: int | float | Annotated[list[float], Meta(max_length=1000)]


class EpisodeRequest(Taken):
    """An episode to play: with which agent, from which seed, and with which actions by hand."""

    file: Annotated[str, Meta(min_length=1, max_length=1000, description="A file of the run that holds an agent.")]
    seed: Annotated[int, Meta(ge=0, le=2**53 - 1, description="None: the run's own.")] | None = None
    steps: Annotated[int, Meta(ge=1, le=5000, description="The most steps.")] = 1000
    saliency: bool = False
    changes: Annotated[list[Change], Meta(max_length=1000)] = field(default_factory=list)


class Moment(Struct):
    """What was seen, said and done at a step; what an agent has not is null or empty."""

    step: int
    observation: list[float]
    gradient: list[float]
    picture: bool
    salient: bool
    policy: dict[str, Any] | None = None
    q: list[float | None] | None = None
    returns: dict[str, Any] | None = None
    value: float | None = None
    entropy: float | None = None
    action: Any = None
    changed: bool = False
    reward: float = 0.0


class EpisodeMade(Struct):
    """An episode that was played."""

    id: str
    length: int
    total: Annotated[float, Meta(description="The sum of its rewards.")]
    ended: str
    actions: Annotated[int, Meta(description="How many actions there are; 0 where they are numbers.")]
    file: str
    seed: int
    rewards: list[float]
    values: list[float | None]
    entropies: list[float | None]
    action_space: str
    observation_space: str
    problem: str = ""


class StepQuery(Taken):
    """Which step is wanted."""

    step: Annotated[int, Meta(ge=0, le=100_000)] = 0
    saliency: bool = False
