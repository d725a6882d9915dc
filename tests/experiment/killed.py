"""The train command, killed with SIGKILL at a chosen sync to the disk with that file half-written."""

import os
import signal
import sys
from typing import NoReturn

from dbrrl import train
from dbrrl.experiment import command

sync = os.fsync
calls_left = 0


def sync_or_die(descriptor: int) -> None:
    global calls_left
    hidden = "/.run." in os.readlink(f"/proc/self/fd/{descriptor}")  # the folder of the run, which is being made
    calls_left -= not hidden
    if calls_left == 0:
        die(descriptor)
    sync(descriptor)


def die(descriptor: int) -> NoReturn:
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".tmp"):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if __name__ == "__main__":  # and not in a process that it starts
    calls_left = int(sys.argv[1])
    os.fsync = sync_or_die
    sys.exit(command.run(train.main, sys.argv[2:]))
