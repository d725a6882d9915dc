"""The measurements of the report, a function each, which fills in `data` as it goes: if it fails, the rest is kept."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.gpu import jobs, ours, peers
from benchmarks.gpu.accuracy import measure as ops
from benchmarks.gpu.jobs import Sizes
from benchmarks.gpu.measure import Contender, Deadline, Machine, both_sides, in_turn, seconds
from dbrrl.buffers.batch import Rollout
from dbrrl.types import Metrics

UPDATES = 5  # after which the contenders' weights are compared
APART, APART_TF32 = 0.05, 0.5  # allowed, relative to how far the weights moved
Data = dict[str, Any]
Say = Callable[[str], None]


def launches(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """The host's cost of a launch in several ways, and of a graph and its nodes."""
    xp, n = machine.xp, sizes.launches
    x, y = machine.put(np.ones(1, np.float32)), machine.put(np.ones(1, np.float32))
    ways: dict[str, Callable[[], Any]] = {"np.add(x, y, out=x), by NumPy's dispatch": lambda: np.add(x, y, out=x)}
    ways["cupy.add(x, y, out=x)"] = lambda: xp.add(x, y, out=x)
    if hasattr(xp, "ElementwiseKernel"):
        elementwise = xp.ElementwiseKernel("float32 x, float32 y", "float32 z", "z = x + y", "report_add")
        ways["ElementwiseKernel"] = lambda: elementwise(x, y, x)
    if hasattr(xp, "RawKernel"):
        raw = xp.RawKernel('extern "C" __global__ void one(float *x) { x[0] += 1; }', "one")
        ways["RawKernel"] = lambda: raw((1,), (1,), (x,))
    rows = data.setdefault("host_us", {})
    for name, call in ways.items():
        call()
        samples = []
        for _ in range(5):
            machine.wait()
            samples.append(seconds(call, min(n, 500)))  # short of what fills the device's queue
        machine.wait()
        rows[name] = 1e6 * statistics.median(samples)
    few, many = sizes.nodes
    graphs = {}
    for nodes in sizes.nodes:
        graph = machine.captured(lambda nodes=nodes: [xp.add(x, y, out=x) for _ in range(nodes)])
        graph()
        graphs[nodes] = both_sides(machine, graph, 20)
    data["graph"] = {str(nodes): graphs[nodes] for nodes in sizes.nodes}
    data["node_us"] = (graphs[many]["device_us"] - graphs[few]["device_us"]) / (many - few)


def compare(
    data: Data, machine: Machine, mine: Iterable[peers.Maker], theirs: Iterable[peers.Maker], start: list[np.ndarray],
    sizes: Sizes, deadline: Deadline,
) -> None:  # fmt: skip
    """Make all contenders, see that they do the same to the weights, let them take turns, and time both sides."""
    left_out, problems = data.setdefault("left_out", {}), data.setdefault("problems", [])
    contenders: list[Contender] = []
    first: np.ndarray | None = None
    origin = np.concatenate([w.reshape(-1) for w in start])
    for is_ours, (name, make) in [*((True, m) for m in mine), *((False, m) for m in theirs)]:
        if deadline.over and not is_ours:
            left_out[name] = "no time was left"
            continue
        try:
            one = make()
            one.run(UPDATES - one.updates)
            weights = one.weights() if one.weights else origin
            if why := one.refused():
                kind = ours.AbsentError if machine.stand_in else RuntimeError  # the stand-in has no graphs
                raise kind(f"not captured: {why}")
        except Exception as problem:  # the others are compared all the same
            left_out[name] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
            if is_ours and not isinstance(problem, ours.AbsentError):
                problems.append(f"{name}: {left_out[name]}")
            continue
        first = weights if first is None else first
        one.row["apart"] = ours.apart(first, weights, origin)
        if not one.row["apart"] <= (APART_TF32 if one.row["tf32"] else APART):
            problems.append(f"{one.name}: its weights are {one.row['apart']:.2f} of their way from the first's")
        contenders.append(one)
    in_turn(contenders, sizes.rounds, sizes.turn, deadline)
    for one in contenders:
        if one.row["library"] != "JAX":  # its stream is its own
            one.enter()
            one.row.update(both_sides(machine, one.call, 20 if one.row["captured"] else 1, samples=7))
    data["contenders"] = {one.name: {**one.row, "times_us": [1e6 * t for t in one.times]} for one in contenders}


def say_best(say: Say, what: str, data: Data) -> None:
    """One line of progress: the fastest of each library."""
    best: dict[str, float] = {}
    for row in data["contenders"].values():
        best[row["library"]] = min(row["us"], best.get(row["library"], np.inf))
    say(f"{what}: " + ", ".join(f"{library} {us:,.0f} us" for library, us in best.items()))


