"""The driver of asynchronous runs: each learner steps its environment in a process of its own."""

import atexit
import contextlib
import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dbrrl.checkpoint import State, untrusted
from dbrrl.envs import construct
from dbrrl.errors import ConfigError, WorkerError
from dbrrl.learning.agent import Agent
from dbrrl.learning.asynchronous import AsynchronousAgent

from .driver import Episode
from .interruption import ignored_by_children
from .objects import Objects
from .settings import Plan
from .shared import Block, block, lock, view
from .worker import asynchronous, environments, receive, send, work

CLOSING_TIME = 3.0  # seconds that the processes have to close their environments
PAUSE_EVERY = 0.5  # seconds of work after which all workers wait for the parent, which then handles signals


class RemoteTraceback(Exception):
    """The traceback of a worker's own error, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _check_importable(plan: Plan) -> None:
    """Raise ConfigError if a notebook defines the agent or the environment: no other process can import it."""
    if getattr(sys.modules["__main__"], "__file__", None) is not None:
        return  # the classes of a program's file can be imported in other processes
    for field, module in (("agent", plan.agent_class.__module__), ("env", construct.source(plan.settings.env))):
        if module == "__main__":
            name = getattr(plan.settings, field)
            raise ConfigError(
                f"{field}: this agent runs a process per environment, and none of them can import {name}, which was "
                "defined in a notebook or an interactive session: move the class into a file, my_module.py, and give "
                f"{field}='my_module:Class'"
            )


def _registered(env: str) -> EnvSpec | None:
    """Return this process's registration of `env`; None if there is none that can be sent to another process."""
    spec = gym.registry.get(env)
    if spec is None or spec.additional_wrappers:
        return None
    entries = (spec.entry_point, spec.vector_entry_point)
    plain = all(entry is None or isinstance(entry, str) for entry in entries)
    try:
        json.dumps(spec.kwargs)
    except TypeError:
        return None
    return spec if plain else None


