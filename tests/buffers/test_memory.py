"""Where buffers lie: memory, or a file of their own; and what saving a large one takes."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbrrl import checkpoint
from dbrrl.agents.dqn import DQN
from dbrrl.buffers import PrioritizedReplayBuffer, ReplayBuffer
from dbrrl.buffers import memory as memory_module
from dbrrl.checkpoint import format
from dbrrl.envs.probes import ProbeObservation
from dbrrl.errors import ConfigError
from dbrrl.experiment import Experiment

from .test_replay import Story
from .test_replay import make as make_plain
from .test_stacks import StackStory
from .test_stacks import make as make_stacked


@pytest.mark.parametrize(("make", "tell"), [(make_plain, Story), (make_stacked, StackStory)])
def test_a_file_holds_the_same_as_memory(make: Callable[..., Any], tell: type[Story], tmp_path: Path) -> None:
    for kind in (ReplayBuffer, PrioritizedReplayBuffer):
        in_memory, in_file = tell(make(14, 2, kind=kind), 0), tell(make(14, 2, kind=kind, file=tmp_path / "replay"), 0)
        assert not list(tmp_path.iterdir())  # its name is gone: nothing stays behind, however the process ends
        assert isinstance(in_file.buffer.stores[0].rows.base.base.base, np.memmap)
        for _ in range(30):
            in_memory.step()
            in_file.step()
        assert in_file.check(2) == 14
        saved, other = in_file.buffer.state_dict(), tell(make(14, 2, kind=kind), 0)
        np.testing.assert_equal(saved, in_memory.buffer.state_dict())
        other.buffer.load_state_dict(saved)
        np.testing.assert_equal(other.buffer.state_dict(), saved)


def test_a_file_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="precious exists already, expected the name of a file to make"):
        make_plain(8, 1, file=precious)
    assert precious.read_bytes() == b"precious"
    with pytest.raises(ConfigError, match=r"missing.replay cannot be made: No such file"):
        make_plain(8, 1, file=tmp_path / "missing" / "replay")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=200))
    make_plain(8, 1, file=tmp_path / "replay")
    with pytest.raises(ConfigError, match=r"at most the 0.0 GB free on the disk of .*replay, needs 0.0 GB"):
        make_plain(24, 1, file=tmp_path / "replay")


def test_a_file_takes_the_place_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(memory_module, "available_bytes", lambda: 30_000_000)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=8_000_000_000))
    shapes, dtypes = [(4, 84, 84)], [np.uint8]
    with pytest.raises(ConfigError, match=r"at most the 0.0 GB of memory available, needs 28.2 GB: .*buffer_file"):
        ReplayBuffer(1_000_000, 1, shapes, dtypes)
    ReplayBuffer(1_000_000, 1, shapes, dtypes, frame_stack=4, file=tmp_path / "replay")
    assert f"ReplayBuffer: 7.1 GB of disk at {tmp_path / 'replay'} as it fills" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"at most the 8.0 GB free on the disk .* needs 28.2 GB"):
        ReplayBuffer(1_000_000, 1, shapes, dtypes, file=tmp_path / "replay")


def test_an_agent_may_name_a_file(tmp_path: Path) -> None:
    env = ProbeObservation()
    config = DQN.Config(buffer_file=str(tmp_path / "replay"), learning_starts=8)
    for _ in range(2):  # the second finds nothing of the first
        agent = DQN(env.observation_space, env.action_space, config)
        for t in range(20):
            observation, _ = env.reset(seed=t)
            agent.observe(*env.step(agent.act(observation)))
        assert agent.num_updates > 0
    agent.save(tmp_path / "agent")
    records = [checkpoint.encode(a.record(), kind="x") for a in (agent, DQN.load(tmp_path / "agent"))]
    assert records[0] == records[1]


def test_runs_and_agents_are_saved_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "copied", None)
    changes: dict[str, Any] = {"buffer_size": 50, "checkpoint_interval": 20, "curve": False}
    changes |= {"eval_episodes": 1, "final_episodes": 1}
    run = Experiment("dqn", "CartPole-v1", out=tmp_path, preset=False, progress=False, **changes).run(60)
    assert run.directory is not None and list((run.directory / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_large_buffer_is_saved_and_loaded_without_a_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(format, "_LARGE", 1 << 20)
    buffers = [ReplayBuffer(600, 1, [(100_000,)], [np.uint8]) for _ in range(2)]
    row = [np.ones((1, 100_000), np.uint8)]
    for t in range(700):
        row[0][:] = t % 251
        buffers[0].add_action(row, np.array([t]))
        buffers[0].add_outcome(row, 1.0, False, False)
    one, other = buffers
    tracemalloc.start()
    with checkpoint.borrowed():
        checkpoint.save(tmp_path / "buffer", one.state_dict(), kind="x")
    other.load_state_dict(checkpoint.load(tmp_path / "buffer", kind="x"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * one.nbytes
    np.testing.assert_array_equal(one.stores[0].rows, other.stores[0].rows)
    with checkpoint.borrowed():
        assert np.shares_memory(one.state_dict()["observations"][0]["rows"], one.stores[0].rows)
    assert not np.shares_memory(one.state_dict()["observations"][0]["rows"], one.stores[0].rows)
