"""Old import paths: each gives today's module itself, and warns at the line that imports it."""

import importlib
import sys
import warnings

import pytest

import dbrrl
from dbrrl import renamed


@pytest.mark.parametrize("old", sorted(renamed.MODULES))
def test_a_module_is_found_by_its_old_name(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, new = f"dbrrl.{old}", f"dbrrl.{renamed.MODULES[old]}"
    for known in [known for known in sys.modules if renamed.new_name(known)]:
        monkeypatch.delitem(sys.modules, known)
    with warnings.catch_warnings(record=True) as caught:  # a renamed package above warns first
        warnings.simplefilter("always")
        module = importlib.import_module(name)
    assert module is importlib.import_module(new) and module.__spec__.name == new
    assert str(caught[-1].message) == f"{name} is {new} now: import that"
    assert caught[-1].category is DeprecationWarning and caught[-1].filename != renamed.__file__


def test_a_module_of_a_renamed_package_is_loaded_once() -> None:
    from dbrrl.kernels.cuda import graph

    with pytest.warns(DeprecationWarning, match="dbrrl.cuda"):
        assert importlib.import_module("dbrrl.cuda.graph") is graph


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dbrrl.attic")
    assert renamed.new_name("numpy.agent") == "" and renamed.new_name("dbrrl.agents.ppo") == ""
    assert dbrrl.__version__
