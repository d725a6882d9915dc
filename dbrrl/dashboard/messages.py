"""What the dashboard's API takes and gives: each a Struct, from which it is checked, written and documented."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Id = Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="The id of a run, as the list of runs has it.")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Word = Annotated[str, Meta(max_length=200)]
Tag = Annotated[str, Meta(min_length=1, max_length=50)]
Range = tuple[float | None, float | None]
Axis = Literal["steps", "elapsed", "episodes", "num_updates"]


class Taken(Struct, forbid_unknown_fields=True):
    """Base of what is taken."""


class Error(Struct):
    """Why a request is refused."""

    error: str


class RunRow(Struct):
    """A run in the list."""

    id: str
    path: str
    name: str
    state: Literal["running", "finished", "stopped", "failed", "stale", "damaged"]
    text: str
    agent: str
    env: str
    seed: int | None
    steps: int
    total: int
    score: float | None
    best: float | None
    elapsed: float
    started: float
    commit: str
    problems: list[str]
    note: str
    tags: list[str]
    hidden: bool
    settings: dict[str, Any]


class RunListQuery(Taken):
    """Which part of the list is wanted."""

    since: Annotated[int, Meta(ge=0, description="Only what has changed after this version; 0: all runs.")] = 0
    columns: Annotated[str, Meta(max_length=2000, description="Settings to give, by name, with commas between.")] = ""


class RunList(Struct):
    """The runs, or what has changed of them."""

    version: int
    root: str
    runs: list[RunRow]
    removed: list[str]
    read_only: bool
    problem: str


class Metric(Struct):
    """A statistic that runs have."""

    name: str
    meaning: str
    unit: str
    better: Literal["higher", "lower", ""]


class SettingName(Struct):
    """A setting that runs have."""

    name: str
    values: Annotated[int, Meta(description="How many different values it has.")]


class Columns(Struct):
    """What a table of the runs can show, and a chart draw."""

    settings: list[SettingName]
    metrics: list[Metric]


class Event(Struct, omit_defaults=True):
    """A line of a run's journal."""

    time: float
    event: str
    text: str = ""
    step: int | None = None


class File(Struct):
    """A file of a run."""

    path: str
    size: int
    modified: float
    kind: Literal["image", "video", "audio", "text", "checkpoint", "other"]


class Answer(Struct):
    """A command that a run was given, and what became of it."""

    id: str
    command: str
    values: dict[str, Any]
    event: Annotated[str, Meta(description="given, scheduled, done or refused.")]
    step: int | None
    text: str
    time: float


class Changeable(Struct):
    """A setting that may change while the run goes on, and its value."""

    name: str
    value: Any


class RunDetail(Struct):
    """All that is known of a run."""

    run: RunRow
    title: str
    folder: str
    tables: Annotated[dict[str, Any], Meta(description="The content of config.toml.")]
    events: list[Event]
    files: list[File]
    evaluations: Annotated[list[dict[str, float | None]], Meta(description="The latest rows of scores.csv.")]
    first_evaluation: Annotated[int, Meta(description="The number of the first of them.")]
    metrics: list[Metric]
    commands: list[Answer]
    changeable: list[Changeable]
    resume: Annotated[str, Meta(description="The command that goes on with the run.")]


class EvaluationQuery(Taken):
    """Which evaluation is wanted."""

    number: Annotated[int, Meta(ge=0, le=2**31, description="Its row in scores.csv, from 0.")]


class EvaluationEpisode(Struct):
    """An episode of an evaluation; null where a number is not finite, or the environment tells no success."""

    total: Annotated[float | None, Meta(description="The sum of its rewards.")]
    length: int
    success: float | None


class EvaluationEpisodes(Struct):
    """The episodes of an evaluation, in the order in which they ended; none where the run is of an earlier version."""

    episodes: list[EvaluationEpisode]


class FileQuery(Taken):
    """Which file is wanted."""

    path: Annotated[str, Meta(min_length=1, max_length=1000, description="As the run's list of files has it.")]


class Marking(Taken):
    """What to change of the marks of runs; what is left out stays."""

    runs: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    name: Word | UnsetType = UNSET
    note: Annotated[str, Meta(max_length=10_000)] | UnsetType = UNSET
    tags: Annotated[list[Tag], Meta(max_length=50)] | UnsetType = UNSET
    add_tags: Annotated[list[Tag], Meta(max_length=50)] = []
    remove_tags: Annotated[list[Tag], Meta(max_length=50)] = []
    hidden: bool | UnsetType = UNSET


class Order(Taken):
    """A command to a run that is going on."""

    command: Name
    values: dict[str, bool | int | float | Annotated[str, Meta(max_length=1000)] | None] = {}
    at: Annotated[int, Meta(ge=0, le=2**53 - 1, description="The first step at which to do it; 0: now.")] = 0


class Given(Struct):
    """A command was given; the run's list of commands tells what becomes of it."""

    id: str


class Deletion(Taken):
    """The name of the run, typed once more."""

    confirm: Name


class Done(Struct):
    """The request was carried out."""

    done: bool = True


class LineRequest(Taken):
    """A line: a statistic of one run, or over several."""

    runs: Annotated[list[Id], Meta(min_length=1, max_length=20_000)]
    y: Name
    label: Word = ""
    group: Annotated[bool, Meta(description="Draw the mean over the seeds with its interval.")] = False


class LinesRequest(Taken):
    """The lines of a chart."""

    lines: Annotated[list[LineRequest], Meta(max_length=500)]
    x: Axis = "steps"
    points: Annotated[int, Meta(ge=2, le=100_000)] = 400
    smooth: Annotated[int, Meta(ge=1, le=10_000)] = 1
    center: Literal["mean", "iqm"] = "mean"
    within: Annotated[Range, Meta(description="The part of the x axis that is looked at; null: open.")] = (None, None)


class ChartLine(Struct):
    """A line of a chart; `low` and `high` bound its band."""

    label: str
    y: str
    runs: list[str]
    places: list[float]
    values: list[float]
    low: list[float]
    high: list[float]
    seeds: int
    total: int


class Lines(Struct):
    """The lines of a chart, in the order in which they were asked for."""

    lines: list[ChartLine]


class Style(Taken):
    """How a chart is drawn."""

    title: Word = ""
    x_label: Word = ""
    y_label: Word = ""
    right_label: Word = ""
    right: Annotated[list[Name], Meta(max_length=20, description="Statistics on the right axis.")] = []
    log_x: bool = False
    log_y: bool = False
    dark: bool = False
    x_range: Range = (None, None)
    y_range: Range = (None, None)
    right_range: Range = (None, None)


class Export(Taken):
    """A chart as a file."""

    format: Literal["png", "svg", "csv", "py"]
    chart: LinesRequest
    style: Style = field(default_factory=Style)


class SavedChart(Taken):
    """A chart that is kept by a name: the part of its address after the question mark."""

    address: Annotated[str, Meta(max_length=100_000)]


class SavedCharts(Struct):
    """The saved charts by name."""

    charts: dict[str, SavedChart]
