"""Plays episodes with the agents of runs, and keeps what they saw, did and said at each step."""

import io
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dbrrl.envs import vector
from dbrrl.errors import DbrrlError
from dbrrl.experiment import acting, resolve_plan, video
from dbrrl.experiment.evaluation import act, begins
from dbrrl.experiment.settings import Plan

from . import insight
from .access import Refusal
from .played import Change, EpisodeMade, EpisodeRequest, Moment, statistics

Entry = TypeVar("Entry")

KEPT = 12  # episodes that can be looked at
LONGEST = 60.0  # seconds of one that is played
_LARGEST = 96 * 1024 * 1024  # bytes of what is kept of one
_HELD = 3 * _LARGEST  # of all that are kept


@dataclass
class Episode:
    """An episode that was played.

    Attributes:
        frames: PNG pictures of the environment before each step, as far as it draws any.
        moments: what was seen, said and done at each step.
        images, gradients: observations that are pictures, and the gradients of those.
        size: bytes of all this.
    """

    made: EpisodeMade
    frames: list[bytes] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    gradients: list[np.ndarray | None] = field(default_factory=list)
    size: int = 0


class Inspector:
    """Plays one episode at a time.

    Args:
        trust: whether code that a run's config.toml names may be imported.
    """

    def __init__(self, *, trust: bool = False) -> None:
        self.trust = trust
        self._episodes: OrderedDict[str, Episode] = OrderedDict()
        self._playing = threading.Lock()

    def play(self, folder: Path, config: dict[str, Any], file: Path, request: EpisodeRequest) -> EpisodeMade:
        """Play an episode; refuse what cannot be played, in words."""
        if not self._playing.acquire(blocking=False):
            raise Refusal(503, "another episode is being played: try again when it has ended")
        try:
            plan = resolve_plan({}, file=config, use_preset=False, trusted=self.trust)
            if request.seed is not None:
                plan = Plan(**{**vars(plan), "settings": plan.settings.replace(seed=request.seed)})
            episode = _played(plan, file, request)
            self._keep(episode)
        except DbrrlError as error:
            raise Refusal(409, f"it cannot be played: {error}") from error
        except Refusal:
            raise
        except Exception as error:  # of an environment that is not ours
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            raise Refusal(409, f"it cannot be played: {reason}") from error
        finally:
            self._playing.release()
        return episode.made

    def _keep(self, episode: Episode) -> None:
        """Keep an episode, and forget earlier ones where they are many or large."""
        known = self._episodes
        known[episode.made.id] = episode
        while len(known) > 1 and (len(known) > KEPT or sum(one.size for one in known.values()) > _HELD):
            known.popitem(last=False)

    def moment(self, one: str, step: int) -> Moment:
        """Return what was seen, said and done at a step."""
        return _at(self._episode(one).moments, step)

    def series(self, one: str, names: list[str]) -> dict[str, list[float | None]]:
        """Return statistics of an episode by name, a number for each step."""
        episode = self._episode(one)
        unknown = [name for name in names if name not in episode.made.statistics]
        if unknown:
            raise Refusal(404, f"the episode has no statistic {unknown[0]!r}")
        steps = [statistics(moment) for moment in episode.moments]
        return {name: [step.get(name) for step in steps] for name in names}

    def frame(self, one: str, step: int) -> bytes:
        """Return the picture of the environment before a step, PNG."""
        return _at(self._episode(one).frames, step)

    def image(self, one: str, step: int, *, saliency: bool) -> bytes:
        """Return the observation as a picture, PNG, or the size of the gradient with respect to it over it."""
        episode = self._episode(one)
        image = _at(episode.images, step)
        gradient = episode.gradients[step] if saliency else None
        if saliency and gradient is None:
            raise Refusal(404, "there is no gradient of this observation")
        return _png(_picture(image, gradient), scale=4)

    def _episode(self, one: str) -> Episode:
        episode = self._episodes.get(one)
        if episode is None:
            raise Refusal(404, "there is no such episode any more: play it again")
        return episode


def _played(plan: Plan, file: Path, request: EpisodeRequest) -> Episode:
    agent = acting.load_agent(file, plan, "cpu")
    agent.training = False
    envs = video.environments(plan, 1)
    try:
        one, seed = secrets.token_hex(8), plan.settings.seed
        made = EpisodeMade(one, 0, 0.0, "", 0, request.file, seed, [], "", "")
        episode = Episode(made)
        _play(agent, envs, request, episode)
    finally:
        envs.close()
    return episode


