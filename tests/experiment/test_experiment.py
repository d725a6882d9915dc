"""The library's face of a run: exact steps, rows, precedence of settings, folders, interruption."""

import csv
import re
import signal
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dbrrl import checkpoint, experiment
from dbrrl.errors import CheckpointError, ConfigError, RunError
from dbrrl.experiment import Call, Experiment, Interrupted, git, record, registry, resolve_plan
from dbrrl.experiment.directory import RunDirectory

from .stub import Breaking, OtherStub, Stub, StubConfig

SHORT: dict[str, Any] = {"eval_episodes": 3, "final_episodes": 5, "curve": False, "tensorboard": False}


def short(agent: Any = Stub, **options: Any) -> Experiment:
    return Experiment(agent, "CartPole-v1", **{**SHORT, "steps": 400, **options})


class Counting(Stub):
    """Counts the transitions it is given."""

    def observe(self, *arguments: Any, valid: Any = None) -> None:
        super().observe(*arguments, valid=valid)
        self.seen = getattr(self, "seen", 0) + int(np.sum(np.ones(self.num_envs) if valid is None else valid))


class Worsening(Stub):
    """Plays well until its 20th update, and badly after it."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        batch = np.asarray(observation)
        lean = batch[:, 2] + batch[:, 3]
        return ((lean > 0) if self.num_updates <= 20 else (lean < 0)).astype(np.int64)


class Stopping(Stub):
    """Sends its own process a signal at an update, if none was sent since `armed` was set."""

    armed, at = False, 30

    def observe(self, *arguments: Any, **options: Any) -> None:
        super().observe(*arguments, **options)
        if self.num_updates == self.at and type(self).armed:
            type(self).armed = False
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("vectorization", ["auto", "sync"])
@pytest.mark.parametrize(("steps", "num_envs"), [(1, 1), (3, 8), (100, 7), (96, 8)])
def test_steps_are_exact(steps: int, num_envs: int, vectorization: str) -> None:
    run = short(Counting, num_envs=num_envs, vectorization=vectorization).run(steps=steps)
    assert run.agent.seen == steps  # type: ignore[attr-defined]
    assert run.scores[-1]["steps"] == steps == run.agent.config.total_steps


def test_scores_and_progress_are_rows_in_order() -> None:
    run = short(eval_interval=100, log_interval=50).run()
    assert [row["steps"] for row in run.scores] == [104, 200, 304, 400]
    assert [row["evaluation_episodes"] for row in run.scores] == [3, 3, 3, 5]
    assert [row["steps"] for row in run.progress] == [56, 104, 152, 200, 256, 304, 352, 400]
    assert list(run.scores[0])[:8] == [
        "steps",
        "episodes",
        "elapsed",
        "mean",
        "median",
        "stdev",
        "min",
        "max",
    ]
    assert "norm" in run.scores[0] and run.score == run.scores[-1]["mean"] and run.directory is None


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    weights = [short(seed=seed).run().agent.weights for seed in (0, 0, 1)]  # type: ignore[attr-defined]
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


def test_evaluation_changes_nothing_in_training() -> None:
    often = short(eval_interval=8).run().agent.weights  # type: ignore[attr-defined]
    assert np.array_equal(often, short(eval_interval=400).run().agent.weights)  # type: ignore[attr-defined]


def test_explicit_wins_over_file_over_preset_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "preset", lambda agent, env: {"steps": 1, "num_envs": 2, "learning_rate": 0.5})
    agent = {"agent": "tests.experiment.stub:Stub"}
    plan = resolve_plan(agent | {"num_envs": 3}, file={"steps": 7, "config": {"learning_rate": 0.25}})
    assert (plan.settings.num_envs, plan.settings.steps, plan.config.learning_rate) == (3, 7, 0.25)
    assert plan.preset == {} and plan.settings.seed == 0 and plan.config.total_steps == 7
    plan = resolve_plan(agent | {"num_envs": 3})
    assert (plan.settings.steps, plan.config.learning_rate) == (1, 0.5)
    assert plan.preset == {"steps": 1, "learning_rate": 0.5}
    assert resolve_plan(agent, use_preset=False).settings.num_envs == 8


@pytest.mark.parametrize("agent", ["ppo", "a2c", "a3c", "impala", "reinforce", "trpo"])
def test_a_setting_without_effect_is_refused_where_it_is_given_and_not_where_it_is_recorded(agent: str) -> None:
    cure = "recurrent_size: has no effect while recurrent is none: set recurrent, or leave it out"
    with pytest.raises(ConfigError, match=cure):
        resolve_plan({"agent": agent, "recurrent_size": 128})
    assert resolve_plan({"agent": agent, "recurrent_size": 128, "recurrent": "gru"}).config.recurrent_size == 128
    assert resolve_plan({}, file={"agent": agent, "config": {"recurrent_size": 128}}).config.recurrent_size == 128
    whole = registry.agent_class(agent).Config().to_dict()  # Experiment(config=Config()) gives all fields
    assert resolve_plan({"agent": agent, **whole}).config.recurrent_size == 64


@pytest.mark.parametrize(
    ("agent", "without", "setting", "value"),
    [
        ("dqn", "prioritized", "priority_alpha", 0.7),
        ("dqn", "prioritized", "priority_beta", 0.5),
        ("iqn", "noisy", "noisy_sigma", 0.1),
        ("rainbow", "prioritized", "priority_alpha", 0.7),
        ("rainbow", "noisy", "noisy_sigma", 0.1),
    ],
)
def test_settings_of_an_addition_to_dqn_need_it(agent: str, without: str, setting: str, value: float) -> None:
    given: dict[str, Any] = {"agent": agent, setting: value}
    with pytest.raises(ConfigError, match=f"{setting}: has no effect while {without} is false: set {without}"):
        resolve_plan({**given, without: False})
    assert getattr(resolve_plan({**given, without: True}).config, setting) == value


def test_schedules_end_with_the_run_unless_told_otherwise() -> None:
    assert short(config=StubConfig()).plan.config.total_steps == 400  # a Config as it is made says nothing of the run
    assert short(config={"total_steps": 100}).plan.config.total_steps == 100
    recorded = {"agent": "double_dqn", "steps": 400, "config": {"total_steps": 400}}
    assert resolve_plan({}, file=recorded).config.total_steps == 400
    assert resolve_plan({"steps": 100}, file=recorded).config.total_steps == 100
    assert resolve_plan({"steps": 100}, file=recorded | {"steps": 900}).config.total_steps == 400  # extended once
    with pytest.warns(UserWarning, match="total_steps: schedules end at step 100 of 400 and stay at their last value"):
        short(total_steps=100).run()


def test_settings_of_the_agent_as_table_config_or_keyword() -> None:
    for options in (
        {"config": {"learning_rate": 0.5}},
        {"config": StubConfig(learning_rate=0.5)},
        {"learning_rate": 0.5},
        {"config": {"learning_rate": 0.1}, "learning_rate": 0.5},
    ):
        assert short(**options).plan.config.learning_rate == 0.5
    with pytest.raises(ConfigError, match="unknown setting 'learning_rat'; did you mean 'learning_rate'"):
        short(learning_rat=1)
    with pytest.raises(ConfigError, match="num_envs: expected a whole number of at least 1 and at most 100000, got 0"):
        short(num_envs=0)


def test_a_folder_holds_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "uncommitted", lambda: b"")
    run = short(out=tmp_path, name="run", learning_rate=0.3, eval_interval=100, curve=True).run()
    folder = tmp_path / "run"
    assert run.directory == folder
    assert {path.name for path in folder.iterdir()} == {
        *("config.toml", "command.txt", "scores.csv", "progress.csv", "log.jsonl", "curve.png", "checkpoints", "best"),
        *("final", "evaluation_episodes.csv"),
    }
    config = tomllib.loads((folder / "config.toml").read_text())
    assert config["config"] == {"learning_rate": 0.3, "total_steps": 400} and config["seed"] == 0
    assert config["versions"]["numpy"] == np.__version__ and config["machine"]["blas_threads"] == 1
    with (folder / "scores.csv").open(newline="") as file:
        written = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    assert written == run.scores
    with (folder / "evaluation_episodes.csv").open(newline="") as file:
        episodes = list(csv.DictReader(file))
    assert list(episodes[0]) == ["evaluation", "steps", "return", "length"]
    for number, row in enumerate(written):
        own = [episode for episode in episodes if int(episode["evaluation"]) == number]
        returns = [float(episode["return"]) for episode in own]
        assert len(own) == row["evaluation_episodes"] and {float(episode["steps"]) for episode in own} == {row["steps"]}
        assert (np.mean(returns), min(returns), max(returns)) == (row["mean"], row["min"], row["max"])
    back = Stub.load(folder / "final" / "agent.dbrrl")
    assert np.array_equal(back.weights, run.agent.weights)  # type: ignore[attr-defined]
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "step-000000000304.dbrrl",
        "step-000000000400.dbrrl",
    ]
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_no_environment_variable_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBRRL_TEST_TOKEN", "hunter2-secret")
    short(out=tmp_path, name="run").run()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_folders_are_never_taken_twice(tmp_path: Path) -> None:
    short(out=tmp_path, name="run").run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="exists already"):
        short(out=tmp_path, name="run").run()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    folders = {short(out=tmp_path).run().directory for _ in range(3)}
    assert len(folders) == 3
    assert all(folder is not None and "Stub-CartPole-v1-seed0-" in folder.name for folder in folders)


class OfMain(Stub):
    """One of the program that runs, as far as its name goes."""


class EnvOfMain(Breaking):
    """Likewise; its episodes are of 10 steps."""


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The two classes are of the program that runs, and the second is registered with Gymnasium, too."""
    for found in (OfMain, EnvOfMain):
        monkeypatch.setattr(found, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], found.__name__, found, raising=False)
    for name, made_by in {"OfMain-v0": EnvOfMain, "OfMain-v1": "__main__:EnvOfMain"}.items():
        gym.register(name, entry_point=made_by, max_episode_steps=5)
    yield
    for name in ("OfMain-v0", "OfMain-v1"):
        del gym.registry[name]


