"""Pictures of a recorded graph: SVG of our own, Graphviz text, Mermaid text."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from dbrrl.autodiff.op import Op
from dbrrl.autodiff.tensor import Tensor
from dbrrl.debugging.layout import place
from dbrrl.errors import ConfigError, GraphError

COLORS = {"op": "#dbe9f9", "parameter": "#d8f0d8", "data": "#eeeeee", "result": "#fde2c4"}
LIMIT = 1500  # nodes of a picture that can still be looked at, and laid out in seconds
HEIGHT, GAP, LEVEL, CHARACTER = 38, 18, 74, 7.8  # pixels


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
        path: a file ending in .svg, .dot (Graphviz) or .mmd (Mermaid). A file of that name is replaced.
        names: a Module, or a mapping from name to Tensor, to name parameters, inputs and results in the picture.

    Returns:
        The path.

    Raises:
        GraphError: `loss` was not recorded, or its graph was freed.
        ConfigError: another suffix, or a picture of more than 1500 nodes.
    """
    path = Path(path)
    writers = {".svg": _svg, ".dot": _dot, ".mmd": _mermaid}
    if path.suffix not in writers:
        raise ConfigError(
            f"draw_graph: expected a file name ending in .svg, .dot or .mmd, got {path.name!r}: rename it"
        )
    nodes = graph_nodes(loss, names)
    if path.suffix == ".svg" and len(nodes) > LIMIT:
        raise ConfigError(
            f"draw_graph: expected at most {LIMIT} nodes for a picture, got {len(nodes)}: draw fewer "
            "steps, or write .dot"
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(writers[path.suffix](nodes), encoding="utf-8")
        os.replace(beside, path)
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
                continue  # a number: it stands in the op's own line
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
    widths = [max(len(line) for line in node.lines) * CHARACTER + 20 for node in nodes]
    levels, centers, routes = place([node.parents for node in nodes], widths, GAP)
    width = max(x + w / 2 for x, w in zip(centers, widths, strict=True)) + GAP
    height = (max(levels) + 1) * LEVEL + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
    ]
    parts += [_edge(points) for points in routes]
    for node, w, level, x in zip(nodes, widths, levels, centers, strict=True):
        y = level * LEVEL + GAP
        parts.append(
            f'<rect x="{x - w / 2:.1f}" y="{y}" width="{w:.1f}" height="{HEIGHT}" rx="7" fill="{COLORS[node.kind]}" '
            'stroke="#555"/>'
        )
        for k, line in enumerate(node.lines):
            style = ' font-weight="bold"' if k == 0 else ' fill="#444"'
            parts.append(f'<text x="{x:.1f}" y="{y + 16 + 15 * k}" text-anchor="middle"{style}>{escape(line)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _edge(points: list[tuple[float, int]]) -> str:
    """A smooth line from below the first box, past those between, to above the last."""
    x, level = points[0]
    y = level * LEVEL + GAP + HEIGHT
    path = f"M{x:.1f},{y}"
    for k, (x2, level2) in enumerate(points[1:], 2):
        y2 = level2 * LEVEL + GAP
        bend = (y + y2) / 2
        path += f" C{x:.1f},{bend} {x2:.1f},{bend} {x2:.1f},{y2}"
        x, y = x2, y2
        if k < len(points):
            y = y2 + HEIGHT
            path += f" L{x:.1f},{y}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
