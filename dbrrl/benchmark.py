"""`python -m dbrrl.benchmark SUITE --seeds 10 --jobs 2 --out DIR` runs a suite of agents, environments and seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbrrl import backend
from dbrrl.benchmarks import session, suite
from dbrrl.experiment import command
from dbrrl.experiment.output import lossy

_DESCRIPTION = """Run a benchmark suite: agents in environments, several seeds each, side by side.

It can be stopped at any time: the same command continues. Finished runs are kept, unfinished ones resume from
their exact checkpoint, and failed ones are tried again. DIR/runs has each run's folder as python -m dbrrl.train
writes it, DIR/results.csv every evaluation of every run, and DIR/report a page with tables and figures made from
that table."""


@lossy()
def main(arguments: Sequence[str]) -> None:
    """Run with the settings of the command line."""
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
        join=[Path(name) for name in given.get("join", ())],
    )


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    parser = command.Parser(prog="python -m dbrrl.benchmark", description=_DESCRIPTION)
    add, absent = parser.add_argument, argparse.SUPPRESS
    known = ", ".join(suite.names())
    add("suite", metavar="SUITE", help=f"{known}, or a .toml file of your own")
    add("--seeds", type=_count, default=absent, metavar="N", help="seeds 0 to N-1 [default: the suite's]")
    add("--jobs", type=_count, default=absent, metavar="N", help="runs side by side [default: one per core]")
    add("--out", default=absent, metavar="DIR", help="folder of the runs and results [default benchmarks/SUITE]")
    add("--agents", nargs="+", default=absent, metavar="NAME", help="only these agents")
    add("--envs", nargs="+", default=absent, metavar="NAME", help="only these environments")
    add("--steps", type=_count, default=absent, metavar="N", help="steps of every run instead of the suite's")
    add("--episodes", type=_count, default=absent, metavar="N", help="episodes of every evaluation, also instead")
    add("--report", default=absent, metavar="FOLDER", help="folder for a copy of the report of DIR/report")
    add("--join", nargs="+", default=absent, metavar="TABLE", help="tables of other machines, whose runs count")
    add("--trust", action="store_true", help="allow the import of agents and environments that your SUITE file names")
    add("--renew", action="store_true", help="set runs in DIR with other settings aside and run them again")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_all(arguments)


def _names(given: dict[str, Any], flag: str) -> list[str] | None:
    """Return the names after a flag, which spaces or commas separate."""
    if flag not in given:
        return None
    return [name for word in given[flag] for name in word.split(",") if name]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    command.run_process(main)