@pytest.mark.parametrize(
    ("agent", "env"),
    [(OfMain, "CartPole-v1"), *((Stub, env) for env in ("__main__:EnvOfMain", "OfMain-v0", "OfMain-v1"))],
)
def test_a_class_that_other_programs_cannot_find_is_told_at_the_start(
    tmp_path: Path, main: None, agent: Any, env: str
) -> None:
    def stop(run: Any) -> None:
        raise ZeroDivisionError

    settings: dict[str, Any] = {**SHORT, "steps": 100, "preset": False, "progress": False}
    Experiment(agent, env, **settings).run(steps=8)  # nothing to say where nothing is recorded
    field, name = ("agent", "__main__:OfMain") if agent is OfMain else ("env", env)
    call = "Experiment.resume({}, agent=OfMain, trust=True)" if agent is OfMain else "Experiment.resume({}, trust=True)"
    told = re.escape(f"{field}: {name} is of the program that runs now") + ".* with " + re.escape(call.format("RUN"))
    with pytest.warns(UserWarning, match=f"^{told}$"), pytest.raises(ZeroDivisionError) as caught:
        Experiment(agent, env, out=tmp_path, name="run", callbacks=[Call(stop, 56)], **settings).run()
    run = call.format(repr(str(tmp_path / "run")))
    told = f"saved at step 56; resume with: {run}.run(), in the program that has its classes and objects"
    assert caught.value.__notes__ == [told]
    options = {"agent": OfMain} if agent is OfMain else {}
    assert Experiment.resume(tmp_path / "run", trust=True, progress=False, **options).run().scores[-1]["steps"] == 100


