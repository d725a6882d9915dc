"""Actors and critics of one's own: what fits learns, is saved, loaded and resumed; what does not fit is refused."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import Experiment, checkpoint, nn, testing
from dbrrl import functional as F
from dbrrl.agents import DDPG, SAC, TD3, TQC, SACDiscrete
from dbrrl.distributions import SquashedNormal
from dbrrl.errors import CheckpointError, ConfigError
from dbrrl.learning.captured_step import CapturedStep
from dbrrl.networks.continuous import ActorAndCritics, Critics, DeterministicActor
from tests import standin

spaces = gym.spaces
BOX, ACTIONS = spaces.Box(-1, 1, (3,), np.float32), spaces.Box(-2, 2, (2,), np.float32)
KINDS: dict[Any, dict[str, Any]] = {DDPG: {}, TD3: {}, SAC: {}, TQC: {"critics": 3, "quantiles": 4}, SACDiscrete: {}}
over_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def make(kind: Any, device: str = "cpu", **settings: Any) -> Any:
    given = {"learning_starts": 4, "batch_size": 8, "buffer_size": 60, "hidden_sizes": (8, 8), "update_interval": 2}
    actions = spaces.Discrete(2) if kind is SACDiscrete else ACTIONS
    return kind(BOX, actions, kind.Config(**{**given, **KINDS[kind], **settings}), num_envs=2, seed=0, device=device)


class Own(nn.Module):
    """One layer for the actor and one for all critics, of a shape that the kind of the agent needs or another."""

    def __init__(self, kind: Any, outputs: int = 2, critics: tuple[int, ...] | None = None, inputs: int = 3) -> None:
        usual = {DDPG: (1,), TQC: (3, 4), SACDiscrete: (2, 2)}.get(kind, (2,))
        self.actor = Actor(kind, outputs, inputs)
        self.critics = OwnCritics(0 if kind is SACDiscrete else 2, critics or usual, kind is TQC or kind is SACDiscrete)


class Actor(nn.Module):
    def __init__(self, kind: Any, outputs: int, inputs: int) -> None:
        self.normal = kind in (SAC, TQC)
        self.layer, self.squash = nn.Linear(inputs, outputs, rng=1), kind in (DDPG, TD3)
        self.log_std = nn.Parameter(np.full(outputs, -1.0, np.float32))

    def forward(self, observation: Any) -> Any:
        out = self.layer(observation) + 0 * self.log_std
        if self.normal:
            return SquashedNormal(out, F.broadcast_to(self.log_std, out.shape))
        return F.tanh(out) if self.squash else out


class OwnCritics(nn.Module):
    """(m, B) or (m, B, atoms); of some `members` only."""

    def __init__(self, actions: int, shape: tuple[int, ...], atoms: bool) -> None:
        self.layer, self.shape, self.atoms = nn.Linear(3 + actions, int(np.prod(shape)), rng=2), shape, atoms

    def forward(self, observation: Any, action: Any = None, members: slice | None = None) -> Any:
        given = observation if action is None else F.concatenate([observation, action], axis=1)
        values = self.layer(given).reshape(-1, *self.shape).swapaxes(0, 1)
        return values if members is None else values[members]


@over_kinds
def test_networks_of_ones_own_learn_and_keep_the_promises_of_the_protocol(kind: Any) -> None:
    def made() -> Any:
        agent = make(kind)
        agent.network = Own(kind)
        return agent

    agent = made()
    assert agent.replaced and agent.actor is agent.network.actor and agent.critics is agent.network.critics
    before = [nn.parameters_to_vector(part).copy() for part in (agent.actor, agent.critics)]
    assert (nn.parameters_to_vector(agent.target_critics) == before[1]).all()
    play(agent, 20)
    assert agent.num_updates > 5
    for part, was in zip((agent.actor, agent.critics), before, strict=True):
        assert (nn.parameters_to_vector(part) != was).any()


def play(agent: Any, steps: int) -> None:
    rng = np.random.default_rng(agent.steps)
    for _ in range(steps):
        agent.act(rng.uniform(-1, 1, (2, 3)).astype(np.float32))
        over = rng.random(2) < 0.1
        agent.observe(rng.uniform(-1, 1, (2, 3)).astype(np.float32), rng.normal(size=2), over, np.zeros(2, bool))


@over_kinds
def test_an_agent_with_networks_of_ones_own_is_saved_and_loaded(kind: Any, tmp_path: Path) -> None:
    agent = make(kind)
    agent.network = Own(kind)
    play(agent, 10)
    agent.save(tmp_path / "x")
    with pytest.raises(CheckpointError, match="network"):
        kind.load(tmp_path / "x")
    loaded = kind.load(tmp_path / "x", network=lambda agent: Own(type(agent)))
    restored = make(kind)
    restored.network = Own(kind)
    restored.restore(tmp_path / "x")
    for one in (agent, loaded, restored):
        play(one, 10)
    assert checkpoint.same(agent.state_dict(), loaded.state_dict())
    assert checkpoint.same(agent.state_dict(), restored.state_dict())


def own_of(agent: Any) -> Any:
    """A function that leads to networks by its name, `tests.learning.test_actor_and_critics:own_of`."""
    k, rng = agent.head.size, np.random.default_rng(agent.seed)
    return ActorAndCritics(
        DeterministicActor(agent.preprocessor, k, (5,), "tanh", rng=rng),
        Critics(agent.preprocessor, k, 2, (4,), "tanh", rng=rng),
    )


@pytest.mark.slow
def test_a_run_takes_a_function_that_makes_them_and_is_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "preset": False, "learning_starts": 50, "batch_size": 8, "buffer_size": 200, "num_envs": 2,
        "update_interval": 10, "curve": False, "tensorboard": False, "progress": False, "eval_episodes": 1,
        "final_episodes": 1, "total_steps": 400, "network": own_of,
    }  # fmt: skip
    whole = Experiment("td3", "Pendulum-v1", out=tmp_path, name="whole", **options).run(steps=400)
    Experiment("td3", "Pendulum-v1", out=tmp_path, name="parts", **options).run(steps=200)
    resumed = Experiment.resume(tmp_path / "parts", progress=False, trust=True).run(400)
    assert 5 in whole.agent.actor.body.layers[0].weight.shape  # type: ignore[attr-defined]
    assert checkpoint.same(resumed.agent.state_dict(), whole.agent.state_dict()) and whole.agent.num_updates > 20


@over_kinds
def test_what_does_not_fit_is_refused_and_nothing_changes(kind: Any) -> None:
    agent = make(kind)
    before, critics = agent.network, {DDPG: (2,), TQC: (2, 4), SACDiscrete: (2, 3)}.get(kind)
    wrong = [
        (Own(kind, outputs=3), r"^network: expected .* of shape .*, got .*: change its last layer|one that takes"),
        (Own(kind, inputs=5), r"^network: expected one that takes 3 observations \(float32 \(3, 3\)\), got ShapeError"),
        (nn.Linear(3, 2, rng=0), "^network: expected an nn.Module with the modules `actor` and `critics`, got Linear"),
        (None, "^network: expected an nn.Module with the modules `actor` and `critics`, got NoneType"),
        *([(Own(kind, critics=critics), "^network: expected .* critics? of shape")] if critics else []),
    ]
    for one, line in wrong:
        with pytest.raises(ConfigError, match=line):
            agent.network = one
    assert agent.network is before and not agent.replaced


def test_critics_that_give_no_critic_alone_are_refused_by_td3() -> None:
    agent, own = make(TD3), Own(TD3)
    forward = own.critics.forward
    for wrong, line in (
        (lambda s, a, members=None: forward(s, a), r"values of critic 0 alone of shape \(1, 3\) for .*, got \(2, 3\)"),
        (lambda s, a: forward(s, a), "expected one that takes 3 observations .* got TypeError"),
    ):
        own.critics.forward = wrong  # type: ignore[method-assign]
        with pytest.raises(ConfigError, match=line):
            agent.network = own


@pytest.mark.parametrize("kind", [SAC, TQC], ids=lambda kind: kind.__name__)
def test_an_actor_without_a_distribution_is_refused_by_name(kind: Any) -> None:
    agent, own = make(kind), Own(kind)
    own.actor = Actor(TD3, 2, 3)
    with pytest.raises(ConfigError, match="DtypeError: actor: expected a distribution such as SquashedNormal"):
        agent.network = own


def test_a_function_that_gives_no_fitting_networks_is_refused_before_a_run_begins() -> None:
    with pytest.raises(ConfigError, match="expected actions of actor of shape"):
        Experiment("td3", "Pendulum-v1", network=lambda agent: Own(TD3), progress=False).run(steps=10)


@pytest.mark.parametrize("kind", [SAC, TD3, SACDiscrete], ids=lambda kind: kind.__name__)
def test_any_number_of_critics_can_take_the_place_of_two(kind: Any) -> None:
    agent = make(kind)
    agent.network = Own(kind, critics=(4, 2) if kind is SACDiscrete else (4,))
    play(agent, 10)
    assert agent.num_updates and np.isfinite(list(agent.statistics().values())).all()


class Shared(Own):
    """Actor and critics read the features of one encoder."""

    def __init__(self) -> None:
        super().__init__(TD3)
        self.actor.encoder = self.critics.encoder = nn.Linear(3, 3, rng=5)
        for part in (self.actor, self.critics):
            part.forward = lambda s, *rest, whole=part.forward: whole(self.critics.encoder(s), *rest)


def test_a_shared_encoder_learns_from_the_critics_alone() -> None:
    agent = make(TD3, policy_delay=1)
    agent.network = Shared()
    play(agent, 4)
    encoder = agent.network.actor.encoder
    batch = agent.place(agent.sample())
    before = encoder.weight.array.copy()
    with nn.frozen(agent.critics):
        agent.actor_step(batch)
    assert (encoder.weight.array == before).all()
    agent.critic_step(batch.add(noise=np.zeros_like(batch.action)))
    assert (encoder.weight.array != before).any()


@over_kinds
def test_on_a_gpu_they_are_recorded_too(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.install(monkeypatch)
    agent = make(kind, "cuda")
    agent.network = Own(kind)
    play(agent, 12)
    steps = [step for step in vars(agent).values() if isinstance(step, CapturedStep)]
    assert len(steps) >= 2 and all(step.graph._graphs and not step.refused for step in steps)


@pytest.mark.parametrize("kind", [DDPG, TD3, SAC], ids=lambda kind: kind.__name__)
def test_a_subclass_sets_them_where_it_makes_its_networks(kind: Any) -> None:
    class Mine(kind):
        def make_networks(self, rng: Any) -> None:
            super().make_networks(rng)
            self.network = Own(kind)

    testing.check_agent(lambda: make_as(Mine, kind), steps=12)


def make_as(subclass: Any, kind: Any) -> Any:
    config = kind.Config(learning_starts=4, batch_size=8, buffer_size=60, hidden_sizes=(8,), update_interval=2)
    return subclass(BOX, ACTIONS, config, num_envs=2, seed=0)
