"""The package's face: few names, all of them real, and the same ones for the type checker."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dbrrl

STUB = Path(__file__).parent.parent / "dbrrl" / "__init__.pyi"


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
    result = subprocess.run(command, cwd=STUB.parent.parent, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "2.0"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dbrrl' has no attribute 'Tensro'"):
        dbrrl.Tensro  # type: ignore[attr-defined] # noqa: B018


def test_the_stub_names_the_same_things_from_the_same_places() -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    stubbed = {
        alias.asname: (f"dbrrl.{node.module}" if node.module else None)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes: dict[str, str | None] = {**dbrrl._HOMES, **dict.fromkeys(dbrrl._MODULES)}  # type: ignore[attr-defined]
    assert stubbed == homes
    (listed,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(dbrrl.__all__)
