"""The debugging tools, on small cases and on PPO's own loss."""

import re
import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dbrrl
import dbrrl.functional as F
from dbrrl.agents import PPO
from dbrrl.autodiff import tensor as engine
from dbrrl.autodiff.engine import grad
from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor, no_grad
from dbrrl.debugging.draw import graph_nodes
from dbrrl.distributions import Categorical
from dbrrl.errors import AnomalyError, ConfigError, GraphError
from dbrrl.nn import Linear, Module, Sequential, Tanh
from tests import standin


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float32), requires_grad=True)


class Net(Module):
    """Policy and value of PPO."""

    def __init__(self) -> None:
        rngs = [np.random.default_rng(k) for k in range(4)]
        self.policy = Sequential(Linear(4, 8, rng=rngs[0]), Tanh(), Linear(8, 2, rng=rngs[1]))
        self.value = Sequential(Linear(4, 8, rng=rngs[2]), Tanh(), Linear(8, 1, rng=rngs[3]))


def ppo_loss(net: Any, observation: Any) -> Any:
    log_probs = F.log_softmax(net.policy(observation))
    n = len(observation)
    chosen = F.pick(log_probs, np.arange(n) % 2)
    advantage = np.linspace(-1, 1, n).astype(np.float32)
    objective = F.clipped_surrogate(chosen, np.full(n, -0.7, np.float32), advantage, 0.2)
    value_loss = F.mse_loss(net.value(observation).reshape(-1), np.ones(n, np.float32))
    return 0.5 * value_loss - objective - 0.01 * F.entropy(log_probs).mean()


OBSERVATION = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


# detect_anomaly


def anomaly(call: Any) -> str:
    with pytest.raises(AnomalyError) as caught, dbrrl.detect_anomaly():
        call()
    assert "\n" not in str(caught.value)
    assert engine.state.observer is None and engine.observing == []
    return str(caught.value)


def test_the_first_bad_op_of_forward_is_named_with_its_line() -> None:
    def call() -> None:
        x = leaf(1.0, 0.0)
        y = np.log(x)  # the culprit
        (y * 0).sum()

    text = anomaly(call)
    assert "forward of Log gave an infinity (1 of 2 elements, shape (2,))" in text
    assert re.search(r"test_debug\.py:\d+: y = np\.log\(x\)  # the culprit", text)


def test_the_line_is_the_users_even_deep_inside_modules() -> None:
    net = Net()
    with no_grad():
        net.policy.layers[2].weight[...] = 3e38

    text = anomaly(lambda: net.policy(OBSERVATION * 1e3))
    assert "Linear" in text and "anomaly(lambda: net.policy" in text and "layers.py" not in text


def test_the_first_bad_op_of_backward_is_named_with_the_line_of_its_forward() -> None:
    def call() -> None:
        x = leaf(4.0, 0.0)
        y = np.sqrt(x)
        (y * 2).sum().backward()

    text = anomaly(call)
    assert "backward (gradient of input 0) of Sqrt gave an infinity" in text and "y = np.sqrt(x)" in text


def test_nan_from_infinities_is_found() -> None:
    assert "forward of Subtract gave NaN" in anomaly(lambda: leaf(np.inf) - leaf(np.inf))
    assert "forward of Divide gave NaN" in anomaly(lambda: leaf(0.0) / leaf(0.0))


def test_nan_that_comes_in_is_reported_where_it_comes_in() -> None:
    observation = OBSERVATION.copy()
    observation[2, 1] = np.nan
    text = anomaly(lambda: ppo_loss(Net(), observation))
    assert "input 0 of Linear (shape (6, 4)) held NaN" in text and "observations" in text


def test_a_mask_of_minus_infinity_is_let_pass() -> None:
    logits = leaf(0.0, 1.0, 2.0)
    with dbrrl.detect_anomaly():
        log_probs = F.log_softmax(np.where(np.array([True, False, True]), logits, -np.inf))
        F.entropy(log_probs).backward()
    assert np.isfinite(logits.grad).all()


