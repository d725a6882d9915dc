"""What the inspector's part of the API takes and gives."""

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from .messages import Taken

MOST = 200  # numbers of one kind at a step of which each is a statistic


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
    total: Annotated[float, Meta(description="The sum of the rewards up to this step, its own among them.")] = 0.0


class EpisodeMade(Struct):
    """An episode that was played."""

    id: str
    length: int
    total: Annotated[float, Meta(description="The sum of its rewards.")]
    ended: str
    actions: Annotated[int, Meta(description="How many actions there are; 0 where they are numbers.")]
    file: str
    seed: int
    statistics: Annotated[list[str], Meta(description="What its steps have numbers of, for a chart.")]
    action_space: str
    observation_space: str
    problem: str = ""


class StepQuery(Taken):
    """Which step is wanted."""

    step: Annotated[int, Meta(ge=0, le=100_000)] = 0
    saliency: bool = False


class SeriesQuery(Taken):
    """Which statistics of an episode are wanted."""

    names: Annotated[str, Meta(max_length=2000, description="As the episode lists them, with commas between.")]


class Series(Struct):
    """Statistics of an episode by name: a number for each step, null where it has none."""

    series: dict[str, list[float | None]]


def statistics(moment: Moment) -> dict[str, float | None]:
    """Return the numbers of a step by name: "value", "Q 0", "probability 1", "observation 3" and so on."""
    found = {"value": moment.value, "entropy": moment.entropy, "reward": moment.reward, "return so far": moment.total}
    found |= _each("Q", moment.q or ())
    policy, returns = moment.policy or {}, moment.returns
    for key, name in (("probs", "probability"), ("mean", "mean"), ("std", "deviation")):
        found |= _each(name, policy.get(key, ()))
    if returns is not None and isinstance(moment.action, int):
        values, probs = returns["values"][moment.action], returns["probs"][moment.action]
        found |= {f"{round(100 * p)} % of the return": _quantile(values, probs, p) for p in (0.05, 0.5, 0.95)}
    return found | _each("observation", moment.observation)


def _each(name: str, values: Iterable[float | None]) -> dict[str, float | None]:
    numbers = list(values)
    return {f"{name} {index}": value for index, value in enumerate(numbers)} if len(numbers) <= MOST else {}


def _quantile(values: list[float], probs: list[float], share: float) -> float:
    """Return the least value up to which a discrete distribution has the share."""
    reached = 0.0
    for value, probability in sorted(zip(values, probs, strict=True)):
        reached += probability
        if reached >= share:
            return value
    return max(values)
