"""Experiment: trains one agent in one environment with one seed, or resumes an earlier run."""

import contextlib
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dbrrl.checkpoint import State
from dbrrl.config import Config, settings
from dbrrl.envs.given import is_description
from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import registry
from dbrrl.learning.agent import Agent
from dbrrl.reporting import display

from . import build, journal, objects, record, resuming, steered
from .callbacks import Callback, checked
from .directory import RunDirectory
from .interruption import Interrupted, Interruption
from .loading import NO_CHANGES
from .loop import Loop
from .run import Run
from .settings import Plan, Settings, resolve_plan


class Experiment:
    """Trains one agent in one environment with one seed.

    Args:
        agent: a name ("ppo"), your own as "package.module:Class", an Agent class, or an agent, which is trained itself.
        env: a Gymnasium id, or your own as "package.module:Class" or "package.module:function"; a class; a function
            that makes an environment, called for each copy; or an environment, which is stepped itself and left open.
        seed: root of all random generators; None: 0, or that of an agent that is made already.
        out: folder in which the run's own folder is created; None keeps everything in memory.
        name: name of that folder; None makes one from agent, environment, seed and time.
        config: the agent's settings, a table or its Config.
        env_kwargs: arguments for the environment.
        eval_env_kwargs: arguments that replace some of them in evaluations.
        eval_env: the environment of the evaluations, given as `env` is; None: that of the training, or a copy of it.
        network: a function that returns the network of an agent, `network(agent)`, or its name.
        progress: True shows progress, False nothing, None a bar in a terminal or notebook and nothing elsewhere.
        preset: whether settings known to solve this environment replace the defaults.
        callbacks: see dbrrl.experiment.Callback; they are closed when the run ends, in any way.
        ray_address: of the cluster of Ray that has the `workers`; None: the run starts one on this machine.
        **overrides: fields of `Settings` (num_envs, ...) and of the agent's Config (learning_rate, ...).

    Raises:
        ConfigError: an unknown agent or field (the message has the nearest name), a value out of range, or one that an
            agent or an environment that is made already contradicts.
        EnvError: what was given as an environment is none, or cannot be copied for evaluations.
    """

    def __init__(
        self,
        agent: str | type[Agent] | Agent = "ppo",
        env: Any = "CartPole-v1",
        *,
        seed: int | None = None,
        out: str | Path | None = None,
        name: str | None = None,
        config: Config | Mapping[str, Any] | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        eval_env_kwargs: Mapping[str, Any] | None = None,
        eval_env: Any = None,
        network: str | objects.MakeNetwork | None = None,
        progress: bool | None = None,
        preset: bool = True,
        callbacks: Sequence[Callback] = (),
        ray_address: str | None = None,
        **overrides: Any,
    ) -> None:
        table = objects.as_config(config)
        made = agent if isinstance(agent, Agent) else None
        agent_class = objects.class_of(agent)
        explicit = {} if seed is None else {"seed": seed}
        explicit |= overrides | ({} if network is None else {"network": network})
        kwargs = {"env_kwargs": env_kwargs, "eval_env_kwargs": eval_env_kwargs}
        explicit, given = objects.resolved(explicit, table, made, env, eval_env, kwargs)
        plan = resolve_plan(
            table | explicit | {"agent": registry.name_of(agent_class) if agent_class is not None else agent},
            env_kwargs=env_kwargs,
            eval_env_kwargs=eval_env_kwargs,
            use_preset=preset,
            agent_class=agent_class,
            given=given,
        )
        self.plan = dataclasses.replace(plan, ray_address=ray_address)
        self.out = None if out is None else Path(out)
        self.name = name
        self.display = display.for_run(progress)
        self.directory: RunDirectory | None = None
        self.callbacks = checked(callbacks)

    def __repr__(self) -> str:
        chosen = {**self.plan.settings.to_dict(), **self.plan.config.to_dict()}
        usual = {entry.name: entry.default for kind in (Settings, type(self.plan.config)) for entry in settings(kind)}
        shown = ("agent", "env", "seed", "steps", "total_steps")
        other = [f"{name}={value}" for name, value in chosen.items() if name not in shown and value != usual[name]]
        head = f"Experiment: {build.title(self.plan)}, {self.plan.settings.steps:,} steps"
        return f"{head}\n  {textwrap.shorten(', '.join(other), 400, placeholder=' ...')}".rstrip()

    @classmethod
    def from_plan(cls, plan: Plan, *, out: Path | None, name: str | None, shown: display.Quiet) -> Self:
        """Make an experiment from a complete plan."""
        experiment = cls.__new__(cls)
        experiment.plan, experiment.out, experiment.name = plan, out, name
        experiment.display, experiment.directory, experiment.callbacks = shown, None, []
        return experiment

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        trust: bool = False,
        agent: str | type[Agent] | None = None,
        env: Any = None,
        eval_env: Any = None,
        network: str | objects.MakeNetwork | None = None,
        progress: bool | None = None,
        callbacks: Sequence[Callback] = (),
        ray_address: str | None = None,
    ) -> Self:
        """Make an experiment that continues an earlier run.

        Files alone cause no import of foreign code: an agent or environment that is neither dbrrl's nor registered
        with Gymnasium must also be named here.

        Args:
            run: the run's folder.
            trust: True imports any code that the run's config.toml names.
            agent, env, eval_env, network: what the run was made with, where its files alone do not lead to it: a
                class, a name, or the object. The agent itself is in the checkpoint; its class is enough.
            progress, callbacks, ray_address: as for a new experiment.

        Raises:
            RunError: `run` is not a run directory, or has another agent or environment.
            ConfigError: its config.toml is damaged, or names code that is not trusted.
        """
        directory = RunDirectory.open(Path(run))
        agent_class = agent if isinstance(agent, type) else None
        file = directory.read_config()
        named, given = objects.resumed(file, agent, env, eval_env, network)
        for field, name in named.items():
            if name != file.get(field):
                cure = "give that object" if is_description(str(file.get(field))) else "leave it out"
                raise RunError(f"{directory.path}: its {field} is {file.get(field)}, got {name}: {cure}")
        objects.check_given(file, given, directory.path)
        trusted = True if trust else list(named.values())
        plan = resolve_plan({}, file=file, use_preset=False, agent_class=agent_class, trusted=trusted, given=given)
        plan = dataclasses.replace(plan, ray_address=ray_address)  # no file names it: code is sent there
        experiment = cls.from_plan(plan, out=None, name=None, shown=display.for_run(progress))
        experiment.directory, experiment.callbacks = directory, checked(callbacks)
        return experiment

    def run(self, steps: int | None = None) -> Run:
        """Train up to `steps` environment steps (default: the setting), evaluate and save.

        Ctrl-C in a run with a folder saves an exact checkpoint, then raises `Interrupted`.
        """
        with contextlib.ExitStack() as stack:
            interruption = Interruption()
            if self.out is not None or self.directory is not None:
                stack.enter_context(interruption)
            stack.callback(self.display.close)
            for callback in self.callbacks:
                stack.callback(callback.close)
            if self.directory is None:
                loop = self._begin(steps, interruption, stack)
            else:
                loop = self._continue(self.directory, steps, interruption, stack)
            return self._finish(loop)

    def _begin(self, steps: int | None, interruption: Interruption, stack: contextlib.ExitStack) -> Loop:
        """Prepare a new run; its folder is created last, so that wrong settings leave none behind."""
        plan = build.with_horizon(self.plan if steps is None else self.plan.with_steps(steps))
        plan, driver, agent = build.begin(plan, stack)
        if plan.device_reason:
            self.display.say(f"device: {plan.settings.device}: {plan.device_reason}")
        build.use_threads(plan, agent, stack)
        if said := build.use_precision(plan, stack):
            self.display.say(said)
        directory, shown = None, self.display
        if self.out is not None:
            for line in resuming.unfindable(plan):
                self.display.warn(line)
            table = build.full_record(plan, driver)
            directory = RunDirectory.create(self.out, self.name, build.stem(plan), table, record.start(0))
            stack.callback(directory.release)
            shown = stack.enter_context(journal.kept(directory, 0, self.display))
            shown.say(f"run directory: {directory.path}")
            shown.say(f"environments: {driver.num_envs} of {driver.env_id}, {driver.kind}")
        for line in build.beginning(plan, agent):
            shown.say(line)
        horizon = getattr(plan.config, "total_steps", 0)
        if 0 < horizon < plan.settings.steps:
            shown.warn(
                f"total_steps: schedules end at step {horizon:,} of {plan.settings.steps:,} and stay at their last "
                "value after it: leave it out, and they end with the run"
            )
        loop = Loop(plan, agent, driver, directory=directory, display=shown, interruption=interruption)
        loop.save_at_start = plan.given.agent is not None
        loop.callbacks = [*build.callbacks(plan, directory, stack), *self.callbacks]
        return loop

    def _continue(
        self,
        directory: RunDirectory,
        steps: int | None,
        interruption: Interruption,
        stack: contextlib.ExitStack,
    ) -> Loop:
        """Prepare a run from its newest exact checkpoint, or from its start if there is none."""
        build.check(self.plan)
        directory.lock()
        stack.callback(directory.release)
        directory.refuse_links()
        directory.sweep()
        state, problems = directory.load_checkpoint()
        with resuming.as_checkpoint_error(directory):
            plan = self._extended(directory, steps, state)
            if state is not None:
                resuming.check_plan(plan, state["loop"]["plan"], directory)
        if state is None:
            resuming.check_beginning(directory)
            driver = build.new_driver(plan, stack)
            agent = build.new_agent(plan, driver)
        else:
            driver = build.new_driver(plan, stack, int(state["loop"]["steps"]))
            known = steered.with_changes(plan, state["loop"].get("changes", NO_CHANGES))
            agent = build.same_agent(known, driver, state["agent"], directory)
        build.use_threads(plan, agent, stack)
        build.use_precision(plan, stack)
        loop = Loop(plan, agent, driver, directory=directory, display=self.display, interruption=interruption)
        if state is None:
            for file in directory.tables:
                file.unlink(missing_ok=True)
            loop.begin_again()
        else:
            with resuming.as_checkpoint_error(directory):
                problems += loop.driver.load_state_dict(state["environments"])
                loop.load_state_dict(state["loop"])
        if plan is not self.plan:  # last, when no error can follow
            directory.write_config(directory.read_config() | {"steps": steps})
        directory.add_start(record.start(loop.steps))
        loop.display = stack.enter_context(journal.kept(directory, loop.steps, self.display))
        purge = loop.steps + (loop.steps < loop.next_log)  # a row that is logged again replaces the old one
        loop.callbacks = [*build.callbacks(plan, directory, stack, purge_step=purge), *self.callbacks]
        for line in [*problems, *resuming.changes(directory)]:
            loop.display.warn(line)
        if plan is not self.plan and (horizon := getattr(plan.config, "total_steps", 0)):
            loop.display.say(f"schedules keep their end at step {horizon:,} and stay at their last value after it")
        loop.display.say(f"resumed {directory.path} at step {loop.steps:,} of {plan.settings.steps:,}")
        return loop

    def _extended(self, directory: RunDirectory, steps: int | None, state: State | None) -> Plan:
        """Return the run's plan, with more steps if `steps` says so; RunError if the run is finished."""
        done = int(state["loop"]["steps"]) if state is not None else 0
        plan = self.plan
        if steps is not None and steps != plan.settings.steps:
            if steps < done:
                raise ConfigError(f"steps: the run has done {done:,} already, got {steps:,}: give more")
            plan = dataclasses.replace(plan, settings=plan.settings.replace(steps=steps))
        planned = plan.settings.steps
        # After a kill, config.toml may already have more steps than the checkpoint was made for.
        extended = state is not None and (steps is not None or planned != state["loop"]["plan"]["steps"])
        if state is not None and state["loop"]["finished"] and (not extended or done >= planned):
            raise RunError(f"{directory.path}: this run is finished ({done:,} steps): add --steps MORE to train on")
        return plan

    def _finish(self, loop: Loop) -> Run:
        directory = loop.directory
        again = "" if directory is None else resuming.resume_command(self.plan, directory)
        try:
            ended = loop.run()
            if not ended:
                loop.save()
        except KeyboardInterrupt as stop:  # the second Ctrl-C
            if loop.saver.rescue():
                raise Interrupted(f"{loop.saver.stopped()}; resume with: {again}") from stop
            raise
        except Exception as error:
            if directory is not None:
                loop.saver.rescue()
                error.add_note(loop.saver.error_note(again))
            raise
        if not ended:
            raise Interrupted(f"{loop.saver.stopped()}; resume with: {again}")
        path = None if directory is None else directory.path
        run = Run(loop.scores.rows, loop.progress.rows, loop.agent, loop.plan, path)
        if directory is not None and loop.plan.settings.curve:
            run.plot(directory.curve)
        return run
