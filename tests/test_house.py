"""House rules that a reader relies on: safe, documented, short; each rule is seen to fail."""

import ast
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("dbrrl", "agents", "envs")
TREE = (*FOLDERS, "examples", "tests", "benchmarks", "docs", ".ci")
MAX_FILE, MAX_FUNCTION = 300, 60
LONGER_FILES = {
    "dbrrl/autodiff/elementwise.py": 380,  # one op after the other, a paragraph each
    "dbrrl/autodiff/tensor.py": 390,  # Tensor in one piece
    "tests/autodiff/table.py": 700,  # one row an op
}
LONGER_FUNCTIONS = {
    "dbrrl/autodiff/engine.py:walk": 70,  # the whole of reverse mode
}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "compile"}
# What of numpy.random has a state of its own; all else there draws from the one global generator.
SAFE_RANDOM = {"Generator", "SeedSequence", "BitGenerator", "PCG64", "default_rng"}


CORE = ("engine", "memory", "op", "tensor")  # of autodiff: what all ops share, which keeps arrays and tensors apart
FORMULAS = (
    *(f"dbrrl/autodiff/{path.name}" for path in (ROOT / "dbrrl/autodiff").glob("*.py") if path.stem not in CORE),
    *(f"dbrrl/{part}" for part in ("distributions/", "functional", "losses", "nn/", "normalize", "optim/", "returns")),
)  # what computes: for other arrays than NumPy's it is replaced, it does not switch


def python_files(*folders: str) -> list[str]:
    """Paths of the sources in `folders`, each file once, whatever links lead to it."""
    return [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    ]


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Pickle, evaluation of text, and numpy.load with pickle allowed."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        yield from (f"line {node.lineno} imports {name}" for name in names if name in UNSAFE_MODULES)  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in UNSAFE_CALLS or "pickle" in called:
                yield f"line {node.lineno} calls {called}"
            if any(keyword.arg == "allow_pickle" and not is_false(keyword.value) for keyword in node.keywords):
                yield f"line {node.lineno} allows pickle"


def global_random(tree: ast.AST) -> Iterator[str]:
    """Draws from, or seeds of, a generator that everyone shares; also a generator without a seed."""
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        for root in ("np.random.", "numpy.random."):
            if name.startswith(root) and name.removeprefix(root).partition(".")[0] not in SAFE_RANDOM:
                yield f"line {node.lineno} uses {name}"  # type: ignore[attr-defined]
        bare = isinstance(node, ast.Call) and not node.args and not node.keywords
        if bare and dotted(node.func).endswith("default_rng"):  # type: ignore[attr-defined]
            yield f"line {node.lineno} makes a generator without a seed"  # type: ignore[attr-defined]
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names):
            yield f"line {node.lineno} imports random"
        if isinstance(node, ast.ImportFrom) and node.module in ("random", "numpy.random"):
            yield f"line {node.lineno} imports from {node.module}"


def undocumented(tree: ast.Module) -> Iterator[str]:
    """The module, public functions, classes and their public methods that say nothing of themselves."""
    if not ast.get_docstring(tree):
        yield "the module has no docstring"
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or private(node):
            continue
        if not ast.get_docstring(node):
            yield f"line {node.lineno}: {node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and not private(m)]
            # What overrides a documented method of a base class, or sets a property, repeats nothing.
            plain = [m for m in methods if not node.bases and not m.decorator_list]
            for method in plain:
                if not ast.get_docstring(method):
                    yield f"line {method.lineno}: {node.name}.{method.name} has no docstring"


def long_functions(path: str, tree: ast.AST) -> Iterator[str]:
    """Functions with more lines of code than allowed; docstrings do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            body = node.body[1:] if text else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > LONGER_FUNCTIONS.get(f"{path}:{node.name}", MAX_FUNCTION):
                yield f"line {node.lineno}: {node.name} has {lines} lines"


def asserts(tree: ast.AST) -> Iterator[str]:
    """Assertions, but for a type that only the type checker cannot see; what a caller can cause is raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            test = node.test
            kind = isinstance(test, ast.Call) and dotted(test.func) in ("isinstance", "callable")
            given = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot)
            if not kind and not given:
                yield f"line {node.lineno} asserts"


def cupy_imports(tree: ast.AST) -> Iterator[str]:
    """Imports of CuPy."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] == "cupy":
                yield f"line {node.lineno} imports {name}"  # type: ignore[attr-defined]


def kind_switches(tree: ast.AST) -> Iterator[str]:
    """Tests whether an array is one of NumPy's: by its type, or by the module that is at home with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            sides = {ast.unparse(side) for side in (node.left, *node.comparators)}
            if sides & {"np", "numpy", "np.ndarray", "numpy.ndarray", "cupy"}:
                yield f"line {node.lineno} tells arrays apart: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            text = ast.unparse(node)
            if text.startswith("isinstance(") and "ndarray" in text:
                yield f"line {node.lineno} tells arrays apart: {text}"


