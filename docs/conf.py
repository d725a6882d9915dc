"""How Sphinx builds this site: `sphinx-build -W -n docs site`. Docstrings are read as they are written, in Markdown."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent.parent))

import dbrrl
from dbrrl.config import Config, settings

project = "dbrrl"
author = copyright = "the dbrrl authors"
release = version = dbrrl.__version__

extensions = ["myst_parser", "sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_*"]
myst_heading_anchors = 4

nitpicky = True
default_role = "code"
add_module_names = False
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "pydata_sphinx_theme"
html_title = "dbrrl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 1,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}


ATTRIBUTES = ("attribute", "data", "property")
COLON = "\uf03a"  # stands in for the colons of these, before which napoleon would see a type


def markdown_line(line: str) -> str:
    """What RST would take for markup outside backticks is plain text in our docstrings."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_\b)", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Markdown to RST: an indented block after an empty line is code; a Config gets the table of its settings."""
    given, lines[:] = list(lines), []
    code = False
    for before, line in zip(["", *given], given, strict=False):
        indented = line.startswith("    ")
        if line == "Example:":
            line, indented = "Example::", False
            lines += [line, ""]
            continue
        if line and not indented:
            code = False
        elif line and not before and not code:
            code = True
            lines += ["::", ""]
        verbatim = code or (indented and lines[-2:-1] == ["Example::"])
        lines.append(line if verbatim else markdown_line(line))
    if isinstance(value, type) and issubclass(value, Config) and settings(value):
        lines += ["", *table(value)]
    if what in ATTRIBUTES:
        lines[:] = [line.replace(":", COLON) for line in lines]


def put_back(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """An attribute's colons, after napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def table(config: type[Config]) -> list[str]:
    """The settings of a Config: name, default, range, meaning."""
    rows = [["setting", "default", "is", "meaning"]]
    for entry in settings(config):
        default = str(entry.default).lower() if isinstance(entry.default, bool) else str(entry.default)
        words = [markdown_line(text) for text in (entry.expected, entry.help)]
        rows.append([f"`{entry.name}`", f"`{default or '-'}`", *words])
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* -' if cell is row[0] else '  -'} {cell}" for cell in row]
    return lines


def signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """A Config's arguments are the table below it."""
    return ("(**settings)", None) if isinstance(value, type) and issubclass(value, Config) else None


def reports(app: Sphinx, name: str, source: list[str]) -> None:
    """Reports in docs/benchmarks stand below the page on benchmarks, as they come."""
    pages = sorted(path.stem for path in (Path(app.srcdir) / "benchmarks").glob("*.md"))
    if name == "benchmarks" and pages:
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *(f"benchmarks/{page}" for page in pages), "```", ""])


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """A class under a second name (`Agent = PPO`, for the registry) is on its page once."""
    return True if what == "module" and isinstance(value, type) and value.__name__ != name else None


def unlinked(app: Sphinx, env: BuildEnvironment, node: Any, text: Any) -> Any:
    """A type that is private, or of a module without a page (NumPy's), is named, not linked; others must be found."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    domain: Any = env.get_domain("py")
    inside = name.startswith("_") or (module and module not in domain.modules)
    return text if node.get("refdomain") == "py" and inside else None


def require_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name that no page documents; with -W that ends the build."""
    domain: Any = env.get_domain("py")
    documented = set(domain.objects)
    for module_name in sorted(domain.modules):
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            home = value.__name__ if isinstance(value, ModuleType) else ""
            own = {f"{module_name}.{name}", f"{getattr(value, '__module__', '')}.{name}", home}
            if not own & documented:
                logging.getLogger(__name__).warning("public, but on no page: %s.%s", module_name, name)


def setup(app: Sphinx) -> None:
    """What Sphinx and autodoc call; our docstring reader before that of napoleon."""
    app.connect("source-read", reports)
    app.connect("autodoc-process-docstring", docstring, priority=400)
    app.connect("autodoc-process-docstring", put_back, priority=600)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", unlinked)
    app.connect("env-check-consistency", require_public_names)
