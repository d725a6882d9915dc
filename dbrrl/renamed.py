"""Modules that were imported by other names in earlier versions: the old name still works, with a warning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old name to new name, both inside `dbrrl`. A package stands for its modules too.
MODULES = {
    "actor_critic": "networks.actor_critic",
    "agent": "learning.agent",
    "allocator": "backend.allocator",
    "arguments": "config.arguments",
    "autodiff.debug": "debugging.debug",
    "autodiff.draw": "debugging.draw",
    "autodiff.gradcheck": "debugging.gradcheck",
    "autodiff.perceptron": "autodiff.linear",
    "capacity": "learning.capacity",
    "cuda": "kernels.cuda",
    "cuda.memory": "debugging.gpu_memory",
    "experiment.canvas": "reporting.canvas",
    "experiment.curves": "reporting.curves",
    "experiment.display": "reporting.display",
    "experiment.statistics": "reporting.statistics",
    "experiment.table": "reporting.table",
    "experiment.toml": "reporting.toml",
    "files": "checkpoint.files",
    "fitting": "networks.fitting",
    "heads": "networks.heads",
    "observations": "networks.encoder",
    "on_policy": "learning.on_policy",
    "own_loop": "learning.own_loop",
    "q_network": "networks.q_network",
    "rebuild": "learning.rebuild",
    "recording_agent": "learning.recording_agent",
    "recurrence": "networks.recurrence",
    "registry": "experiment.registry",
    "spaces": "learning.spaces",
    "suggestions": "config.suggestions",
    "suites": "benchmarks",
    "suites.board": "reporting.display",
    "threads": "backend.threads",
    "transition": "learning.transition",
    "untrusted": "checkpoint.untrusted",
}


class RenamedModules(MetaPathFinder, Loader):
    """Finds modules of `dbrrl` by their old names: `import dbrrl.on_policy` gives `dbrrl.learning.on_policy`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, None for any other name."""
        return ModuleSpec(fullname, self) if new_name(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in the place of the old one, with a DeprecationWarning."""
        new = new_name(module.__name__)
        warnings.warn(f"{module.__name__} is {new} now: import that", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(new)


def new_name(fullname: str) -> str:
    """Return the module's name of today, "" where `fullname` is no old one."""
    if not fullname.startswith("dbrrl."):
        return ""
    rest = fullname.removeprefix("dbrrl.")
    for old in (rest, rest.partition(".")[0]):
        if old in MODULES:
            return f"dbrrl.{MODULES[old]}{rest.removeprefix(old)}"
    return ""


def install() -> None:
    """Add the finder, once; before Python's own, which would load the modules of a renamed package twice."""
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, RenamedModules())
