"""Carries out commands to a run between two of its steps."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dbrrl.checkpoint import State, untrusted
from dbrrl.config import Config, settings
from dbrrl.config.suggestions import did_you_mean
from dbrrl.errors import ConfigError
from dbrrl.learning.agent import Agent
from dbrrl.learning.changing import change, changeable
from dbrrl.reporting.display import Quiet

from .callbacks import Callback, Running
from .directory import RunDirectory
from .driver import Driver
from .settings import Plan, Settings
from .steering import COMMANDS, Command, Inbox, waiting

LOOK = 0.5  # seconds between two looks for commands
OF_RUN = ("eval_interval", "eval_episodes", "log_interval", "checkpoint_interval", "final_episodes")


class Steered(Running, Protocol):
    """What a run has that takes commands."""

    callbacks: list[Callback]
    display: Quiet
    driver: Driver

    def save(self) -> None:
        """Write an exact checkpoint."""

    def score(self, episodes: int, steps: int | None = None) -> bool:
        """Evaluate, and add a row to scores.csv; False if a signal came."""

    def schedule(self) -> None:
        """Set the steps of the next events by the intervals of the settings."""


def known(agent: Agent) -> tuple[str, ...]:
    """Return the settings that may change while a run goes on."""
    return (*OF_RUN, *changeable(agent))


def changed(plan: Plan, agent: Agent, values: Mapping[str, Any]) -> tuple[Plan, Callable[[], None]]:
    """Return the plan with other values of settings, and what lets the agent go on with them.

    Raises:
        ConfigError: a setting that there is not or that may not change, or a value out of range.
    """
    for name in values:
        if name not in known(agent):
            raise ConfigError(f"{name}: may not change while a run goes on{did_you_mean(name, known(agent))}")
    own = {name: value for name, value in _read(values, type(agent.config)).items() if name not in OF_RUN}
    of_run = {name: value for name, value in _read(values, Settings).items() if name in OF_RUN}
    made = plan.settings.replace(**of_run)
    apply = change(agent, own)
    config = agent.config.replace(**own)
    return dataclasses.replace(plan, settings=made, config=config), apply


def with_changes(plan: Plan, changes: State) -> Plan:
    """Return the plan of a run whose settings were changed before its checkpoint; CheckpointError if it cannot be."""
    with untrusted.state_of("changes"):
        table = untrusted.table(changes, "", "config", "settings")
        of_run = {name: value for name, value in table["settings"].items() if name in OF_RUN}
        return dataclasses.replace(
            plan, settings=plan.settings.replace(**of_run), config=plan.config.replace(**table["config"])
        )


def differences(before: Plan, after: Plan) -> State:
    """Return the settings in which two plans differ, as `with_changes` takes them."""
    pairs = {"config": (before.config, after.config), "settings": (before.settings, after.settings)}
    return {
        name: {key: value for key, value in new.to_dict().items() if old.to_dict()[key] != value}
        for name, (old, new) in pairs.items()
    }


class Obedience:
    """Looks for commands to a run, and carries them out between two of its steps.

    Args:
        run: the run.
        directory: its folder.

    Attributes:
        look_at: the time, by `time.perf_counter`, of the next look.
    """

    def __init__(self, run: Steered, directory: RunDirectory) -> None:
        self.run, self.inbox = run, Inbox(directory)
        self.look_at = 0.0

    def came(self) -> bool:
        """Return whether a command lies in the folder, of which this tells every half second."""
        now = time.perf_counter()
        if now < self.look_at:
            return False
        self.look_at = now + LOOK
        return bool(waiting(self.inbox.directory.commands))

    def obey(self) -> bool:
        """Carry out the commands that are due; False if one of them stops the run."""
        self.inbox.look(self.run.steps, self.run.plan.settings.steps)
        return all(self._carry_out(command) for command in self.inbox.due(self.run.steps))

    def _carry_out(self, command: Command) -> bool:
        """Carry out one command; False if it stops the run, or a signal came."""
        run, inbox, settings = self.run, self.inbox, self.run.plan.settings
        own = [callback for callback in run.callbacks if command.name in callback.commands]
        try:
            if command.name not in COMMANDS and not own:
                others = [*COMMANDS, *(name for callback in run.callbacks for name in callback.commands)]
                raise ConfigError(f"unknown command {command.name!r}{did_you_mean(command.name, others)}")
            change = changed(run.plan, run.agent, command.values) if command.name == "set" else None
        except ConfigError as error:
            inbox.answer(command, "refused", run.steps, str(error))
            return True
        inbox.answer(command, "accepted", run.steps)
        run.display.say(f"command at step {run.steps:,}: {command.name} {command.values or ''}".rstrip())
        if change is not None:
            before = run.plan
            run.plan, apply = change
            apply()
            run.driver.change(differences(before, run.plan)["config"])
            run.schedule()
        elif command.name in ("checkpoint", "stop"):
            run.save()
        elif command.name == "evaluate" and not run.score(settings.eval_episodes, settings.eval_steps):
            return False
        try:
            for callback in own:
                callback.on_command(run, command.name, command.values)
        except ConfigError as error:
            inbox.answer(command, "refused", run.steps, str(error))
            return True
        inbox.answer(command, "done", run.steps)
        return command.name != "stop"


def _read(values: Mapping[str, Any], kind: type[Config]) -> dict[str, Any]:
    """Return values in the types of the fields that they are for; a text is read as on a command line."""
    entries = {entry.name: entry for entry in settings(kind)}
    return {
        name: entries[name].parse(value) if isinstance(value, str) else value
        for name, value in values.items()
        if name in entries
    }
