"""Random functions of arrays, made of what NumPy can do: views, arithmetic, sums, indices, writes through views.

Each step takes arrays that earlier ones made. So views of one array are read and written in all orders, arrays live for
long or short, and steps that are never needed are among them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

PLACES = 3  # numbers of an index are below it, and at least minus it
Step = Callable[[list[Any]], Any]


@dataclass
class Root:
    """What several views have in common: whether the program may write there, and whether all numbers are exact."""

    own: bool
    exact: bool


@dataclass
class Known:
    """What the generator knows of an array: its numbers for one example, and its root; "places" are fit as an index."""

    values: Any
    root: Root
    places: bool = False


class RandomProgram:
    """A function of arrays, the same for the same seed.

    Attributes:
        inputs: one example of its arguments.
    """

    def __init__(self, seed: int, length: int = 14) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps: list[Step] = []
        self.known: list[Known] = []
        self.shapes = [self.shape() for _ in range(3)]
        self.dtype = np.dtype(self.rng.choice(["f4", "f4", "f8"]))
        self.places = int(self.rng.integers(1, 5))
        self.inputs = self.more(self.rng)
        for i, x in enumerate(self.inputs):
            self.known.append(Known(x.copy(), Root(False, True), places=i == 3))
        while len(self.steps) < length:
            self.extend()
        last = range(len(self.known))[-4:]
        self.results = [i for i in last if self.known[i].values.size and self.known[i].values.ndim]

    @property
    def single(self) -> bool:
        """Whether some array is float32."""
        return any(k.values.dtype == np.float32 for k in self.known)

    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.rng.choice([1, 3, 4, 5, 8, 11], self.rng.integers(1, 4)))

    def more(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Other arguments: three arrays of floats, places, booleans, small integers."""
        floats = [np.round(rng.normal(size=shape), 2).astype(self.dtype) for shape in self.shapes]
        places = rng.integers(-PLACES, PLACES, self.places)
        return [*floats, places, rng.random(self.shapes[0]) < 0.5, rng.integers(-9, 9, self.shapes[1])]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        pool = list(arrays)
        for step in self.steps:
            pool.append(step(pool))
        return tuple(pool[i] for i in self.results) or (pool[0] + 1,)

    # ---- one more step ----

    def extend(self) -> None:
        maker = self.rng.choice([
            unary, binary, binary, scalar, view, view, copy, reduction, choice, product, rows, chosen, put, assign,
            assign, in_place, in_place, joined, ordered, cast, shifted,
        ])  # fmt: skip
        found = maker(self)
        if found is None:
            return
        step, root, places = found
        pool = [k.values for k in self.known]
        kept = [k.values.copy() for k in self.known]
        with np.errstate(all="ignore"):
            values = step(pool)
        if values.dtype.char not in "fdl?" or values.size > 3000 or values.ndim > 4 or not np.all(np.abs(values) < 1e3):
            for array, before in zip(pool, kept, strict=True):
                if array.flags.writeable:
                    array[...] = before
            return
        self.steps.append(step)
        self.known.append(Known(values, root, places))

    def any(self, test: Callable[[Known], bool] = lambda k: True) -> int | None:
        """The number of a random array that passes a test; later ones more often."""
        fit = [i for i, k in enumerate(self.known) if not k.places and test(k)]
        if not fit:
            return None
        return fit[-1 - min(int(self.rng.geometric(0.25)) - 1, len(fit) - 1)]

    def float(self, test: Callable[[Known], bool] = lambda k: True) -> int | None:
        return self.any(lambda k: k.values.dtype.kind == "f" and test(k))

    def exact(self, *numbers: int) -> bool:
        return all(self.known[i].root.exact for i in numbers)

    def alike(self, i: int) -> int:
        """An array that can be combined with array i, itself perhaps."""
        shape = self.known[i].values.shape

        def fits(k: Known) -> bool:
            try:
                return np.broadcast_shapes(shape, k.values.shape) is not None and k.values.dtype.kind == "f"
            except ValueError:
                return False

        found = self.any(fits)
        return i if found is None else found


