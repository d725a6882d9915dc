"""One page per algorithm; `from dbrrl.agents import PPO`."""

if __name__ != "dbrrl.agents":
    raise ImportError(
        f"expected to be imported as dbrrl.agents, got {__name__!r}: write `from dbrrl.agents import PPO`"
    )

from .a2c import A2C
from .a3c import A3C
from .c51 import C51
from .ddpg import DDPG
from .double_dqn import DoubleDQN
from .dqn import DQN
from .drqn import DRQN
from .iqn import IQN
from .ppo import PPO
from .qr_dqn import QRDQN
from .rainbow import Rainbow
from .reinforce import REINFORCE
from .sac import SAC
from .sac_discrete import SACDiscrete
from .td3 import TD3
from .tqc import TQC
from .trpo import TRPO

__all__ = [
    "A2C", "A3C", "C51", "DDPG", "DQN", "DRQN", "IQN", "PPO", "QRDQN", "REINFORCE", "SAC", "TD3", "TQC", "TRPO",
    "DoubleDQN", "Rainbow", "SACDiscrete",
]  # fmt: skip
