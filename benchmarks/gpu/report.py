"""Proof and measure on a GPU, in one command; writes report.json and report.md.

    python benchmarks/gpu/report.py --out DIR [--only SECTION ...] [--stand-in]

Needs the checkout and what it depends on, CuPy and a GPU; PyTorch and JAX are compared with where they are installed.
Exit status: 0; 1 if a section failed or an op or a contender gave wrong numbers; 2 without a GPU. A bar of speed that
is missed is said in the page. With --stand-in the code runs on NumPy behind the face of CuPy, in small sizes: its times
mean nothing, and the page says so.
"""

import argparse
import contextlib
import json
import math
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a bare checkout reports too

from benchmarks.gpu.jobs import TINY, Sizes
from benchmarks.gpu.measure import Deadline, Machine, StandIn
from benchmarks.gpu.page import page
from benchmarks.gpu.sections import SECTIONS
from benchmarks.gpu.verdicts import problems, verdicts
from benchmarks.gpu.versions import versions
from dbrrl import backend
from dbrrl.errors import ConfigError

Report = dict[str, Any]


@contextlib.contextmanager
def standing_in(on: bool) -> Iterator[None]:
    """Let "cuda" be the stand-in, if asked."""
    if not on:
        yield
        return
    import pytest

    from tests import standin

    with pytest.MonkeyPatch.context() as patch:
        standin.install(patch)
        yield


def run(report: Report, names: Sequence[str], out: Path, machine: Machine, sizes: Sizes) -> None:
    """The sections in turn; after each, all that is known is written."""
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:6.1f} s] {text}", flush=True)

    say(f"{report['machine'].get('gpu')}, sections {', '.join(names)}")
    for name in names:
        function, allowed = SECTIONS[name]
        section: Report = {"data": {}, "error": None}
        report["sections"][name] = section
        start = time.perf_counter()
        say(name)
        try:
            function(section["data"], machine, sizes, Deadline(allowed), lambda text: say(f"  {text}"))
        except Exception as error:  # the other sections do not depend on this one
            section["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            section["traceback"] = traceback.format_exc()
            say(f"  failed: {section['error']}")
        section["seconds"] = time.perf_counter() - start
        report["seconds"] = time.perf_counter() - began
        report["verdicts"], report["problems"] = verdicts(report), problems(report)
        write(report, out)
    for line in report["verdicts"]:
        say(f"{line['verdict']}: {line['bar']}: {line['figure']}")
    for problem in report["problems"]:
        say(f"problem: {problem}")
    say(f"written to {out}")


def plain(x: Any) -> Any:
    """A copy that JSON can hold: no NaN, no infinity, no NumPy scalars."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(value) for value in x]
    if isinstance(x, np.generic):
        x = x.item()
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def write(report: Report, out: Path) -> None:
    """Both files, each beside its place first."""
    texts = {"report.json": json.dumps(plain(report), indent=1, allow_nan=False) + "\n", "report.md": page(report)}
    for name, text in texts.items():
        beside = out / f"{name}.part"
        beside.write_text(text, encoding="utf-8")
        beside.replace(out / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of report.json and report.md")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--stand-in", action="store_true", help="no GPU: exercise the code, times mean nothing")
    options = parser.parse_args(arguments)
    with standing_in(options.stand_in):
        try:
            machine = StandIn() if options.stand_in else Machine()
        except ConfigError as error:
            print(f"{error}, or exercise the code with --stand-in", file=sys.stderr)
            return 2
        options.out.mkdir(parents=True, exist_ok=True)
        names = [name for name in SECTIONS if not options.only or name in options.only]
        report: Report = {
            "stand_in": options.stand_in,
            "command": "python benchmarks/gpu/report.py " + " ".join(sys.argv[1:] if arguments is None else arguments),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "machine": {**backend.machine_record("cuda"), **versions(machine)},
            "sizes": vars(TINY if options.stand_in else Sizes()),
            "sections": {},
        }
        run(report, names, options.out, machine, TINY if options.stand_in else Sizes())
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
