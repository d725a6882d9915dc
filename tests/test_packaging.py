"""The package as it is installed: both top folders under our own name, nothing twice, nothing forgotten."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import dbrrl
from dbrrl import agents

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"dbrrl": ROOT / "dbrrl", "dbrrl.agents": ROOT / "agents", "dbrrl.envs": ROOT / "envs"}


def packages_in_the_tree() -> set[str]:
    """Every folder with Python files in it, by the name it is imported under."""
    found = set()
    for package, folder in FOLDERS.items():
        for file in folder.rglob("*.py"):
            if not any(parent.is_symlink() for parent in file.parents):
                found.add(".".join([package, *file.parent.relative_to(folder).parts]))
    return found


def test_the_list_of_packages_is_complete() -> None:
    listed = SETTINGS["tool"]["setuptools"]["packages"]
    assert set(listed) == packages_in_the_tree()
    assert len(listed) == len(set(listed))
    mapping = {package: folder.relative_to(ROOT).as_posix() for package, folder in FOLDERS.items()}
    assert SETTINGS["tool"]["setuptools"]["package-dir"] == mapping


def test_every_package_has_an_init() -> None:
    for package in packages_in_the_tree():
        top = max((name for name in FOLDERS if package.startswith(name)), key=len)
        inner = package.removeprefix(top).strip(".").replace(".", "/")
        assert (FOLDERS[top] / inner / "__init__.py").is_file(), package


@pytest.mark.parametrize("name", ["agents", "envs"])
def test_the_links_stand_in_the_checkout(name: str) -> None:
    link = ROOT / "dbrrl" / name
    if os.name == "nt" and not link.is_symlink():
        pytest.skip("this checkout was made without links")
    assert os.readlink(link) == f"../{name}"
    assert (link / "__init__.py").samefile(ROOT / name / "__init__.py")


@pytest.mark.parametrize("name", ["agents", "envs"])
def test_another_name_is_refused(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"dbrrl.{name}" in last
    assert f"'{name}'" in last


def test_the_right_name_is_served() -> None:
    assert agents.__name__ == "dbrrl.agents"


def test_version_is_one_fact() -> None:
    assert SETTINGS["project"]["dynamic"] == ["version"]
    assert SETTINGS["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dbrrl.__version__"}
    assert dbrrl.__version__.count(".") == 2


def tracked(root: Path) -> list[str]:
    """The files of a checkout that git tracks; without git those that a package is made of, and no others."""
    command = ["git", "-c", "core.quotePath=false", "ls-files", "-z"]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        answer = ""
    names = [name for name in answer.split("\0") if os.path.lexists(root / name) and name]
    if "pyproject.toml" in names:
        return names
    sources = (path for folder in ("dbrrl", "agents", "envs") for path in (root / folder).rglob("*"))
    kinds = (".py", ".pyi", ".toml", ".typed", ".c", ".h", ".inc")
    found = [path for path in sources if path.suffix in kinds or path.parent.name == "static" or path.is_symlink()]
    found = [path for path in found if not any(parent.is_symlink() for parent in path.parents)]
    top = [root / name for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in")]
    return [path.relative_to(root).as_posix() for path in (*found, *top) if os.path.lexists(path)]


def copy_checkout(root: Path, target: Path) -> None:
    """Copy what `tracked` names: `target` may be inside the checkout, which then does not copy itself."""
    for name in tracked(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name, follow_symlinks=False)


@pytest.mark.parametrize("with_git", [True, False])
def test_a_copy_of_the_checkout_holds_what_is_tracked_and_not_itself(
    tmp_path: Path, with_git: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkout"
    wanted = ["pyproject.toml", "README.md", "dbrrl/__init__.py", "agents/ppo.py", "agents/ppo.toml"]
    for name in [*wanted, "runs/big.py", "tmp/pytest-0/x.py", ".venv/lib/y.py", "dbrrl/__pycache__/z.pyc"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "dbrrl" / "agents").symlink_to("../agents")
    if with_git:
        if not shutil.which("git"):
            pytest.skip("git is not installed")
        for words in (["init", "-q"], ["add", *wanted, "dbrrl/agents"]):
            subprocess.run(["git", *words], cwd=root, check=True)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    target = root / "tmp" / "pytest-1" / "tree"
    copy_checkout(root, target)
    copied = [path for path in target.rglob("*") if path.is_file() and not path.parent.is_symlink()]
    assert sorted(path.relative_to(target).as_posix() for path in copied) == sorted(wanted)
    assert os.readlink(target / "dbrrl" / "agents") == "../agents"


WITH_COMPILER = shutil.which("cc") is not None or shutil.which("gcc") is not None
KERNELS = [pytest.param(False, id="pure"), pytest.param(WITH_COMPILER, id="compiled", marks=pytest.mark.slow)]


def build(what: str, tree: Path, out: Path, compiled: bool) -> None:
    """Build a wheel or a source archive of a tree; without a compiler, compiled kernels are left out of a wheel."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", code, str(out)]
    environment = os.environ if compiled else os.environ | {"CC": shutil.which("false") or "false"}
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built from a copy of the checkout."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools 77")
    folder = tmp_path_factory.mktemp("build")
    copy_checkout(ROOT, folder / "tree")
    (folder / "out").mkdir()
    for what in ("wheel", "sdist"):
        build(what, folder / "tree", folder / "out", request.param)
    return folder / "out"


def expected_files() -> dict[str, Path]:
    """Where each source file of the tree belongs in a wheel."""
    return {
        f"{package.replace('.', '/')}/{file.relative_to(folder).as_posix()}": file
        for package, folder in FOLDERS.items()
        for pattern in ("*.py", "*.pyi", "*.toml", "py.typed", "static/*")
        for file in folder.rglob(pattern)
        if not any(parent.is_symlink() for parent in file.parents)
    }


def compiled_in(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("dbrrl/kernels/cpu/_c.") and not name.endswith(".pyi")]


@pytest.mark.parametrize("built", KERNELS, indirect=True)
def test_the_wheel_holds_each_file_once_and_under_its_name(built: Path, request: pytest.FixtureRequest) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    ours = [name for name in names if not name.split("/")[0].endswith(".dist-info")]
    assert sorted(ours) == sorted([*expected_files(), *compiled_in(ours)])
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.name.startswith(f"dbrrl-{dbrrl.__version__}-cp311-abi3-")
    assert len(compiled_in(ours)) == request.node.callspec.params["built"]


@pytest.mark.parametrize("built", KERNELS, indirect=True)
def test_the_source_archive_builds_the_same_wheel(built: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path, filter="data")
    assert not [name for name in names if "/tests" in name or "__pycache__" in name]
    (tree,) = tmp_path.iterdir()
    build("wheel", tree, tmp_path, request.node.callspec.params["built"])
    (first,), (second,) = built.glob("*.whl"), tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(first).namelist()) == sorted(zipfile.ZipFile(second).namelist())