Made = tuple[Step, Root, bool] | None
SMOOTH = [
    np.tanh, np.sin, np.cos, lambda x: np.exp(np.tanh(x)), lambda x: np.log(np.abs(x) + 0.5), np.square, np.negative,
    lambda x: np.sqrt(np.abs(x)), np.abs, lambda x: np.log1p(np.abs(x)), lambda x: np.expm1(np.tanh(x)), lambda x: x**3,
    lambda x: 1 / (x * x + 1), lambda x: (np.abs(x) + 0.1) ** -0.5, lambda x: np.reciprocal(x * x + 2),
]  # fmt: skip
STEPS = [np.floor, np.ceil, np.rint, np.sign, lambda x: x > 0.25, lambda x: np.isfinite(x), lambda x: x == 0]
PAIRS = [np.add, np.subtract, np.multiply, np.maximum, np.minimum, lambda x, y: x / (np.abs(y) + 1), np.copysign]
TESTS = [np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal]
EXACT = {np.negative, np.abs, np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.square}


def unary(p: RandomProgram) -> Made:
    i = p.float()
    if i is None:
        return None
    if p.exact(i) and p.rng.random() < 0.3:
        f = p.rng.choice(STEPS)
        return lambda pool: f(pool[i]), Root(True, True), False
    f = p.rng.choice(SMOOTH)
    return lambda pool: f(pool[i]), Root(True, f in EXACT and p.exact(i)), False


def binary(p: RandomProgram) -> Made:
    i = p.float()
    if i is None:
        return None
    j = p.alike(i)
    if p.exact(i, j) and p.rng.random() < 0.2:
        f = p.rng.choice(TESTS)
        return lambda pool: f(pool[i], pool[j]), Root(True, True), False
    if p.rng.random() < 0.5:
        i, j = j, i
    f = p.rng.choice(PAIRS if p.exact(j) else PAIRS[:-1])
    return lambda pool: f(pool[i], pool[j]), Root(True, f in EXACT and p.exact(i, j)), False


def scalar(p: RandomProgram) -> Made:
    i = p.any(lambda k: k.values.dtype.kind in "fi")
    if i is None:
        return None
    number = p.rng.choice([2, 0.5, -1.5])
    number = int(number) if number == 2 else float(number)
    fixed = np.arange(float(p.known[i].values.shape[-1])) if p.known[i].values.ndim else number
    kinds = [lambda x: x * number, lambda x: number - x, lambda x: x + number, lambda x: x / 4, lambda x: x * fixed]
    f = p.rng.choice(kinds)
    return lambda pool: f(pool[i]), Root(True, p.exact(i)), False


def view(p: RandomProgram) -> Made:
    i = p.any(lambda k: k.values.ndim > 0 and k.values.size > 0)
    if i is None:
        return None
    x, rng = p.known[i].values, p.rng
    axis = int(rng.integers(x.ndim))
    before = (slice(None),) * axis
    start, apart = int(rng.integers(x.shape[axis])), int(rng.choice([-1, 2, -2]))
    stop = start + int(rng.integers(1, 5))
    views: list[Callable[[Any], Any]] = [
        lambda x: x.T,
        lambda x: np.swapaxes(x, 0, axis),
        lambda x: x[(*before, slice(None, None, apart))],
        lambda x: x[(*before, slice(start, stop))],
        lambda x: x[(*before, start)] if x.ndim > 1 else x[..., None],
        lambda x: np.expand_dims(x, axis),
        lambda x: np.moveaxis(x, axis, 0),
        lambda x: np.broadcast_to(x, (2, *x.shape)),
        lambda x: x.reshape(-1),
    ]
    kind = int(rng.integers(len(views)))
    root = p.known[i].root if kind < 7 else Root(False, p.exact(i))  # whether the last one is a view depends on memory
    found = views[kind]
    return lambda pool: found(pool[i]), root, False


