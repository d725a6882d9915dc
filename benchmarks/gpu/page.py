"""The report as a page to read, in Markdown, made of nothing but what stands in the JSON."""

from collections.abc import Callable, Iterable
from typing import Any

Data = dict[str, Any]
SHOUT = """\
# STAND-IN, NOT A GPU: EVERY TIME BELOW IS MEANINGLESS

**This report was made with NumPy behind the face of CuPy, in small sizes, to exercise the code. No GPU took part.**
"""


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; the first column to the left, the others to the right."""
    head = list(head)
    lines = [head, [":--", *(["--:"] * (len(head) - 1))], *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def number(x: Any, form: str = ",.1f") -> str:
    """A figure; a dash where there is none."""
    return format(x, form) if isinstance(x, (int, float)) else "-"


def ops(data: Data) -> str:
    """The worst error of each family, and failures by name."""
    rows = [
        (name, row["cases"], f"{row['value']:.1e}", f"{row['gradient']:.1e}", row["worst"])
        for name, row in data["families"].items()
    ]
    text = (
        "Each case of the ops' table in float32 on the device: its value against a reference in plain NumPy and the "
        "gradients of a weighted sum of it against this library's own on the CPU, both in float64. The error is the "
        "largest difference, relative to the largest element. Allowed: "
        f"{data['value_bar']:.1e} in the value and {data['gradient_bar']:.1e} in a gradient, what some dozens of "
        "roundings of float32 can come to.\n\n"
    )
    text += table(("family", "cases", "worst value", "worst gradient", "by"), rows)
    failures = "".join(f"- {failure}\n" for failure in data["failures"])
    return text + f"\n{data['cases']} of {data['of']} cases; failures: " + (f"\n\n{failures}" if failures else "none\n")


def solve(data: Data) -> str:
    """Seconds and scores."""
    rows = [
        (
            seed, number(row["seconds"], ".2f"), number(row["steps"], ",d"), number(row["updates"], ",d"),
            number(row["score"]), number(row["least"], ".0f"), row["episodes"], "yes" if row["finished"] else "no",
        )
        for seed, row in data["seeds"].items()
    ]  # fmt: skip
    settings = ", ".join(f"{key} {value}" for key, value in data["settings"].items())
    return (
        f"PPO with {data['num_envs']} environments for {data['rollouts']} rollouts ({settings}). The clock runs from "
        "the making of agent and environments to the end of training; kernels were compiled by another agent before "
        "it. The score is that of the final policy's mode, in environments and with seeds of their own.\n\n"
        + table(("seed", "seconds", "steps", "updates", "mean score", "least", "episodes", "ran to its end"), rows)
    )


def steps(data: Data) -> str:
    """Rates."""
    rows = [
        (
            f"{int(n):,}", number(row["rate"], ",.0f"), number(min(row["rates"]), ",.0f"),
            number(row["batch_size"], ",d"), number(row["rollout_ms"]), number(row["learning_ms"]),
        )
        for n, row in data["num_envs"].items()
    ]  # fmt: skip
    return (
        f"PPO on `dbrrl/CartPole-v1` in a plain loop of `act` and `observe`: {data['n_steps']} steps a rollout, "
        f"{data['n_epochs']} epochs of {data['minibatches']} minibatches. Medians of three slices of whole rollouts, "
        "with a wait for the device at the end of each; the two last columns are of one more rollout, with a wait "
        "before and after its learning.\n\n"
        + table(("environments", "steps/s", "slowest slice", "minibatch", "ms a rollout", "of which learning"), rows)
    )


def contenders(data: Data) -> str:
    """One table a batch size."""
    text = "".join(f"{name}: {why}, left out.\n\n" for name, why in data["peers"].items() if why)
    for batch, row in data["batches"].items():
        ours: Data = {}
        for r in row.get("contenders", {}).values():
            if r["library"] == "dbrrl":
                ours[r["tf32"]] = min(r["us"], ours.get(r["tf32"], r["us"]))
        rows = [
            (
                name, number(r["us"]), number(r["least_us"]),
                number(r["us"] / ours[r["tf32"]] if r["tf32"] in ours else None, ".2f"),
                number(r.get("host_us")), number(r.get("device_us")), number(r["apart"], ".1e"),
            )
            for name, r in sorted(row.get("contenders", {}).items(), key=lambda item: item[1]["us"])
        ]  # fmt: skip
        head = ("", "us", "least", "ratio to ours", "launching (host)", "computing (device)", "apart")
        text += f"### Batch {int(batch):,}\n\n" + table(head, rows) + "\n"
        text += "".join(f"Left out: {name}: {why}\n\n" for name, why in row.get("left_out", {}).items())
        text += "".join(f"PROBLEM: {problem}\n\n" for problem in row.get("problems", []))
    return text


HOW = (
    "All begin with the same weights, are given the same numbers, already on the device, and take turns in one run: us "
    "is the median over the rounds of the time of one update, many launched one after the other with one wait at the "
    "end of the turn; the ratio is to our fastest in the same arithmetic. Launching is what the host spends until it "
    "has launched an update; computing is the time between two events on the device, with the launches queued up "
    "before it begins (where an update waits for the device by itself, that wait is in both). Apart: how far the "
    "weights are from our uncaptured ones after {updates} updates, relative to how far those moved. float32 is full "
    "float32; TF32 stands apart. PyTorch is not compiled (torch.compile): that takes longer than the report.\n\n"
)


def ppo_update(data: Data) -> str:
    """The PPO update's tables."""
    return (
        "One minibatch update of PPO, separate 64-64 tanh networks: rows of the rollout by a given index, advantages "
        "normalized, clipped surrogate (0.2), squared value error, entropy (0.01), backward, clipping to a global norm "
        "of 0.5, Adam. " + HOW.format(updates=5) + contenders(data)
    )


