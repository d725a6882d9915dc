"""The floors of the house: every import points down, none in a circle, and each rule is seen to fail."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("dbrrl", "agents", "envs")


def storeys(room: str, *levels: str) -> list[list[str]]:
    """Return a floor for each of `levels`, which names modules of `room`; the package itself is the highest."""
    return [*([f"{room}.{module}" for module in level.split()] for level in levels), [room]]


# From the ground up. A name ending in a dot stands for the package and all in it; the first match counts.
FLOORS: list[list[str]] = [
    ["dbrrl.errors", "dbrrl.renamed", "dbrrl.types"],
    ["dbrrl.schedules"],
    ["dbrrl.checkpoint.", "dbrrl.config."],
    *storeys(
        "dbrrl.backend",
        "allocator precision replacements threads",
        "arrays capture",
        "counter_generator nccl scalar trees",
    ),
    *storeys(
        "dbrrl.autodiff",
        "dispatch memory recording",
        "tensor",
        "op register",
        "arithmetic detach elementwise engine inplace linalg reduce remainder steps trigonometry",
        "index linear shape variance weighted",
        "arrange chosen conv cumulative ensemble loss quantile sequence",
        "diagonal lstm policy pool recurrent",
        "contraction",
    ),
    ["dbrrl.functional"],
    *storeys("dbrrl.debugging", "draw gpu_memory gradcheck", "debug"),
    ["dbrrl.nn."],
    *storeys("dbrrl.distributions", "base", "categorical normal", "divergence heads masks"),
    [f"dbrrl.{part}" for part in ("optim.", "returns", "normalize", "seeding", "losses")],
    *storeys(
        "dbrrl.kernels.cuda",
        "blas graph kernels networks recurrent",
        "dense loss normalize optim random returns",
        "arrays conv linear",
        "policy",
    ),
    ["dbrrl.kernels"],
    ["dbrrl.buffers.", "dbrrl.explorers."],
    *storeys(
        "dbrrl.kernels.cpu",
        "_c extension record",
        "conv heads linear names normalize optim recurrent returns trace",
        "draws indices products program reductions steps traced_ops",
        "replay ufuncs",
        "numpy_functions",
        "recorder",
    ),
    ["dbrrl.networks."],
    ["dbrrl.compiled.", "dbrrl.learning."],
    ["dbrrl.agents.", "dbrrl.envs.", "dbrrl.kernels.checks"],
    ["dbrrl.kernels.environments"],
    ["dbrrl.testing"],
    *storeys("dbrrl.reporting", "canvas display metrics statistics table toml", "curves"),
    *storeys(
        "dbrrl.experiment",
        "driver git heartbeat interruption loading observing output ray_cluster ray_exchange registry "
        "settings_file shared trust",
        "objects",
        "record settings",
        "shares",
        "command devices directory evaluation in_process ray_actor ray_member worker",
        "acting callbacks journal saving video workers",
        "events ray_pool resuming steering trackers",
        "ray_acting ray_driver",
        "ray_learner ray_trajectories",
        "steered",
        "build loop",
        "run",
        "experiment",
    ),
    *storeys(
        "dbrrl.benchmarks",
        "process reference results suite",
        "estimate folder summary",
        "figures job joined tables",
        "pool report",
        "session",
    ),
    *storeys(
        "dbrrl.dashboard",
        "access marks messages sendable tables",
        "commands files played runs",
        "chart drawing index insight",
        "inspector",
        "service",
        "endpoints",
        "openapi",
        "app",
        "server",
    ),
    [f"dbrrl.{name}" for name in ("train", "evaluate", "plot", "benchmark", "doctor", "steer", "dashboard.__main__")],
    ["dbrrl.__main__"],
    ["dbrrl"],
]
RUNNER = next(level for level, names in enumerate(FLOORS) if "dbrrl.agents." in names)  # all above knows no agent
# May import a module by a name in a string.
BY_NAME = (
    "dbrrl.agents",
    "dbrrl.experiment.registry",
    "dbrrl.envs",
    "dbrrl.envs.construct",
    "dbrrl.renamed",
    "dbrrl.backend.replacements",
    "dbrrl.kernels.cpu.extension",
    "dbrrl.dashboard.__main__",
    "dbrrl",
)


@dataclass(frozen=True)
class Import:
    """One import statement's target, and how it stands in the source."""

    target: str
    line: int
    in_function: bool
    relative: bool
    binds_root: bool


