"""The bars on an H100, each with the figure found, and what must not be in a report at all."""

from collections.abc import Callable
from typing import Any

STEPS_BAR, SOLVE_BAR, SCORE_BAR, PPO_BAR, IMAGE_BAR = 5e6, 3.0, 475.0, 150.0, 1.2

Report = dict[str, Any]
Found = tuple[bool, str]


def found(report: Report, section: str, *keys: str) -> Any:
    """The measured value; KeyError if it was not measured."""
    data = report["sections"][section]["data"]
    for key in keys:
        data = data[key]
    return data


def fastest(contenders: dict[str, Any], library: str, tf32: bool, captured: bool = True) -> tuple[float, str]:
    """Microseconds and name of a library's fastest way; KeyError if it has none."""
    rows = [
        (row["us"], name)
        for name, row in contenders.items()
        if (row["library"], row["tf32"], row["captured"] or not captured) == (library, tf32, True)
    ]
    if not rows:
        raise KeyError(library)
    return min(rows)


def rate(report: Report) -> Found:
    """Steps per second with 8,192 environments."""
    steps = found(report, "steps", "num_envs", "8192", "rate")
    return steps >= STEPS_BAR, f"{steps:,.0f} steps/s"


def solved(report: Report) -> Found:
    """Every seed solved, the slowest in time."""
    seeds = found(report, "solve", "seeds").values()
    slowest, lowest = max(row["seconds"] for row in seeds), min(row["score"] for row in seeds)
    episodes = min(row["episodes"] for row in seeds)
    good = slowest < SOLVE_BAR and lowest >= SCORE_BAR and episodes == 100
    score = f"a mean score of {lowest:.1f} over {episodes} episodes"
    return good, f"{slowest:.2f} s and {score}, the worst of {len(seeds)} seeds"


def quick(report: Report) -> Found:
    """The captured PPO update."""
    us, _ = fastest(found(report, "ppo-update", "batches", "256", "contenders"), "dbrrl", False)
    return us <= PPO_BAR, f"{us:,.1f} us"


def quicker(report: Report) -> Found:
    """The captured PPO update against PyTorch's."""
    rows = found(report, "ppo-update", "batches", "256", "contenders")
    (us, _), (theirs, name) = fastest(rows, "dbrrl", False), fastest(rows, "PyTorch", False)
    return us < theirs, f"{us:,.1f} us, {name} {theirs:,.1f} us"


def images(tf32: bool) -> Callable[[Report], Found]:
    """The captured Nature-CNN update against PyTorch's best in the same arithmetic."""

    def verdict(report: Report) -> Found:
        rows = found(report, "image-update", "batches", "256", "contenders")
        (us, _), (theirs, name) = fastest(rows, "dbrrl", tf32), fastest(rows, "PyTorch", tf32, captured=False)
        return us <= IMAGE_BAR * theirs, f"{us:,.1f} us, {us / theirs:.2f} times {name} ({theirs:,.1f} us)"

    return verdict


def exact(report: Report) -> Found:
    """Every op within the bar of float32."""
    data = found(report, "ops")
    failures = len(data["failures"])
    return not failures and data["cases"] == data["of"], f"{data['cases']} cases, {failures} failures"


BARS: dict[str, Callable[[Report], Found]] = {
    f"PPO on dbrrl/CartPole-v1 with 8,192 environments: at least {STEPS_BAR:,.0f} steps/s, learning included": rate,
    f"CartPole solved (at least {SCORE_BAR:.0f}) in under {SOLVE_BAR:.0f} s after start-up": solved,
    f"captured PPO update at batch 256: at most {PPO_BAR:.0f} us": quick,
    "captured PPO update at batch 256: faster than PyTorch with CUDA graphs, float32": quicker,
    f"captured Nature-CNN update at batch 256: at most {IMAGE_BAR} times PyTorch's best, float32": images(False),
    f"captured Nature-CNN update at batch 256: at most {IMAGE_BAR} times PyTorch's best, TF32": images(True),
    "every op's value and gradient within the rounding of float32": exact,
}


def verdicts(report: Report) -> list[dict[str, str]]:
    """A line per bar: PASS, FAIL or NOT MEASURED; of a stand-in MEANINGLESS in place of the first two."""
    lines = []
    for bar, judge in BARS.items():
        try:
            good, figure = judge(report)
            verdict = "MEANINGLESS" if report["stand_in"] else "PASS" if good else "FAIL"
        except (KeyError, ValueError):
            verdict, figure = "NOT MEASURED", "-"
        lines.append({"bar": bar, "verdict": verdict, "figure": figure})
    return lines


def problems(report: Report) -> list[str]:
    """Sections that failed and numbers that are wrong; slowness is none."""
    lines = []
    for name, section in report["sections"].items():
        if section["error"]:
            lines.append(f"{name}: {section['error']}")
        lines += [f"{name}: {failure}" for failure in section["data"].get("failures", [])]
        for batch, row in section["data"].get("batches", {}).items():
            lines += [f"{name}, batch {batch}: {problem}" for problem in row.get("problems", [])]
    return lines