def image_update(data: Data) -> str:
    """The Nature CNN's tables."""
    shape = " × ".join(map(str, data["image"]))
    return (
        f"One update of the Nature CNN with a linear head, images of bytes {shape}: Huber loss on Q(s, a), backward, "
        "clipping to a global norm of 10, Adam. " + HOW.format(updates=5) + contenders(data)
    )


def launches(data: Data) -> str:
    """The section on the cost of a launch."""
    rows = [(name, number(us, ".2f")) for name, us in data["host_us"].items()]
    text = (
        "Host's time of one launch on arrays of one element: medians of five runs of up to 500, no wait among them.\n\n"
        + table(("launch", "us"), rows)
    )
    if "node_us" not in data:
        return text
    graphs = [(n, number(row["host_us"], ".2f"), number(row["device_us"], ".1f")) for n, row in data["graph"].items()]
    return (
        text
        + "\nA CUDA graph of additions of one element, one after another. By the difference of the two, a node costs "
        + f"{data['node_us']:.2f} us.\n\n"
        + table(("nodes", "launching (host), us", "computing (device), us"), graphs)
    )


TITLES: dict[str, tuple[str, Callable[[Data], str]]] = {
    "ops": ("Every op against float64", ops),
    "solve": ("CartPole solved", solve),
    "steps": ("Environment steps per second", steps),
    "ppo-update": ("One PPO update", ppo_update),
    "image-update": ("One Nature-CNN update", image_update),
    "launches": ("What a launch costs", launches),
}


def section(name: str, report: Data) -> str:
    """A section's text; of one that failed, what it had, and the error."""
    title, make = TITLES[name]
    found = report["sections"].get(name)
    if found is None:
        return f"## {title}\n\nNot run.\n"
    text = f"## {title}\n\n"
    if found["error"]:
        text += f"**FAILED: {found['error']}**\n\n"
    try:
        text += make(found["data"])
    except KeyError as missing:  # it failed before it had that
        text += f"No figures: there is no {missing}.\n"
    return text


def page(report: Data) -> str:
    """The whole page."""
    machine = report["machine"]
    parts = [SHOUT] if report["stand_in"] else []
    parts += [
        "# dbrrl on a GPU\n",
        f"{machine.get('gpu')}, {report['date']}, {report.get('seconds', 0):.0f} s, made by\n",
        f"    {report['command']}\n",
        "## Verdicts\n",
        table(("bar", "verdict", "figure"), ((v["bar"], v["verdict"], v["figure"]) for v in report["verdicts"])),
    ]
    if report["problems"]:
        parts.append("Problems:\n\n" + "\n".join(f"- {problem}" for problem in report["problems"]) + "\n")
    parts += [section(name, report) for name in TITLES]
    parts += ["## Machine\n", table(("", ""), machine.items())]
    return "\n".join(parts)
