"""What a setting needs of another one: on or off, one of some values, several at once; and which settings do."""

import dataclasses
from typing import Any

import pytest

from dbrrl.config import Config, setting, settings
from dbrrl.config.requires import Requirement
from dbrrl.errors import ConfigError
from dbrrl.experiment import registry
from dbrrl.experiment.settings import resolve_plan


@dataclasses.dataclass(frozen=True)
class Own(Config):
    """Settings of which some have an effect only with others."""

    rule: str = setting("sgd")
    noisy: bool = setting(False)
    rate: float = setting(0.0)
    limit: float | None = setting(None)
    momentum: float = setting(0.9, requires=("rule", "sgd", "nesterov"))
    sigma: float = setting(0.5, requires="noisy")
    warmup: int = setting(0, requires="rate")
    epsilon: float = setting(0.1, requires=[("noisy", False), ("limit", None), "rule"])


def unmet(name: str, **values: Any) -> str | None:
    """The name of what is missing for a setting."""
    config = Own(**values)
    found = next(entry for entry in settings(Own) if entry.name == name).unmet(config)
    return found and found.error(config)


def test_a_setting_that_must_be_on() -> None:
    assert unmet("sigma", sigma=1.0, noisy=True) is None
    assert unmet("sigma", sigma=1.0) == "has no effect while noisy is false: set noisy, or leave it out"
    assert unmet("warmup", warmup=5, rate=0.1) is None
    assert unmet("warmup", warmup=5) == "has no effect while rate is 0.0: set rate, or leave it out"


def test_a_setting_that_must_have_one_of_some_values() -> None:
    assert unmet("momentum", momentum=0.5) is unmet("momentum", momentum=0.5, rule="nesterov") is None
    cure = "has no effect while rule is adam: set rule to sgd or nesterov, or leave it out"
    assert unmet("momentum", momentum=0.5, rule="adam") == cure


def test_of_several_requirements_the_first_that_does_not_hold_is_named() -> None:
    assert unmet("epsilon", epsilon=0.2) is None
    assert unmet("epsilon", epsilon=0.2, limit=1.0) == (
        "has no effect while limit is 1.0: set limit to none, or leave it out"
    )
    assert unmet("epsilon", epsilon=0.2, limit=1.0, noisy=True) == (
        "has no effect while noisy is true: set noisy to false, or leave it out"
    )
    assert unmet("epsilon", epsilon=0.2, rule="none") == "has no effect while rule is none: set rule, or leave it out"


def test_the_usual_value_needs_nothing() -> None:
    assert unmet("momentum", rule="adam") is unmet("sigma") is unmet("epsilon", noisy=True) is None


@pytest.mark.parametrize("agent", registry.agent_names())
def test_what_a_setting_of_an_agent_requires_are_other_settings_and_values_that_these_may_have(agent: str) -> None:
    entries = {entry.name: entry for entry in settings(registry.agent_class(agent).Config)}
    for entry in entries.values():
        for one in entry.requires:
            assert isinstance(one, Requirement) and one.name != entry.name
            for value in one.values:
                assert entries[one.name].check(value) == value


@pytest.mark.parametrize(
    ("agent", "setting", "value", "other", "without", "needed"),
    [
        ("a2c", "rmsprop_alpha", 0.9, "optimizer", "adam", "rmsprop"),
        ("a2c", "rmsprop_alpha", 0.9, "optimizer", "adam", "rmsprop_tf"),
        ("td3", "noise_theta", 0.3, "noise", "gaussian", "ornstein_uhlenbeck"),
        ("ddpg", "noise_theta", 0.3, "noise", "none", "ornstein_uhlenbeck"),
        ("td3", "target_noise_clip", 0.1, "target_noise", 0.0, 0.2),
        ("sac", "target_entropy", -3.0, "temperature_learning_rate", 0.0, 1e-3),
        ("tqc", "target_entropy", -3.0, "temperature_learning_rate", 0.0, "linear:1e-3:0"),
        ("sac_discrete", "target_entropy", 0.3, "temperature_learning_rate", 0.0, 1e-3),
        ("dqn", "epsilon_end", 0.01, "noisy", True, False),
        ("dqn", "epsilon_start", 0.5, "epsilon", 0.1, None),
        ("dqn", "epsilon", 0.5, "noisy", True, False),
        ("dqn", "exploration", "ez_greedy", "noisy", True, False),
        ("rainbow", "epsilon_steps", 100, "noisy", True, False),
        ("drqn", "epsilon_schedule", "cosine", "epsilon", 0.1, None),
        ("ppo", "clip_range_schedule", "linear", "clip_range", None, 0.1),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused_where_it_is_given(
    agent: str, setting: str, value: Any, other: str, without: Any, needed: Any
) -> None:
    given = {"agent": agent, setting: value}
    with pytest.raises(ConfigError, match=f"{setting}: has no effect while {other} is .*: set {other}.*, or leave"):
        resolve_plan({**given, other: without})
    assert getattr(resolve_plan({**given, other: needed}).config, setting) == value
