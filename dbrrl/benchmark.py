"""`python -m dbrrl.benchmark SUITE --seeds 10 --jobs 2 --out DIR` runs a suite of agents, environments and seeds."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl import backend
from dbrrl.benchmarks import session, suite
from dbrrl.experiment import command
from dbrrl.experiment.output import lossy

_DESCRIPTION = """Run a benchmark suite: agents in environments, several seeds each, side by side.

It can be stopped at any time: the same command goes on where it was. Runs that have ended are kept, one that was
under way goes on from its exact checkpoint, and one that failed is tried again. Each run lies in DIR/runs as
python -m dbrrl.train would leave it, DIR/results.csv holds every evaluation of every run, and DIR/report is a page
with tables and figures, drawn from that table."""


@lossy()
def main(arguments: Sequence[str]) -> None:
    """Run as the command line says."""
    given = _parse(arguments)
    overrides = {"steps": given["steps"]} if "steps" in given else {}
    if "episodes" in given:
        overrides |= dict.fromkeys(("eval_episodes", "final_episodes"), given["episodes"])
    agents, envs = _names(given, "agents"), _names(given, "envs")
    whole = suite.load(given["suite"], overrides, given["trust"] or [*(agents or ()), *(envs or ())])
    seeds = given.get("seeds") or whole.seeds
    changed = "".join(f" --{name} {given[name]}" for name in ("steps", "episodes") if name in given)
    changed += " --trust" if given["trust"] else ""
    session.run(
        whole,
        whole.part(agents, envs),
        seeds=seeds,
        jobs=given.get("jobs") or backend.cpu_count(),
        out=Path(given.get("out") or Path("benchmarks") / whole.name),
        command=f"python -m dbrrl.benchmark {given['suite']} --seeds {seeds}{changed}",
        renew=given["renew"],
        report_to=Path(given["report"]) if "report" in given else None,
    )


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.benchmark", description=_DESCRIPTION)
    add, absent = parser.add_argument, argparse.SUPPRESS
    known = ", ".join(suite.names())
    add("suite", metavar="SUITE", help=f"{known}, or a .toml file of your own")
    add("--seeds", type=_count, default=absent, metavar="N", help="seeds 0 to N-1 [default: the suite's]")
    add("--jobs", type=_count, default=absent, metavar="N", help="runs side by side [default: one per core]")
    add("--out", default=absent, metavar="DIR", help="folder of the runs and results [default benchmarks/SUITE]")
    add("--agents", nargs="+", default=absent, metavar="NAME", help="these agents alone")
    add("--envs", nargs="+", default=absent, metavar="NAME", help="these environments alone")
    add("--steps", type=_count, default=absent, metavar="N", help="steps of every run instead of the suite's")
    add("--episodes", type=_count, default=absent, metavar="N", help="episodes of every evaluation, likewise")
    add("--report", default=absent, metavar="FOLDER", help="copy the report there too [it lies in DIR/report]")
    add("--trust", action="store_true", help="import the agents and environments that your SUITE file names")
    add("--renew", action="store_true", help="run again what lies in DIR with other settings than are wanted now")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_all(arguments)


def _names(given: dict[str, Any], flag: str) -> list[str] | None:
    """The names after a flag, with spaces or commas between them."""
    if flag not in given:
        return None
    return [name for word in given[flag] for name in word.split(",") if name]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(command.run(main))
