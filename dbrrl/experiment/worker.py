"""One process of an asynchronous run: a learner and its environment; the parent process says how far to step."""

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dbrrl import backend, checkpoint, seeding
from dbrrl.envs import make, vector
from dbrrl.errors import ConfigError, DbrrlError
from dbrrl.learning.agent import Agent
from dbrrl.learning.asynchronous import AsynchronousAgent, Learner
from dbrrl.learning.rebuild import set_network

from .observing import observing
from .settings import Plan
from .shared import Block, Lock, view

KIND = "message"
AT_ONCE = 16  # most steps that a learner reserves at once: for each reservation learners wait for one another


def send(pipe: Connection, **message: Any) -> None:
    """Send a message of arrays and plain values."""
    pipe.send_bytes(checkpoint.encode(message, kind=KIND))


def receive(pipe: Connection) -> dict[str, Any]:
    """Return the next message; EOFError if the other process has closed the pipe or ended."""
    return checkpoint.decode(pipe.recv_bytes(), kind=KIND)


def asynchronous(agent: Agent) -> AsynchronousAgent:
    """Return `agent`, if it has what learners in processes of their own need; else raise ConfigError."""
    if isinstance(agent, AsynchronousAgent):
        return agent
    lacking = [name for name in ("attach", "count", "deterministic", "learner", "shared") if not hasattr(agent, name)]
    raise ConfigError(
        f"agent: {type(agent).__name__} is asynchronous, expected the methods and attributes of "
        f"dbrrl.learning.asynchronous.AsynchronousAgent, got none named {', '.join(lacking)}: add them, or set "
        "asynchronous = False"
    )


def environments(plan: Plan, index: int) -> vector.Environments:
    """Make the environment of learner `index`, as a batch of one."""
    settings = plan.settings
    return make(
        settings.env,
        1,
        seed=seeding.sequence(settings.seed, "environments", index),
        vectorization="sync" if settings.vectorization == "async" else settings.vectorization,
        max_episode_steps=settings.max_episode_steps,
        env_kwargs=plan.env_kwargs,
        action_masks=plan.agent_class.action_masks,
    )


def work(
    plan: Plan, index: int, blocks: dict[str, Block], lock: Lock, pipe: Connection, registered: EnvSpec | None = None
) -> None:
    """Main function of the process; it ends when the pipe is closed, after an error, or with its parent.

    `registered`: the parent's registration of the environment, which this process may lack.
    """
    threading.Thread(target=end_with_parent, daemon=True).start()
    shared = {name: view(block) for name, block in blocks.items()}
    worker: Worker | None = None
    try:
        if registered is not None:
            gym.registry.setdefault(registered.id, registered)
        backend.keep_freed_memory()
        backend.set_blas_threads(plan.settings.threads or 1)
        worker = Worker(plan, index, shared, lock, pipe)
        worker.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the run is over
    except BaseException as error:
        text = str(error) if isinstance(error, DbrrlError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            send(pipe, error=text, traceback=traceback.format_exc())
    finally:
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.envs.close()  # the environment may have processes and files of its own
        os._exit(0)  # does not wait for threads and exit handlers of the environment


def end_with_parent() -> None:
    """Wait for the end of the parent process, and end this one then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


class Turn:
    """A context that learner `index` of `count` enters once all earlier changes of the shared arrays are done."""

    def __init__(self, learner: Learner, index: int, count: int, turn: np.ndarray, lock: Lock) -> None:
        self.learner, self.index, self.count, self.turn, self.lock = learner, index, count, turn, lock

    def __enter__(self) -> None:
        own = self.learner.num_updates * self.count + self.index
        while True:
            with self.lock:  # also a memory barrier: what was written before the turn was given is seen
                if self.turn[0] >= own:
                    return
            time.sleep(2e-5)

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.turn[0] += 1


class Worker:
    """One learner, its environment, and the counters that all workers share."""

    def __init__(self, plan: Plan, index: int, shared: dict[str, np.ndarray], lock: Lock, pipe: Connection) -> None:
        self.index, self.pipe, self.lock = index, pipe, lock
        self.steps, self.taken, turn = (shared.pop(name) for name in ("steps", "taken", "turn"))
        self.count = len(self.steps)
        self.envs = environments(plan, index)
        made = plan.agent_class(
            self.envs.observation_space,
            self.envs.action_space,
            plan.config,
            num_envs=self.count,
            seed=plan.settings.seed,
        )
        if plan.network is not None:
            set_network(made, plan.network)
        agent = asynchronous(made)
        agent.attach(shared)
        self.learner, self.deterministic = agent.learner(index), agent.deterministic
        self.learner.compiled = plan.settings.compile
        if self.deterministic:
            self.learner.turn = Turn(self.learner, index, self.count, turn, lock)

    def serve(self) -> None:
        """Start from the state in the first message, then carry out one order after the other."""
        begin = receive(self.pipe)
        problems: list[str] = []
        if begin["learner"] is not None:
            self.learner.load_state_dict(begin["learner"])
        if begin["environments"] is not None:
            problems = self.envs.load_state_dict(begin["environments"])
        if self.envs.observation is None:
            self.envs.reset()
        send(self.pipe, problems=problems)
        while True:
            order = receive(self.pipe)
            if "until" in order:
                send(self.pipe, finished=self.run(int(order["until"])))
            else:
                send(self.pipe, learner=self.learner.state_dict(), environments=self.envs.state_dict())

    def run(self, until: int) -> np.ndarray:
        """Step while steps of all learners are left up to `until`; return a row per ended episode.

        A row holds this learner's step at its end, its return and its length.
        """
        finished: list[tuple[float, float, int]] = []
        learner, envs = self.learner, self.envs
        with observing(learner) as observe:
            while count := self.claim(until):
                for _ in range(count):
                    self.steps[self.index] += 1
                    observe(envs.step(learner.act(envs.observation)))
                    finished += [(float(self.steps[self.index]), *episode) for episode in envs.finished]
        return np.array(finished, np.float64).reshape(-1, 3)

    def claim(self, until: int) -> int:
        """Reserve some of the steps that are left, fewer the fewer there are, so that all learners end together.

        Deterministic learners have a fixed share each.
        """
        if self.deterministic:
            return int(self.steps[self.index] * self.count + self.index < until)
        with self.lock:
            left = until - int(self.taken[0])
            count = min(max(1, min(left // (2 * self.count), AT_ONCE)), max(left, 0))
            self.taken[0] += count
        return count
