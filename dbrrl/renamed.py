"""Modules and attributes that had other names in earlier versions: an old name still works, with a warning."""

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar

# Old name to new name, both inside `dbrrl`. The name of a package covers its modules.
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
    "heads": "distributions.heads",
    "observations": "networks.preprocessor",
    "on_policy": "learning.on_policy",
    "own_loop": "learning.own_loop",
    "q_network": "networks.q_network",
    "rebuild": "learning.rebuild",
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


class Renamed:
    """An attribute of a class by its old name: reads and sets the attribute `new`, with a DeprecationWarning."""

    def __init__(self, new: str) -> None:
        self.old, self.new = "", new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: Any, owner: type) -> Any:
        self._warn(owner)
        if instance is not None and self.new in getattr(instance, "__dict__", ()):
            return getattr(instance, self.new)
        for kind in owner.__mro__:  # an override by the old name asks with super() for what it overrides
            found = vars(kind).get(self.new)
            if found is not None and (kind, self.new) not in _TAKEN_OVER:
                return found.__get__(instance, owner) if hasattr(found, "__get__") else found
        return getattr(owner if instance is None else instance, self.new)

    def __set__(self, instance: Any, value: Any) -> None:
        self._warn(type(instance))
        setattr(instance, self.new, value)

    def _warn(self, owner: type) -> None:
        line = f"{owner.__name__}.{self.old} is {owner.__name__}.{self.new} now: use that"
        warnings.warn(line, DeprecationWarning, stacklevel=3)


_TAKEN_OVER: set[tuple[type, str]] = set()  # classes and attributes that a class defined by their old names


class TakesOldNames:
    """Base of classes with `Renamed` attributes: what a subclass defines by an old name gets the new one.

    Attributes:
        old_arguments: methods of which an argument has another name: its old name and its new one.
    """

    old_arguments: ClassVar[dict[str, tuple[str, str]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, (old, new) in cls.old_arguments.items():
            taken = inspect.signature(vars(cls)[name]).parameters if name in vars(cls) else {}
            if old in taken and new not in taken:
                line = f"{cls.__name__}.{name} takes {old}, which is {new} now: rename it"
                warnings.warn(line, DeprecationWarning, stacklevel=_level_of_class())
                setattr(cls, name, _by_new_name(vars(cls)[name], old, new))
        for name, value in list(vars(cls).items()):
            base = next((vars(kind)[name] for kind in cls.__mro__[1:] if name in vars(kind)), None)
            if isinstance(base, Renamed) and not isinstance(value, Renamed):
                line = f"{cls.__name__} defines {name}, which is {base.new} now: rename it"
                warnings.warn(line, DeprecationWarning, stacklevel=_level_of_class())
                setattr(cls, base.new, value)
                delattr(cls, name)
                _TAKEN_OVER.add((cls, base.new))


def _by_new_name(method: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """Return a method that takes its argument `old` by the name `new` too."""

    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        if new in options:
            options[old] = options.pop(new)
        return method(*arguments, **options)

    return run


def renamed_argument(value: Any, old: str, new: str) -> Any:
    """Return the value of an argument that was given by its old name, with a DeprecationWarning for the caller."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dbrrl."):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"the argument {old} is {new} now: use that", DeprecationWarning, stacklevel=level)
    return value


def _level_of_class() -> int:
    """The `stacklevel` of a warning that is given by the calling function, for the line that defines a class."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame, level = frame.f_back, level + 1
    return level


def renamed_in(module: str, name: str, names: dict[str, str]) -> Any:
    """Return what a module has under the new name of `name`, with a DeprecationWarning: for its `__getattr__`.

    Args:
        module: the module's own name.
        name: the attribute that is not there.
        names: old names and new ones.

    Raises:
        AttributeError: `name` is not an old one.
    """
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(f"{module}.{name} is {names[name]} now: use that", DeprecationWarning, stacklevel=3)
    return getattr(sys.modules[module], names[name])


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
