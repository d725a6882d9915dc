from .a2c import A2C as A2C
from .a3c import A3C as A3C
from .c51 import C51 as C51
from .ddpg import DDPG as DDPG
from .double_dqn import DoubleDQN as DoubleDQN
from .dqn import DQN as DQN
from .drqn import DRQN as DRQN
from .impala import IMPALA as IMPALA
from .iqn import IQN as IQN
from .ppo import PPO as PPO
from .qr_dqn import QRDQN as QRDQN
from .rainbow import Rainbow as Rainbow
from .reinforce import REINFORCE as REINFORCE
from .sac import SAC as SAC
from .sac_discrete import SACDiscrete as SACDiscrete
from .td3 import TD3 as TD3
from .tqc import TQC as TQC
from .trpo import TRPO as TRPO

__all__ = [
    "A2C",
    "A3C",
    "C51",
    "DDPG",
    "DQN",
    "DRQN",
    "IMPALA",
    "IQN",
    "PPO",
    "QRDQN",
    "REINFORCE",
    "SAC",
    "TD3",
    "TQC",
    "TRPO",
    "DoubleDQN",
    "Rainbow",
    "SACDiscrete",
]
