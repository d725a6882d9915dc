"""Pictures of a recorded graph, as text for Graphviz or Mermaid, or drawn by Graphviz as SVG."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import ConfigError, GraphError

COLORS = {"op": "#dbe9f9", "parameter": "#d8f0d8", "data": "#eeeeee", "result": "#fde2c4"}
LIMIT = 1500  # nodes of a picture that can still be looked at, and laid out in seconds


@dataclass
class Node:
    """An op, or an array that goes into one."""

    lines: tuple[str, ...]
    kind: str  # a key of COLORS
    parents: list[int] = field(default_factory=list)


def draw_graph(loss: Any, path: str | Path, names: Any = None) -> Path:
    """Draw how `loss` was computed: data and parameters on top, ops with the shapes of their results, the loss below.

    Args:
        loss: a recorded Tensor, or several, before backward() frees their graph.
        path: a file ending in .dot (Graphviz), .mmd (Mermaid), or .svg, which Graphviz's program `dot` draws. A file of
            that name is replaced.
        names: a Module, or a mapping from name to Tensor, to name parameters, inputs and results in the picture.

    Returns:
        The path.

    Raises:
        GraphError: `loss` was not recorded, or its graph was freed.
        ConfigError: another suffix; for a .svg also no `dot`, or more than 1500 nodes.
    """
    path = Path(path)
    writers = {".svg": _svg, ".dot": _dot, ".mmd": _mermaid}
    if path.suffix not in writers:
        raise ConfigError(
            f"draw_graph: expected a file name ending in .dot, .mmd or .svg, got {path.name!r}: rename it"
        )
    nodes = graph_nodes(loss, names)
    if path.suffix == ".svg" and len(nodes) > LIMIT:
        raise ConfigError(
            f"draw_graph: expected at most {LIMIT} nodes for a picture, got {len(nodes)}: draw fewer "
            "steps, or write .dot"
        )
    text = writers[path.suffix](nodes)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"draw_graph: expected a place to write {path}, got {error.strerror}: choose a folder that exists"
        ) from None
    return path


def graph_nodes(loss: Any, names: Any = None) -> list[Node]:
    """The graph behind `loss` in the order of computation; `parents` are places in the list."""
    results = [loss] if isinstance(loss, Tensor) else list(loss)
    ops: set[Op] = set()
    for y in results:
        if not isinstance(y, Tensor) or y.op is None:
            raise GraphError(
                f"draw_graph: expected a Tensor computed from one that requires gradients, got "
                f"{'a leaf' if isinstance(y, Tensor) else type(y).__name__}: compute it outside no_grad()"
            )
        ops.add(y.op)
    last, stack = set(ops), list(ops)
    while stack:
        op = stack.pop()
        if op.inputs is None:
            raise GraphError(
                "draw_graph: backward() has freed this graph: expected a fresh one; draw before backward(), "
                "or pass retain_graph=True"
            )
        for x in op.inputs:
            if isinstance(x, Tensor) and x.op is not None and x.op not in ops:
                ops.add(x.op)
                stack.append(x.op)
    known = _known(names)
    nodes: list[Node] = []
    place_of: dict[int, int] = {}
    for op in sorted(ops, key=lambda op: -op.order):
        node = Node(_op_lines(op, known), "result" if op in last else "op")
        for x in op.inputs or ():
            key = id(x.op) if isinstance(x, Tensor) and x.op is not None else id(x)
            if not hasattr(x, "shape"):
                continue  # a number: it is in the op's own line
            if key not in place_of:
                place_of[key] = len(nodes)
                nodes.append(_leaf(x, known))
            node.parents.append(place_of[key])
        place_of[id(op)] = len(nodes)
        nodes.append(node)
    return nodes


def _known(names: Any) -> dict[int, str]:
    """Name by identity: of the op for a computed tensor, of the tensor or array itself for others."""
    if names is None:
        return {}
    pairs = names.items() if isinstance(names, Mapping) else names.named_parameters()
    pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
    return {id(x.op) if isinstance(x, Tensor) and x.op is not None else id(x): name for name, x in pairs}


def _op_lines(op: Op, known: dict[int, str]) -> tuple[str, ...]:
    numbers = [f"{x:.4g}" for x in op.inputs or () if isinstance(x, (int, float))]
    words = [v for k, v in vars(op).items() if isinstance(v, str) and k != "trace"]  # such as Linear's activation
    title = " ".join([type(op).__name__, *words, *numbers])
    if id(op) in known:
        title = f"{known[id(op)]} = {title}"
    return title, _shape(op.output.shape)


def _leaf(x: Any, known: dict[int, str]) -> Node:
    wants = isinstance(x, Tensor) and x.requires_grad
    return Node((known.get(id(x), "parameter" if wants else "data"), _shape(x.shape)), "parameter" if wants else "data")


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "scalar"


def _dot(nodes: list[Node]) -> str:
    lines = ["digraph {", '  node [shape=box style="rounded,filled" fontname="sans-serif"]']
    for i, node in enumerate(nodes):
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in node.lines)
        lines.append(f'  n{i} [label="{label}" fillcolor="{COLORS[node.kind]}"]')
    lines += [f"  n{p} -> n{i}" for i, node in enumerate(nodes) for p in node.parents]
    return "\n".join([*lines, "}", ""])


def _mermaid(nodes: list[Node]) -> str:
    lines = ["flowchart TD"]
    for i, node in enumerate(nodes):
        label = "<br/>".join(escape(line).replace('"', "#quot;") for line in node.lines)
        lines.append(f'  n{i}("{label}"):::{node.kind}')
    lines += [f"  n{p} --> n{i}" for i, node in enumerate(nodes) for p in node.parents]
    lines += [f"  classDef {kind} fill:{color},stroke:#555" for kind, color in COLORS.items()]
    return "\n".join([*lines, ""])


def _svg(nodes: list[Node]) -> str:
    """The picture that Graphviz's `dot` draws; ConfigError if it is not installed or fails."""
    program = shutil.which("dot")
    if program is None:
        raise ConfigError(
            "draw_graph: expected Graphviz's program `dot` for a .svg, found none: install Graphviz, or write .dot "
            "(Graphviz) or .mmd (Mermaid), which other programs draw"
        )
    drawn = subprocess.run([program, "-Tsvg"], input=_dot(nodes), capture_output=True, text=True, encoding="utf-8")
    if drawn.returncode:
        raise ConfigError(f"draw_graph: `dot` failed: {' '.join(drawn.stderr.split())}: write .dot or .mmd")
    return drawn.stdout
