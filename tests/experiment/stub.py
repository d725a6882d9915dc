"""For tests of the runner: an agent whose weights depend on all it has seen, and environments that break."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl import seeding
from dbrrl.checkpoint import State
from dbrrl.config import Config, setting
from dbrrl.learning import agent


@dataclasses.dataclass(frozen=True, kw_only=True)
class StubConfig(Config):
    """Settings of the stub."""

    learning_rate: float = setting(0.01, above=0, at_most=1, help="how far an update moves the weights")
    total_steps: int = setting(0, at_least=0, help="length of the run")


class Stub(agent.Agent):
    """Linear scores, updated towards the noise that chose the action."""

    Config = StubConfig
    observation_spaces = (gym.spaces.Box,)
    action_spaces = (gym.spaces.Discrete,)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.generator = seeding.generator(self.seed, "stub")
        size = int(np.prod(self.observation_space.shape))
        self.weights = self.generator.normal(size=(size, int(self.action_space.n)))
        self.noise = np.zeros((self.num_envs, self.weights.shape[1]))

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        batch, single = self.as_batch(observation)
        scores = batch.reshape(len(batch), -1) @ self.weights
        if explore:
            self.noise = self.generator.normal(size=scores.shape)
            scores = scores + self.noise
        action = scores.argmax(axis=1)
        return action[0] if single else action

    def observe(
        self, next_observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any = None, valid: Any = None
    ) -> None:
        valid = agent.valid_rows(valid, self.num_envs)
        features = next_observation.reshape(self.num_envs, -1)
        gain = (np.asarray(reward) - terminated) * valid
        self.weights += self.config.learning_rate * (features * gain[:, None]).T @ self.noise
        self.weights /= 1 + np.abs(self.weights).max() / 10
        self.num_updates += 1

    def statistics(self) -> dict[str, float]:
        return {"norm": float(np.linalg.norm(self.weights))} if self.num_updates else {}

    def state_dict(self) -> State:
        generator = seeding.generator_state(self.generator)
        arrays = {"weights": self.weights.copy(), "noise": self.noise.copy()}
        return arrays | {"generator": generator, "num_updates": self.num_updates}

    def load_state_dict(self, state: State) -> None:
        self.weights[:] = state["weights"]
        self.noise = np.array(state["noise"])
        self.num_updates = int(state["num_updates"])
        seeding.set_generator_state(self.generator, state["generator"])


class OtherStub(Stub):
    """The same under a name of its own."""

    @property
    def name(self) -> str:
        return "other"


class Breaking(gym.Env[np.ndarray, int]):
    """Raises an error of its own, returns NaN, or kills its process, at its 50th step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str = "raise") -> None:
        self.how, self.steps = how, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 50 and self.how == "raise":
            raise RuntimeError("the motor\nis stuck")
        if self.steps == 50 and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        value = np.nan if self.steps == 50 else 0.5
        return np.full(2, value, np.float32), 1.0, self.steps % 10 == 0, False, {}


class Attended(gym.Env[np.ndarray, int]):
    """Has a process of its own until it is closed, and notes in `folder` which, and whether it may have one."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, folder: str) -> None:
        self.attendant = subprocess.Popen(["sleep", "600"])
        kind = "daemon" if multiprocessing.current_process().daemon else "process"
        (Path(folder) / f"{self.attendant.pid}.{kind}").touch()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(1, np.float32), 0.0, self.steps == 10, False, {}

    def close(self) -> None:
        self.attendant.kill()
        self.attendant.wait()
