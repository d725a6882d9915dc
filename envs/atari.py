"""Atari games: ale-py's vector environment with exact resume, and the same preprocessing for a single game."""

import os
import zlib
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from dbrrl.errors import EnvError

ENTRY_POINT = "ale_py.vector_env:AtariVectorEnv"
RESEED = 2000
"""Steps after which the next episode of a game is seeded anew: it costs about 200 steps, and no more are replayed."""
FIRST_CAPACITY = 64
_GAMES = """
Adventure AirRaid Alien Amidar Assault Asterix Asteroids Atlantis Atlantis2 Backgammon BankHeist BasicMath BattleZone
BeamRider Berzerk Blackjack Bowling Boxing Breakout Carnival Casino Centipede ChopperCommand Combat CrazyClimber
Crossbow Darkchambers Defender DemonAttack DonkeyKong DoubleDunk Earthworld ElevatorAction Enduro Entombed Et
FishingDerby FlagCapture Freeway Frogger Frostbite Galaxian Gopher Gravitar Hangman HauntedHouse Hero HumanCannonball
IceHockey Jamesbond JourneyEscape Joust Kaboom Kangaroo KeystoneKapers KingKong Klax Koolaid Krull KungFuMaster
LaserGates LostLuggage MarioBros MazeCraze MiniatureGolf MontezumaRevenge MrDo MsPacman NameThisGame Othello Pacman
Phoenix Pitfall Pitfall2 Pong Pooyan PrivateEye Qbert Riverraid RoadRunner Robotank Seaquest SirLancelot Skiing
Solaris SpaceInvaders SpaceWar StarGunner Superman Surround Tennis Tetris TicTacToe3D TimePilot Trondead Turmoil
Tutankham UpNDown Venture VideoCheckers VideoChess VideoCube VideoPinball Warlords WizardOfWor WordZapper YarsRevenge
Zaxxon
"""
GAMES = frozenset(_GAMES.split())
"""The games of ale-py, as its ids have them: "Pong" is ALE/Pong-v5."""

# Arguments of ale-py's vector environment, and their names in Gymnasium's AtariPreprocessing.
_PREPROCESSING = {
    "frameskip": "frame_skip",
    "noop_max": "noop_max",
    "episodic_life": "terminal_on_life_loss",
    "grayscale": "grayscale_obs",
}
_REFUSED = {
    "reward_clipping": "scores are unshaped: set the agent's clip_reward",
    "autoreset_mode": "this is for the runner to choose",
    "life_loss_info": "take episodic_life, or neither as Machado et al. (2018) advise",
    "batch_size": "all games step together",
}