def _play(agent: Any, envs: vector.Environments, request: EpisodeRequest, episode: Episode) -> None:
    made, changes = episode.made, {change.step: change for change in request.changes}
    space = envs.action_space
    made.actions = int(space.n) if hasattr(space, "n") else 0
    made.action_space, made.observation_space = str(space), str(envs.observation_space)[:300]
    observation, first = envs.reset(), np.ones(1, np.bool_)
    until = time.monotonic() + LONGEST
    for step in range(request.steps):
        _see(agent, envs, observation, bool(first[0]), request.saliency, episode)
        action = act(agent, observation, False, first)
        if step in changes:
            action = _changed(changes[step], action, space)
        moment = episode.moments[-1]
        moment.action, moment.changed = action[0].tolist(), step in changes
        result = envs.step(action)
        moment.reward = float(result.reward[0])
        made.total += moment.reward
        moment.total = made.total
        observation, first = result.observation, begins(result)
        if result.terminated[0] or result.truncated[0]:
            made.ended = "terminated" if result.terminated[0] else "truncated"
            break
        if time.monotonic() > until or episode.size > _LARGEST:
            made.ended = "cut: it took too long" if episode.size <= _LARGEST else "cut: it is too large to be kept"
            break
    else:
        made.ended = f"cut after {request.steps:,} steps"
    made.length = len(episode.moments)
    known = dict.fromkeys(name for moment in episode.moments for name, x in statistics(moment).items() if x is not None)
    made.statistics = list(known)


def _see(agent: Any, envs: vector.Environments, observation: Any, first: bool, wanted: bool, episode: Episode) -> None:
    """Keep what is seen and said before a step."""
    made = episode.made
    said = insight.told(agent, observation, first)
    gradient = insight.saliency(agent, observation, first) if wanted else None
    seen = np.asarray(observation[0]) if isinstance(observation, np.ndarray) else None
    picture = seen is not None and seen.ndim in (2, 3) and seen.dtype == np.uint8
    vector_seen = seen is not None and not picture and seen.size <= 2_000
    numbers = seen.reshape(-1).astype(np.float64).tolist() if vector_seen and seen is not None else []
    same = gradient is not None and not picture and gradient.size == len(numbers)
    episode.moments.append(
        Moment(
            step=len(episode.moments), observation=numbers,
            gradient=gradient.reshape(-1).astype(float).tolist() if same and gradient is not None else [],
            picture=picture, salient=picture and gradient is not None, policy=said.get("policy"), q=said.get("q"),
            returns=said.get("returns"), value=said.get("value"), entropy=said.get("entropy"),
        )
    )  # fmt: skip
    returns = said.get("returns") or {"values": []}
    episode.size += 16 * (len(numbers) + sum(map(len, returns["values"]))) + 1_000
    if picture and seen is not None:
        episode.images.append(seen)
        episode.gradients.append(gradient)
        episode.size += seen.nbytes + (gradient.nbytes if gradient is not None else 0)
    if made.problem:
        return
    try:
        episode.frames.append(_png(video.frame(envs)))
        episode.size += len(episode.frames[-1])
    except DbrrlError as error:
        made.problem = f"no pictures: {error}"


def _changed(change: Change, action: np.ndarray, space: Any) -> np.ndarray:
    """Return the action that was set by hand; Refusal if the space does not have it."""
    given = np.asarray(change.action, action.dtype)
    exact = given.dtype.kind == "f" or np.array_equal(given, np.asarray(change.action))
    if given.shape != action.shape[1:] or not exact or not space.contains(given if given.ndim else given[()]):
        raise Refusal(409, f"step {change.step}: the action {json.dumps(change.action)} is not in {space}")
    return given[None]


def _at(entries: Sequence[Entry], step: int) -> Entry:
    if not 0 <= step < len(entries):
        raise Refusal(404, f"there is no step {step} of it, or no picture of that")
    return entries[step]


def _picture(image: np.ndarray, gradient: np.ndarray | None) -> np.ndarray:
    """Return an observation as a picture (height, width, 3), uint8; red where a gradient is large."""
    channels = image if image.ndim == 2 else _latest(image)
    rgb = np.repeat(channels[..., None], 3, -1) if channels.ndim == 2 else channels
    if gradient is None:
        return rgb
    size = np.abs(gradient)
    heat = size.reshape(-1, *rgb.shape[:2]).max(axis=0) if size.shape[-2:] == rgb.shape[:2] else size.max(axis=-1)
    heat = (heat / max(float(heat.max()), 1e-12))[..., None]
    return np.asarray(rgb * (1 - 0.75 * heat) + np.array([255, 30, 0]) * 0.75 * heat, np.uint8)


def _latest(image: np.ndarray) -> np.ndarray:
    """Return the newest frame of a stack, (height, width), or the picture itself if it has colours, (..., 3)."""
    if image.shape[-1] == 3:
        return image
    return image[-1] if image.shape[0] < image.shape[-1] else image[..., -1]


def _png(picture: np.ndarray, scale: int = 1) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    if scale > 1 and max(image.size) < 300:
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
