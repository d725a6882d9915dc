"""From an observation of any served space to what networks take: a vector, an image, or a dict of these."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from dbrrl.backend import array_module, device_name, to_device_of
from dbrrl.backend.trees import tree_of
from dbrrl.distributions.masks import MASK, masked_choices
from dbrrl.errors import EnvError, SpaceError
from dbrrl.renamed import renamed_in
from dbrrl.types import Observation

OBSERVATION_SPACES = (
    gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary, gym.spaces.Dict,
)  # fmt: skip


VECTOR = "vector"  # name of all that is no image, where there are images too


class Preprocessor:
    """Batched observations to the input of networks: float32 vectors (B, n) of all that is no image, and images, uint8
    (B, C, H, W). If there is only one of these it comes as it is, otherwise in a dict: "vector" first, then each image
    by its place in the space, such as "camera" or "robot/camera".

    Box entries are flattened, Discrete and MultiDiscrete one-hot, MultiBinary 0 and 1; a Dict's entries follow one
    another in its order. A Box of three axes and dtype uint8 or bool is an image; channels last are moved first. Of the
    three axes the first two are those of the picture where they are equal, else the last two where these are, else the
    smallest is the channels'.

    Entries that float32 does not hold exactly (float64, integers from 32 bits on) are scaled, and by an agent also
    normalized, in float64 and then cast; where neither is asked for they are only cast: 2²⁴ and 2²⁴ + 1 are then one.

    A mask of actions, the entry "action_mask" of a Dict, is no number that networks read: it comes last, in a dict
    with the others, bool (B, n) under its own name (see dbrrl.distributions.masks).

    Args:
        space: of one observation.
        scale: entries of a Box that have finite bounds go from there to [-1, 1]; others, and images, stay as they are.
        actions: of one action, which a mask is for; None: an entry "action_mask" is one like any other.

    Attributes:
        choices: how many actions each choice of the mask has, see `masked_choices`; () where there is no mask.

    Raises:
        SpaceError: a space inside a Dict is not one of these, there is nothing in it, or the mask does not fit.
    """

    def __init__(self, space: gym.Space[Any], *, scale: bool = False, actions: gym.Space[Any] | None = None) -> None:
        self.choices = masked_choices(space, actions) if actions is not None else ()
        self.leaves = [leaf for leaf in _leaves(space, ()) if not self.choices or leaf[0] != (MASK,)]
        self.vector_size = sum(_width(leaf) for _, leaf in self.leaves if not is_image(leaf))
        self.image_shapes = [_channels_first(leaf.shape) for _, leaf in self.leaves if is_image(leaf)]
        # For each image its shape, channels first, and the largest value that it may hold.
        highs = [float(leaf.high.max()) or 1.0 for _, leaf in self.leaves if is_image(leaf)]
        self.images = list(zip(self.image_shapes, highs, strict=True))
        self._is_vector = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
        shapes: list[tuple[int, ...]] = [(self.vector_size,)] if self.vector_size else []
        self.shapes = shapes + self.image_shapes
        places = ["/".join(map(str, path)) for path, leaf in self.leaves if is_image(leaf)]
        named = [f"{place}/image" if place == VECTOR else place for place in places]
        if not self.shapes:
            raise SpaceError(f"observation: expected at least one number, got {space}: wrap the environment")
        several = len(self.shapes) > 1 or bool(self.choices)
        self.names = tuple(([VECTOR] if shapes else []) + named + [MASK] * bool(self.choices)) if several else ()
        # The middle of each entry's bounds, and half their distance; and copies of them by device and precision.
        self._ranges: dict[tuple[str, Any], Any] = {}
        self.range: np.ndarray | None = None
        if scale and self.vector_size:
            self.range = np.concatenate([_range(leaf) for _, leaf in self.leaves if not is_image(leaf)], axis=1)
        self._origins = [_origin(leaf) for _, leaf in self.leaves]
        self._shifted = any(origin is not None for origin in self._origins)
        kinds: list[Any] = [np.float32] * len(shapes) + [np.uint8] * len(self.image_shapes)
        self.dtypes = [np.dtype(kind) for kind in kinds]
        if self.choices:
            self.shapes = [*self.shapes, (sum(self.choices),)]
            self.dtypes.append(np.dtype(np.bool_))

    def __call__(self, observation: Any) -> Observation:
        """Return the networks' input for a batch of observations; arrays may share memory with it."""
        narrow = observation.dtype == np.float32 if self._is_vector else False
        if self._is_vector and (narrow or self.range is None):  # the usual cases
            vector: Observation = observation if narrow else observation.astype(np.float32)
            return vector if self.range is None else self._scaled(vector)
        arrays = self.exact(observation, shift=self.range is not None)
        if self.vector_size:
            arrays[0] = arrays[0].astype(np.float32, copy=False)
        return self.named(arrays)

    def named(self, arrays: list[Any]) -> Observation:
        """Return the networks' input of these arrays, the vector first."""
        named: Observation = tree_of(self.names, arrays)
        return named

    def exact(self, observation: Any, shift: bool = True) -> list[np.ndarray]:
        """Return the arrays before the vector is cast to float32, to be normalized: the vector first, if there is one,
        in float32, or in float64 where entries need it; the mask last.

        Entries of float64 or of integers from 32 bits on need it. Integers whose bounds float64 does not tell apart
        (from 2⁵³ on) are counted from their lower bound, unless not `shift`.
        """
        shift = shift and self._shifted
        if self._is_vector and not shift:
            vector = _precise(observation)
            return [vector if self.range is None else self._scaled(vector)]
        vectors, images = [], []
        for (path, space), origin in zip(self.leaves, self._origins, strict=True):
            x = observation
            for key in path:
                x = x[key]
            if is_image(space):
                x = x.astype(np.uint8) if x.dtype == np.bool_ else x
                images.append(x if _channels_first(space.shape) is space.shape else np.moveaxis(x, -1, 1))
            else:
                x = x if hasattr(x, "ndim") else np.asarray(x)
                vectors.append(_flat(x - to_device_of(x, origin) if shift and origin is not None else x, space))
        joined = [vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)] if vectors else []
        if self.range is not None:
            joined[0] = self._scaled(joined[0])
        if self.choices:
            mask = observation[MASK]
            images.append(mask.reshape(len(mask), -1) != 0)
        return joined + images

    def check_mask(self, mask: Any, rows: Any = None, first_env: int = 0) -> None:
        """Check that a batch of masks leaves an action to choose; on a GPU it is not looked at.

        Args:
            mask: bool (B, n), the last array of preprocessed observations.
            rows: bool (B,), of the rows that are looked at; None: all.
            first_env: the number of the environment in the first row.

        Raises:
            EnvError: a row allows no action of one of the choices.
        """
        if type(mask) is not np.ndarray:
            return
        start = 0
        for at, n in enumerate(self.choices):
            found = mask[:, start : start + n].any(axis=1)
            start += n
            if rows is not None:
                found |= ~rows
            if not found.all():
                which = f" of choice {at}" if len(self.choices) > 1 else ""
                raise EnvError(
                    f"observation[{MASK!r}]: expected at least one of {n} actions{which} to be allowed in environment "
                    f"{first_env + int(found.argmin())}, got none: end the episode where nothing can be done, or allow "
                    "an action that does nothing"
                )

    def vector_places(self) -> dict[tuple[str, ...], slice]:
        """Return the entries of the vector that each part of the space has, by its path of keys."""
        found, start = {}, 0
        for path, leaf in self.leaves:
            if not is_image(leaf):
                found[path] = slice(start, start + _width(leaf))
                start += _width(leaf)
        return found

    def _scaled(self, vector: Any) -> Any:
        """Return entries within finite bounds scaled to [-1, 1], on the device of the vectors."""
        key = "cpu" if type(vector) is np.ndarray else device_name(vector), vector.dtype
        if key not in self._ranges:
            assert self.range is not None
            self._ranges[key] = to_device_of(vector, self.range.astype(vector.dtype))
        middle, half = self._ranges[key]
        return (vector - middle) / half


