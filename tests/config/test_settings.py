"""Settings: types, ranges, texts of the command line, messages."""

import dataclasses
import math
from typing import Literal

import numpy as np
import pytest

from dbrrl.config import Config, Setting, setting, settings
from dbrrl.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Config):
    rate: float = setting(3e-4, above=0, below=1, help="step size")
    count: int = setting(8, at_least=1, at_most=10**9)
    sizes: tuple[int, ...] = setting((64, 64), at_least=1)
    activation: Literal["tanh", "relu"] = "tanh"
    limit: float | None = setting(None, above=0)
    on: bool = True
    title: str = setting("a", choices=("a", "b"))


def field(name: str) -> Setting:
    return next(entry for entry in settings(Example) if entry.name == name)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("rate", np.float32(0.5), 0.5),
        ("count", 2.0, 2),
        ("count", np.int64(3), 3),
        ("sizes", [1, 2, 3], (1, 2, 3)),
        ("sizes", (), ()),
        ("limit", 1, 1.0),
        ("limit", "none", None),
        ("on", np.bool(False), False),
    ],
)
def test_values_take_the_type_of_their_field(name: str, given: object, kept: object) -> None:
    value = getattr(Example(**{name: given}), name)
    assert value == kept and type(value) is type(kept)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("rate", 0.0),
        ("rate", 1.0),
        ("rate", math.nan),
        ("rate", math.inf),
        ("rate", "0.1"),
        ("rate", True),
        ("rate", None),
        ("count", 0),
        ("count", 1.5),
        ("count", True),
        ("count", math.inf),
        ("count", 10**400),
        ("sizes", (64, 0)),
        ("sizes", 64),
        ("sizes", "64"),
        ("activation", "TANH"),
        ("activation", ["tanh"]),
        ("limit", -1.0),
        ("on", 1),
        ("on", "true"),
        ("title", "c"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, given: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Example(**{name: given})
    message = str(caught.value)
    assert message.startswith(f"{name}: expected ") and "\n" not in message and len(message) < 200


def test_the_message_says_range_and_value() -> None:
    with pytest.raises(ConfigError, match=r"^rate: expected a number above 0 and below 1, got -1.0$"):
        Example(rate=-1.0)
    with pytest.raises(ConfigError, match=r"^activation: expected one of tanh, relu, got 'elu'$"):
        Example(activation="elu")


def test_tables_go_both_ways_and_unknown_names_are_answered_with_the_nearest() -> None:
    example = Example(rate=0.1, sizes=(3,), limit=2.0)
    assert Example.from_dict(example.to_dict()) == example
    assert example.to_dict()["sizes"] == [3]
    assert example.replace(count=4).count == 4 and example.replace(count=4).rate == 0.1
    with pytest.raises(ConfigError, match="unknown setting 'rat'; did you mean 'rate'"):
        Example.from_dict({"rat": 1})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "3e-4", 3e-4),
        ("count", "1e6", 1_000_000),
        ("count", "12", 12),
        ("sizes", "64,32", (64, 32)),
        ("sizes", "(64, 32)", (64, 32)),
        ("activation", "relu", "relu"),
        ("limit", "none", None),
        ("limit", "0.5", 0.5),
        ("on", "false", False),
        ("on", "Yes", True),
    ],
)
def test_texts_of_the_command_line(name: str, text: str, value: object) -> None:
    assert field(name).parse(text) == value


@pytest.mark.parametrize("name", ["rate", "count", "sizes", "activation", "limit", "on", "title"])
@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e999", "1_0x", "none none"])
def test_a_wrong_text_is_an_error_of_ours(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: expected"):
        field(name).parse(text if name != "sizes" or text else "x")


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example().rate = 1.0  # type: ignore[misc]
