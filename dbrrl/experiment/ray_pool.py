"""Processes of Ray that serve one run: they are started, asked, and ended together."""

import contextlib
from collections.abc import Sequence
from typing import Any

from dbrrl.errors import ConfigError, DbrrlError, RunError, WorkerError

from . import ray_cluster
from .interruption import ignored_by_children
from .settings import Plan
from .workers import RemoteTraceback


class DeadError(WorkerError):
    """The process of a worker has ended.

    Attributes:
        index: of the worker.
    """

    def __init__(self, index: int, step: int) -> None:
        super().__init__(f"worker {index} died after step {step:,}")
        self.index = index


class Pool:
    """The workers of one run.

    Args:
        plan: of the run; an error is raised here, before anything else is made, where it cannot be sent.

    Attributes:
        step: of the run, for messages.

    Raises:
        ConfigError: Ray is not installed, there are fewer processors or GPUs than workers, or the plan cannot be sent.
        RunError: nothing answers at the address of the cluster.
    """

    def __init__(self, plan: Plan) -> None:
        self.size, self.step = plan.settings.workers or 1, 0
        on_gpus = plan.agent_class.distributed == "team" and plan.settings.device not in ("cpu", "auto")
        self.gpus = int(on_gpus)  # of each worker
        self.actors: list[Any] = []
        self._stack = contextlib.ExitStack()
        with ignored_by_children():
            self.ray = self._stack.enter_context(ray_cluster.connected(self.size, plan.ray_address))
        try:
            ray_cluster.check_gpus(self.ray, self.gpus * self.size)
        except ConfigError:
            self.close()
            raise
        self.sent(plan)

    def sent(self, plan: Plan) -> Any:
        """Return Ray's reference to the plan, which workers can get."""
        try:
            return self.ray.put(plan)
        except TypeError as error:
            self.close()
            raise ConfigError(
                "workers: expected an agent, an environment and a network that can be sent to other processes, got "
                f"{str(error).strip().splitlines()[0]}: define them in a module, and give their names"
            ) from error

    def start(self, kind: type) -> None:
        """Start a process for each worker, with an object of this class."""
        self.actors = [self._made(kind) for _ in range(self.size)]

    def start_again(self, index: int, kind: type) -> None:
        """Start the process of one worker, which has ended."""
        self.actors[index] = self._made(kind)

    def _made(self, kind: type) -> Any:
        return self.ray.remote(num_cpus=1, num_gpus=self.gpus, max_restarts=0)(kind).remote()

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Return what a method of each worker returns, given the same arguments; errors as `answers`."""
        return self.ask_each(name, [arguments] * self.size)

    def ask_each(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what a method of each worker returns, each given its own arguments; errors as `answers`."""
        return self.answers(self.calls(name, arguments))

    def calls(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each worker, and do not wait for it."""
        return [getattr(actor, name).remote(*given) for actor, given in zip(self.actors, arguments, strict=True)]

    def answers(self, calls: list[Any], first: int = 0) -> list[Any]:
        """Return the results of calls, one of each worker from the `first` on, once all have ended.

        Raises:
            WorkerError: one failed; or the error itself, if it is of the settings.
            DeadError: the process of one has ended.
        """
        waiting = list(calls)
        while waiting:
            done, waiting = self.ray.wait(waiting)
            for call in done:
                if (error := self._error(call, first + calls.index(call))) is not None:
                    raise error
        return list(self.ray.get(calls))

    def _error(self, call: Any, index: int) -> Exception | None:
        """Return what went wrong in a worker's call that has ended; None: nothing."""
        try:
            self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            return self._failed(index, error)
        except self.ray.exceptions.RayActorError:
            return DeadError(index, self.step)
        return None

    def _failed(self, index: int, error: Any) -> Exception:
        cause = error.cause
        if isinstance(cause, ConfigError | RunError):
            return cause
        text = str(cause) if isinstance(cause, DbrrlError) else f"{type(cause).__name__}: {cause}"
        found = WorkerError(f"worker {index} failed after step {self.step:,}: {text}")
        found.__cause__ = RemoteTraceback(str(error))
        return found

    def end(self) -> None:
        """End the processes; others can be started."""
        for actor in self.actors:
            with contextlib.suppress(Exception):
                self.ray.kill(actor, no_restart=True)
        self.actors = []

    def close(self) -> None:
        """End the processes, and the connection to the cluster; a second call does nothing."""
        self.end()
        self._stack.close()
