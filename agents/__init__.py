"""One page per algorithm; `from dbrrl.agents import PPO`."""

if __name__ != "dbrrl.agents":
    raise ImportError(
        f"expected to be imported as dbrrl.agents, got {__name__!r}: write `from dbrrl.agents import PPO`"
    )

from .a2c import A2C
from .a3c import A3C
from .ppo import PPO

__all__ = ["A2C", "A3C", "PPO"]
