"""What README and documentation show is run: Python snippets, their printed output, commands and links.

A ```python fence runs after those above it on the same page, in an empty folder; a ```text fence right
below it is what it prints. Flags in a ```sh fence exist in the help of the command they are given to.
"""

import contextlib
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dbrrl.registry import agent_class, agent_names

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m (dbrrl\.\w+)(.*)")


@dataclass
class Fence:
    """One fenced block: its language, its text, its line, and the text above it since the last."""

    language: str
    text: str
    line: int
    before: str


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found, end = [], 0
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Fence(match[1], match[2], line, text[end : match.start()]))
        end = match.end()
    return found


def run_snippets(text: str, name: str) -> list[str]:
    """Run a page's Python in one namespace; what it prints and the page shows otherwise is reported."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    wrong, printed = [], ""
    for fence in fences(text):
        if fence.language == "python":
            output = io.StringIO()
            code = compile("\n" * fence.line + fence.text, name, "exec")
            with contextlib.redirect_stdout(output):
                exec(code, namespace)
            printed = output.getvalue()
        elif fence.language == "text" and not fence.before.strip() and printed.strip() != fence.text.strip():
            wrong.append(f"{name}:{fence.line} shows\n{fence.text}but the snippet prints\n{printed}")
    return wrong


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run_and_print_what_the_page_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert run_snippets((ROOT / page).read_text(encoding="utf-8"), page) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in headings(file.read_text(encoding="utf-8"))):
            missing.append(target)
    assert missing == []


def shown_flags() -> dict[str, set[str]]:
    """Per module, and agent if one of ours is named, the flags that any page gives it."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
        for module, rest in COMMAND.findall(text):
            flags = re.findall(r"(?<=\s)--[a-z][a-z-]*", rest.partition("`")[0])
            agent = re.search(r"--agent (\w+)(?=\s|$)", rest)
            named = f"{module} --agent {agent[1]}" if agent and agent[1] in agent_names() else module
            found.setdefault(named, set()).update(flags)
    return found


@pytest.mark.parametrize(("named", "flags"), sorted(shown_flags().items()))
def test_commands_take_the_flags_shown(named: str, flags: set[str]) -> None:
    command = [sys.executable, "-m", *named.split(), "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    known = set(re.findall(r"--[a-z][a-z-]*", result.stdout))
    assert flags <= known, f"{named} --help does not name {sorted(flags - known)}"


def test_every_agent_has_a_page_that_names_its_spaces() -> None:
    for name in agent_names():
        text = (ROOT / "docs" / "agents" / f"{name}.md").read_text(encoding="utf-8")
        served = agent_class(name)
        for space in (*served.action_spaces, *served.observation_spaces):
            assert space.__name__ in text, f"docs/agents/{name}.md does not name {space.__name__}"


def test_a_wrong_output_or_snippet_is_reported() -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert run_snippets(page.format(2), "page") == []
    assert run_snippets(page.format(3), "page")
    with pytest.raises(NameError):
        run_snippets("```python\nunknown\n```\n", "page")
