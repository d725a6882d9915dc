"""`Optimizer`: what all optimizers share, and clipping of the gradient."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from dbrrl.backend import DeviceScalar, array_module, load_kernels, replaceable, to_device_of, to_numpy
from dbrrl.checkpoint import untrusted
from dbrrl.errors import CheckpointError, ConfigError, ShapeError, undefined
from dbrrl.nn.flat import Flat
from dbrrl.nn.module import Module, Parameter
from dbrrl.schedules import Schedule
from dbrrl.types import Array, Scalar, State

SWEEP_INTERVAL = 128  # steps between two searches for moments close to 0


class Optimizer:
    """Base: the parameters of a module (or of a list) as one vector, and moments as vectors of the same length.

    The step size of a schedule is its first, until `anneal` says how far the run is.

    Parameters that are frozen (requires_grad is False) when the optimizer is made are left out; those frozen later keep
    their values. Several optimizers may share a model. One that shares parameters with a newer optimizer keeps working,
    at the cost of copying these.

    Raises:
        ConfigError: a hyperparameter is out of range.
        GraphError: there is nothing to learn; later, the parameters were converted by `to` or `astype`.
    """

    moments: tuple[str, ...] = ()  # names of the vectors that `state_dict` holds

    def __init__(self, parameters: Module | Sequence[Parameter], learning_rate: float | Schedule) -> None:
        load_kernels("cpu")
        self.schedule = learning_rate if isinstance(learning_rate, Schedule) else None
        learning_rate = learning_rate.start if isinstance(learning_rate, Schedule) else learning_rate
        check(learning_rate=learning_rate)
        given = parameters.parameters() if isinstance(parameters, Module) else parameters
        self.flat = Flat([p for p in given if getattr(p, "requires_grad", True)])
        values = self.flat.values
        self._learning_rate, self._steps = DeviceScalar(values, learning_rate), DeviceScalar(values, 0)
        for name in self.moments:
            setattr(self, name, array_module(values).zeros_like(values))
        self._scratch = array_module(values).empty_like(values)

    @property
    def learning_rate(self) -> float:
        """The step size of the next step; set it for a schedule."""
        return self._learning_rate.host

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate.set(value)

    def anneal(self, progress: float) -> None:
        """Set the step size to that of its schedule at `progress`, the part of the run that is over, if it has one."""
        if self.schedule is not None:
            self.learning_rate = self.schedule(progress)

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return int(self._steps.read())

    @property
    def values(self) -> Array:
        """All parameters as one vector (n,), to read; `set_values` writes it."""
        self.flat.pull()
        return _read_only(self.flat.values)

    @property
    def gradient(self) -> Array:
        """The gradients of all parameters as one vector (n,), which may be changed before a step."""
        return self.flat.gather()  # type: ignore[no-any-return]

    def set_values(self, values: Array) -> None:
        """Copy `values` (n,) into the parameters.

        Raises:
            ShapeError: the vector has another length.
        """
        guests = self.flat.pull()
        if values is not self.flat.values:
            self._check_vector(values)
            self.flat.values[...] = to_device_of(self.flat.values, values)
        self.flat.push(guests)

    def share(self, values: Array) -> None:
        """Make the parameters views into `values` (n,), such as memory that processes share, and take on its content.

        Raises:
            ShapeError: the vector has another length or dtype.
        """
        self._check_vector(values)
        self.flat.share(values)

    def _check_vector(self, values: Array) -> None:
        own = self.flat.values
        if values.shape != own.shape or values.dtype != own.dtype:
            raise ShapeError(
                f"values: expected a vector {own.shape} of {own.dtype}, got {values.shape} of {values.dtype}"
            )

    def zero_grad(self) -> None:
        """Set all gradients to zero: before every backward pass that is not to add to the last one."""
        self.flat.zero()

    def clip_grad_norm(self, max_norm: float) -> Scalar:
        """Scale the gradient down to a global L2 norm of at most `max_norm`.

        Returns the norm before: a number, or on a GPU an array without axes, so that nothing waits for it.
        """
        if not max_norm > 0:
            raise ConfigError(f"max_norm: expected a number above 0, got {max_norm}")
        return clip_norm(self.flat.gather(), max_norm)

    def step(self) -> None:
        """Change the parameters once, by their gradients."""
        g, guests, frozen = self.flat.gather(), self.flat.pull(), self.flat.frozen()
        self._steps.add(1)
        self.update(self.flat.values, g, self._scratch)
        if sweep_is_due(g, self._steps.value):
            self._clear_tiny()
        self.flat.push(guests)
        for array, before in frozen:
            array[...] = before

    def settings(self, ahead: int = 0) -> tuple[float, ...] | None:
        """Return the numbers of the next step, or of one so many `ahead` of it, that a program of compiled kernels
        reads; None where it takes none.
        """
        return None

    @property
    def steps_at_once(self) -> int:
        """How many steps programs may take before `stepped` has to be called."""
        return SWEEP_INTERVAL - int(self._steps.host) % SWEEP_INTERVAL

    def stepped(self, count: int = 1) -> None:
        """Take in that a program made so many steps, and declared the parameters changed."""
        self._steps.add(count)
        if self._steps.host % SWEEP_INTERVAL == 0:
            self._clear_tiny()

    def step_on(self, values: Array, **moments: Array) -> None:
        """Apply one step by this optimizer's gradient to other arrays, such as memory of several processes.

        Args:
            values: (n,), the parameters to change in place.
            moments: vectors (n,) by name, to read and change in place of those of this optimizer.
        """
        own = {name: getattr(self, name) for name in moments}
        vars(self).update(moments)
        self.update(values, self.flat.gather(), self._scratch)
        vars(self).update(own)

    def _clear_tiny(self) -> None:
        """Set to 0 what is left in the moments of gradients that have long been 0, like those of a dead ReLU unit.

        It would shrink to subnormal numbers, never to 0 (0.9 times the smallest of them rounds to itself), and a
        processor computes with each of those many times slower. The limit leaves a decay of 0.9 no time to get there.
        """
        for moment in (getattr(self, name) for name in self.moments):
            if moment.dtype.itemsize > 2:  # float16 is computed as float32
                np.copyto(moment, 0, where=np.abs(moment) < 1e6 * np.finfo(moment.dtype).tiny)

    def update(self, values: Array, g: Array, scratch: Array) -> None:
        """The rule: change `values` (n,) in place, given the gradient `g` (n,); `scratch` is free to use."""
        raise undefined(self, "update")

    def state_dict(self) -> State:
        """Copies of the moments (n,), the number of steps and the learning rate."""
        vectors = {name: np.array(to_numpy(getattr(self, name))) for name in self.moments}
        return {**vectors, "steps": self.steps, "learning_rate": self.learning_rate}

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` gave.

        Raises:
            CheckpointError: an entry is missing or unknown, or a moment of another length; nothing is changed then.
        """
        where, expected = f"{type(self).__name__}.load_state_dict", {*self.moments, "steps", "learning_rate"}
        if untrusted.table(state, where).keys() != expected:
            raise CheckpointError(
                f"{where}: expected {sorted(expected)}, got {sorted(state)}: load the state of one like this"
            )
        with untrusted.state_of(where, "load the state of this optimizer and network"):
            for name in self.moments:
                least = 0 if name in ("second", "mean_square") else -math.inf  # of g²
                untrusted.array(state[name], name, self.flat.values.dtype, self.flat.values.shape, at_least=least)
            steps = untrusted.whole(state["steps"], "steps")
            learning_rate = untrusted.number(state["learning_rate"], "learning_rate", 0)
        for name in self.moments:
            getattr(self, name)[...] = array_module(self.flat.values).asarray(state[name])
        self._steps.set(steps)
        self.learning_rate = learning_rate


