"""A run killed at each of its file operations, then resumed (or begun again under its name): what came of each.

    python -m tests.experiment.kill_points OUT AGENT WAYS STRIDE

WAYS: "new" (a new run), "extended" (a finished run that is given more steps), or both with a comma. Each run is a fork
of this process, which has one thread and has imported all there is to import. It dies, without a word, just before its
N-th operation on a file under OUT, or in the N-th sync with the file half written; N goes up by STRIDE. The outcomes
are printed as JSON, a table per kill point.
"""

import functools
import json
import os
import shutil
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbrrl.experiment import Experiment
from dbrrl.experiment.directory import RunDirectory

KILLED = 9
MORE = 60  # steps that a finished run is given
DONE = "this run is finished"  # what a resume says of a run that was killed after its end
SETTINGS: dict[str, Any] = {
    "preset": False,
    "steps": 40,
    "num_envs": 2,
    "log_interval": 20,
    "eval_interval": 20,
    "checkpoint_interval": 1000,
    "eval_episodes": 1,
    "final_episodes": 1,
    "curve": False,
    "tensorboard": False,
    "progress": False,
}
AUDITED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")


class Death:
    """Counts the operations on files under `folder`, and ends the process at the N-th."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.left, self.active = str(folder), 0, False
        sys.addaudithook(self.audit)
        self.sync, os.fsync = os.fsync, self.fsync

    def at(self, operation: int) -> None:
        self.left, self.active = operation, True

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or event not in AUDITED or not str(arguments[0]).startswith(self.folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        self.count()

    def fsync(self, descriptor: int) -> None:
        if self.active:
            self.count(lambda: halve(descriptor))

    def count(self, last: Callable[[], object] = lambda: None) -> None:
        self.left -= 1
        if self.left == 0:
            self.active = False
            last()
            os._exit(KILLED)


def halve(descriptor: int) -> None:
    """Cut the open file to half of its length, if it is one that is being written and not a folder."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and os.readlink(f"/proc/self/fd/{descriptor}").endswith(".tmp"):
        os.ftruncate(descriptor, status.st_size // 2)


def forked(work: Callable[[], None]) -> tuple[int, str]:
    """Exit code and error text of `work` in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc()[-2000:].encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def begin(out: Path, name: str, agent: str) -> None:
    Experiment(agent, "CartPole-v1", out=out, name=name, **SETTINGS).run()


def go_on(out: Path, way: str, agent: str) -> None:
    """Do what a user does after a kill: resume where there is a folder of the name, begin again where there is none."""
    if not (out / "run").exists():
        return begin(out, "run", agent)
    asked = RunDirectory(out / "run").read_config()["steps"]
    extend(out, MORE if way == "extended" and asked != MORE else None)


def extend(out: Path, steps: int | None) -> None:
    Experiment.resume(out / "run", trust=True, progress=False).run(steps)


def content(run: Path) -> list[Any]:
    """The parts of two runs that must be equal: agents to the byte, rows but for the clock."""
    files = [(run / name / "agent.dbrrl").read_bytes() for name in ("best", "final")]
    rows = [line.split(",") for name in ("scores", "progress") for line in (run / f"{name}.csv").read_text().split()]
    clock = {"elapsed", "steps_per_second"}
    header: list[str] = []
    kept = []
    for row in rows:
        header = row if row[0] == "steps" else header
        kept.append([cell for name, cell in zip(header, row, strict=True) if name not in clock])
    return [*files, kept]


def main(out: Path, agent: str, ways: list[str], stride: int) -> None:
    death = Death(out)
    forked(lambda: begin(out, "whole", agent))
    whole = content(out / "whole")
    shutil.copytree(out / "whole", out / "ended")
    forked(lambda: Experiment.resume(out / "whole", trust=True, progress=False).run(MORE))
    extended = content(out / "whole")
    outcomes = []
    for way in ways:
        for operation in range(1, 500, stride):
            shutil.rmtree(out / "run", ignore_errors=True)
            if way == "extended":
                shutil.copytree(out / "ended", out / "run")
            code, text = forked(functools.partial(killed, death, operation, way, out, agent))
            if code != KILLED:
                outcomes.append({"way": way, "operation": operation, "code": code, "error": text, "same": code == 0})
                break
            left = sorted(str(file.relative_to(out / "run")) for file in (out / "run").rglob("*"))
            code, text = forked(functools.partial(go_on, out, way, agent))
            code = 0 if DONE in text else code
            same = code == 0 and content(out / "run") == (whole if way == "new" else extended)
            about = {"way": way, "operation": operation, "left": left}
            outcomes.append({**about, "code": code, "error": text, "same": same})
    print(json.dumps(outcomes))


def killed(death: Death, operation: int, way: str, out: Path, agent: str) -> None:
    death.at(operation)
    begin(out, "run", agent) if way == "new" else extend(out, MORE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), int(sys.argv[4]))