class Workers:
    """The driver of an asynchronous agent: N processes, each with one learner and its environment.

    The arrays that the learners share are in shared memory without a name.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = dataclasses.replace(plan, given=Objects())  # what goes to the processes, which need no object
        self.num_envs, self.env_id = plan.settings.num_envs, plan.settings.env
        _check_importable(plan)
        sample = environments(plan, 0)
        self.kind, self.observation_space, self.action_space = (
            sample.kind,
            sample.observation_space,
            sample.action_space,
        )
        sample.close()
        self.consistent = True
        self.events: list[str] = []
        self.agent: AsynchronousAgent | None = None
        self.saved: list[State] = []  # the environments at the last `collect`
        self.kept: dict[str, np.ndarray] = {}  # the shared arrays at the last `collect`
        self.counters: dict[str, np.ndarray] = {}
        self.processes: list[SpawnProcess] = []
        self.pipes: list[Connection] = []
        self.rate = 1_000.0  # steps per second of all workers during the last `advance`

    @property
    def steps(self) -> int:
        """Environment steps of all workers so far."""
        return int(self.counters["steps"].sum()) if self.counters else 0

    def bind(self, agent: Agent) -> None:
        """Set the agent that has the learners; ConfigError if it has none."""
        self.agent = asynchronous(agent)

    def start(self) -> None:
        """Start the processes, each with a new episode, unless they run."""
        if not self.processes:
            self._start([None] * self.num_envs, fresh=True)

    def advance(self, until: int, pause: Callable[[], bool]) -> list[Episode]:
        """Let the workers step for about half a second, at most to step `until` of all; return the ended episodes."""
        self.consistent = False
        before, started = self.steps, time.perf_counter()
        goal = min(until, before + max(int(self.rate * PAUSE_EVERY), self.num_envs))
        for pipe in self.pipes:
            self._tell(pipe, until=goal)
        answers = self._answers()
        self.rate = (self.steps - before) / max(time.perf_counter() - started, 1e-6)
        ended = [answer["finished"].tolist() for answer in answers]
        rows = [(step, i, *episode) for i, episodes in enumerate(ended) for step, *episode in episodes]
        return [(episode_return, int(length)) for _, _, episode_return, length in sorted(rows)]

    def collect(self) -> list[Episode]:
        """Load each learner's state into the agent, and keep the states of the environments; there are no episodes."""
        for pipe in self.pipes:
            self._tell(pipe)
        answers = self._answers()
        for i, answer in enumerate(answers):
            self._agent.learner(i).load_state_dict(answer["learner"])
        self._agent.count()
        self.saved = [answer["environments"] for answer in answers]
        self._keep()
        self.consistent = True
        return []

    def recover(self) -> None:
        """Bring the agent back to the last `collect`.

        From then on it has arrays of its own: other workers may still be changing the shared ones.
        """
        if self.kept:
            self._agent.attach({name: vector.copy() for name, vector in self.kept.items()})
            self.consistent = True

    def state_dict(self) -> State:
        """Return the environments as of the last `collect`."""
        return {"workers": self.saved or [{}] * self.num_envs}

    def load_state_dict(self, state: State) -> list[str]:
        """Start the processes with the environments of `state`; one line for each that cannot go on."""
        with untrusted.state_of("workers", "resume with as many environments"):
            saved = untrusted.entries(untrusted.table(state, "", "workers")["workers"], "", self.num_envs)
            saved = [untrusted.table(one, "") for one in saved]
        if not saved[0]:
            return []  # saved before the first step
        self.saved = saved
        answers = self._start(saved, fresh=False)
        return [f"worker {i}: {line}" for i, answer in enumerate(answers) for line in answer["problems"]]

    @property
    def _agent(self) -> AsynchronousAgent:
        assert self.agent is not None, "bind() comes first"
        return self.agent

    def _keep(self) -> None:
        """Copy the shared arrays, while all workers wait."""
        self.kept = {name: vector.copy() for name, vector in self._agent.shared.items()}

    def change(self, values: Mapping[str, Any]) -> None:
        """Do nothing: none of theirs may change."""

    def statistics(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """End the processes and release the shared memory; a second call does nothing."""
        for pipe in self.pipes:
            pipe.close()
        until = time.monotonic() + CLOSING_TIME
        for process in self.processes:
            if process.pid is None:  # it could not be started, and that error is being raised
                continue
            process.join(max(until - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()
        self.pipes, self.processes = [], []
        atexit.unregister(self.close)
        if self.agent is not None and self.counters:
            self.agent.attach({name: vector.copy() for name, vector in self.agent.shared.items()})
            self.counters = {name: vector.copy() for name, vector in self.counters.items()}

    def _start(self, saved: list[State | None], *, fresh: bool) -> list[State]:
        agent, count = self._agent, self.num_envs
        context = multiprocessing.get_context("spawn")
        blocks: dict[str, Block] = {name: block(context, vector) for name, vector in agent.shared.items()}
        agent.attach({name: view(made) for name, made in blocks.items()})
        done = [agent.learner(i) for i in range(count)]
        counters = {
            "steps": np.array([one.steps for one in done], np.int64),
            "taken": np.array([sum(one.steps for one in done)], np.int64),  # steps done or given out to be done
            "turn": np.array([sum(one.num_updates for one in done)], np.int64),
        }
        counted = {name: block(context, vector) for name, vector in counters.items()}
        self.counters, blocks = {name: view(made) for name, made in counted.items()}, blocks | counted
        one_at_a_time = lock(context)
        atexit.register(self.close)  # daemons would end by themselves, but their environments could start no processes
        registered = _registered(self.env_id)
        with ignored_by_children():
            for i in range(count):
                ours, theirs = context.Pipe()
                self.pipes.append(ours)
                given = (self.plan, i, blocks, one_at_a_time, theirs, registered)
                process = context.Process(target=work, args=given, name=f"dbrrl worker {i}")
                self.processes.append(process)
                process.start()
                theirs.close()
        for i, pipe in enumerate(self.pipes):
            self._tell(pipe, learner=None if fresh else done[i].state_dict(), environments=saved[i])
        self._keep()
        return self._answers()

    def _tell(self, pipe: Connection, **message: Any) -> None:
        with contextlib.suppress(OSError):  # if the worker has ended, `_answers` finds out why
            send(pipe, **message)

    def _answers(self) -> list[State]:
        """Return one message of each worker; WorkerError for the first that fails."""
        answers: list[State] = [{}] * self.num_envs
        waiting = dict(enumerate(self.pipes))
        while waiting:
            connection.wait([*waiting.values(), *(self.processes[i].sentinel for i in waiting)])
            for i, pipe in list(waiting.items()):
                try:
                    if not pipe.poll():
                        if self.processes[i].is_alive():
                            continue
                        raise EOFError
                    answers[i] = receive(pipe)
                except (EOFError, OSError):
                    raise self._gone(i) from None
                if "error" in answers[i]:
                    raise self._failed(i, answers[i])
                del waiting[i]
        return answers

    def _failed(self, index: int, answer: State) -> WorkerError:
        error = WorkerError(f"worker {index} died in its step {self.counters['steps'][index]:,}: {answer['error']}")
        error.__cause__ = RemoteTraceback(answer["traceback"])
        return error

    def _gone(self, index: int) -> WorkerError:
        process = self.processes[index]
        process.join(1.0)
        code = process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return WorkerError(
            f"worker {index} ended {how} in its step {self.counters['steps'][index]:,} without a word: look for lack "
            'of memory or a kill from outside; a script that starts a run needs `if __name__ == "__main__":`'
        )
