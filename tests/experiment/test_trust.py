"""No file gets code imported: what a run's files name is loaded only where the command or the caller names it too."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment, benchmark, evaluate, train
from dbrrl.errors import ConfigError, RunError
from dbrrl.experiment import command, trust
from dbrrl.experiment.settings import flat, resolve_plan
from tests.experiment.stub import OtherStub, Stub

ROOT = Path(__file__).parents[2]
STUB = "tests.experiment.stub:Stub"
QUICK: dict[str, Any] = {
    "steps": 200, "eval_episodes": 1, "final_episodes": 1, "curve": False, "tensorboard": False, "progress": False,
    "num_envs": 2,
}  # fmt: skip
PAYLOAD = """
from pathlib import Path
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
from tests.experiment.stub import Stub
Path("ran").touch()
class Env(CartPoleEnv):
    pass
gymnasium.register("Payload-v0", entry_point=Env)
class Agent(Stub):
    pass
"""
NAMES = {"env": ["payload:Env", "payload:Payload-v0"], "agent": ["payload:Agent"]}
CASES = [(field, name) for field, names in NAMES.items() for name in names]

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """A run of the stub in the working folder, with a payload beside its config.toml; calls a command there."""
    Experiment(STUB, out=tmp_path, name="run", **QUICK).run()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.syspath_prepend(str(tmp_path / "run"))
    monkeypatch.delitem(sys.modules, "payload", raising=False)
    Path("payload.py").write_text(PAYLOAD)

    def run(module: Any, *arguments: object) -> tuple[int, str]:
        code = command.run(module.main, [str(word) for word in arguments])
        return code, capsys.readouterr().err

    yield run
    sys.modules.pop("payload", None)


def plant(field: str, name: str) -> None:
    """Let the run's config.toml name the payload, and registered names all else."""
    text = Path("config.toml").read_text()
    old = {"env": 'env = "CartPole-v1"', "agent": f'agent = "{STUB}"'}
    if field == "env":
        text = text.replace(old["agent"], 'agent = "ppo"').replace("[config]\nlearning_rate = 0.01\n", "[config]\n")
    Path("config.toml").write_text(text.replace(old[field], f'{field} = "{name}"'))


@pytest.mark.parametrize(("field", "name"), CASES)
@pytest.mark.parametrize(
    ("module", "words"),
    [(evaluate, ["."]), (train, ["--resume", "."]), (train, ["--config", "config.toml", "--out", "new"])],
)
def test_a_file_alone_imports_nothing_and_the_refusal_says_how(
    call: Call, module: Any, words: list[str], field: str, name: str
) -> None:
    plant(field, name)
    code, errors = call(module, *words)
    assert code == 2 and errors.count("\n") == 1
    assert f"{field}: the file names {name}" in errors and f"add --trust or --{field} {name}" in errors
    assert not Path("ran").exists() and "payload" not in sys.modules


@pytest.mark.parametrize("words", [["--trust"], ["--agent", "payload:Agent"]])
def test_what_the_command_names_again_is_imported(call: Call, words: list[str]) -> None:
    plant("agent", "payload:Agent")
    call(evaluate, ".", "--episodes", "1", *words)
    assert Path("ran").exists()


def test_naming_one_of_two_does_not_trust_the_other(call: Call) -> None:
    plant("agent", "payload:Agent")
    code, errors = call(evaluate, ".", "--env", "CartPole-v1")
    assert code == 2 and "agent: the file names payload:Agent" in errors
    code, errors = call(train, "--resume", ".", "--agent", STUB)
    assert code == 2 and f"its agent is payload:Agent, got {STUB}" in errors
    assert not Path("ran").exists()


def test_an_agents_file_obeys_no_config_that_was_not_named(call: Call) -> None:
    plant("env", "payload:Env")
    file = Path("final/agent.dbrrl").absolute()
    code, errors = call(evaluate, file, "--agent", STUB)
    assert code == 2 and "an agent's file names no environment: add --env NAME, or --config RUN/config.toml" in errors
    Path("config.toml").write_text('env = "Acrobot-v1"\nmax_episode_steps = 1\n')
    assert call(evaluate, file, "--agent", STUB, "--env", "CartPole-v1", "--episodes", "1") == (0, "")
    code, errors = call(evaluate, file, "--agent", STUB, "--config", "config.toml")
    assert code == 2 and "made for the observation space" in errors


