"""Commit and uncommitted changes of the working folder, read without running programs that its settings name."""

import os
import subprocess
import threading

LONGEST = 1_000_000  # bytes of uncommitted changes that are recorded
_SECONDS = 3.0  # that one call may take
# Disables programs that a repository's settings name, and the download of missing objects.
_SETTINGS = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.alternateRefsCommand=", "protocol.allow=never")
_ENVIRONMENT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
_DIFF = (
    "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--submodule=short",
    "--ignore-submodules=dirty", "--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--",
)  # fmt: skip


def run(*arguments: str, settings: tuple[str, ...] = ()) -> bytes | None:
    """Return the output of `git ARGUMENTS`, at most LONGEST + 1 bytes; None if it fails or takes over 3 seconds.

    A repository's settings can name programs that git runs. Hooks and the file-system monitor are disabled here; the
    caller disables filters, external diffs and conversions to text, as `uncommitted` does.
    """
    options = [word for setting in (*_SETTINGS, *settings) for word in ("-c", setting)]
    command = ["git", "--no-optional-locks", "--no-pager", *options, *arguments]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=nothing, stdout=pipe, stderr=nothing, env={**os.environ, **_ENVIRONMENT}
        )
    except OSError:
        return None
    timer = threading.Timer(_SECONDS, process.kill)
    timer.start()
    with process:
        assert process.stdout is not None
        output = process.stdout.read(LONGEST + 1)
        cut = len(output) > LONGEST
        if cut:
            process.kill()
    timer.cancel()
    return output if cut or process.returncode == 0 else None


def uncommitted() -> bytes | None:
    """Return the changes of tracked files since HEAD as a patch, b"" for none; None without a commit or git.

    A patch of more than LONGEST bytes is cut. Untracked files and changes inside submodules are not included. Filters
    named by the repository's attributes (such as Git LFS) are not run.
    """
    listed = run("config", "--null", "--name-only", "--list")
    if listed is None:
        return None
    names = [name for name in listed.decode(errors="surrogateescape").split("\0") if name.startswith("filter.")]
    if len(listed) > LONGEST or any("=" in name for name in names):
        return None  # such a filter cannot be disabled with "-c", and must not run
    filters = sorted({name.rpartition(".")[0] for name in names})
    off = [f"{name}.{key}" for name in filters for key in ("clean=", "smudge=", "process=", "required=false")]
    patch = run(*_DIFF, settings=tuple(off))
    return patch if patch is None or len(patch) <= LONGEST else patch[:LONGEST] + b"\n(cut here)\n"


def commit(patch: bytes | None = None) -> str:
    """Return the current commit, with "-dirty" if tracked files differ from it; "none" without a commit.

    patch: the result of `uncommitted`, if the caller has it.
    """
    name = run("rev-parse", "--verify", "--quiet", "HEAD")
    if name is None:
        return "none"
    changed = uncommitted() if patch is None else patch
    return name.decode().strip() + ("-dirty" if changed else "")