@replaceable
def clip_norm(g: Array, max_norm: float) -> Scalar:
    """Scale `g` (n,) in place to an L2 norm of at most `max_norm`; returns the norm before."""
    wide = g.astype(np.float32) if g.dtype.char == "e" else g  # whose squares soon overflow
    norm = math.sqrt(wide @ wide)
    if norm > max_norm:
        g *= max_norm / norm
    return norm


@replaceable
def sweep_is_due(g: Array, steps: Scalar) -> bool:
    """Whether moments of gradients like `g` are to be searched for tiny numbers after step number `steps`."""
    return steps % SWEEP_INTERVAL == 0


def _read_only(array: Array) -> Array:
    """A view that cannot be written to, where the kind of array has such views."""
    view = array[:]
    with contextlib.suppress(AttributeError, ValueError):
        view.flags.writeable = False
    return view


def check(**settings: float) -> None:
    """ConfigError for a setting outside of the range that it has in every optimizer."""
    for name, value in settings.items():
        if name in ("learning_rate", "weight_decay", "initial_mean_square"):
            ok, expected = value >= 0, "0 or above"
        else:
            ok, expected = (value > 0, "above 0") if name == "eps" else (0 <= value < 1, "in [0, 1)")
        if not ok or not math.isfinite(value):
            raise ConfigError(f"{name}: expected a number {expected}, got {value}")
