"""Places for the nodes of a directed graph, level by level, with few crossings (Sugiyama et al. 1981)."""

from collections.abc import Sequence

Point = tuple[float, int]  # across, level
SWEEPS = 12


def place(
    parents: Sequence[Sequence[int]], widths: Sequence[float], gap: float
) -> tuple[list[int], list[float], list[list[Point]]]:
    """Levels (0 on top) and horizontal centers of nodes given in an order in which parents come first.

    An edge over several levels gets a narrow place of its own on each one between, so that it passes beside the boxes.

    Args:
        parents: for each node the nodes above it.
        widths: of the nodes, in pixels.
        gap: between neighbors, in pixels.

    Returns:
        The level and the center of each node, and for each edge the points it passes.
    """
    levels = _levels(parents)
    sizes, chains = list(widths), []
    rows: list[list[int]] = [[] for _ in range(max(levels) + 1)]
    above: list[list[int]] = [[] for _ in parents]
    for node, level in enumerate(levels):
        rows[level].append(node)
    on = list(levels)
    for node, ups in enumerate(parents):
        for up in ups:
            chain = [up]
            for level in range(levels[up] + 1, levels[node]):
                sizes.append(gap / 2)
                above.append([chain[-1]])
                on.append(level)
                rows[level].append(len(sizes) - 1)
                chain.append(len(sizes) - 1)
            above[node].append(chain[-1])
            chains.append([*chain, node])
    below: list[list[int]] = [[] for _ in above]
    for node, ups in enumerate(above):
        for up in ups:
            below[up].append(node)
    _order(rows, above, below)
    centers = _across(rows, above, below, sizes, gap)
    return levels, centers[: len(widths)], [[(centers[k], on[k]) for k in chain] for chain in chains]


def _levels(parents: Sequence[Sequence[int]]) -> list[int]:
    """One below the lowest parent; what has no parents stands right above its first use."""
    levels = [0] * len(parents)
    for node, ups in enumerate(parents):
        levels[node] = 1 + max((levels[up] for up in ups), default=-1)
    first_use: dict[int, int] = {}
    for node, ups in enumerate(parents):
        for up in ups:
            first_use[up] = min(first_use.get(up, levels[node]), levels[node])
    return [
        first_use[node] - 1 if not ups and node in first_use else level
        for node, (ups, level) in enumerate(zip(parents, levels, strict=True))
    ]


def _order(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Sort each row by the mean place of its neighbors in the row before, down and up in turn."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for before, row in zip(*((rows, rows[1:]) if down else (rows[::-1], rows[-2::-1])), strict=False):
            at = {node: k / max(1, len(before) - 1) for k, node in enumerate(before)}
            own = {node: k / max(1, len(row) - 1) for k, node in enumerate(row)}
            row.sort(key=lambda n: _mean([at[m] for m in near[n] if m in at], own[n]))


def _across(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]], sizes: list[float], gap: float
) -> list[float]:
    """Centers: each row drawn towards its neighbors' places as far as its order and the gaps allow."""
    centers = [0.0] * len(sizes)
    for row in rows:
        x = 0.0
        for node in row:
            centers[node] = x + sizes[node] / 2
            x += sizes[node] + gap
    for sweep in range(2 * SWEEPS):
        near = above if sweep % 2 else below
        for row in rows if sweep % 2 else rows[::-1]:
            wished = [_mean([centers[m] for m in near[n]], centers[n]) for n in row]
            left, right = list(wished), list(wished)
            for k in range(1, len(row)):
                left[k] = max(left[k], left[k - 1] + _distance(row[k - 1], row[k], sizes, gap))
            for k in range(len(row) - 2, -1, -1):
                right[k] = min(right[k], right[k + 1] - _distance(row[k], row[k + 1], sizes, gap))
            for node, a, b in zip(row, left, right, strict=True):
                centers[node] = (a + b) / 2
    edge = min(c - s / 2 for c, s in zip(centers, sizes, strict=True)) - gap
    return [c - edge for c in centers]


def _distance(a: int, b: int, sizes: list[float], gap: float) -> float:
    return (sizes[a] + sizes[b]) / 2 + gap


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
