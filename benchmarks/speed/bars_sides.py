"""Both sides of each row of bars.py, made when the row is measured."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timing import LEARN, Loop, Peer, PeerError, seconds

import a2c
import bars_peers as peers
import conv
import dqn
import numpy as np
import ppo
import products
import recurrent
from numpy_floor import Floor

from dbrrl.buffers import Batch

LONG = {"n_envs": 8, "n_steps": 128, "batch_size": 64, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 10}
TURN = 4096  # environment steps of a turn

RUNNING = contextlib.ExitStack()  # the peers of a row

Turn = Callable[[], float]


@dataclass(frozen=True)
class Update:
    """The products of an update, and what else is needed to see whether they forbid a bar.

    Attributes:
        calls: the products.
        seconds: of an update; None: what the row itself measures.
        share: updates in what the row measures, such as in an environment step.
    """

    calls: list[products.Call]
    seconds: Callable[[], float] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Sides:
    """Both sides of a row: their turns give seconds, or steps per second where `rate`."""

    ours: Turn
    theirs: Turn
    update: Update | None = None
    rate: bool = False


def timed(run: Callable[[], Any], repeats: int) -> Turn:
    """A turn of so many calls: mean seconds of one."""
    return lambda: seconds(run, repeats)


def ppo_update(batch: int) -> Callable[[argparse.Namespace], Sides]:
    """Gradient steps on minibatches that are picked from a rollout, against the update as one C function."""

    def sides(options: argparse.Namespace) -> Sides:
        sys.path.append(str(options.reference))
        try:
            import c_update  # type: ignore[import-not-found]

            library = c_update.load()
        except Exception as error:
            raise PeerError(f"{error!r} (--reference FOLDER has c_update.py; it needs cc)") from error
        agent, rows = ppo.agent_for(entropy_coef=0.01, batch_size=batch), Floor(2048)
        rng = np.random.default_rng(0)
        columns = {"log_prob": rows.old, "advantage": rows.adv, "value": rows.ret, "target": rows.ret}
        whole = Batch(observation=rows.x, action=rows.a, **columns)

        def epoch() -> None:
            for minibatch in whole.minibatches(batch, rng):
                agent.gradient_step(minibatch, clip_range=0.2)

        count = 2048 // batch
        return Sides(
            lambda: seconds(epoch, 4) / count,
            timed(c_update.updater(library, Floor(batch)), 4 * count),
            Update(products.ppo(batch)),
        )

    return sides


def acting(options: argparse.Namespace) -> Sides:
    """Acting of the training agent on 8 observations, against hand-written NumPy."""
    floor, agent = Floor(64), ppo.agent_for()
    observation = floor.x[:8]
    update = Update(products.forward((4, 64, 64, 2), 8))
    return Sides(timed(lambda: agent.act(observation), 1000), timed(floor.act, 1000), update)


def ppo_run(settings: dict[str, Any], peer: str) -> Callable[[argparse.Namespace], Sides]:
    """Whole training on CartPole-v1, against Stable-Baselines3 or a run that XLA compiled whole."""

    def sides(options: argparse.Namespace) -> Sides:
        loop, batch = ppo.loop(settings), settings["batch_size"]
        rollout = settings["n_envs"] * settings["n_steps"]
        update = Update(
            products.ppo(batch),
            ppo_update(batch)(options).ours,
            settings["n_epochs"] * max(1, rollout // batch) / rollout,
        )
        if peer == "sb3":
            theirs = turns(options.sb3, ppo.PEER + LEARN, json.dumps(settings))
        else:
            sizes = *(settings[key] for key in ("n_envs", "n_steps", "batch_size", "n_epochs")), TURN // rollout
            theirs = turns(options.jax, peers.jax(options.reference), *map(str, sizes))
        return Sides(lambda: loop.rate(TURN), theirs, update, rate=True)

    return sides


def a2c_run(options: argparse.Namespace) -> Sides:
    """A2C with the peer's settings."""
    loop = a2c.loop()
    return Sides(lambda: loop.rate(TURN), turns(options.sb3, a2c.PEER + LEARN, json.dumps(a2c.TUNED)), rate=True)


def dqn_run(settings: dict[str, Any]) -> Callable[[argparse.Namespace], Sides]:
    """DQN in one environment."""

    def sides(options: argparse.Namespace) -> Sides:
        loop = dqn.loop(settings)
        agent: Any = loop.agent
        update = Update(
            products.dqn(settings["hidden_sizes"], settings["batch_size"]),
            timed(lambda: agent.update(agent.sample()), 50),
            settings["updates_per_interval"] / settings["update_interval"],
        )
        size = TURN if settings is dqn.SMALL else TURN // 2
        theirs = turns(options.sb3, dqn.PEER, json.dumps(settings), size=size)
        return Sides(lambda: loop.rate(size), theirs, update, rate=True)

    return sides


def continuous_run(name: str) -> Callable[[argparse.Namespace], Sides]:
    """SAC or TD3 on Pendulum-v1, one update a step, against earlier code."""

    def sides(options: argparse.Namespace) -> Sides:
        loop: Loop = peers.continuous(name)
        agent: Any = loop.agent
        calls = products.sac(3, 1) if name == "SAC" else products.td3(3, 1)
        each = 1 if name == "SAC" else 2  # updates that have these products
        update = Update(calls, lambda: each * seconds(lambda: agent.update(agent.sample()), 20), 1 / each)
        theirs = turns(sys.executable, peers.EARLIER, *peers.earlier(name, options.before), size=200)
        return Sides(lambda: loop.rate(200), theirs, update, rate=True)

    return sides


def nature(options: argparse.Namespace) -> Sides:
    """Forward and backward of the Nature CNN, against PyTorch."""
    frames = np.random.default_rng(1).integers(0, 256, (32, 4, 84, 84), dtype=np.uint8)
    both, _ = conv.ours(frames)
    return Sides(timed(both, 5), turns(options.torch, peers.CONV, size=5), Update(products.nature(32)))


def lstm(batch: int) -> Callable[[argparse.Namespace], Sides]:
    """Forward and backward of an LSTM over 128 steps, against PyTorch."""

    def sides(options: argparse.Namespace) -> Sides:
        x = np.random.default_rng(1).normal(size=(128, batch, recurrent.INPUT)).astype(np.float32)
        both, _ = recurrent.ours("LSTM", x)
        theirs = turns(options.torch, peers.LSTM, str(batch), size=5)
        return Sides(timed(both, 5), theirs, Update(products.lstm(128, batch)))

    return sides


def command(options: argparse.Namespace) -> Sides:
    """The default command as a process, against earlier code."""
    before = peers.command(options.before, "auto") if options.before else peers.command(peers.ROOT, "numpy")
    return Sides(timed(peers.command(peers.ROOT, "auto"), 1), timed(before, 1))


def turns(python: str, script: str, *arguments: str, size: int = TURN) -> Turn:
    """Turns of a script in a process of its own, after one that does not count."""
    peer = RUNNING.enter_context(Peer(python, script, *arguments))
    peer.turn(size)
    return lambda: peer.turn(size)
