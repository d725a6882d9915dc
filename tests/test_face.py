"""The package's face: few names, all of them real, and the same ones for the type checker."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dbrrl
from dbrrl import agents

ROOT = Path(__file__).parent.parent
STUB = ROOT / "dbrrl" / "__init__.pyi"


def test_the_face_is_small() -> None:
    assert len(dbrrl.__all__) <= 18  # half of them modules
    assert len(set(dbrrl.__all__)) == len(dbrrl.__all__)
    assert set(dbrrl.__all__) <= set(dir(dbrrl))


@pytest.mark.parametrize("name", dbrrl.__all__)
def test_every_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(dbrrl, name)
    assert inspect.getdoc(value)
    assert getattr(dbrrl, name) is value


def test_a_tensor_of_the_face_has_its_operators() -> None:
    code = "import dbrrl; print((dbrrl.Tensor([1.0]) + 1).item())"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "2.0"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dbrrl' has no attribute 'Tensro'"):
        dbrrl.Tensro  # type: ignore[attr-defined] # noqa: B018


def read_stub(path: Path) -> tuple[dict[str | None, str | None], list[str]]:
    """Each name of the stub `path` with the module that it comes from, and the stub's `__all__`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    (listed,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    return {alias.asname: node.module for node in imports for alias in node.names}, ast.literal_eval(listed)


def test_the_stub_names_the_same_things_from_the_same_places() -> None:
    places, listed = read_stub(STUB)
    homes: dict[str, str] = dbrrl._HOMES  # type: ignore[attr-defined]
    assert places == {
        **{name: home.removeprefix("dbrrl.") for name, home in homes.items()},
        **dict.fromkeys(dbrrl._MODULES),  # type: ignore[attr-defined]
    }
    assert sorted(listed) == sorted(dbrrl.__all__)


def test_the_stub_of_the_agents_names_the_pages_that_the_agents_load_from() -> None:
    places, listed = read_stub(ROOT / "agents" / "__init__.pyi")
    assert places == {name: getattr(agents, name).__module__.rpartition(".")[2] for name in agents.__all__}
    assert listed == agents.__all__
    assert set(places.values()) == {path.stem for path in (ROOT / "agents").glob("*.toml")}


def test_an_agent_loads_its_own_page_alone() -> None:
    code = "import sys; from dbrrl.agents import PPO; print([name for name in sys.modules if '.agents.' in name])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['dbrrl.agents.ppo']"


def test_pages_are_attributes_of_the_agents_and_other_names_are_errors() -> None:
    assert agents.sac.SAC is agents.SAC
    with pytest.raises(AttributeError, match=r"module 'dbrrl\.agents' has no attribute 'PP0'"):
        agents.PP0  # type: ignore[attr-defined] # noqa: B018
