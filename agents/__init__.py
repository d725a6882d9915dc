"""One page per algorithm; `from dbrrl.agents import PPO` loads that page alone."""

import importlib
from typing import Any

if __name__ != "dbrrl.agents":
    raise ImportError(
        f"expected to be imported as dbrrl.agents, got {__name__!r}: write `from dbrrl.agents import PPO`"
    )

# Each class and the page that it stands on, imported at first use. Type checkers read `__init__.pyi`.
_PAGES = {
    "A2C": "a2c", "A3C": "a3c", "C51": "c51", "DDPG": "ddpg", "DQN": "dqn", "DRQN": "drqn", "IMPALA": "impala",
    "IQN": "iqn", "PPO": "ppo", "QRDQN": "qr_dqn", "REINFORCE": "reinforce", "SAC": "sac", "TD3": "td3", "TQC": "tqc",
    "TRPO": "trpo", "DoubleDQN": "double_dqn", "Rainbow": "rainbow", "SACDiscrete": "sac_discrete",
}  # fmt: skip
__all__ = list(_PAGES)


def __getattr__(name: str) -> Any:
    if name in _PAGES.values():
        return importlib.import_module(f"dbrrl.agents.{name}")
    if name not in _PAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"dbrrl.agents.{_PAGES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