def module_name(path: str) -> str:
    """`agents/ppo.py` is dbrrl.agents.ppo, `dbrrl/nn/__init__.py` is dbrrl.nn."""
    parts = list(Path(path).with_suffix("").parts)
    if parts[0] != "dbrrl":
        parts.insert(0, "dbrrl")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> int | None:
    """The floor of a module; None for one that no floor names."""
    for level, names in enumerate(FLOORS):
        for name in names:
            if module == name.rstrip(".") or (name.endswith(".") and module.startswith(name)):
                return level
    return None


def nodes(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `tree`, and whether it is inside a function."""
    for node in ast.iter_child_nodes(tree):
        yield node, in_function
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from nodes(node, in_function or inside)


def imports(path: str, tree: ast.Module, known: set[str]) -> Iterator[Import]:
    """Imports of our own modules in a file."""
    module = module_name(path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    for node, in_function in nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.asname is None or alias.name == "dbrrl"
                yield Import(alias.name, node.lineno, in_function, False, root)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                target = inner if inner in known else base
                yield Import(target, node.lineno, in_function, node.level > 0, target == "dbrrl")


def violations(sources: dict[str, str]) -> list[str]:
    """One line for each breach of a rule in `sources`, a mapping from path to text."""
    known = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    found: list[str] = []
    for path, text in sources.items():
        module, tree = module_name(path), ast.parse(text)
        if floor(module) is None:
            found.append(f"{path} stands on no floor: enter {module} in FLOORS")
            continue
        found += [f"{path}:{line} {breach}" for line, breach in forbidden(module, tree)]
        graph[module] = set()
        for item in imports(path, tree, known):
            if item.target.partition(".")[0] == "dbrrl":
                graph[module].add(item.target)
                found += [f"{path}:{item.line} {breach}" for breach in breaches(module, item)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports run in a circle: {' <- '.join(error.args[1])}")
    return found


def forbidden(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Constructs that no source may hold: TYPE_CHECKING blocks, and imports by string but where names are looked up."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name == "TYPE_CHECKING":
            yield node.lineno, "has a TYPE_CHECKING block: move the type below both users"
        if name in ("import_module", "__import__") and module not in BY_NAME:
            yield node.lineno, "imports by string: only BY_NAME above look up names"


def breaches(module: str, item: Import) -> Iterator[str]:
    """The rules that one import of ours breaks."""
    own, other = floor(module), floor(item.target)
    face = module == "dbrrl"
    if other is None:
        yield f"imports {item.target}, which stands on no floor"
    elif own is not None and other > own:
        yield f"looks up at {item.target}: floor {own} imports from floor {other}"
    if item.binds_root and not face:
        yield "imports the package root: name the module, as in `import dbrrl.functional as F`"
    if item.in_function:
        yield f"imports {item.target} inside a function: move it to the top"
    for page, neighbor in (("agents", "envs"), ("envs", "agents")):
        if module.startswith(f"dbrrl.{page}") and item.target.startswith(f"dbrrl.{neighbor}"):
            yield f"imports {item.target}: agents and environments do not know each other"
    folder = ".".join(module.split(".")[:2])
    if folder in ("dbrrl.agents", "dbrrl.envs") and item.target.startswith(folder) and not item.relative:
        yield f"imports its sibling {item.target} by its full name: write it with a leading dot"
    if own is not None and own > RUNNER and item.target.startswith("dbrrl.agents"):
        yield f"imports {item.target}: the runner knows agents by name, through the registry"


def test_every_import_points_down() -> None:
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in sorted([*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("_*.pyi")])
        if not any(parent.is_symlink() for parent in path.parents) and path.stem + path.suffix != "__init__.pyi"
    }
    assert len(sources) > 10
    assert violations(sources) == []


GOOD = {
    "dbrrl/__init__.py": "import dbrrl.nn as nn\nfrom dbrrl.autodiff.tensor import Tensor\n",
    "dbrrl/errors.py": "",
    "dbrrl/autodiff/__init__.py": "from dbrrl.autodiff.tensor import Tensor\n",
    "dbrrl/autodiff/tensor.py": "import numpy as np\nfrom dbrrl.errors import ShapeError\n",
    "dbrrl/nn/__init__.py": "import dbrrl.autodiff.tensor as tensor\nfrom dbrrl import errors",
    "agents/__init__.py": "from .ppo import PPO\n",
    "agents/ppo.py": "from dbrrl.errors import ShapeError\ndef f():\n    import matplotlib\n",
    "envs/__init__.py": "",
    "dbrrl/experiment/__init__.py": "from dbrrl.envs import make\n",
    "dbrrl/train.py": "from dbrrl.experiment import Experiment\n",
}

PLANTED = [
    ("dbrrl/errors.py", "from dbrrl.nn import Linear", "looks up at dbrrl.nn: floor 0 imports from"),
    ("dbrrl/nn/linear.py", "import dbrrl.agents.ppo as ppo", "looks up at dbrrl.agents.ppo"),
    ("agents/ppo.py", "from ..train import main", "looks up at dbrrl.train"),
    ("dbrrl/nn/linear.py", "import dbrrl", "imports the package root"),
    ("dbrrl/nn/linear.py", "import dbrrl.errors", "imports the package root"),
    ("dbrrl/nn/linear.py", "from dbrrl import Tensor", "imports the package root"),
    ("dbrrl/nn/linear.py", "from .. import __version__", "imports the package root"),
    ("dbrrl/nn/linear.py", "def f():\n    from dbrrl.errors import ShapeError", "inside a function"),
    ("dbrrl/nn/linear.py", "class A:\n def f(self):\n  if 1:\n   import dbrrl.errors as e", "inside a"),
    ("dbrrl/nn/linear.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass", "TYPE_CHECKING"),
    ("dbrrl/nn/linear.py", "import typing\nif typing.TYPE_CHECKING:\n    pass", "TYPE_CHECKING"),
    ("dbrrl/nn/linear.py", "import importlib\nimportlib.import_module('dbrrl.train')", "by string"),
    ("dbrrl/nn/linear.py", "__import__('dbrrl.train')", "by string"),
    ("dbrrl/attic.py", "", "stands on no floor"),
    ("dbrrl/errors.py", "from dbrrl.attic import x", "which stands on no floor"),
    ("agents/ppo.py", "from dbrrl.envs import make", "do not know each other"),
    ("envs/toy.py", "from ..agents import PPO", "do not know each other"),
    ("agents/dqn.py", "from dbrrl.agents.ppo import PPO", "with a leading dot"),
    ("dbrrl/experiment/loop.py", "from dbrrl.agents.ppo import PPO", "knows agents by name"),
    ("dbrrl/errors.py", "from dbrrl.autodiff.tensor import Tensor", "in a circle"),
    ("agents/ppo.py", "from . import x", "in a circle"),
]  # fmt: skip


def test_a_good_house_passes() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(("path", "text", "message"), PLANTED)
def test_a_planted_breach_is_reported(path: str, text: str, message: str) -> None:
    found = violations({**GOOD, path: text})
    assert any(message in line for line in found), found


def test_the_longer_name_is_not_the_shorter_one() -> None:
    assert floor("dbrrl.normalizer") is None
    assert floor("dbrrl.agents.ppo") == RUNNER
    assert floor("dbrrl.autodiff.tensor") != floor("dbrrl.autodiff.reduce")
    assert floor("dbrrl.nnx") is None