def is_image(space: gym.Space[Any]) -> bool:
    """Whether a space is a picture: three axes of bytes or booleans."""
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype in (np.uint8, np.bool_)


def _channels_first(shape: Any) -> tuple[int, ...]:
    first, second, third = shape
    last = first == second or (second != third and third < first)  # whether the channels are the last axis
    return (third, first, second) if last else shape


def _leaves(space: gym.Space[Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(space, gym.spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(space, OBSERVATION_SPACES):
        yield path, space
    else:
        names = ", ".join(kind.__name__ for kind in OBSERVATION_SPACES)
        raise SpaceError(f"observation {'/'.join(path)}: expected one of {names}, got {space}: wrap the environment")


def _width(space: Any) -> int:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return int(space.nvec.sum())
    return int(np.prod(space.shape))


def _range(space: Any) -> np.ndarray:
    """The middle of each entry's bounds and half their distance, float64 (2, width); 0 and 1 where not finite."""
    if not isinstance(space, gym.spaces.Box):
        return np.repeat(np.array([[0.0], [1.0]]), _width(space), axis=1)
    origin = _origin(space)
    bounds = (space.low, space.high) if origin is None else (space.low - origin, space.high - origin)
    low, high = (bound.astype(np.float64).ravel() for bound in bounds)
    bounded = (high - low < np.finfo(np.float32).max) & (high > low)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    return np.stack([low + high, high - low]) / 2


def _origin(space: Any) -> np.ndarray | None:
    """The lower bounds of integers that float64 holds only as distances from there, 0 for others; None: all are 0."""
    if not isinstance(space, gym.spaces.Box) or space.dtype not in (np.int64, np.uint64):
        return None
    low, high = space.low.astype(object), space.high.astype(object)  # Python's integers do not overflow
    far = (np.maximum(abs(low), abs(high)) > 2**53) & (high - low <= 2**53)
    return np.where(far, space.low, np.zeros_like(space.low)) if far.any() else None


def _precise(x: Any) -> Any:
    """`x` in float32 where that holds every number of its dtype, in float64 otherwise; no copy where it has it."""
    if x.dtype == np.float32:
        return x
    return x.astype(np.float32 if np.can_cast(x.dtype, np.float32) else np.float64, copy=False)


def _flat(x: Any, space: Any) -> Any:
    """Return (B, width) of a batch of one leaf space, on its device, float32 or as `_precise`."""
    xp = array_module(x)
    if isinstance(space, gym.spaces.Discrete):
        return (x.reshape(-1, 1) == xp.arange(space.start, space.start + space.n)).astype(np.float32)
    if isinstance(space, gym.spaces.MultiDiscrete):
        digits = (x - to_device_of(x, space.start)).reshape(len(x), -1)
        sizes = space.nvec.ravel()
        columns = [digits[:, i : i + 1] == xp.arange(int(n)) for i, n in enumerate(sizes)]
        return np.concatenate(columns, axis=1).astype(np.float32)
    return _precise(x.reshape(len(x), -1))


def __getattr__(name: str) -> Any:
    return renamed_in(__name__, name, {"Encoder": "Preprocessor"})
