"""Environments given as objects: names, factories, instances, copies, and what is refused."""

import functools
import sys
import types
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import envs, seeding
from dbrrl.envs import construct, given
from dbrrl.errors import EnvError


def make(env: Any, num_envs: int, **options: Any) -> envs.Environments:
    return envs.make(env, num_envs, seed=seeding.sequence(0, "environments"), **options)


def make_cart(gravity: float = 9.8) -> gym.Env:
    env = gym.make("CartPole-v1")
    env.unwrapped.gravity = gravity  # type: ignore[attr-defined]
    return env


def test_what_a_module_holds_has_a_name_and_all_else_a_description() -> None:
    assert given.of("CartPole-v1") == "CartPole-v1"
    assert given.of(make_cart) == f"{__name__}:make_cart"
    for factory, name in (
        (lambda: make_cart(), "lambda"),
        (functools.partial(make_cart, 5.0), "make_cart"),
        (make_cart.__get__(3), "make_cart"),
    ):
        found = given.of(factory)
        assert isinstance(found, given.Factory) and name in found.name
        assert given.is_description(found.name) and ":" not in found.name
    found = given.of(gym.make("CartPole-v1"))
    assert isinstance(found, given.Instance) and found.name == "<CartPole-v1 instance>" and found.num_envs == 1
    vector = gym.make_vec("CartPole-v1", 3)
    found = given.of(vector)
    assert isinstance(found, given.Instance) and found.num_envs == 3


@pytest.mark.parametrize("vectorization", ["auto", "async"])
def test_a_function_makes_each_copy_with_the_arguments(vectorization: str) -> None:
    for env in (make_cart, f"{__name__}:make_cart", lambda gravity: make_cart(gravity)):
        made = make(env, 3, vectorization=vectorization, env_kwargs={"gravity": 30.0})
        assert made.vector_env.get_attr("gravity") == (30.0,) * 3  # type: ignore[attr-defined]
        assert made.kind == ("async" if vectorization == "async" else "sync")
        made.reset()
        assert np.isfinite(made.step(np.zeros(3, np.int64)).observation).all()
        made.close()


def test_a_function_gives_the_transitions_of_the_environment_it_makes() -> None:
    ours, theirs = make(make_cart, 1), make("CartPole-v1", 1, vectorization="sync")
    assert np.array_equal(ours.reset(), theirs.reset())
    for action in (0, 1, 1, 0) * 30:
        one, other = ours.step(np.array([action])), theirs.step(np.array([action]))
        assert np.array_equal(one.observation, other.observation) and one.terminated == other.terminated


@pytest.mark.parametrize(
    ("factory", "line"),
    [
        (lambda: 3, "expected a gymnasium.Env from the function, got int"),
        (lambda: gym.Env, "expected a gymnasium.Env from the function, got the class Env"),
        (lambda: None, "got NoneType: return an environment"),
        (lambda: gym.make_vec("CartPole-v1", 2), "from each call, got a vector environment: give that itself"),
        (lambda: 1 / 0, "it could not be made: ZeroDivisionError: division by zero"),
        (lambda size: make_cart(), "it could not be made: TypeError"),
    ],
)
def test_a_factory_that_gives_something_else_is_refused_in_one_line(factory: Any, line: str) -> None:
    with pytest.raises(EnvError, match=line) as caught:
        make(factory, 2)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("<factory")


def test_a_factory_that_gives_one_environment_twice_is_refused() -> None:
    env = make_cart()
    with pytest.raises(EnvError, match="gave the same environment twice: make a new one in each call"):
        make(lambda: env, 2)


def test_an_argument_that_a_function_lacks_is_said() -> None:
    with pytest.raises(EnvError, match=r"has no argument 'gravty', did you mean 'gravity'.* \(it takes: gravity\)"):
        make(make_cart, 1, env_kwargs={"gravty": 1.0})
    with pytest.raises(EnvError, match="takes no render_mode, which is asked for"):
        make(make_cart, 1, render_mode="rgb_array")