def ppo_update(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """One minibatch update of PPO, captured and not, against the peers."""
    data["peers"] = {name: peers.absent(name, machine.stand_in) for name in ("torch", "jax")}
    batches: Data = data.setdefault("batches", {})
    start = ours.ppo_start(machine)
    for batch in sizes.batches:
        job = jobs.ppo_job(batch, start)
        mine = [
            (name, lambda job=job, on=on: ours.ppo_update(machine, job, on))
            for name, on in (("dbrrl", False), ("dbrrl, captured", True))
        ]
        row = batches.setdefault(str(batch), {})
        compare(row, machine, mine, peers.ppo_peers(job, machine.stand_in), start, sizes, deadline)
        say_best(say, f"batch {batch}", row)


def image_update(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """One update of the Nature CNN, captured and not, against the peers."""
    data["peers"] = {name: peers.absent(name, machine.stand_in) for name in ("torch", "jax")}
    data["image"] = list(sizes.image)
    batches: Data = data.setdefault("batches", {})
    start = ours.image_start(sizes.image)
    for batch in sizes.image_batches:
        job = jobs.image_job(batch, sizes.image, start)
        mine = [
            (name, lambda job=job, on=on: ours.image_update(machine, job, *on))
            for name, on in (
                ("dbrrl", (False, False)),
                ("dbrrl, captured", (True, False)),
                ("dbrrl, captured, TF32", (True, True)),
            )
        ]
        row = batches.setdefault(str(batch), {})
        compare(row, machine, mine, peers.image_peers(job, machine.stand_in), start, sizes, deadline)
        say_best(say, f"batch {batch}", row)
    ours.set_tf32(False)


def steps(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """Environment steps per second of PPO on CartPole, learning included, in slices of whole rollouts."""
    n_steps, minibatches, n_epochs = (sizes.rollout[k] for k in ("n_steps", "minibatches", "n_epochs"))
    data.update(sizes.rollout)
    rows: Data = data.setdefault("num_envs", {})
    for num_envs in sizes.num_envs:
        steps = num_envs * n_steps
        settings = {"n_steps": n_steps, "batch_size": steps // minibatches, "n_epochs": n_epochs}
        loop = ours.Loop(machine, num_envs, 0, **settings)
        for _ in range(2):
            loop.rollout()
        machine.wait()
        rates = []
        for _ in range(3):
            start, rollouts = time.perf_counter(), 0
            while not rollouts or time.perf_counter() - start < sizes.steps_seconds:
                loop.rollout()
                rollouts += 1
            machine.wait()
            rates.append(rollouts * steps / (time.perf_counter() - start))
            if deadline.over:
                break
        row = {"rate": statistics.median(rates), "rates": rates, "batch_size": steps // minibatches}
        rows[str(num_envs)] = {**row, **shares(loop, machine)}
        say(f"{num_envs} environments: {row['rate']:,.0f} steps/s")
        if deadline.over:
            raise TimeoutError(f"the time was over after {num_envs} environments")


def shares(loop: ours.Loop, machine: Machine) -> dict[str, float]:
    """Milliseconds of one rollout, and of the learning in it, with a wait on both sides of it."""
    agent, inner, spent = loop.agent, loop.agent.update, [0.0]

    def update(rollout: Rollout) -> Metrics:
        machine.wait()
        start = time.perf_counter()
        found = inner(rollout)
        machine.wait()
        spent[0] += time.perf_counter() - start
        return found

    agent.update = update  # type: ignore[method-assign]
    machine.wait()
    start = time.perf_counter()
    loop.rollout()
    machine.wait()
    total = time.perf_counter() - start
    agent.update = inner  # type: ignore[method-assign]
    return {"rollout_ms": 1e3 * total, "learning_ms": 1e3 * spent[0]}


def solve(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """PPO until CartPole is solved, from the making of the agent; kernels were compiled by an agent before it."""
    n_steps = 4 if machine.stand_in else 32
    settings = {
        "n_steps": n_steps, "batch_size": sizes.solve_batch, "n_epochs": 10, "learning_rate": 2e-3, "gamma": 0.99,
        "gae_lambda": 0.95, "learning_rate_schedule": "linear", "clip_range_schedule": "linear",
        "total_steps": sizes.solve_envs * n_steps * sizes.solve_rollouts,
    }  # fmt: skip
    data.update(num_envs=sizes.solve_envs, rollouts=sizes.solve_rollouts, settings=settings)
    rows: Data = data.setdefault("seeds", {})
    before = ours.Loop(machine, sizes.solve_envs, 1_000, **settings)
    for _ in range(min(2, sizes.solve_rollouts)):
        before.rollout()
    for seed in sizes.solve_seeds:
        machine.wait()
        start, rollouts = time.perf_counter(), 0
        loop = ours.Loop(machine, sizes.solve_envs, seed, **settings)
        while rollouts < sizes.solve_rollouts and not (deadline.over and rollouts):
            loop.rollout()
            rollouts += 1
        machine.wait()
        spent = time.perf_counter() - start
        agent = loop.agent
        returns = ours.score(agent, machine, 10_000 + seed, episodes=4 if machine.stand_in else 100)
        rows[str(seed)] = {
            "seconds": spent, "steps": agent.steps, "updates": agent.num_updates, "score": float(returns.mean()),
            "least": float(returns.min()), "episodes": len(returns), "finished": rollouts == sizes.solve_rollouts,
        }  # fmt: skip
        say(f"seed {seed}: {spent:.2f} s, mean score {returns.mean():.1f}")
        if deadline.over:
            raise TimeoutError(f"the time was over in seed {seed}, after {rollouts} rollouts")


def accuracy(data: Data, machine: Machine, sizes: Sizes, deadline: Deadline, say: Say) -> None:
    """Every op's value and gradient."""
    ops(data, machine, sizes, deadline)
    say(f"{data['cases']} cases, {len(data['failures'])} failures")


# Name, function and seconds allowed, in the order in which they run; the page has an order of its own.
SECTIONS: dict[str, tuple[Callable[..., None], float]] = {
    "launches": (launches, 10),
    "ppo-update": (ppo_update, 50),
    "image-update": (image_update, 90),
    "steps": (steps, 40),
    "solve": (solve, 30),
    "ops": (accuracy, 120),
}
