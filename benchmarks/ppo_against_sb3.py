"""PPO beside Stable-Baselines3's on one MuJoCo task, both with their defaults. For a Python that has both installed.

    python benchmarks/ppo_against_sb3.py lockstep HalfCheetah-v5 --rollouts 17
    python benchmarks/ppo_against_sb3.py dbrrl HalfCheetah-v5 --seed 0  # or sb3: mean return of the last ten episodes

`lockstep`: the peer trains; ours, given its initial weights, its noise and its order of minibatches, sees the same
transitions, and after each rollout their actions, advantages and weights are compared. Advantages are divided by the
deviation that PyTorch computes, the one difference between both (see docs/agents/ppo.md).
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dbrrl.agents.ppo as page
from dbrrl.agents import PPO

STEPS = 100_000  # of a run; both go on to the end of their last rollout


def last_episodes(env_id: str, seed: int) -> list[float]:
    """Returns of the last ten training episodes of ours within STEPS steps."""
    env = gym.make(env_id)
    agent = PPO(env.observation_space, env.action_space, num_envs=1, seed=seed)
    observation, _ = env.reset(seed=seed)
    returns, total = [], 0.0
    for _ in range(STEPS):
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
        agent.observe(observation, reward, terminated, truncated)
        total += float(reward)
        if terminated or truncated:
            returns.append(total)
            observation, total = env.reset()[0], 0.0
    return returns[-10:]


def last_episodes_of_peer(env_id: str, seed: int) -> list[float]:
    """The same of the peer, as its Monitor counts them."""
    returns = []

    def see(local: dict[str, Any], _: dict[str, Any]) -> bool:
        if local["self"].num_timesteps <= STEPS:
            returns.extend(info["episode"]["r"] for info in local["infos"] if "episode" in info)
        return True

    peer = importlib.import_module("stable_baselines3").PPO
    peer("MlpPolicy", gym.make(env_id), seed=seed, device="cpu").learn(STEPS, callback=see)
    return returns[-10:]


class Replayed:
    """The generator that both sides draw the minibatches' order from, each its own copy."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)

    def permutation(self, n: int) -> np.ndarray:
        """The next order of n rows."""
        return self.rng.permutation(n)


def standardized_as_peer(x: np.ndarray) -> np.ndarray:
    """Standardize like `dbrrl.normalize.standardized`, with the deviation of a sample."""
    return (x - x.mean()) / (x.std(ddof=1) + np.float32(1e-8))


def parameter_pairs(agent: Any, policy: Any) -> list[tuple[np.ndarray, Any]]:
    """Each parameter of ours as an array, and the peer's tensor."""
    sides = (
        (agent.network.actor, policy.mlp_extractor.policy_net, policy.action_net),
        (agent.network.critic, policy.mlp_extractor.value_net, policy.value_net),
    )
    pairs = [(agent.network.log_std.array, policy.log_std)]
    for ours, body, last in sides:
        layers = [layer for layer in ours.layers if hasattr(layer, "weight")]
        for a, b in zip(layers, (body[0], body[2], last), strict=True):
            pairs += [(a.weight.array, b.weight), (a.bias.array, b.bias)]
    return pairs


def lockstep(env_id: str, rollouts: int) -> None:
    """Print how far both are apart after each rollout of the peer."""
    torch: Any = importlib.import_module("torch")
    normal: Any = importlib.import_module("torch.distributions.normal")
    noise = np.random.default_rng(5)
    normal._standard_normal = lambda shape, **_: torch.from_numpy(noise.standard_normal(tuple(shape), np.float32))
    env = gym.make(env_id)
    peer = importlib.import_module("stable_baselines3").PPO("MlpPolicy", env, seed=0, device="cpu")
    agent: Any = PPO(env.observation_space, env.action_space, num_envs=1)
    agent.policy_rng, agent.batch_rng = np.random.default_rng(5), Replayed()
    setattr(np.random, "permutation", Replayed().permutation)  # noqa: B010 - the peer draws from the global generator
    page.standardized = standardized_as_peer
    pairs = parameter_pairs(agent, peer.policy)
    for a, b in pairs:
        a[...] = b.detach().numpy()
    advantage, gae, apart = [], page.gae, [0.0]
    page.gae = lambda *given: (found := gae(*given), advantage.append(found.ravel()))[0]

    def see(local: dict[str, Any], _: dict[str, Any]) -> bool:
        action = agent.act(local["obs_tensor"].numpy()[0])
        apart.append(float(np.abs(action - local["clipped_actions"][0]).max()))
        agent.rollout.actions[agent.rollout.size] = local["actions"]
        done, info = bool(local["dones"][0]), local["infos"][0]
        truncated = info["TimeLimit.truncated"]
        following = info["terminal_observation"] if done else local["new_obs"][0]
        agent.observe(following, float(local["rewards"][0]), done and not truncated, truncated)
        return True

    for k in range(rollouts):
        peer.learn(peer.n_steps, callback=see, reset_num_timesteps=k == 0)
        gap = np.abs(peer.rollout_buffer.advantages.ravel() - advantage[-1]).max()
        weights = max(float(np.abs(a - b.detach().numpy()).max()) for a, b in pairs)
        print(f"rollout {k + 1}: at most {max(apart):.0e} apart in an action, {gap:.0e} in an advantage, ", end="")
        print(f"{weights:.0e} in a weight", flush=True)
        apart.clear()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lockstep", "dbrrl", "sb3"])
    parser.add_argument("env")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rollouts", type=int, default=17)
    given = parser.parse_args()
    if given.what == "lockstep":
        lockstep(given.env, given.rollouts)
    else:
        returns = (last_episodes if given.what == "dbrrl" else last_episodes_of_peer)(given.env, given.seed)
        print(f"{np.mean(returns):.1f}")


if __name__ == "__main__":
    main()
