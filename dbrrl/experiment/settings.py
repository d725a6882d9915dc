"""The runner's settings, and the plan of a run: explicit values, a settings file, a preset and defaults combined."""

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from dbrrl import backend
from dbrrl.config import Config, setting, settings
from dbrrl.config.scheduled import without_unused
from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError
from dbrrl.experiment import registry
from dbrrl.learning.agent import Agent

from . import objects, trust
from .objects import Objects
from .settings_file import read as read
from .settings_file import said_of as said_of
from .settings_file import table as table

_KWARGS = ("env_kwargs", "eval_env_kwargs")  # tables of arguments for the environment
_RECORDED = ("preset", "chosen", "versions", "machine", "given")  # tables of a run's config.toml that are no settings

PLANNED = ("total_steps",)  # fields of an agent's Config that are computed from the plan and have no flag
_ARGUMENTS = ("out", "name", "progress", "preset", "callbacks")  # of Experiment, in addition to the settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """The runner's settings, the same for every agent."""

    agent: str = setting("ppo", help="agent to train: a name, or your own as package.module:Class")
    env: str = setting(
        "CartPole-v1", help="environment: a Gymnasium id, or your own class or function as package.module:Name"
    )
    steps: int = setting(100_000, at_least=1, help="environment steps to train for, all environments together")
    seed: int = setting(0, at_least=0, help="root of all random generators of the run")
    num_envs: int = setting(8, at_least=1, at_most=100_000, help="environments that step together")
    device: str = setting(
        "cpu", help="device of the networks: cpu, cuda or cuda:1; auto: a GPU if there is one and it is faster"
    )
    tf32: bool = setting(False, help="on a GPU: round factors of products to TF32 (10 bits), faster, less exact")
    workers: int | None = setting(
        None, at_least=1, help="processes of Ray that step the environments and learn together; none: this one alone"
    )
    shares: int | None = setting(
        None, at_least=1, help="parts of the environments with random streams of their own; none: one per worker"
    )
    push_interval: int | None = setting(
        None, at_least=1, help="steps between two sets of weights for workers that only act; none: 32 per environment"
    )
    worker_spread: float = setting(
        0.0, at_least=0, help="α: worker i of N that only act takes ε to the power 1 + α i / (N - 1) (Ape-X: 7)"
    )
    max_staleness: int = setting(
        8, at_least=2, help="updates between the weights that act and what is learned from it, at most (impala)"
    )
    vectorization: Literal["auto", "batched", "vector", "sync", "async"] = setting(
        "auto", help="how the environments are stepped together"
    )
    max_episode_steps: int | None = setting(None, at_least=1, help="time limit instead of the environment's own")
    eval_env: str | None = setting(None, help="environment of the evaluations; none: that of the training")
    network: str | None = setting(
        None, help="function that makes the agent's network, as package.module:function; none: the agent's own"
    )
    eval_interval: int | None = setting(None, at_least=1, help="steps between evaluations; none: a tenth of the run")
    eval_episodes: int = setting(10, at_least=1, at_most=1_000_000, help="episodes of one evaluation")
    eval_steps: int | None = setting(
        None, at_least=1, help="evaluate for about this many steps instead; no episode starts after them"
    )
    final_episodes: int = setting(100, at_least=1, at_most=1_000_000, help="episodes of the final evaluation")
    log_interval: int | None = setting(
        None, at_least=1, help="steps between rows of progress.csv; none: a hundredth of the run"
    )
    checkpoint_interval: int | None = setting(
        None, at_least=1, help="steps between exact checkpoints; none: one at each evaluation"
    )
    stop_at: float | None = setting(None, help="end the run once the mean return of an evaluation reaches this")
    threads: int | None = setting(None, at_least=1, help="BLAS threads; none: chosen by the size of the work")
    compile: bool = setting(True, help="on the CPU: act and learn by compiled programs; false: op by op")
    curve: bool = setting(True, help="draw the learning curve at the end")
    tensorboard: bool | None = setting(None, help="write TensorBoard events; none: if it is installed")
    wandb: str | None = setting(None, help="project of Weights & Biases in which to log the run, too")
    mlflow: str | None = setting(None, help="tracking URI of MLflow at which to log the run, too")

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        return self.eval_interval or -(-self.steps // 10)

    @property
    def log_every(self) -> int:
        """Steps between rows of progress.csv."""
        return self.log_interval or -(-self.steps // 100)

    @property
    def checkpoint_every(self) -> int:
        """Steps between exact checkpoints."""
        return self.checkpoint_interval or self.evaluate_every


@dataclasses.dataclass(frozen=True)
class Plan:
    """All settings of a run, complete before it starts."""

    settings: Settings
    config: Config
    agent_class: type[Agent]
    env_kwargs: dict[str, Any]
    preset: dict[str, Any]  # values of the preset that are in effect
    eval_env_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    device_reason: str = ""  # why the device was chosen; "" if it was set
    given: Objects = dataclasses.field(default_factory=Objects)  # what was given as an object
    ray_address: str | None = None  # of the cluster that has the workers; None: one that this run starts

    @property
    def env(self) -> Any:
        """The environment: its name, or what was given in place of one that has a name."""
        return self.settings.env if self.given.env is None else self.given.env

    @property
    def network(self) -> objects.MakeNetwork | None:
        """The function that makes the agent's network; None: the agent's own."""
        name = self.settings.network
        if self.given.network is not None or name is None or self.given.agent is not None:
            return self.given.network
        return objects.function(name)

    def for_evaluation(self) -> "Plan":
        """Return the plan for evaluations: `eval_env` replaces the environment, and `eval_env_kwargs` arguments."""
        plan = self
        if self.settings.eval_env is not None:
            plan = self.in_env(self.settings.eval_env, self.given.eval_env)
            plan = dataclasses.replace(plan, settings=plan.settings.replace(vectorization="auto"))
        return dataclasses.replace(plan, env_kwargs=plan.env_kwargs | self.eval_env_kwargs, eval_env_kwargs={})

    def evaluated_in(self, name: str, given: Any) -> "Plan":
        """Return the plan with another environment of the evaluations, without arguments."""
        known = dataclasses.replace(self.given, eval_env=given)
        return dataclasses.replace(self, settings=self.settings.replace(eval_env=name), given=known, eval_env_kwargs={})

    def in_env(self, name: str, given: Any = None) -> "Plan":
        """Return the plan for another environment without arguments: a name, and the object if it was one."""
        changed = self.settings.replace(env=name, eval_env=None)
        known = dataclasses.replace(self.given, env=given, eval_env=None)
        return dataclasses.replace(self, settings=changed, given=known, env_kwargs={}, eval_env_kwargs={})

    def with_steps(self, steps: int) -> "Plan":
        """Return the plan for another number of steps; schedules that ended with the run still do."""
        settings, config = self.settings.replace(steps=steps), self.config
        if getattr(config, "total_steps", None) == self.settings.steps:
            config = config.replace(total_steps=steps)
        return dataclasses.replace(self, settings=settings, config=config)

    def with_seed(self, seed: int) -> "Plan":
        """Return the plan for another seed."""
        return dataclasses.replace(self, settings=self.settings.replace(seed=seed))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as the content of a settings file."""
        table = self.settings.to_dict() | {"config": self.config.to_dict(), "env_kwargs": self.env_kwargs}
        return table | ({"eval_env_kwargs": self.eval_env_kwargs} if self.eval_env_kwargs else {})


def resolve_plan(
    explicit: Mapping[str, Any],
    *,
    file: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    eval_env_kwargs: Mapping[str, Any] | None = None,
    use_preset: bool = True,
    agent_class: type[Agent] | None = None,
    trusted: bool | Collection[str] = False,
    given: Objects | None = None,
) -> Plan:
    """Return the plan in which `explicit` overrides `file`, which overrides the preset, which overrides the defaults.

    Args:
        explicit: fields of `Settings` and of the agent's Config, in one table.
        file: the content of a TOML file: the same fields, those of the agent optionally in a table `config`.
        env_kwargs: arguments for the environment.
        eval_env_kwargs: arguments that replace some of them in evaluations, such as unclipped rewards.
        use_preset: whether to use the preset of this agent and environment.
        agent_class: the agent's class, if the caller has it; else `agent` is looked up by name.
        trusted: names of code ("package.module:Class") that may be imported if only `file` has them; True: all.
        given: what was given as an object.

    Raises ConfigError for an unknown agent or field (with the nearest name), a value out of range or without effect,
    or a file that names code which is not trusted.
    """
    file = file or {}
    written = flat(file, explicit, trusted)
    kwargs = dict(written.pop("env_kwargs", {})) | dict(env_kwargs or {})
    eval_kwargs = dict(written.pop("eval_env_kwargs", {})) | dict(eval_env_kwargs or {})
    wanted = written | dict(explicit)
    names = {entry.name: entry.default for entry in settings(Settings)}
    agent = str(wanted.get("agent", names["agent"]))
    with said_of(file if "agent" not in explicit else {}):
        found = agent_class or registry.agent_class(agent)
    preset = registry.preset(agent, str(wanted.get("env", names["env"]))) if use_preset else {}
    preset = {name: value for name, value in without_unused(preset, wanted).items() if name not in wanted}
    written = without_unused(written, explicit)
    wanted = written | dict(explicit)
    fields = [entry.name for entry in settings(found.Config)]
    with said_of(file):
        _check({name: value for name, value in written.items() if name not in explicit}, found.Config, ())
    _check({**preset, **explicit}, found.Config, _ARGUMENTS)
    values = preset | wanted
    chosen = Settings.from_dict({name: value for name, value in values.items() if name in names})
    if chosen.device != "auto":
        with said_of(file if "device" not in explicit else {}):
            backend.parse_device(chosen.device)
    own = {name: value for name, value in values.items() if name in fields}
    if "total_steps" in fields:
        own["total_steps"] = _horizon(explicit, written, chosen.steps)
    config = found.Config.from_dict(own)
    if given is None or given.agent is None:  # whose settings are all explicit
        _refuse_unused(explicit, config)
    return Plan(chosen, config, found, kwargs, preset, eval_kwargs, given=given or Objects())


def _check(values: Mapping[str, Any], config: type[Config], others: Collection[str]) -> None:
    """Raise ConfigError if one of `values` is not a setting of the run or of `config`, or is out of range.

    `others`: further names to suggest for an unknown one.
    """
    known = {entry.name: entry for entry in (*settings(Settings), *settings(config))}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}{did_you_mean(name, [*known, *others])}")
        known[name].check(value)


def _refuse_unused(explicit: Mapping[str, Any], config: Config) -> None:
    """Raise ConfigError if an explicit setting has no effect because of another one."""
    for entry in settings(type(config)):
        missing = entry.unmet(config) if entry.name in explicit else None
        if missing is not None:
            raise ConfigError(f"{entry.name}: {missing.error(config)}")


def _horizon(explicit: Mapping[str, Any], written: Mapping[str, Any], steps: int) -> Any:
    """Return the step at which schedules end: the run's last, unless another is set; 0 means unset."""
    if explicit.get("total_steps"):
        return explicit["total_steps"]
    recorded = written.get("total_steps", steps)
    return steps if recorded == written.get("steps") else recorded


def flat(
    file: Mapping[str, Any], explicit: Mapping[str, Any], trusted: bool | Collection[str] = False
) -> dict[str, Any]:
    """Return the settings of a file in one table, including `env_kwargs` and `eval_env_kwargs`.

    Raises ConfigError if it does not have the form of a settings file, or names code that is neither `trusted` nor
    replaced by a value in `explicit`.
    """
    with said_of(file):
        return _flat(file, explicit, trusted)


def _flat(file: Mapping[str, Any], explicit: Mapping[str, Any], trusted: bool | Collection[str]) -> dict[str, Any]:
    own = table(file, "config")
    written = {name: value for name, value in file.items() if name not in ("config", *_RECORDED)} | own
    used = {name: value for name, value in written.items() if name not in explicit}
    trust.check(used, {name: table(written, name) for name in _KWARGS}, trusted)
    return written


def __getattr__(name: str) -> Callable[..., Plan]:
    """Return `resolve_plan` by its earlier name, with a warning."""
    if name == "settle":
        warnings.warn(f"{__name__}.settle is resolve_plan now", DeprecationWarning, stacklevel=2)
        return resolve_plan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