def copy(p: RandomProgram) -> Made:
    i = p.any()
    assert i is not None
    return lambda pool: pool[i].copy(), Root(True, p.exact(i)), False


def reduction(p: RandomProgram) -> Made:
    i = p.any(lambda k: k.values.size > 0 and k.values.ndim > 0 and k.values.dtype.itemsize > 1)
    if i is None:
        return None
    x, rng = p.known[i].values, p.rng
    count = int(rng.integers(1, x.ndim + 1))
    axis = tuple(int(a) for a in rng.permutation(x.ndim)[:count])
    keep = bool(rng.random() < 0.5)
    whole = x.dtype.kind == "i"
    names = ["sum", "mean", "max", "min"] if whole else ["sum", "mean", "max", "min", "var", "std", "prod"]
    if x.size > 30:
        names = [name for name in names if name != "prod"]  # it may overflow in one order alone
    name = str(rng.choice([*names, "argmax", "argmin"] if p.exact(i) else names))
    f = getattr(np, name)
    if name.startswith("arg"):
        return lambda pool: f(pool[i], axis=axis[0]), Root(True, True), False
    if name == "std":
        return lambda pool: np.sqrt(np.var(pool[i], axis=axis, keepdims=keep) + 0.5), Root(True, False), False
    exact = p.exact(i) and (name in ("max", "min") or (whole and name == "sum"))
    return lambda pool: f(pool[i], axis=axis, keepdims=keep), Root(True, exact), False


def choice(p: RandomProgram) -> Made:
    i = p.float()
    if i is None:
        return None
    j = p.alike(i)
    shape = np.broadcast_shapes(p.known[i].values.shape, p.known[j].values.shape)
    mask = p.any(lambda k: k.values.dtype.kind == "b" and (k.values.shape == shape or k.values.ndim == 0))
    if mask is None:
        return lambda pool: np.clip(pool[i], -1.0, 0.5), Root(True, p.exact(i)), False
    return lambda pool: np.where(pool[mask], pool[i], pool[j]), Root(True, p.exact(i, j)), False


def product(p: RandomProgram) -> Made:
    i = p.float(lambda k: k.values.ndim > 0 and k.values.shape[-1] > 0)
    if i is None:
        return None
    x = p.known[i].values
    j = p.float(lambda k: k.values.ndim == 2 and k.values.shape[0] == x.shape[-1])
    if j is None:
        if x.ndim < 2:
            return lambda pool: pool[i] @ pool[i], Root(True, False), False
        return lambda pool: pool[i] @ np.swapaxes(pool[i], -1, -2) / 8, Root(True, False), False
    return lambda pool: pool[i] @ pool[j] / 8, Root(True, False), False


def rows(p: RandomProgram) -> Made:
    i = p.any(lambda k: k.values.ndim > 0 and k.values.shape[0] >= PLACES)
    if i is None:
        return None
    j, x = 3, p.known[i].values
    if x.ndim > 1 and x.shape[1] >= PLACES and p.rng.random() < 0.4:
        return lambda pool: pool[i][pool[j], pool[j]], Root(True, p.exact(i)), False
    return lambda pool: pool[i][pool[j]], Root(True, p.exact(i)), False


def chosen(p: RandomProgram) -> Made:
    i = p.any(lambda k: k.values.ndim == 2 and k.values.size > 0 and k.root.exact and k.values.dtype.kind == "f")
    if i is None:
        return None
    return (
        lambda pool: np.take_along_axis(pool[i], np.argsort(pool[i], axis=1, kind="stable"), axis=1),
        Root(True, True),
        False,
    )


def writable(p: RandomProgram, test: Callable[[Known], bool]) -> int | None:
    return p.float(lambda k: k.root.own and k.values.flags.writeable and k.values.ndim > 0 and test(k))


def wrote(p: RandomProgram, i: int, *sources: int, exact: bool = True) -> None:
    p.known[i].root.exact &= exact and p.exact(*sources)