def test_an_agent_of_a_function_is_told_at_the_start(tmp_path: Path) -> None:
    class Local(Stub):
        """A class that only this function knows."""

    call = r"Experiment\.resume\(RUN, agent=Local, trust=True\)"
    with pytest.warns(UserWarning, match=rf"<locals>.Local is of a function, .* with {call}$"):
        short(Local, out=tmp_path, name="run").run()


def test_an_empty_folder_does_not_take_a_name_and_anything_else_does(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = short(out=tmp_path, name="run").run()
    assert run.directory == tmp_path / "run" and (tmp_path / "run" / "config.toml").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("notes", "file", "link"):
        with pytest.raises(RunError, match=f"{name}: exists already"):
            short(out=tmp_path, name=name).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "notes", "run"]
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise CheckpointError("cannot be written: No space left on device")

    monkeypatch.setattr(RunDirectory, "write_config", full)
    with pytest.raises(CheckpointError, match="No space left"):
        short(out=tmp_path, name="run").run()
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_and_the_uncommitted_changes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.versions()  # asked once in a process, with the true commit
    patches = iter([b"--- first", b"--- second", b""])
    monkeypatch.setattr(git, "uncommitted", lambda: next(patches))
    monkeypatch.setattr(git, "commit", lambda patch: "0" * 40)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "dbrrl.train", "--name", "a b"])
    interrupted(tmp_path, 30)
    Experiment.resume(tmp_path / "run", trust=True).run()
    folder = tmp_path / "run"
    first, second = (folder / "command.txt").read_text().splitlines()
    command = f"commit {'0' * 40}, in {Path.cwd()}: python -m dbrrl.train --name 'a b'"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, step 0, " + re.escape(command), first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, step 240, " + re.escape(command), second)
    assert (folder / "uncommitted.patch").read_bytes() == b"--- first"
    assert (folder / "uncommitted-step-240.patch").read_bytes() == b"--- second"
    Experiment.resume(folder, trust=True).run(steps=500)
    assert len((folder / "command.txt").read_text().splitlines()) == 3
    assert not (folder / "uncommitted-step-400.patch").exists()


