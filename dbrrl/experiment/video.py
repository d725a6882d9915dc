"""Video of one episode: MP4 by Gymnasium's recorder, GIF by Pillow."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gymnasium.error import DependencyNotInstalled

from dbrrl import seeding
from dbrrl.checkpoint import files
from dbrrl.envs import construct, make, vector
from dbrrl.errors import EnvError, RunError
from dbrrl.learning.agent import Agent

from .evaluation import PATIENCE, act, begins, endless
from .settings import Plan

_SECONDS_PER_FRAME = 1 / 30


def check(path: Path, plan: Plan) -> None:
    """Check, before an episode is played, that a video can be made.

    Raises RunError if `path` exists, its folder does not, or its format is unknown or needs a missing package; EnvError
    if the environment of `plan` cannot be rendered.
    """
    if path.exists():
        raise RunError(f"{path}: exists already: choose another name")
    if not path.parent.is_dir():
        raise RunError(f"{path}: there is no folder {path.parent}: make it first")
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise RunError(f"{path}: expected a name that ends in .gif or .mp4")
    envs = environments(plan, 1)
    try:
        envs.reset()
        frame(envs)
    finally:
        envs.close()
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("moviepy") is None:
        raise RunError(f'{path}: needs moviepy: pip install "dbrrl[video]", or choose .gif')


def record(agent: Agent, plan: Plan, path: Path, *, explore: bool = False) -> None:
    """Write a video of one episode, in an environment with the evaluation's seed, to `path`.

    Raises RunError if it cannot be written, EnvError if the environment cannot be rendered.
    """
    envs = environments(plan, agent.num_envs if explore else 1)  # an exploring agent acts for all its environments
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    try:
        with files.beside(path, path.suffix) as (temporary, descriptor):
            os.close(descriptor)
            write(temporary, _frames(agent, envs, explore), _seconds_per_frame(envs))
            os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        envs.close()


def environments(plan: Plan, count: int) -> vector.Environments:
    """Make environments with the evaluation's seed that draw their frames."""
    plan = plan.for_evaluation()
    return make(
        plan.env,
        count,
        seed=seeding.sequence(plan.settings.seed, "evaluation"),
        max_episode_steps=plan.settings.max_episode_steps,
        env_kwargs=plan.env_kwargs,
        render_mode="rgb_array",
        action_masks=plan.agent_class.action_masks,
    )


def _frames(agent: Agent, envs: vector.Environments, explore: bool) -> Iterator[np.ndarray]:
    observation, first = envs.reset(), np.ones(envs.num_envs, np.bool_)
    yield frame(envs)
    for _ in range(PATIENCE):
        step = envs.step(act(agent, observation, explore, first))
        observation, first = step.observation, begins(step)
        if step.terminated[0] or step.truncated[0]:  # the frame is of the next episode
            return
        yield frame(envs)
    raise EnvError(endless(envs.env_id, PATIENCE))


def frame(envs: vector.Environments) -> np.ndarray:
    """Return the present frame of the first environment, uint8 (height, width, 3); EnvError if it draws none."""
    try:
        frames = envs.render()
    except (ImportError, DependencyNotInstalled) as error:
        raise construct.missing(envs.env_id, error) from error
    if not frames or frames[0] is None:
        raise EnvError(f"{envs.env_id}: it gives no frames to film (render_mode rgb_array)")
    return np.asarray(frames[0], np.uint8)


def _seconds_per_frame(envs: vector.Environments) -> float:
    rate = envs.vector_env.metadata.get("render_fps")
    return 1 / rate if rate else _SECONDS_PER_FRAME


def _write_gif(path: Path, frames: Iterator[np.ndarray], seconds: float) -> None:
    from PIL import Image

    # An octree chooses the colors: Pillow's default takes ten times as long.
    images = (Image.fromarray(frame).quantize(method=Image.Quantize.FASTOCTREE) for frame in frames)
    first = next(images)
    # Viewers show each frame of a GIF for at least 20 ms.
    first.save(path, save_all=True, append_images=images, duration=max(20, round(1000 * seconds)), loop=0)


def _write_mp4(path: Path, frames: Iterator[np.ndarray], seconds: float) -> None:
    from gymnasium.utils.save_video import save_video

    even = [frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames]  # as H.264 requires
    with tempfile.TemporaryDirectory(prefix=".film", dir=path.parent) as folder:
        save_video(even, folder, episode_trigger=lambda _: True, name_prefix="f", save_logger=None, fps=1 / seconds)
        os.replace(Path(folder, "f-episode-0.mp4"), path)