@pytest.mark.parametrize("place", ["", "[config]\n"])
def test_the_agent_is_refused_wherever_the_file_names_it(call: Call, place: str) -> None:
    Path("mine.toml").write_text(f'{place}agent = "payload:Agent"\n')
    code, errors = call(train, "--config", "mine.toml", "--out", "new")
    assert code == 2 and "agent: the file names payload:Agent" in errors and not Path("ran").exists()


def test_arguments_by_which_an_environment_could_import_are_refused(call: Call) -> None:
    with pytest.raises(ConfigError, match="env_kwargs: inner: list: the file gives the environment payload:Env"):
        resolve_plan({}, file={"env_kwargs": {"inner": {"list": [1, "payload:Env"]}}})
    harmless = {"map": "level:3", "file": "C:/maps/a.xml", "url": "https://example.org/a", "note": "a: b", "n": 1}
    assert resolve_plan({}, file={"env_kwargs": harmless}).env_kwargs == harmless
    trusted = resolve_plan({}, file={"env_kwargs": {"id": "payload:Env"}}, trusted=True)
    assert trusted.env_kwargs == {"id": "payload:Env"}
    assert not Path("ran").exists()


def test_a_suites_file_imports_nothing_by_itself(call: Call) -> None:
    Path("own.toml").write_text('[[cells]]\nagents = ["payload:Agent"]\nenvs = ["CartPole-v1"]\n')
    code, errors = call(benchmark, "own.toml", "--out", "out")
    assert code == 2 and "add --trust or --agents payload:Agent" in errors
    assert not Path("ran").exists() and not Path("out").exists()


def test_from_python_the_class_or_a_word_is_trust_enough(call: Call) -> None:
    with pytest.raises(ConfigError, match=r"in Python: trust=True or agent="):
        Experiment.resume(".", progress=False)
    for options in ({"trust": True}, {"agent": Stub}, {"agent": STUB}):
        assert Experiment.resume(".", progress=False, **options).plan.agent_class is Stub
    with pytest.raises(RunError, match=r"its agent is tests.experiment.stub:Stub, got tests.experiment.stub:OtherStub"):
        Experiment.resume(".", progress=False, agent=OtherStub)
    with pytest.raises(RunError, match="its env is CartPole-v1, got Acrobot-v1"):
        Experiment.resume(".", progress=False, agent=Stub, env="Acrobot-v1")


def test_what_is_ours_or_registered_needs_no_trust() -> None:
    ours = [("agent", "ppo"), ("agent", "dbrrl.agents.ppo:PPO"), ("env", "CartPole-v1"), ("env", "dbrrl/CartPole-v1")]
    assert not any(trust.is_foreign(*pair) for pair in [*ours, ("env", "dbrrl.envs.chain:Chain"), ("env", "unknown")])
    others = [("agent", "dbrrlx:PPO"), ("env", "os:Payload"), ("env", ":x"), ("env", "dbrrl_x.y:Z"), ("agent", "a.b:C")]
    assert all(trust.is_foreign(*pair) for pair in others)
    assert flat({"agent": "mine:A"}, {"agent": "mine:A"}) == {"agent": "mine:A"}


def test_a_command_in_the_downloaded_folder_imports_nothing(call: Call) -> None:
    plant("agent", "payload:Agent")
    environment = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-m", "dbrrl.evaluate", "."], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2 and "add --trust" in answer.stderr and not Path("ran").exists()


@pytest.mark.parametrize("field", ["network", "eval_env"])
def test_a_file_reaches_no_function_or_environment_by_another_setting(field: str) -> None:
    for name in ("mine:Thing", *(["dbrrl.nn:mlp"] if field == "network" else [])):  # what is ours, too, would be called
        with pytest.raises(ConfigError, match=f"{field}: the file names {name}, code that is neither dbrrl's nor"):
            resolve_plan({}, file={field: name})