def test_wrong_settings_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Pendulum"):
        Experiment("tests.experiment.stub:Stub", "Pendulum-v", out=tmp_path / "runs", **SHORT).run()
    assert not (tmp_path / "runs").exists()


def test_the_best_agent_is_kept_also_over_a_resume(tmp_path: Path) -> None:
    short(Worsening, out=tmp_path, name="run", eval_interval=100).run()
    best = tmp_path / "run" / "best" / "agent.dbrrl"
    record = checkpoint.load(best, kind="agent")
    assert record["state"]["num_updates"] == 13  # the evaluation at step 104, of 8 environments
    Experiment.resume(tmp_path / "run", trust=True).run(steps=600)
    assert checkpoint.load(best, kind="agent")["state"]["num_updates"] == 13


def interrupted(tmp_path: Path, at: int = 30) -> None:
    Stopping.armed, Stopping.at = True, at
    with pytest.raises(Interrupted, match=rf"stopped and saved at step {8 * at}; resume with: .*--resume"):
        short(Stopping, out=tmp_path, name="run").run()


@pytest.mark.parametrize("at", [1, 5, 30, 50])
def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path, at: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupted(tmp_path, at)
    assert signal.getsignal(signal.SIGINT) is before
    run = Experiment.resume(tmp_path / "run", trust=True).run()
    whole = short(Stub).run()
    assert np.array_equal(run.agent.weights, whole.agent.weights)  # type: ignore[attr-defined]
    for one, other in ((run.scores, whole.scores), (run.progress, whole.progress)):
        assert [without_clock(row) for row in one] == [without_clock(row) for row in other]


def without_clock(row: dict[str, float]) -> str:
    return repr([(name, row[name]) for name in row if name not in ("elapsed", "steps_per_second")])


class StoppingInEvaluation(Stopping):
    """Sends the signal while it is evaluated for the third time."""

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        if not explore and self.num_updates >= 15 and type(self).armed:
            type(self).armed = False
            signal.raise_signal(signal.SIGINT)
        return super().act(observation, explore)


def test_an_evaluation_that_was_interrupted_is_made_after_the_resume(tmp_path: Path) -> None:
    StoppingInEvaluation.armed = True
    with pytest.raises(Interrupted, match="at step 120;"):
        short(StoppingInEvaluation, out=tmp_path, name="run").run()
    run = Experiment.resume(tmp_path / "run", trust=True).run()
    whole = short(StoppingInEvaluation).run()
    assert np.array_equal(run.agent.weights, whole.agent.weights)  # type: ignore[attr-defined]
    assert list(map(without_clock, run.scores)) == list(map(without_clock, whole.scores))


