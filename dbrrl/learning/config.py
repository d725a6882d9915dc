"""Settings that all agents of a kind share: those that no paper argues about."""

from dataclasses import dataclass
from typing import Literal

from dbrrl.config import Config, setting
from dbrrl.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(Config):
    """Settings of every agent that learns from rollouts of its own policy; a page adds those of its paper."""

    n_steps: int | None = setting(None, at_least=1, help="T, steps per environment and rollout; none: 2048 / num_envs")
    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor")
    max_grad_norm: float | None = setting(0.5, above=0, help="largest global norm of the gradient; none: no limit")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: 64,64; () on images")
    recurrent: Literal["none", "lstm", "gru"] = setting("none", help="recurrent layer before the hidden layers")
    recurrent_size: int = setting(64, at_least=1, requires="recurrent", help="units of the recurrent layer")
    activation: Literal["tanh", "relu"] = setting("tanh", help="between the hidden layers")
    scale_observation: bool = setting(False, help="entries of a Box within finite bounds are scaled to [-1, 1]")
    log_std_init: float = setting(0.0, help="initial log standard deviation of continuous actions")
    normalize_observation: bool = setting(False, help="observations by their running mean and deviation, clipped at 10")
    clip_reward: bool = setting(False, help="rewards to [-1, 1] in what is learned; scores stay (Mnih et al. 2015)")
    normalize_reward: bool = setting(False, help="rewards by the running deviation of the return, clipped at 10")
    total_steps: int = setting(0, at_least=0, help="environment steps of the run, where schedules end; 0: unknown")


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(Config):
    """Settings of every agent that learns from a replay buffer; a page adds those of its paper."""

    gamma: float = setting(0.99, at_least=0, at_most=1, help="discount factor")
    buffer_size: int = setting(100_000, at_least=1, help="transitions kept for replay")
    batch_size: int = setting(128, at_least=1, help="transitions per update")
    learning_starts: int = setting(1000, at_least=0, help="environment steps before the first update")
    update_interval: int = setting(4, at_least=1, help="environment steps between updates")
    updates_per_interval: int = setting(1, at_least=1, help="updates at each of these moments")
    n_step: int = setting(1, at_least=1, help="rewards summed before bootstrapping")
    max_grad_norm: float | None = setting(None, above=0, help="largest global norm of the gradient; none: no limit")
    hidden_sizes: tuple[int, ...] | None = setting(None, at_least=1, help="hidden layers; none: the agent's own choice")
    activation: Literal["tanh", "relu"] = setting("relu", help="between the hidden layers")
    scale_observation: bool = setting(False, help="entries of a Box within finite bounds are scaled to [-1, 1]")
    frame_stack: int = setting(1, at_least=1, help="frames in each image, the newest last, kept singly")
    buffer_file: str | None = setting(None, help="new file that holds the observations in place of memory, then goes")
    buffer_device: Literal["host", "pinned", "device"] = setting("host", help="on a GPU: where the observations are")
    clip_reward: bool = setting(False, help="rewards to [-1, 1] in what is learned; scores stay (Mnih et al. 2015)")
    reward_scale: float = setting(1.0, above=0, help="factor of rewards in what is learned (Henderson et al. 2018)")
    her: bool = setting(False, help="in goal environments: draw with achieved goals, too (Andrychowicz et al. 2017)")
    her_goals: Literal["future", "final"] = setting(
        "future", requires="her", help="goals achieved later in the episode, or at its end (section 4.5)"
    )
    her_ratio: float = setting(0.8, at_least=0, at_most=1, requires="her", help="share drawn so; k / (k + 1), k = 4")
    total_steps: int = setting(0, at_least=0, help="environment steps of the run, where schedules end; 0: unknown")


@dataclass(frozen=True, kw_only=True)
class ContinuousConfig(OffPolicyConfig):
    """Settings of every agent that learns continuous actions from a replay buffer; a page adds those of its paper.

    The defaults are those of the code of Fujimoto et al. 2018 and Haarnoja et al. 2018b, in which these agree.
    """

    buffer_size: int = setting(1_000_000, at_least=1, help="transitions kept for replay")
    batch_size: int = setting(256, at_least=1, help="transitions per update")
    learning_starts: int = setting(1000, at_least=0, help="steps of uniform actions before the first update")
    update_interval: int = setting(1, at_least=1, help="environment steps between updates")
    hidden_sizes: tuple[int, ...] = setting((256, 256), at_least=1, help="hidden layers of each network")
    tau: float = setting(0.005, above=0, at_most=1, help="how far the targets move when they move; 1: a copy")
    noise: Literal["gaussian", "ornstein_uhlenbeck", "none"] = setting("none", help="added to actions that explore")
    noise_scale: float | Schedule = setting(
        0.1, at_least=0, requires="noise", help="σ of that noise, of actions in [-1, 1]"
    )
    noise_theta: float = setting(
        0.15, at_least=0, at_most=1, requires=("noise", "ornstein_uhlenbeck"), help="θ of it, how fast it forgets"
    )
    prioritized: bool = setting(False, help="draw transitions by their last error")
    priority_alpha: float = setting(
        0.6, at_least=0, at_most=1, requires="prioritized", help="α, 0: all alike (Schaul et al. 2016, table 3)"
    )
    priority_beta: float | Schedule = setting(
        0.4, at_least=0, at_most=1, requires="prioritized", help="β; a number grows to 1 at total_steps"
    )
