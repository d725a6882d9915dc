"""What compiled kernels and programs have to reach on the CPU: each row against its other side, in turn, one thread.

    python benchmarks/speed/bars.py [--only NAME ...] [--sb3 PYTHON] [--torch PYTHON] [--jax PYTHON]
                                    [--reference FOLDER] [--before FOLDER] [--rounds 15]

A row prints medians of both sides, the median of the rounds' ratios, and whether its bar is met. Where it is missed, it
prints the matrix products of an update alone, too, computed by NumPy with the same shapes: a bar that these alone
forbid is met when the rest of the update takes less than a third of its time.

--only names rows; --sb3, --torch and --jax a Python that has stable-baselines3, torch, or jax and optax (their rows are
skipped without). --reference is the folder of c_update.py and jax_ppo.py (default: ../shared/speed, seen from this
checkout), --before a checkout of dbrrl that two rows are compared with (default: this one without its kernels).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from timing import PeerError, medians

import bars_peers as peers
import bars_sides as sides
import dqn
import ppo
import products

from dbrrl.backend import blas_threads, load_kernels, set_blas_threads
from dbrrl.kernels.cpu import extension


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        bar: of the ratio of our result to the other side's: at most for times, at least for rates.
        made: makes both sides, or raises a PeerError.
    """

    name: str
    work: str
    against: str
    bar: float
    made: Callable[[argparse.Namespace], sides.Sides]


ROWS = [
    *(
        Row(f"ppo-update-{n}", f"PPO update, batch {n}", "the update as one C function", 1.6, sides.ppo_update(n))
        for n in (64, 128, 256)
    ),
    Row("acting", "acting on 8 observations, 64-64 nets", "hand-written NumPy", 0.4, sides.acting),
    *(
        Row(f"{name}-{peer}", work, against, bar, sides.ppo_run(settings, peer))
        for name, work, settings in (
            ("ppo", "PPO CartPole-v1, 32 steps, batch 256, 20 epochs", ppo.TUNED),
            ("ppo-long", "PPO CartPole-v1, 128 steps, batch 64, 10 epochs", sides.LONG),
        )
        for peer, against, bar in (("sb3", "Stable-Baselines3", 10), ("jax", "a run compiled by XLA", 1.2))
    ),
    Row("a2c", "A2C CartPole-v1, 8 environments", "Stable-Baselines3", 10, sides.a2c_run),
    Row("dqn-small", "DQN 120-84, batch 128, one update in 10 steps", "Stable-Baselines3", 8, sides.dqn_run(dqn.SMALL)),
    Row("dqn", "DQN 256-256, batch 64, 128 updates in 256 steps", "Stable-Baselines3", 3, sides.dqn_run(dqn.TUNED)),
    *(
        Row(name.lower(), f"{name} 256-256, batch 256", "earlier code", 1.1, sides.continuous_run(name))
        for name in ("SAC", "TD3")
    ),
    Row("cnn", "Nature CNN, batch 32, forward and backward", "PyTorch", 0.8, sides.nature),
    *(
        Row(f"lstm-{n}", f"LSTM, 128 steps, batch {n}, forward and backward", "PyTorch", 1.0, sides.lstm(n))
        for n in (8, 32)
    ),
    Row("command", "default command, process start to solved CartPole-v1", "earlier code", 0.6, sides.command),
]


def shown(value: float, rate: bool) -> str:
    """A result with its unit."""
    if rate:
        return f"{value:,.0f} steps/s"
    return f"{value * 1e6:.1f} us" if value < 1e-3 else f"{value * 1e3:.2f} ms" if value < 0.5 else f"{value:.2f} s"


def without_products(both: sides.Sides, allowed: float, rounds: int) -> str:
    """Whether a bar that is missed is met, as products alone forbid it, and why.

    Args:
        allowed: the seconds that the bar leaves us.
        rounds: turns of the products and of whole updates.
    """
    if both.update is None:
        return "missed"
    multiply, update = products.turn(both.update.calls), both.update.seconds or both.ours
    alone, whole, _ = medians([(multiply(), update()) for _ in range(rounds + 1)][1:])
    forbidden, rest = alone * both.update.share >= allowed, 1 - alone / whole
    verdict = "met by the rest" if forbidden and rest < 1 / 3 else "missed"
    taken = f"products alone take {alone * 1e6:.1f} us of an update's {whole * 1e6:.1f}, the rest {rest:.0%}"
    return f"{verdict}; {taken}; they alone {'forbid' if forbidden else 'allow'} the bar"


def compare(row: Row, options: argparse.Namespace) -> str:
    """The line of a row."""
    with sides.RUNNING:
        try:
            both = row.made(options)
            pairs = [(both.ours(), both.theirs()) for _ in range(options.rounds + 1)][1:]
        except PeerError as error:
            return f"skipped, {error}"
        ours, theirs, ratio = medians(pairs)
        line = f"{shown(ours, both.rate)}, {row.against} {shown(theirs, both.rate)}, ratio {ratio:.2f}"
        line += f" (at {'least' if both.rate else 'most'} {row.bar:g}): "
        if ratio >= row.bar if both.rate else ratio <= row.bar:
            return line + "met"
        if both.rate:
            return line + without_products(both, 1 / (row.bar * theirs), options.rounds)
        return line + without_products(both, row.bar * theirs, options.rounds)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], metavar="NAME", help="rows")
    for name in ("sb3", "torch", "jax"):
        parser.add_argument(f"--{name}", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--reference", type=Path, default=peers.ROOT.parent / "shared" / "speed", metavar="FOLDER")
    parser.add_argument("--before", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side")
    return parser.parse_args()


def main() -> None:
    """Print each row as soon as it is measured."""
    options = parsed()
    load_kernels("cpu")
    set_blas_threads(1)
    print(f"BLAS threads: {blas_threads()}, kernels: {extension.level()}")
    for row in ROWS:
        if not options.only or row.name in options.only:
            print(f"{row.name}: {row.work}: {compare(row, options)}", flush=True)


if __name__ == "__main__":
    main()