def resumed(tmp_path: Path, change: Any) -> None:
    interrupted(tmp_path)
    change(tmp_path / "run")
    Experiment.resume(tmp_path / "run", trust=True).run()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="damaged"):
        resumed(tmp_path, lambda run: damage(max((run / "checkpoints").iterdir())))


def test_checkpoints_that_are_all_damaged_end_the_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        resumed(tmp_path, lambda run: [damage(path) for path in (run / "checkpoints").iterdir()])


@pytest.mark.parametrize("part", ["agent", "environments", "loop"])
@pytest.mark.parametrize("content", [{"odd": 1}, [1], None])
def test_a_checkpoint_that_is_not_of_a_run_ends_the_resume(tmp_path: Path, part: str, content: Any) -> None:
    def hollow(run: Path) -> None:
        for path in (run / "checkpoints").iterdir():
            state = checkpoint.load(path, kind="run")
            checkpoint.save(path, state | {part: content}, kind="run")

    with pytest.raises(CheckpointError, match="run/checkpoints"):
        resumed(tmp_path, hollow)


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("learning_rate = 0.01", "learning_rate = 0.02", r"its \[config\] is not that of the checkpoint"),
        ("test_experiment:Stopping", "stub:OtherStub", "agent is '.*OtherStub', at the checkpoint '.*:Stopping'"),
        (
            'env = "CartPole-v1"',
            'env = "Acrobot-v1"',
            "run/config.toml: env is 'Acrobot-v1', at the checkpoint 'CartPole-v1': undo the change",
        ),
        ("num_envs = 8", "num_envs = 4", "num_envs is 4, at the checkpoint 8: undo the change"),
        ("seed = 0", "seed = 7", "seed is 7, at the checkpoint 0"),
        ("eval_episodes = 3", "eval_episodes = 4", "eval_episodes is 4, at the checkpoint 3"),
        ('max_episode_steps = "none"', "max_episode_steps = 20", "max_episode_steps is 20, at the checkpoint None"),
        ("[env_kwargs]", "[env_kwargs]\na = 1", r"its \[env_kwargs\] is not that of the checkpoint"),
        ("[env_kwargs]", "[eval_env_kwargs]\na = 1", r"its \[eval_env_kwargs\] is not that of the checkpoint"),
        ("steps = 400", "steps = four", "not a TOML file"),
    ],
)
def test_a_run_whose_settings_were_changed_is_refused(tmp_path: Path, old: str, new: str, error: str) -> None:
    with pytest.raises((CheckpointError, RunError, ConfigError), match=error):
        resumed(tmp_path, lambda run: edit(run, old, new))


def test_a_resume_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path)
    edit(tmp_path / "run", "seed = 0", "seed = 7")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="undo the change"):
        Experiment.resume(tmp_path / "run", trust=True).run(steps=900)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def foreign(run: Path, env: str, agent: Any = Stub) -> None:
    """Put the parts of another run into the checkpoints of `run`."""
    other = Experiment(agent, env, out=run.parent, name="other", **SHORT, steps=400).run()
    assert other.directory is not None
    parts = checkpoint.load(max((other.directory / "checkpoints").iterdir()), kind="run")
    for path in (run / "checkpoints").iterdir():
        state = checkpoint.load(path, kind="run")
        checkpoint.save(path, state | {name: parts[name] for name in ("agent", "environments")}, kind="run")


@pytest.mark.slow
def test_a_checkpoint_of_other_spaces_or_another_agent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"made for the observation space Box\(.*but CartPole-v1 has Box"):
        resumed(tmp_path, lambda run: foreign(run, "Acrobot-v1", Stopping))
    with pytest.raises(CheckpointError, match="holds the agent 'stub', expected 'test_experiment'"):
        resumed(tmp_path / "second", lambda run: foreign(run, "CartPole-v1"))


def test_what_changes_no_number_may_be_changed(tmp_path: Path) -> None:
    resumed(tmp_path, lambda run: edit(run, "curve = false", "curve = true"))
    assert (tmp_path / "run" / "curve.png").exists()


