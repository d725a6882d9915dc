"""Draws an exported chart with Matplotlib: the same code as in the script that a chart is exported to."""

import csv
import inspect
import io
import json
import threading
import warnings
from typing import Any

from dbrrl.reporting import canvas

from .access import Refusal
from .messages import ChartLine, Export

_SCRIPT = '''"""Draws a chart of dbrrl's dashboard with Matplotlib: python chart.py [FILE]"""

import sys
from typing import Any

COLORS = {colors}
STYLES = {styles}
CHART = {chart}


{source}

if __name__ == "__main__":
    from matplotlib.figure import Figure

    draw(Figure, CHART).savefig(sys.argv[1] if len(sys.argv) > 1 else "chart.png", dpi=120)
'''
_ONE = threading.Lock()
COLORS, STYLES = canvas.COLORS, canvas.LINES


def draw(figure_class: Any, chart: dict[str, Any]) -> Any:
    """Draw the lines of a chart, those of its right statistics against the right axis."""
    from matplotlib import rc_context

    ink = "#e6e6e6" if chart["dark"] else "#222222"
    paper = "#16181d" if chart["dark"] else "white"
    with rc_context({"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink, "axes.facecolor": paper,
                     "xtick.color": ink, "ytick.color": ink}):  # fmt: skip
        figure = figure_class(figsize=(8, 5), layout="constrained", facecolor=paper)
        axes = figure.add_subplot()
        right = axes.twinx() if any(line["y"] in chart["right"] for line in chart["lines"]) else None
        for index, line in enumerate(chart["lines"]):
            place = right if right is not None and line["y"] in chart["right"] else axes
            color = COLORS[index % len(COLORS)]
            style = STYLES[index // len(COLORS) % len(STYLES)]
            label = line["label"] if len(line["label"]) <= 80 else line["label"][:79] + "…"
            label = " " + label if label.startswith("_") else label  # "_" would hide it
            place.plot(line["places"], line["values"], color=color, linestyle=style, label=label)
            if line["low"]:
                place.fill_between(line["places"], line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
        axes.set_title(chart["title"], parse_math=False)
        axes.set_xlabel(chart["x_label"], parse_math=False)
        axes.set_ylabel(chart["y_label"], parse_math=False)
        if right is not None:
            right.set_ylabel(chart["right_label"], parse_math=False)
        axes.grid(alpha=0.3)
        axes.set_xscale("log" if chart["log_x"] else "linear")
        axes.set_yscale("log" if chart["log_y"] else "linear")
        axes.set_xlim(*chart["x_range"])  # None: as far as the numbers go
        axes.set_ylim(*chart["y_range"])
        if right is not None:
            right.set_ylim(*chart["right_range"])
        if chart["lines"]:
            longest = max(len(line["label"]) for line in chart["lines"])
            columns = max(1, min(3, len(chart["lines"]), 100 // (longest + 6)))  # letters that fit beside each other
            legend = figure.legend(loc="outside lower center", frameon=False, ncols=columns)
            for text in legend.get_texts():
                text.set_parse_math(False)
    return figure


def exported(request: Export, lines: list[ChartLine]) -> tuple[str, bytes]:
    """Return the media type and the content of a chart as a file."""
    if request.format == "csv":
        return "text/csv", _csv(request.chart.x, lines)
    style = request.style
    chart = {name: getattr(style, name) for name in style.__struct_fields__}
    chart["lines"] = [{name: getattr(line, name) for name in line.__struct_fields__} for line in lines]
    if request.format == "py":
        plain = json.loads(json.dumps(chart, allow_nan=True), parse_constant=float)
        code = inspect.getsource(draw).rstrip("\n") + "\n"
        text = _SCRIPT.format(colors=COLORS, styles=STYLES, chart=_literal(plain), source=code)
        return "text/x-python", text.encode()
    kind = "image/png" if request.format == "png" else "image/svg+xml"
    try:
        return kind, _picture(chart, request.format)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        raise Refusal(409, f"this chart cannot be drawn: {error}") from error


def _picture(chart: dict[str, Any], form: str) -> bytes:
    """Return the content of an image file; Matplotlib draws one at a time."""
    from matplotlib.figure import Figure

    image = io.BytesIO()
    dated: dict[str, Any] = {"metadata": {"Date": None}} if form == "svg" else {}
    with _ONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks, and of ranges that a logarithm has not
        draw(Figure, chart).savefig(image, format=form, dpi=120, **dated)
    return image.getvalue()


def _csv(x: str, lines: list[ChartLine]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["line", "statistic", x, "value", "low", "high"])
    for line in lines:
        for index, (place, value) in enumerate(zip(line.places, line.values, strict=True)):
            band = [_plain(line.low[index]), _plain(line.high[index])] if line.low else ["", ""]
            writer.writerow([line.label, line.y, _plain(place), _plain(value), *band])
    return text.getvalue().encode()


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _literal(value: object) -> str:
    """Return Python's text of plain data, with float("nan") for what has no literal."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_literal(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
