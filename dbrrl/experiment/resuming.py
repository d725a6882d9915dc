"""What a run needs to go on: the same settings, spaces and software, and the objects that it was made with."""

import contextlib
from collections.abc import Iterator

from dbrrl.checkpoint import State
from dbrrl.envs import given, vector
from dbrrl.errors import CheckpointError, DbrrlError, RunError
from dbrrl.learning.agent import Agent

from . import record, trust
from .directory import RunDirectory
from .driver import Driver
from .settings import Plan, table

# Settings that a resumed run may change; config: see build.same_agent.
_FREE = ("steps", "curve", "tensorboard", "wandb", "mlflow", "config")


def check_plan(plan: Plan, saved: State, directory: RunDirectory) -> None:
    """Raise RunError if a setting that affects the run's numbers has changed since the checkpoint."""
    unsaid: State = {"eval_env_kwargs": {}, "tf32": False, "eval_env": None, "network": None}  # old ones lack these
    saved = unsaid | saved
    for name, now in (unsaid | plan.to_dict()).items():
        if name not in _FREE and saved[name] != now:
            if isinstance(now, dict):
                raise RunError(f"{directory.config}: its [{name}] is not that of the checkpoint: undo the change")
            raise RunError(f"{directory.config}: {name} is {now!r}, at the checkpoint {saved[name]!r}: undo the change")


def check_spaces(agent: Agent, driver: Driver | vector.Environments, path: str) -> None:
    """Raise CheckpointError if the agent loaded from `path` was made for other spaces than `driver` has."""
    for what in ("observation_space", "action_space"):
        made_for, here = getattr(agent, what), getattr(driver, what)
        if made_for != here:
            name = what.replace("_", " ")
            raise CheckpointError(f"{path}: made for the {name} {made_for}, but {driver.env_id} has {here}")


@contextlib.contextmanager
def as_checkpoint_error(directory: RunDirectory) -> Iterator[None]:
    """Inside the context, errors from checkpoint content of another version become CheckpointErrors."""
    try:
        yield
    except CheckpointError as error:
        if str(directory.path) in str(error):
            raise
        raise CheckpointError(f"{directory.checkpoints}: {error}") from error
    except DbrrlError:
        raise
    except Exception as error:  # the content of a file can cause any error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CheckpointError(f"{directory.checkpoints}: damaged, or of another version ({reason})") from error


def check_beginning(directory: RunDirectory) -> None:
    """Raise RunError if a run without a checkpoint began with an agent that cannot be made anew."""
    if "agent" in table(directory.read_config(), "given"):
        raise RunError(
            f"{directory.path}: began with an agent that was made already, of which nothing was saved: start it again "
            "with Experiment(agent=...)"
        )


def changes(directory: RunDirectory) -> list[str]:
    """Return a line if the software has changed since the run began."""
    changed = record.differences(table(directory.read_config(), "versions"))
    return [f"not the same software as the run began with: {'; '.join(changed)}"] if changed else []


def unfindable(plan: Plan) -> list[str]:
    """Return a line for each setting of which the record does not lead to what it was, as to resume the run."""
    lines = []
    for field in trust.FIELDS:
        name = str(getattr(plan.settings, field))
        if given.is_description(name):
            lines.append(
                f"{field}: {name} is an object, and only this is recorded of it: python -m dbrrl.evaluate and --resume "
                f"will not find it. To go on with the run give it again, in Python, with {_call(plan, 'RUN')}"
            )
            if field == "env" and isinstance(plan.env, given.Instance) and (reason := plan.env.why_begun_anew):
                lines.append(f"env: a run that goes on begins new episodes in {name} ({reason})")
        elif where := trust.only_here(field, name):
            lines.append(
                f"{field}: {name} is of {where}, and its name alone is recorded: python -m dbrrl.evaluate and --resume "
                f"will not find it. Put it into a module and import it from there, or go on in this program, with "
                f"{_call(plan, 'RUN')}"
            )
    return lines


def _call(plan: Plan, run: str) -> str:
    """Return the Python call that resumes a run in the program that has its classes and objects."""
    name = plan.settings.agent
    agent = f", agent={name.rpartition(':')[2].rpartition('.')[2]}" if trust.only_here("agent", name) else ""
    fields = [field for field in trust.FIELDS if given.is_description(str(getattr(plan.settings, field)))]
    again = "".join(f", {field}=..." for field in fields)
    rest = [field for field in trust.FIELDS if field not in fields and _is_own(plan, field)]
    return f"Experiment.resume({run}{agent}{again}{', trust=True' if rest else ''})"


def _is_own(plan: Plan, field: str) -> bool:
    return trust.is_foreign(field, str(getattr(plan.settings, field)))


def resume_command(plan: Plan, directory: RunDirectory) -> str:
    """Return the command that resumes a run, with --trust if the run uses the user's own code.

    If no command can find that code, return the call in Python.
    """
    if unfindable(plan):
        return f"{_call(plan, repr(str(directory.path)))}.run(), in the program that has its classes and objects"
    own = any(_is_own(plan, field) for field in trust.FIELDS)
    return f"python -m dbrrl.train --resume {directory.path}{' --trust' if own else ''}"