def test_a_run_that_ended_is_not_begun_anew_where_its_checkpoints_are_gone(tmp_path: Path) -> None:
    short(out=tmp_path, name="run").run()
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="a finished run without checkpoints cannot be resumed"):
        Experiment.resume(tmp_path / "run", trust=True).run()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("value", [None, np.float64(0.5), {"inner": [1, None]}, object])
def test_arguments_that_no_file_can_hold_are_refused_before_the_run(tmp_path: Path, value: Any) -> None:
    experiment = Experiment(Stub, "tests.experiment.stub:Breaking", env_kwargs={"how": value}, out=tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"env_kwargs: how.*: expected texts, numbers, .*, got \w+: set it in"):
        experiment.run()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["a/b", "..", "/abroad"])
def test_a_name_is_that_of_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"name: expected the name of one folder, got .*: use --out for its place"):
        short(out=tmp_path, name=name).run()


def test_an_earlier_name_of_a_function_works_with_a_warning() -> None:
    for module in (experiment, experiment.settings):
        with pytest.warns(DeprecationWarning, match=f"{module.__name__}.settle is resolve_plan now"):
            assert module.settle is resolve_plan
        with pytest.raises(AttributeError, match="no attribute 'unsettle'"):
            module.unsettle  # noqa: B018


def test_a_class_of_the_library_is_the_agent_of_that_name() -> None:
    assert Experiment(registry.agent_class("ppo")).plan == Experiment("ppo").plan
    assert Experiment(Stub).plan.settings.agent == "tests.experiment.stub:Stub"
    with pytest.raises(ConfigError, match=r"expected a subclass of dbrrl\.learning\.agent\.Agent, got <class 'int'>"):
        Experiment(int)  # type: ignore[arg-type]


def test_an_interval_is_a_tenth_of_the_run_also_where_that_is_no_whole_number() -> None:
    run = short(num_envs=1).run(steps=403)
    assert [row["steps"] for row in run.scores] == [*range(41, 403, 41), 403]


def test_other_software_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"^not the same software .*: source [0-9a-f]+0 is now [0-9a-f]+$"):
        resumed(tmp_path, lambda run: edit(run, "source = ", 'source = "00" # '))


def test_resuming_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such run directory"):
        Experiment.resume(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"it has no config.toml"):
        Experiment.resume(tmp_path)


def test_a_failing_checkpoint_leaves_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = RunDirectory.save_checkpoint

    def full(self: RunDirectory, steps: int, state: Any) -> Path:
        if steps > 200:
            raise CheckpointError("cannot be written: No space left on device")
        saved.append(steps)
        return save(self, steps, state)

    monkeypatch.setattr(RunDirectory, "save_checkpoint", full)
    with pytest.raises(CheckpointError, match="No space left"):
        short(out=tmp_path, name="run", eval_interval=100).run()
    monkeypatch.undo()
    assert saved == [104, 200]
    run = Experiment.resume(tmp_path / "run", trust=True).run()
    assert np.array_equal(run.agent.weights, short().run().agent.weights)  # type: ignore[attr-defined]


def test_the_library_prints_nothing_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    short().run()
    assert capsys.readouterr() == ("", "")
    short(progress=True).run()
    assert capsys.readouterr().out.count("score") == 10


def test_nothing_warns(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short(OtherStub, out=tmp_path, curve=True).run()


@pytest.mark.slow
def test_a_run_may_act_and_learn_op_by_op(tmp_path: Path) -> None:
    options = SHORT | {"steps": 64, "n_steps": 16, "num_envs": 2, "batch_size": 16, "out": tmp_path}
    for compiled in (True, False):
        run = Experiment("ppo", "CartPole-v1", compile=compiled, name=str(compiled), **options).run()
        config = tomllib.loads((tmp_path / str(compiled) / "config.toml").read_text())
        assert config["compile"] is compiled
        assert run.agent.compiled is run.agent.step.compiled is run.agent.computed.compiled is compiled
        assert Experiment.resume(tmp_path / str(compiled)).run(steps=96).agent.compiled is compiled