def test_a_sound_ppo_loss_passes_with_the_same_gradients() -> None:
    plain, watched = Net(), Net()
    ppo_loss(plain, OBSERVATION).backward()
    with dbrrl.detect_anomaly():
        ppo_loss(watched, OBSERVATION).backward()
    for p, q in zip(plain.parameters(), watched.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_second_derivatives_are_watched_too() -> None:
    def call() -> None:
        x = leaf(0.0, 1.0)
        (g,) = grad((x**1.5).sum(), [x], create_graph=True)
        g.sum().backward()

    assert "Power" in anomaly(call)


@pytest.mark.parametrize("where", ["an input", "an index", "an advantage"])
def test_a_plain_array_changed_after_forward_is_noticed(where: str) -> None:
    x, data, index = leaf(1.0, 2.0, 3.0), np.ones(3, np.float32), np.array([0, 1, 1])
    compute = {
        "an input": (lambda: (x * data).sum(), data),
        "an index": (lambda: x[index].sum(), index),
        "an advantage": (lambda: F.clipped_surrogate(x, np.zeros(3, np.float32), data, 0.2), data),
    }
    call, array = compute[where]
    with dbrrl.detect_anomaly():
        loss = call()
        loss.backward(retain_graph=True)
        array[0] = 2
        with pytest.raises(GraphError, match=r"changed in place after forward, at .*test_debug\.py"):
            loss.backward()


def test_a_user_op_with_too_few_gradients_is_named() -> None:
    class Forgets(Op):
        def forward(self, a: Any, b: Any) -> Any:
            return a * b

        def backward(self, g: Any, y: Any, a: Any, b: Any) -> Any:
            return g * b

    with pytest.raises(GraphError, match="backward of Forgets gave 1 gradients for 2 inputs"), dbrrl.detect_anomaly():
        Forgets()(leaf(1.0), leaf(2.0)).sum().backward()


def test_a_graph_recorded_before_is_watched_going_back() -> None:
    loss = np.sqrt(leaf(0.0)).sum()
    assert "a line before detect_anomaly()" in anomaly(loss.backward)


def test_tools_watch_their_own_thread_only() -> None:
    results: list[Any] = []

    def other() -> None:
        with np.errstate(all="ignore"):
            results.append(np.log(leaf(0.0)).array)

    with dbrrl.detect_anomaly(), dbrrl.profile() as p:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert np.isneginf(results[0]).all() and p.rows == []


def test_tools_may_be_nested_either_way() -> None:
    for outer, inner in ((dbrrl.profile, dbrrl.detect_anomaly), (dbrrl.detect_anomaly, dbrrl.profile)):
        with outer() as a:
            with inner() as b:
                ppo_loss(Net(), OBSERVATION).backward()
                with pytest.raises(AnomalyError):
                    np.log(leaf(0.0))
            assert engine.state.observer is a
        p = a if outer is dbrrl.profile else b
        assert {"Linear", "Entropy", "LogSoftmax"} <= {row.name for row in p.rows}
    assert engine.state.observer is None and engine.observing == []


# profile


def test_profile_counts_calls_time_and_memory() -> None:
    x = Tensor(np.ones((100, 10), np.float32), requires_grad=True)
    with dbrrl.profile() as p:
        y = np.tanh(x) * 2
        y = y + np.tanh(y).T.T
        y.sum().backward()
    rows = {row.name: row for row in p.rows}
    assert rows["Tanh"].calls == 2 and rows["Tanh"].memory == 2 * x.array.nbytes
    assert rows["Transpose"].calls == 2 and rows["Transpose"].memory == 0
    assert all(row.forward > 0 and row.backward > 0 for row in p.rows)
    total = sum(row.forward + row.backward for row in p.rows)
    assert 0 < total < p.elapsed
    assert [r.forward + r.backward for r in p.rows] == sorted((r.forward + r.backward for r in p.rows), reverse=True)
    lines = str(p).splitlines()
    assert lines[0].split()[:2] == ["op", "calls"] and len(lines) == len(p.rows) + 3
    assert "whole block" in lines[-1]


def test_profile_counts_an_op_inside_another_for_itself() -> None:
    class Outer(Op):
        def forward(self, x: Any) -> Any:
            return F.sigmoid(x) * F.sigmoid(x)

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return g * F.sigmoid(x)

    forward: list[tuple[float, float]] = []
    for _ in range(5):  # another process may take the time of one
        with dbrrl.profile() as p:
            Outer()(Tensor(np.ones(200_000, np.float32), requires_grad=True)).sum().backward()
        rows = {row.name: row for row in p.rows}
        assert rows["Sigmoid"].calls == 3 and rows["Sigmoid"].backward > 0
        forward.append((rows["Outer"].forward, rows["Sigmoid"].forward))
    outer, inner = map(min, zip(*forward, strict=True))
    assert outer < inner


def test_profile_on_a_gpu_waits_for_it_and_gives_the_figures_of_its_memory() -> None:
    class Takes(Op):
        def forward(self, x: Any) -> Any:
            standin.POOL.change(3_000_000)
            standin.POOL.change(-3_000_000)
            return x * 2

        def backward(self, g: Any, y: Any, x: Any) -> Any:
            return g * 2

    waits: list[str] = []
    with standin.installed(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(standin.Stream, "synchronize", lambda stream: waits.append("wait"))
        x = Tensor(np.ones(3, np.float32), requires_grad=True).to("cuda")
        standin.POOL.change(1_000_000)
        with dbrrl.profile() as p:
            y = Takes()(x)
            standin.POOL.change(500_000)
            inside = str(p)
            y.sum().backward()
        standin.POOL.change(-1_500_000)
    assert not standin.POOL.hooks and len(waits) >= 8  # of two ops, forward and backward, before and after
    assert p.gpu is not None and (p.gpu.used, p.gpu.peak, p.gpu.held) == (1_500_000, 4_000_000, 4_000_000)
    said = "the GPU was waited for before and after each op\nmemory of the GPU 1.5 MB used, 4.0 MB at most, 4.0 MB held"
    assert said in inside and said in str(p)
    with dbrrl.profile() as here:
        np.tanh(leaf(1.0))
    assert here.gpu is None and "GPU" not in str(here)


def test_a_profile_may_go_on() -> None:
    p = dbrrl.profile()
    for _ in range(2):
        with p:
            np.tanh(leaf(1.0))
    assert p.rows[0].calls == 2


# draw_graph


def test_the_nodes_of_ppos_loss() -> None:
    net = Net()
    nodes = graph_nodes(ppo_loss(net, OBSERVATION), net)
    titles = [node.lines[0] for node in nodes]
    assert {name for name, _ in net.named_parameters()} <= set(titles)
    assert titles.count("data") == 2  # the observations, once, and the returns
    assert nodes[-1].kind == "result" and [n.kind for n in nodes].count("result") == 1
    assert all(parent < i for i, node in enumerate(nodes) for parent in node.parents)
    assert "Multiply 0.5" in titles and "scalar" in nodes[-1].lines


@pytest.fixture
def dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `dot` that frames its input as if drawn, and fails on a graph named "bad"."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "dot"
    program.write_text(
        f"#!{sys.executable} -Xutf8\nimport sys\n"
        "text = sys.stdin.read()\nif 'bad' in text:\n    sys.exit('no\\nlayout')\n"
        "print(f'<svg>{sys.argv[1:]}{text}</svg>')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return program


def test_graphviz_draws_a_svg(tmp_path: Path, dot: Path) -> None:
    x = leaf(1.0, 2.0)
    for _ in range(2):  # the second replaces the first
        text = dbrrl.draw_graph((x * 3).sum(), tmp_path / "g.svg", names={"höhe": x}).read_text(encoding="utf-8")
    assert text.startswith("<svg>['-Tsvg']digraph {") and "höhe" in text
    with pytest.raises(ConfigError, match=r"`dot` failed: no layout: write \.dot or \.mmd"):
        dbrrl.draw_graph((x * 3).sum(), tmp_path / "g.svg", names={"bad": x})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "g.svg"]


def test_a_svg_without_graphviz_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"expected Graphviz's program `dot` for a \.svg, found none: install"):
        dbrrl.draw_graph(leaf(1.0) * 2, tmp_path / "g.svg")
    assert not list(tmp_path.iterdir())


def test_text_forms(tmp_path: Path) -> None:
    x = leaf(1.0, 2.0)
    h = x * 3
    dot = dbrrl.draw_graph(h.sum(), tmp_path / "g.dot", names={'my "x"': x, "h": h}).read_text()
    assert dot.startswith("digraph") and r"my \"x\"" in dot and "h = Multiply 3" in dot and dot.count("->") == 2
    mermaid = dbrrl.draw_graph(h.sum(), tmp_path / "g.mmd", names={"<x>": x}).read_text()
    assert mermaid.startswith("flowchart TD") and "&lt;x&gt;" in mermaid and mermaid.count("-->") == 2


def test_several_results_and_a_second_order_graph() -> None:
    x = leaf(1.0, 2.0)
    g = grad((x**3).sum(), x, create_graph=True)
    nodes = graph_nodes([g.sum(), (x * 2).sum()])
    assert [n.kind for n in nodes].count("result") == 2
    assert [n.lines[0] for n in nodes].count("parameter") == 1


def test_a_drawing_replaces_the_last_and_leaves_no_other_file(tmp_path: Path) -> None:
    for _ in range(2):
        dbrrl.draw_graph(leaf(1.0) * 2, tmp_path / "g.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["g.dot"]


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    y = (leaf(1.0) * 2).sum()
    for bad, error, message in (
        (leaf(1.0), GraphError, "a leaf"),
        ([np.ones(2)], GraphError, "ndarray"),
    ):
        with pytest.raises(error, match=message):
            dbrrl.draw_graph(bad, tmp_path / "g.svg")
    with pytest.raises(ConfigError, match=r"\.dot, \.mmd or \.svg"):
        dbrrl.draw_graph(y, tmp_path / "g.png")
    y.backward()
    with pytest.raises(GraphError, match="before backward"):
        dbrrl.draw_graph(y, tmp_path / "g.svg")
    long: Any = leaf(1.0)
    for _ in range(1600):
        long = long + 1
    with pytest.raises(ConfigError, match="1500 nodes"):
        dbrrl.draw_graph(long, tmp_path / "g.svg")
    assert dbrrl.draw_graph(long, tmp_path / "g.dot").exists()
    assert not (tmp_path / "g.svg").exists()


# all of them on the agent


def test_all_three_tools_on_the_ppo_agent(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1")
    agent = PPO(env.observation_space, env.action_space, PPO.Config(n_steps=32, batch_size=16, n_epochs=1), seed=0)
    observation, _ = env.reset(seed=0)
    with dbrrl.detect_anomaly(), dbrrl.profile() as p:
        for _ in range(32):
            action = agent.act(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            agent.observe(observation, reward, terminated, truncated, info)
            if terminated or truncated:
                observation, _ = env.reset()
    assert agent.num_updates == 2
    rows = {row.name: row for row in p.rows}
    assert rows["Linear"].calls > 32 and rows["ClippedSurrogate"].calls == 2 and rows["Linear"].backward > 0
    outputs, value = agent.network(agent.preprocess(np.stack([observation] * 3)))
    loss = Categorical(outputs).log_prob(np.array([0, 1, 0])).sum() + value.sum()
    text = dbrrl.draw_graph(loss, tmp_path / "ppo.mmd", names=agent.network).read_text()
    assert all(name in text for name, _ in agent.network.named_parameters())
    env.close()


def test_weights_that_blew_up_are_traced_to_where_the_agent_acts() -> None:
    env = gym.make("CartPole-v1")
    config = PPO.Config(n_steps=8, batch_size=8, n_epochs=1, learning_rate=1.0)
    agent = PPO(env.observation_space, env.action_space, config, seed=0)
    with no_grad():
        next(iter(agent.network.parameters()))[...] = 3e38
    observation, _ = env.reset(seed=0)
    text = anomaly(lambda: agent.act(observation * 1e4))
    assert re.search(r"dbrrl/learning/on_policy\.py:\d+: \S+", text)
    env.close()


def test_a_picture_needs_a_folder(tmp_path: Path) -> None:
    x = Tensor(1.0, requires_grad=True)
    with pytest.raises(ConfigError, match=r"draw_graph: expected a place to write .*g.dot, got No such file"):
        dbrrl.draw_graph(x * 2, tmp_path / "none" / "g.dot")