class AtariVector(VectorEnv[Any, Any, Any]):
    """Atari games in ale-py's vector environment (C++ threads), with unclipped rewards and exact resume.

    Observations are stacks of frames, uint8 (stack_num, img_height, img_width), the newest last. ale-py cannot save
    the emulators' states here: a resume replays the episodes since a game was last seeded, all games together.

    Args:
        num_envs: number of games.
        arguments: those of `ale_py.vector_env.AtariVectorEnv`, except those that change the scores. Unless it is given,
            `num_threads` is that of the variable OMP_NUM_THREADS, which workers of Ray have; else one a processor.
    """

    def __init__(self, num_envs: int, max_episode_steps: int | None = None, **arguments: Any) -> None:
        from ale_py.vector_env import AtariVectorEnv

        _check(arguments)
        arguments = threads() | arguments
        if max_episode_steps is not None:
            arguments["max_num_frames_per_episode"] = max_episode_steps * int(arguments.get("frameskip", 4))
        # In its own mode an explicit reset is done at once, and replaces that of the next step.
        mode = AutoresetMode.NEXT_STEP
        self.games: Any = AtariVectorEnv(num_envs=num_envs, reward_clipping=False, autoreset_mode=mode, **arguments)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = num_envs
        self.single_observation_space = self.games.single_observation_space
        self.single_action_space = self.games.single_action_space
        self.observation_space, self.action_space = self.games.observation_space, self.games.action_space
        self.generator = np.random.Generator(np.random.PCG64())
        self.seeds = np.zeros(num_envs, np.int64)  # the seed of each game,
        self.seeded = np.full(num_envs, -RESEED)  # and the row of the log that followed its seeding
        space = self.single_action_space
        self._actions = int(space.n) if isinstance(space, gym.spaces.Discrete) else None
        dtype = np.float32 if self._actions is None else np.uint8
        self.log = np.zeros((FIRST_CAPACITY, num_envs, *(space.shape or ())), dtype)  # actions
        self.steps = 0  # rows of the log
        self.observation = np.zeros(0)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes in all games, or in those of `options["reset_mask"]`."""
        mask = np.ones(self.num_envs, np.bool_) if not options else np.asarray(options["reset_mask"])
        if seed is not None:
            self.generator = np.random.Generator(np.random.PCG64(seed))
        due = mask & ((self.steps - self.seeded >= RESEED) | (seed is not None))
        self.seeds[due] = self.generator.integers(1, 2**31, size=np.count_nonzero(due))
        self.seeded[due] = self.steps
        return self._reset(mask, due)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every game. Raises EnvError for an invalid action, for which ale-py would wait forever."""
        if self._actions is not None and not 0 <= actions.min() <= actions.max() < self._actions:
            raise EnvError(f"action: expected 0 to {self._actions - 1}, got {actions}: act within the action space")
        if self.steps == len(self.log):
            self._make_room()
        self.log[self.steps] = actions
        self.steps += 1
        self.observation, reward, terminated, truncated, info = self.games.step(actions)
        return self.observation, reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """Release the games and their threads."""
        self.games = None

    def state_dict(self) -> dict[str, Any]:
        """Return seeds and actions that replay the games since they were last seeded."""
        first = int(self.seeded.min())
        return {
            "generator": dict(self.generator.bit_generator.state),
            "seeds": self.seeds.copy(),
            "seeded": self.seeded - first,
            "actions": self.log[first : self.steps].copy(),
            "seen": self._seen(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> str:
        """Replay the games up to `state`; return "" or why they differ from the saved ones."""
        self.generator.bit_generator.state = state["generator"]
        self.seeds, self.seeded, self.log = (np.array(state[name]) for name in ("seeds", "seeded", "actions"))
        self.steps = len(self.log)
        ended = np.ones(self.num_envs, np.bool_)
        for row in range(self.steps + 1):
            # Games that were seeded later play arbitrary episodes until then.
            begins = self.seeded == row
            if (begins | ended).any():
                self._reset(begins | ended, begins)
            if row < self.steps:
                actions = self.log[row] if self._actions is None else self.log[row].astype(np.int64)
                self.observation, _, terminated, truncated, _ = self.games.step(actions)
                ended = terminated | truncated
        return "" if self._seen() == state["seen"] else "its observation differs: not the same version of ale-py?"

    def _reset(self, mask: np.ndarray, seeded: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """Begin episodes where `mask` is, with the seeds of those that are `seeded`."""
        seeds = np.where(seeded, self.seeds, -1)[mask]
        self.observation, info = self.games.reset(seed=seeds, options={"reset_mask": mask})
        return self.observation, info

    def _make_room(self) -> None:
        """Drop actions from before all games were last seeded, or double the log."""
        first = int(self.seeded.min())
        kept = self.log[first:]
        size = max(len(self.log) if 2 * len(kept) <= len(self.log) else 2 * len(self.log), FIRST_CAPACITY)
        self.log = np.concatenate([kept, np.zeros((size - len(kept), *self.log.shape[1:]), self.log.dtype)])
        self.seeded -= first
        self.steps -= first

    def _seen(self) -> int:
        return zlib.crc32(np.ascontiguousarray(self.observation).data)


class Start(gym.Wrapper[Any, Any, Any, Any]):
    """Seeds the emulator at every reset from the game's own generator, so that single episodes can be replayed.

    Args:
        fire: then press FIRE, if the game has that action, as ale-py's vector environment does.
    """

    def __init__(self, env: gym.Env[Any, Any], fire: bool = True) -> None:
        super().__init__(env)
        meanings: list[str] = env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        self._fire = meanings.index("FIRE") if fire and "FIRE" in meanings else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        if seed is None:
            seed = int(self.unwrapped.np_random.integers(1, 2**31))
        observation, info = self.env.reset(seed=seed, options=options)
        if self._fire is not None:
            observation, _, _, _, info = self.env.step(self._fire)
        return observation, info


def single(
    spec: EnvSpec, arguments: dict[str, Any], max_episode_steps: int | None, render_mode: str | None
) -> gym.Env[Any, Any]:
    """Make one game in Gymnasium's own wrappers, equal to `AtariVector` with the same arguments.

    Only the number of no-ops at a start has another distribution (1 to `noop_max` here).
    """
    _check(arguments)
    chosen = {ours: arguments.pop(theirs) for theirs, ours in _PREPROCESSING.items() if theirs in arguments}
    height, width = (int(arguments.pop(name, 84)) for name in ("img_height", "img_width"))
    depth, fire = int(arguments.pop("stack_num", 4)), bool(arguments.pop("use_fire_reset", True))
    for name in ("num_threads", "thread_affinity_offset"):
        arguments.pop(name, None)
    env = gym.make(spec, frameskip=1, render_mode=render_mode, disable_env_checker=True, **arguments)
    env = gym.wrappers.AtariPreprocessing(Start(env, fire), screen_size=(width, height), **chosen)
    env = gym.wrappers.FrameStackObservation(env, depth, padding_type="zero")
    return env if max_episode_steps is None else gym.wrappers.TimeLimit(env, max_episode_steps)


def threads() -> dict[str, int]:
    """Return the argument `num_threads` for as many threads as this process was given; nothing if nobody said."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"num_threads": int(given)} if given.isdecimal() and int(given) > 0 else {}


def _check(arguments: dict[str, Any]) -> None:
    for name, why in _REFUSED.items():
        if name in arguments:
            raise EnvError(f"{name}: expected no such argument of an Atari game: {why}")