def test_a_time_limit_is_set_unless_the_environment_ends_earlier() -> None:
    made = make(make_cart, 1, max_episode_steps=3)
    made.reset()
    assert [bool(made.step(np.array([n % 2])).truncated[0]) for n in range(3)] == [False, False, True]
    with pytest.raises(EnvError, match="ends its episodes after 500 steps itself, got 1000: set the limit where"):
        make(make_cart, 1, max_episode_steps=1000)


def test_no_function_of_ours_is_called_for_a_name_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("dbrrl.harmful")
    module.wipe = lambda: pytest.fail("called")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dbrrl.harmful", module)
    with pytest.raises(EnvError, match="or a function of yours that makes an environment, got function"):
        construct.resolve("dbrrl.harmful:wipe")


def test_an_environment_is_stepped_itself_and_left_open() -> None:
    class Closing(gym.Wrapper):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    env = Closing(make_cart())
    made = make(env, 1)
    made.reset()
    made.step(np.array([0]))
    assert np.array_equal(np.array(env.unwrapped.state, np.float32), made.observation[0])  # type: ignore[attr-defined]
    made.close()
    assert env.closed == 0


def test_a_vector_environment_is_stepped_itself_and_left_open() -> None:
    vector = gym.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    made = make(vector, 3)
    made.reset()
    made.step(np.zeros(3, np.int64))
    made.close()
    assert made.kind == "vector" and made.vector_env is vector and not vector.closed
    vector.close()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_envs": 4}, "num_envs: <CartPole-v1 instance> is 1, got 4: leave num_envs out, or give a function"),
        ({"vectorization": "async"}, "vectorization: <CartPole-v1 instance> is made already"),
        ({"env_kwargs": {"gravity": 1.0}}, "env_kwargs: <CartPole-v1 instance> is made already"),
        ({"render_mode": "rgb_array"}, "render_mode: <CartPole-v1 instance> is made already"),
        ({"max_episode_steps": 1000}, "ends its episodes after 500 steps itself"),
    ],
)
def test_more_is_not_asked_of_an_environment_than_it_is(options: dict[str, Any], line: str) -> None:
    with pytest.raises(EnvError, match=line):
        make(make_cart(), **{"num_envs": 1, **options})


def test_copies_are_of_the_environment_as_it_was_given() -> None:
    env = make_cart(gravity=20.0)
    found = given.of(env)
    assert isinstance(found, given.Instance)
    found.keep_copy()
    env.unwrapped.gravity = 3.0  # type: ignore[attr-defined]
    copies = found.copied(2)
    assert copies.get_attr("gravity") == (20.0, 20.0)  # type: ignore[attr-defined]
    assert env.unwrapped not in [one.unwrapped for one in copies.envs]  # type: ignore[attr-defined]


def test_an_environment_that_cannot_be_copied_is_said_with_the_cure() -> None:
    env = make_cart()
    env.unwrapped.stream = (number for number in range(3))  # type: ignore[attr-defined]  # generators have no copies
    found = given.of(env)
    assert isinstance(found, given.Instance)
    with pytest.raises(EnvError, match=r"cannot be copied for evaluations \(TypeError: .*\): give eval_env=, or"):
        found.keep_copy()


def test_an_environment_with_processes_is_not_copied_as_that_would_close_its_pipes() -> None:
    vector = gym.make_vec("CartPole-v1", 2, vectorization_mode="async")
    try:
        for env in (vector, gym.wrappers.vector.RecordEpisodeStatistics(vector)):
            found = given.of(env)
            assert isinstance(found, given.Instance)
            with pytest.raises(EnvError, match=r"cannot be copied for evaluations \(TypeError: it has processes\)"):
                found.keep_copy()
        vector.reset(seed=0)
        assert vector.step(np.zeros(2, np.int64))[0].shape == (2, 4)
    finally:
        vector.close()