def dotted(node: ast.expr) -> str:
    """`np.random.seed` as text; "" for what is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def private(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return node.name.startswith("_")


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


sources = pytest.mark.parametrize("path", python_files(*FOLDERS))
everything = pytest.mark.parametrize("path", python_files(*FOLDERS, "examples", "tests", "benchmarks"))


@sources
def test_a_source_keeps_the_rules(path: str) -> None:
    tree = parsed(path)
    found = [
        *unsafe(tree),
        *global_random(tree),
        *undocumented(tree),
        *long_functions(path, tree),
        *asserts(tree),
    ]
    found += [] if path == "dbrrl/backend/arrays.py" else cupy_imports(tree)
    assert found == []


@pytest.mark.parametrize("path", [path for path in python_files("dbrrl") if path.startswith(FORMULAS)])
def test_a_formula_knows_no_kernel(path: str) -> None:
    found = list(kind_switches(parsed(path)))
    assert found == [], "register a replacement: dbrrl/backend/replacements.py says how"


@everything
def test_a_file_is_short_and_finished(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    limit = LONGER_FILES.get(path, MAX_FILE if not path.startswith("tests/") else 2 * MAX_FILE)
    assert text.count("\n") <= limit
    for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X"):
        assert word not in text


def test_exceptions_are_still_needed() -> None:
    for path, limit in LONGER_FILES.items():
        lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
        assert MAX_FILE < lines <= limit, path


def test_every_test_folder_and_example_has_a_docstring() -> None:
    missing = [path for path in python_files("tests", "examples", "benchmarks") if not ast.get_docstring(parsed(path))]
    assert missing == []


def test_no_file_names_a_place_of_one_computer() -> None:
    words = [f"/{folder}/" for folder in ("work", "home", "root", "Users")] + ["/" + "tmp/"]
    top = [path for path in ROOT.iterdir() if path.is_file()]
    inner = [path for folder in TREE for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = []
    for path in [*top, *inner]:
        if path.suffix in (".py", ".pyi", ".md", ".toml", ".yml", ".in", ""):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (unsafe, "import pickle"),
        (unsafe, "from pickle import loads"),
        (unsafe, "import pickle.x as y"),
        (unsafe, "eval('1')"),
        (unsafe, "exec(text)"),
        (unsafe, "np.load(f, allow_pickle=True)"),
        (unsafe, "np.load(f, allow_pickle=flag)"),
        (global_random, "np.random.seed(0)"),
        (global_random, "x = numpy.random.normal()"),
        (global_random, "f = np.random.normal"),
        (global_random, "np.random.default_rng()"),
        (global_random, "import random"),
        (global_random, "from numpy.random import normal"),
        (undocumented, "def f(): pass"),
        (undocumented, "'''Doc.'''\nclass A: pass"),
        (undocumented, "'''Doc.'''\nclass A:\n    '''Doc.'''\n    def f(self): pass"),
        (asserts, "def f(x):\n    assert x"),
        (cupy_imports, "def f():\n    import cupy"),
        (cupy_imports, "from cupy.cuda import Device"),
        (kind_switches, "if type(x) is not np.ndarray: y = kernel(x)"),
        (kind_switches, "y = kernel(x) if array_module(x) is not np else np.exp(x)"),
        (kind_switches, "fast = not isinstance(x, np.ndarray | Tensor)"),
        (kind_switches, "if xp is np and array_module(x) == cupy: pass"),
    ],
)
def test_a_planted_breach_is_reported(rule: object, text: str) -> None:
    assert list(rule(ast.parse(text)))  # type: ignore[operator]


def test_a_long_function_is_reported() -> None:
    text = "def f():\n" + "    x = 1\n" * (MAX_FUNCTION + 1)
    assert list(long_functions("x.py", ast.parse(text)))
    assert not list(long_functions("x.py", ast.parse(text.replace("    x = 1\n", "", 1))))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (unsafe, "module.eval()\nnp.load(f, allow_pickle=False)\njson.loads(text)  # pickle"),
        (global_random, "np.random.Generator(np.random.PCG64(0))\nnp.random.default_rng(3)\nrng.random()"),
        (kind_switches, "if isinstance(g, Tensor) or type(a) is type(b): y = array_module(x).zeros(3)"),
        (undocumented, "'''Doc.'''\ndef _f(): pass\nclass A(B):\n    '''Doc.'''\n    def f(self): pass"),
    ],
)
def test_what_only_looks_like_a_breach_passes(rule: object, text: str) -> None:
    assert not list(rule(ast.parse(text)))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["PPO", "A2C", "DQN"])
def test_an_update_is_a_page_and_at_most_four_short_files(name: str) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/update_path.py"))
    entered = script["entered"](name, "update")
    paths = [path for path in entered if script["group"](path) == script["GROUPS"][0]]
    assert f"agents/{name.lower()}.py" in paths and len(paths) <= 5
    assert {path: lines for path in paths if (lines := script["lines_of"](path)) >= 250} == {}
