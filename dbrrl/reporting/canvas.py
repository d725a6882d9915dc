"""Shared by all figures: size, axes, colors, legend, file; Matplotlib's global state does not change."""

import functools
import io
import textwrap
from pathlib import Path
from typing import Any

from dbrrl import checkpoint
from dbrrl.errors import RunError

# Okabe and Ito's palette, which color-blind readers can distinguish, and nine colors far from it in CIELAB.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#0000FF",
    "#00DD00", "#FF00DD", "#440088", "#FF0066", "#555500", "#AACC44", "#661111", "#CCBB99",
)  # fmt: skip
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
KINDS = ("png", "svg", "pdf")


def style(index: int) -> dict[str, Any]:
    """Return color, line and marker of the series `index`.

    The first 16 differ in color, and the first 36 differ in line or marker, for prints without color.
    """
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def figure(panels: int, *, columns: int = 3, width: float = 6.4, height: float = 4.2) -> tuple[Any, list[Any]]:
    """Make a figure with `panels` axes; return both, the axes row by row."""
    columns = min(panels, columns)
    rows = -(-panels // columns)
    made = _figure_class()(figsize=(width * columns, height * rows), layout="constrained")
    return made, [made.add_subplot(rows, columns, index + 1) for index in range(panels)]


def dress(axes: Any, title: str, x_label: str, y_label: str) -> None:
    """Set title and labels, draw a pale grid, and remove the frame at the top and the right."""
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def thousands(value: float, position: int | None = None) -> str:
    """Return the text of a tick: "50k", "1.5M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def log_ticks(axis: Any) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic axis, so that a short range has labels too."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(thousands)
    axis.set_minor_formatter(NullFormatter())


def save(figure: Any, path: Path) -> None:
    """Write the figure with one legend under all panels; the same figure gives the same bytes.

    Raises RunError unless the name ends in .png, .svg or .pdf.
    """
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in KINDS:
        raise RunError(f"{path}: expected a name that ends in .png, .svg or .pdf")
    checkpoint.write(path, _drawn(finished(figure), kind))


def finished(figure: Any) -> Any:
    """Add the legend and return the figure."""
    _add_legend(figure)
    return figure


def _drawn(figure: Any, kind: str) -> bytes:
    """Return the content of an image file."""
    from matplotlib import rc_context

    image = io.BytesIO()
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "dbrrl"}):
        figure.savefig(image, format=kind, dpi=120, metadata=undated.get(kind))
    return image.getvalue()


@functools.cache
def _figure_class() -> Any:
    """Return Matplotlib's Figure class, with a representation for notebooks without a backend."""
    from matplotlib import figure

    class Figure(figure.Figure):
        def _repr_png_(self) -> bytes:
            return _drawn(self, "png")

    return Figure


def _add_legend(figure: Any) -> None:
    """Add one legend under all panels: inside a panel it could hide a curve."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if figure.legends or not found:
        return
    names = [textwrap.fill(label, 70, subsequent_indent="    ") for label in found]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = max(1, min(len(names), int(figure.get_figwidth() * 11.5 / (longest + 7))))
    lines = sum(name.count("\n") + 1 for name in names) / columns
    figure.set_figheight(figure.get_figheight() + 0.22 * lines)
    figure.legend(found.values(), names, loc="outside lower center", ncols=columns, frameon=False, handlelength=3.5)