def put(p: RandomProgram) -> Made:
    i = writable(p, lambda k: k.values.shape[0] >= PLACES)
    if i is None:
        return None
    rest = p.known[i].values.shape[1:]
    j = p.float(lambda k: k.values.shape in (rest, (p.places, *rest), ()))
    add = p.rng.random() < 0.5
    wrote(p, i, *(() if j is None else (j,)), exact=not add)

    def step(pool: list[Any]) -> Any:
        value = 2.5 if j is None else pool[j]
        if add:
            np.add.at(pool[i], pool[3], value)
        else:
            pool[i][pool[3]] = value
        return pool[i]

    return step, p.known[i].root, False


def assign(p: RandomProgram) -> Made:
    i = writable(p, lambda k: True)
    if i is None:
        return None
    shape = p.known[i].values.shape
    j = p.float(lambda k: k.values.shape in (shape, shape[1:], ()))
    wrote(p, i, *(() if j is None else (j,)))

    def step(pool: list[Any]) -> Any:
        pool[i][...] = -0.5 if j is None else pool[j]
        return pool[i]

    return step, p.known[i].root, False


def in_place(p: RandomProgram) -> Made:
    i = writable(p, lambda k: True)
    if i is None:
        return None
    shape = p.known[i].values.shape
    j = p.float(lambda k: k.values.shape in (shape, shape[1:], ()) and k.values.dtype == p.known[i].values.dtype)
    if j is None:
        j = i
    f = p.rng.choice([np.add, np.subtract, np.maximum])
    wrote(p, i, j)
    if p.rng.random() < 0.3:
        wrote(p, i, exact=False)

        def squash(pool: list[Any]) -> Any:
            np.tanh(pool[j], out=pool[i]) if p.known[j].values.shape == shape else np.tanh(pool[i], out=pool[i])
            return pool[i]

        return squash, p.known[i].root, False

    def step(pool: list[Any]) -> Any:
        f(pool[i], pool[j], out=pool[i])
        return pool[i]

    return step, p.known[i].root, False


def shifted(p: RandomProgram) -> Made:
    """A write into part of an array from another part, which overlap."""
    i = writable(p, lambda k: k.values.shape[0] >= 3)
    if i is None:
        return None
    n, kind = p.known[i].values.shape[0], p.rng.integers(3)

    def step(pool: list[Any]) -> Any:
        x = pool[i]
        if kind == 0:
            x[1:] = x[:-1]
        elif kind == 1:
            x[...] = x[::-1]
        else:
            np.subtract(x[: n - 1], x[1:], out=x[: n - 1])
        return x

    return step, p.known[i].root, False


def joined(p: RandomProgram) -> Made:
    i = p.float(lambda k: k.values.ndim > 0)
    if i is None:
        return None
    x = p.known[i].values
    j = p.float(lambda k: k.values.shape == x.shape)
    other = i if j is None else j
    axis = int(p.rng.integers(x.ndim))
    f = p.rng.choice([np.concatenate, np.stack])
    if p.rng.random() < 0.3:
        return lambda pool: np.repeat(pool[i], 2, axis=axis), Root(True, p.exact(i)), False
    return lambda pool: f([pool[i], pool[other]], axis=axis), Root(True, p.exact(i, other)), False


def ordered(p: RandomProgram) -> Made:
    i = p.float(lambda k: k.values.ndim > 0 and k.values.size > 0)
    if i is None:
        return None
    if p.exact(i) and p.rng.random() < 0.5:
        return lambda pool: np.argsort(pool[i], kind="stable"), Root(True, True), False
    return lambda pool: np.sort(pool[i]), Root(True, p.exact(i)), False


def cast(p: RandomProgram) -> Made:
    i = p.any()
    assert i is not None
    x = p.known[i].values
    to = np.dtype(p.rng.choice(["f4", "f8", "i8"]))
    if x.dtype.kind == "f" and to.kind == "i" and not p.exact(i):
        return None
    return lambda pool: pool[i].astype(to), Root(True, p.exact(i) and x.dtype.itemsize <= to.itemsize), False
