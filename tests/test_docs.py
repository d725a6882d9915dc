"""Everything that README and documentation show is run: Python snippets, their printed output, commands and links.

A ```python fence runs after those above it on the same page, in an empty folder; a ```text fence right
below it is what it prints. A fence that begins with `# name.py` or `# name.toml` is a file of that name. Every
command of ours runs as it stands, for a few steps, beside the files of its page; of a benchmark the suite is read.
"""

import contextlib
import glob
import importlib
import io
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import dbrrl
from dbrrl.benchmarks import suite
from dbrrl.experiment import Experiment
from dbrrl.experiment.registry import agent_class, agent_names

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python -m (dbrrl\.\w+)([^`;|>\n]*)")


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


def write_files(text: str, folder: Path) -> None:
    """Write the fences of a page that begin with a file's name in a comment."""
    for fence in fences(text):
        if name := re.match(r"# ([\w-]+\.(?:py|toml))\n", fence.text):
            (folder / name[1]).write_text(fence.text, encoding="utf-8")


def run_snippets(text: str, name: str) -> list[str]:
    """Run a page's Python in one namespace; what it prints and the page shows otherwise is reported."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    write_files(text, Path.cwd())
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, from which modules can be imported for the time of a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run_and_print_what_the_page_shows(page: str, folder: Path) -> None:
    assert run_snippets(TEXTS[page], page) == []
    for image in (ROOT / "docs" / "images").glob("*.svg"):  # those that a page draws are what it draws today
        drawn = folder / image.name
        assert not drawn.exists() or drawn.read_text(encoding="utf-8") == image.read_text(encoding="utf-8")


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


@dataclass(frozen=True)
class Command:
    """A command of ours as a page shows it: the module, the words after it, and the first page that has it."""

    module: str
    words: tuple[str, ...]
    page: str = field(compare=False)

    def __str__(self) -> str:
        return " ".join([self.module, *self.words])


def commands(text: str, page: str) -> list[Command]:
    """Every `python -m dbrrl.X WORDS` of a page; a module named without words is only a mention."""
    found = []
    for module, rest in COMMAND.findall(text.replace("\\\n", " ")):
        words = tuple(PLACEHOLDERS.get(word, word) for word in shlex.split(rest, comments=True) if word != "...")
        if words:
            found.append(Command(module, words, page))
    return found


PLACEHOLDERS = {"ENV": "CartPole-v1", "SEED": "0", "$seed": "0"}
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
SHOWN = sorted({command for page, text in TEXTS.items() for command in commands(text, page)}, key=str)
# What makes a command short enough to be run here; given last, it wins over what the page says.
SHORT = {
    "dbrrl.train": "--steps 64 --final-episodes 1 --eval-episodes 1 --num-envs 2 --no-curve",
    "dbrrl.evaluate": "--episodes 1",
    "dbrrl.plot": "",
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, for the commands that take one."""
    experiment = Experiment("ppo", out=tmp_path_factory.mktemp("run"), final_episodes=1, eval_episodes=1)
    directory = experiment.run(steps=64).directory
    assert directory is not None
    return directory


FIRST = ("README.md", "docs/getting-started.md")  # pages whose commands are always run


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=() if one.page in FIRST else pytest.mark.slow, id=str(one)) for one in SHOWN],
)
def test_a_command_does_what_the_page_says(command: Command, finished_run: Path, folder: Path) -> None:
    for name in ("RUN", "runs/RUN", "runs/ANOTHER"):
        shutil.copytree(finished_run, folder / name)
    write_files(TEXTS[command.page], folder)
    words = [part for word in command.words for part in (sorted(glob.glob(word)) if "*" in word else [word])]
    module = importlib.import_module(command.module)
    if hasattr(module, "__path__"):  # a package, which `python -m` runs by its __main__
        module = importlib.import_module(f"{command.module}.__main__")
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            module.main(words)
    elif command.module == "dbrrl.benchmark":
        suite.load(module._parse(words)["suite"])
    elif needs_more(words) or command.module in ("dbrrl.dashboard", "dbrrl.steer"):  # they need more than this
        module._parse(words)
    else:
        short = SHORT[command.module].split()
        module.main([*words, *(["--steps", "128"] if "--resume" in words else short)])


def needs_more(words: list[str]) -> bool:
    """Whether a command asks for what may not be installed here: then its words are checked, and no more."""
    env = words[words.index("--env") + 1] if "--env" in words else "CartPole-v1"
    entry = str(gym.spec(env).entry_point) if env in gym.registry else "elsewhere"
    extras = ("ale_py", "box2d", "mujoco", "elsewhere")
    return bool({"cuda", "--video", "--workers"} & set(words)) or any(name in entry for name in extras)


def test_files_and_extras_of_shell_lines_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for names in re.findall(r"pip install (?:-e )?'\.\[([\w,-]+)\]'", text):
            assert set(names.split(",")) <= extras, page
        for file in re.findall(r"(?:python|bash) ((?:benchmarks|examples|docs|\.ci)/[\w./]+)", text):
            assert (ROOT / file).is_file(), f"{page} names {file}"


def public_modules() -> set[str]:
    """Modules that a user imports: files and packages of dbrrl (neither the core nor old names) and every agent."""
    files = {f"dbrrl.{path.stem}" for path in (ROOT / "dbrrl").glob("[a-z]*.py")} - {"dbrrl.renamed"}
    packages = {f"dbrrl.{path.parent.name}" for path in (ROOT / "dbrrl").glob("*/__init__.py")} - {"dbrrl.autodiff"}
    return {"dbrrl", *files, *packages, *(f"dbrrl.agents.{name}" for name in agent_names())}


def test_every_public_module_is_on_a_page() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    shown = re.findall(r"^\.\. automodule:: (\S+)$", pages, re.MULTILINE)
    assert public_modules() - set(shown) == set()
    assert len(shown) == len(set(shown))


def test_every_name_of_the_face_is_on_a_page_or_is_a_module_of_its_own() -> None:
    assert set(dbrrl._MODULES) <= {name.removeprefix("dbrrl.") for name in public_modules()}  # type: ignore[attr-defined]


def test_every_agent_has_a_page_that_names_its_spaces() -> None:
    for name in agent_names():
        text = (ROOT / "docs" / "agents" / f"{name}.md").read_text(encoding="utf-8")
        served = agent_class(name)
        for space in (*served.action_spaces, *served.observation_spaces):
            assert space.__name__ in text, f"docs/agents/{name}.md does not name {space.__name__}"


def test_the_table_of_agents_is_theirs() -> None:
    rows = dict(re.findall(r"^\| \[.*?\]\((\w+)\.md\) \|[^|]*\|([^|]*)\|", TEXTS["docs/agents/index.md"], re.MULTILINE))
    actions = {name: [space.__name__ for space in agent_class(name).action_spaces] for name in agent_names()}
    assert {name: row.strip().split(", ") for name, row in rows.items()} == actions


def test_a_wrong_output_or_snippet_is_reported() -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert run_snippets(page.format(2), "page") == []
    assert run_snippets(page.format(3), "page")
    with pytest.raises(NameError):
        run_snippets("```python\nunknown\n```\n", "page")


def test_commands_are_found() -> None:
    text = "`python -m dbrrl.plot` or `python -m dbrrl.plot RUN ...`\n    python -m dbrrl.train --seed $seed; done\n"
    assert [str(command) for command in commands(text, "page")] == ["dbrrl.plot RUN", "dbrrl.train --seed 0"]


def test_the_first_page_has_the_table_of_the_readme() -> None:
    tables = []
    for page in ("README.md", "docs/index.md"):
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        rows = [line.split("|")[1:5] for line in lines if line.startswith("|")]
        tables.append([row for row in rows if not row[0].startswith("---")])
    assert tables[0] == tables[1][: len(tables[0])] and len(tables[0]) == 8
