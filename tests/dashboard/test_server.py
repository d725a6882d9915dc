"""The server as its pages use it, and as others try to misuse it: with real requests."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dbrrl.dashboard import service
from dbrrl.dashboard.marks import NAME
from dbrrl.dashboard.runs import identity
from tests.dashboard.conftest import Client, Site
from tests.dashboard.folders import made

Start = Callable[..., Site]


@pytest.fixture
def client(tmp_path: Path, site: Start) -> Client:
    """Someone who sees three runs."""
    for seed in range(3):
        made(
            tmp_path / "runs" / f"run{seed}",
            seed=seed,
            learning_rate=0.1 * seed,
            ended="failed" if seed == 2 else "finished",
            text="ValueError: <b>no</b>" if seed == 2 else "",
        )
    return site().opened()


RUN = identity("run0")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Someone who sees a run, on a server for all tests that change nothing."""
    root = tmp_path_factory.mktemp("shared")
    made(root / "run0")
    one = Site(root)
    yield one.opened()
    one.close()


def test_the_list_has_the_runs_and_the_settings_that_are_asked_for(client: Client) -> None:
    found = client.json("GET", "/api/runs?columns=learning_rate,nothing")
    assert [run["name"] for run in sorted(found["runs"], key=lambda run: run["seed"])] == ["run0", "run1", "run2"]
    assert sorted(run["settings"]["learning_rate"] for run in found["runs"]) == [0.0, 0.1, 0.2]
    assert found["version"] > 0 and found["read_only"] is False and found["problem"] == ""
    assert client.json("GET", f"/api/runs?since={found['version']}")["runs"] == []
    columns = client.json("GET", "/api/columns")
    assert {"name": "learning_rate", "values": 3} in columns["settings"]
    metrics = {metric["name"]: metric for metric in columns["metrics"]}
    assert metrics["mean"]["better"] == "higher" and metrics["entropy"]["unit"] == "nats"


def test_a_run_tells_all_that_is_known(client: Client) -> None:
    found = client.json("GET", f"/api/runs/{identity('run2')}")
    assert found["run"]["state"] == "failed" and found["run"]["text"] == "ValueError: <b>no</b>"
    assert found["title"] == "ppo on CartPole-v1, seed 2" and found["tables"]["config"] == {"learning_rate": 0.2}
    assert [event["event"] for event in found["events"]] == ["start", "say", "failed"] and found["events"][0][
        "step"
    ] == 0
    assert [file["path"] for file in found["files"]] == ["config.toml", "log.jsonl", "progress.csv", "scores.csv"]
    assert found["evaluations"][1]["mean"] == 3.0 and found["resume"].endswith("run2")


def test_the_episodes_of_an_evaluation_are_told(client: Client, tmp_path: Path) -> None:
    rows = "evaluation,steps,return,length,success\n0,100,1.5,10,\n1,200,nan,20,0\n1,200,2.5,30,1\n"
    (tmp_path / "runs" / "run0" / "evaluation_episodes.csv").write_text(rows)
    found = client.json("GET", f"/api/runs/{RUN}/evaluation?number=1")
    assert found == {
        "episodes": [{"total": None, "length": 20, "success": 0}, {"total": 2.5, "length": 30, "success": 1}]
    }
    for run, number in ((RUN, 7), (identity("run1"), 0)):
        assert client.json("GET", f"/api/runs/{run}/evaluation?number={number}") == {"episodes": []}
    assert client.json("GET", f"/api/runs/{RUN}")["first_evaluation"] == 0


def test_marks_are_kept_and_told_to_everyone(client: Client) -> None:
    version = client.json("GET", "/api/runs")["version"]
    ids = [RUN, identity("run1")]
    client.json("PATCH", "/api/runs", {"runs": ids, "tags": ["a", "b"], "hidden": True})
    client.json("PATCH", "/api/runs", {"runs": [RUN], "name": "mine", "note": "<script>"})
    changed = {run["id"]: run for run in client.json("GET", f"/api/runs?since={version}")["runs"]}
    assert changed.keys() == set(ids) and changed[RUN]["name"] == "mine" and changed[RUN]["note"] == "<script>"
    assert changed[ids[1]]["name"] == "run1" and changed[ids[1]]["tags"] == ["a", "b"] and changed[ids[1]]["hidden"]
    client.json("PUT", "/api/charts/two%20words%2F..", {"address": "y=mean"})
    assert client.json("GET", "/api/charts") == {"charts": {"two words/..": {"address": "y=mean"}}}
    client.json("DELETE", "/api/charts/two%20words%2F..")
    assert client.json("GET", "/api/charts") == {"charts": {}}


def test_a_run_that_goes_on_takes_commands_and_others_refuse(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run0"
    path = f"/api/runs/{RUN}/commands"
    assert "it is finished" in client.json("POST", path, {"command": "stop"}, status=409)["error"]
    (folder / "log.jsonl").write_text('{"event": "start"}\n')
    (folder / "heartbeat").write_text("\n")
    given = client.json("POST", path, {"command": "set", "values": {"learning_rate": 0.5}, "at": 7})["id"]
    assert json.loads((folder / "commands" / f"{given}.json").read_text())["values"] == {"learning_rate": 0.5}
    assert "expected settings" in client.json("POST", path, {"command": "set"}, status=409)["error"]
    for body in (
        {},
        {"command": "set", "values": [1]},
        {"command": "set", "values": {"a": {}}},
        {"command": "stop", "at": -1},
    ):
        client.json("POST", path, body, status=400)
    done = {"event": "done", "id": "1-a", "command": "set", "values": {"learning_rate": 0.25}, "step": 5, "time": 3}
    odd = [{"event": "done", "id": "2-b", "values": 3, "step": "x"}, {"event": "refused"}]
    with open(folder / "log.jsonl", "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in (done, *odd))
    found = client.json("GET", f"/api/runs/{RUN}")
    assert [(one["id"], one["event"], one["step"]) for one in found["commands"]] == [
        ("1-a", "done", 5),
        ("2-b", "done", None),
        (given, "given", None),
    ]
    values = {one["name"]: one["value"] for one in found["changeable"]}
    assert values["learning_rate"] == 0.25 and values["eval_interval"] is None and "gamma" not in values


def test_lines_are_computed_here(client: Client) -> None:
    ids = [identity(f"run{seed}") for seed in range(3)]
    asked = {"lines": [{"runs": ids, "y": "mean", "group": True}, {"runs": ids[:1], "y": "entropy", "label": "e"}]}
    group, single = client.json("POST", "/api/lines", asked)["lines"]
    assert group["values"] == [1, 3, 2] and group["seeds"] == 3 and group["low"] == [1, 3, 2]
    assert single["label"] == "e" and len(single["places"]) == 6 and single["low"] == []
    code, headers, content = client.ask("POST", "/api/export", {"format": "csv", "chart": asked})
    assert code == 200 and headers["content-type"].startswith("text/csv") and content.count(b"\n") == 1 + 3 + 6
    assert headers["content-disposition"] == "attachment"


def test_a_run_is_deleted_only_by_its_name(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run0"
    assert "type the name" in client.json("DELETE", f"/api/runs/{RUN}", {"confirm": "run1"}, status=409)["error"]
    (folder / "log.jsonl").write_text('{"event": "start"}\n')
    (folder / "heartbeat").write_text("")
    assert "going on" in client.json("DELETE", f"/api/runs/{RUN}", {"confirm": "run0"}, status=409)["error"]
    assert folder.exists()
    (folder / "heartbeat").unlink()
    (folder / "out").symlink_to(tmp_path)
    client.json("DELETE", f"/api/runs/{RUN}", {"confirm": "run0"})
    assert not folder.exists() and (tmp_path / "runs" / "run1").exists()
    client.json("GET", f"/api/runs/{RUN}", status=404)
    assert RUN in client.json("GET", "/api/runs?since=1")["removed"]


def test_files_are_sent_from_the_list_alone(client: Client, tmp_path: Path) -> None:
    run, secret = tmp_path / "runs" / "run0", tmp_path / "secret.txt"
    secret.write_text("secret")
    (run / "videos").mkdir()
    (run / "videos" / "a.mp4").write_bytes(b"film")
    (run / "link.txt").symlink_to(secret)
    (run / "folder").symlink_to(tmp_path)
    (run / "page.html").write_text("<script>alert(1)</script>")
    os.mkfifo(run / "pipe")
    code, headers, content = client.ask("GET", f"/api/runs/{RUN}/file?path=videos/a.mp4")
    assert (code, content, headers["content-type"]) == (200, b"film", "video/mp4")
    code, headers, _ = client.ask("GET", f"/api/runs/{RUN}/file?path=page.html")
    assert code == 200 and headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment" and headers["x-content-type-options"] == "nosniff"
    for path in (
        "../run1/config.toml",
        "..%2Frun1%2Fconfig.toml",
        "%2e%2e/run1/config.toml",
        str(secret),
        "link.txt",
        "folder/secret.txt",
        "videos/../config.toml",
        "./config.toml",
        "videos//a.mp4",
        "videos",
        "pipe",
        "config.toml%00",
        "..\\run1\\config.toml",
        "%252e%252e%252frun1%252fconfig.toml",
        ".",
        "",
    ):
        code, _, content = client.ask("GET", f"/api/runs/{RUN}/file?path={path}")
        assert code in (400, 404) and b"secret" not in content, path


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2fapp.py",
        "/static//etc/passwd",
        "/../../../../etc/passwd",
        "/static/..\\app.py",
        "/api/runs/../../../etc/passwd",
        "/run/../../etc/passwd",
        "//etc/passwd",
        "/static/%00",
        "/api/runs/%2e%2e%2f%2e%2e/file?path=config.toml",
        "/api/runs/run0",
        "/api/runs/0000000000000000",
    ],
)
def test_no_address_leads_out_of_the_folder(shared: Client, path: str) -> None:
    code, _, content = shared.ask("GET", path)
    assert code in (400, 404) and b"root:" not in content and b"import" not in content


def test_nobody_else_gets_in(client: Client, site: Start) -> None:
    nobody = Client(client.port)
    origin = client.headers["origin"]
    for method, path in (
        ("GET", "/api/runs"),
        ("GET", f"/api/runs/{RUN}"),
        ("GET", "/api/live"),
        ("GET", "/static/app.js"),
        ("GET", "/api/openapi.json"),
        ("PATCH", "/api/runs"),
        ("GET", "/nothing"),
    ):
        assert nobody.ask(method, path, origin=origin)[0] == 401
        assert nobody.ask(method, path, origin=origin, cookie=f"dbrrl-{client.port}=x")[0] == 401
    assert nobody.ask("GET", "/open?token=x")[0] == nobody.ask("GET", "/open")[0] == 401
    for path in ("/", "/open?token=x"):
        code, headers, content = nobody.ask("GET", path, accept="text/html")
        assert code == 401 and b"token" in content and headers["content-type"].startswith("text/html")
    code, _, content = client.ask("GET", "/blah", accept="text/html")
    assert code == 404 and b"no page at this address" in content
    body = {"runs": [RUN], "hidden": True}
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{client.port + 1}"},
    ):
        assert client.ask("PATCH", "/api/runs", body, **headers)[0] == 403
    without = Client(client.port, {"cookie": client.headers["cookie"]})
    assert without.ask("PATCH", "/api/runs", body)[0] == 403
    assert client.ask("GET", "/api/runs", host="evil.example")[0] == 403
    token = site_token(site)
    program = Client(token[0], {"authorization": f"Bearer {token[1]}"})
    assert program.ask("GET", "/api/runs")[0] == 200
    assert client.json("GET", f"/api/runs/{RUN}")["run"]["hidden"] is False


def test_no_name_of_the_server_opens_an_address_to_all(client: Client, tmp_path: Path) -> None:
    nobody = Client(client.port)
    for path in ("/login", "/login?", "/open", "/static/style.css#"):
        host = f"127.0.0.1:{client.port}{path}"
        assert nobody.ask("GET", "/api/runs", host=host)[0] == 403
        answer = nobody.ask("DELETE", f"/api/runs/{RUN}", {"confirm": "run0"}, host=host, authorization="x")
        assert answer[0] in (401, 403)
    for headers in ({"host": "["}, {"origin": "http://["}, {"authorization": "Bearer x"}):
        code, found, _ = nobody.ask("POST", "/login", b"x", **headers)
        assert code == 403 and "content-security-policy" in found
    assert (tmp_path / "runs" / "run0").exists()


def site_token(site: Start) -> tuple[int, str]:
    other = site()
    return other.port, other.server.access.token


def test_every_answer_binds_the_browser(shared: Client) -> None:
    for path in ("/", "/api/runs", "/static/app.js", "/nothing"):
        _, headers, _ = shared.ask("GET", path)
        assert (
            "default-src 'none'" in headers["content-security-policy"]
            and headers["x-content-type-options"] == "nosniff"
        )
        assert "unsafe" not in headers["content-security-policy"] and "server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/runs", b""),
        ("PATCH", "/api/runs", b"{"),
        ("PATCH", "/api/runs", []),
        ("PATCH", "/api/runs", {"runs": []}),
        ("PATCH", "/api/runs", {"runs": ["../x"]}),
        ("PATCH", "/api/runs", {"runs": [RUN], "other": 1}),
        ("PATCH", "/api/runs", {"runs": [RUN], "hidden": "yes"}),
        ("PATCH", "/api/runs", b"\xff\xfe"),
        ("PATCH", "/api/runs", b"[" * 100_000),
        ("PATCH", "/api/runs", {"runs": [RUN], "name": "x" * 201}),
        ("POST", "/api/lines", {"lines": [{"runs": [RUN], "y": "mean"}], "points": 1}),
        ("POST", "/api/lines", {"lines": [{"runs": [], "y": "mean"}]}),
        ("POST", "/api/lines", {"lines": None}),
        ("POST", "/api/lines", {"lines": [], "x": "../../x"}),
        ("POST", "/api/export", {"format": "exe", "chart": {"lines": []}}),
        ("GET", "/api/runs?since=-1", None),
        ("GET", "/api/runs?since=x", None),
        ("GET", "/api/runs?other=1", None),
        ("DELETE", f"/api/runs/{RUN}", {"confirm": ""}),
        ("GET", f"/api/runs/{RUN}/file", None),
    ],
)
def test_what_has_not_the_right_form_is_refused_in_words(shared: Client, method: str, path: str, body: Any) -> None:
    assert shared.json(method, path, body, status=400)["error"]


def test_sizes_are_bounded(shared: Client) -> None:
    assert "more than" in shared.json("PATCH", "/api/runs", b"x" * 1_000_001, status=413)["error"]
    many = {"lines": [{"runs": [RUN], "y": "mean"}] * 501}
    assert shared.json("POST", "/api/lines", many, status=400)["error"]


LONG = "9" * 400
ODD_LINES = (
    f'{{"time": {LONG}, "event": "start", "step": {LONG}}}',
    f'{{"event": "done", "id": {LONG}, "step": {LONG}, "time": 1e999, "values": {{"a": {LONG}, "\\udcff": 1}}}}',
    '{"event": "failed", "text": "no \\udcff file"}',
    '{"time": true, "event": "say\\ud800", "text": 3}',
    '{"event": "done", "id": ["x"], "command": {}, "values": []}',
)


def test_whatever_files_hold_the_others_are_shown(tmp_path: Path, site: Start) -> None:
    root = tmp_path / "runs"
    made(root / "good")
    secret = tmp_path / "secret"
    secret.write_text('{"event": "say", "text": "TOPSECRET"}\n')
    for name in ("lines", "settings", "link", "folder", "commands"):
        made(root / name, ended=None, alive=True)
    (root / "lines" / "log.jsonl").write_text("".join(line + "\n" for line in ODD_LINES))
    with open(root / "settings" / "config.toml", "a") as file:
        file.write(f"large = {LONG}\nwhen = 2026-01-01T00:00:00\nnot_a_number = nan\n[config.deeper]\na = [{LONG}]\n")
    for name in ("link", "folder"):
        (root / name / "log.jsonl").unlink()
    (root / "link" / "log.jsonl").symlink_to(secret)
    (root / "folder" / "log.jsonl").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"1-{'0' * 16}.json").write_text('{"command": "TOPSECRET"}')
    (root / "commands" / "commands").symlink_to(elsewhere)
    odd = os.fsencode(root) + b"/odd-\xff"
    made(Path(os.fsdecode(odd)))
    (Path(os.fsdecode(odd)) / os.fsdecode(b"file-\xfe.txt")).write_text("mine")
    client = site().opened()
    found = {run["path"]: run for run in client.json("GET", "/api/runs?columns=large,when,not_a_number")["runs"]}
    assert found.keys() == {"good", "lines", "settings", "link", "folder", "commands", "odd-\\xff"}
    assert found["good"]["state"] == "finished" and found["lines"]["text"] == "no \\udcff file"
    for run in found.values():
        detail = client.ask("GET", f"/api/runs/{run['id']}")
        assert detail[0] == 200 and b"TOPSECRET" not in detail[2], run["path"]
    path = quote("file-\\xfe.txt")
    assert client.ask("GET", f"/api/runs/{found['odd-' + chr(92) + 'xff']['id']}/file?path={path}")[2] == b"mine"


def test_marks_are_written_through_no_link(tmp_path: Path, site: Start) -> None:
    made(tmp_path / "runs" / "run0")
    theirs = tmp_path / "theirs.sqlite"
    base = sqlite3.connect(theirs)
    base.execute("create table mine (x)")
    base.commit()
    base.close()
    before = theirs.read_bytes()
    (tmp_path / "runs" / NAME).symlink_to(theirs)
    client = site().opened()
    client.json("PATCH", "/api/runs", {"runs": [RUN], "name": "x"})
    assert "is a link" in client.json("GET", "/api/runs")["problem"] and theirs.read_bytes() == before


def test_a_program_sees_what_is_new_though_no_page_is_open(client: Client, tmp_path: Path) -> None:
    assert len(client.json("GET", "/api/runs")["runs"]) == 3
    made(tmp_path / "runs" / "new")
    until = time.monotonic() + 30
    while len(client.json("GET", "/api/runs")["runs"]) == 3:
        assert time.monotonic() < until


def test_a_new_run_has_nothing_of_a_deleted_one_of_its_name(client: Client, tmp_path: Path) -> None:
    client.json("PATCH", "/api/runs", {"runs": [RUN], "name": "mine", "hidden": True})
    client.json("DELETE", f"/api/runs/{RUN}", {"confirm": "run0"})
    made(tmp_path / "runs" / "run0")
    until, found = time.monotonic() + 30, {}
    while "run0" not in found:
        assert time.monotonic() < until
        found = {run["path"]: run for run in client.json("GET", "/api/runs")["runs"]}
    assert found["run0"]["name"] == "run0" and not found["run0"]["hidden"]


def test_tags_are_added_and_removed_beside_others(client: Client) -> None:
    ids = [RUN, identity("run1")]
    client.json("PATCH", "/api/runs", {"runs": [RUN], "tags": ["mine", "old"]})
    client.json("PATCH", "/api/runs", {"runs": ids, "add_tags": ["paper", "mine"], "remove_tags": ["old"]})
    tags = {run["id"]: run["tags"] for run in client.json("GET", "/api/runs")["runs"]}
    assert tags[RUN] == ["mine", "paper"] and tags[ids[1]] == ["paper", "mine"] and tags[identity("run2")] == []
    client.json("PATCH", "/api/runs", {"runs": ids, "hidden": True})
    assert {tuple(run["tags"]) for run in client.json("GET", "/api/runs")["runs"]} == {tuple(x) for x in tags.values()}


def test_a_group_has_all_its_runs_however_little_memory_there_is(
    tmp_path: Path, site: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HELD", 1)
    for seed in range(6):
        made(tmp_path / "runs" / f"run{seed}", seed=seed, means=[float(seed)])
    client = site().opened()
    ids = [identity(f"run{seed}") for seed in range(6)]
    (line,) = client.json("POST", "/api/lines", {"lines": [{"runs": ids, "y": "mean", "group": True}]})["lines"]
    assert line["seeds"] == 6 and line["values"] == [2.5]


def test_the_points_of_all_lines_are_bounded(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "POINTS", 8)
    asked = {"lines": [{"runs": [RUN], "y": "entropy"}] * 4, "points": 100}
    lines = client.json("POST", "/api/lines", asked)["lines"]
    assert all(len(line["places"]) < line["total"] == 6 for line in lines)
    content = client.ask("POST", "/api/export", {"format": "csv", "chart": asked})[2]
    assert content.count(b"\n") == 1 + 4 * 6  # exact


def test_methods_and_addresses_that_there_are_not(shared: Client) -> None:
    assert (
        shared.json("POST", "/api/runs", {}, status=405)["error"]
        and shared.json("GET", "/api/none", status=404)["error"]
    )


def test_a_read_only_dashboard_changes_nothing(tmp_path: Path, site: Start) -> None:
    made(tmp_path / "runs" / "run0")
    client = site(read_only=True).opened()
    for method, path, body in (
        ("PATCH", "/api/runs", {"runs": [RUN], "hidden": True}),
        ("DELETE", f"/api/runs/{RUN}", {"confirm": "run0"}),
        ("PUT", "/api/charts/a", {"address": ""}),
        ("DELETE", "/api/charts/a", None),
        ("POST", f"/api/runs/{RUN}/commands", {"command": "stop"}),
    ):
        assert "read-only" in client.json(method, path, body, status=403)["error"]
    assert client.json("GET", "/api/runs")["read_only"] is True
    assert sorted(os.listdir(tmp_path / "runs")) == ["run0"]
    lines = {"lines": [{"runs": [RUN], "y": "mean"}]}
    assert client.json("POST", "/api/lines", lines)["lines"][0]["values"] == [1, 3, 2]


def test_a_password_is_asked_for(tmp_path: Path, site: Start) -> None:
    made(tmp_path / "runs" / "run0")
    one = site(host="0.0.0.0", password="correct horse")
    origin = f"http://127.0.0.1:{one.port}"
    nobody = Client(one.port, {"origin": origin})
    code, _, content = nobody.ask("GET", "/", accept="text/html")
    assert code == 401 and b"Password" in content and nobody.ask("GET", "/static/login.js")[0] == 200
    assert (
        nobody.ask("POST", "/login", b"wrong")[0] == 401
        and nobody.ask("POST", "/login", b"correct horse", origin="http://evil.example")[0] == 403
    )
    code, headers, _ = nobody.ask("POST", "/login", b"correct horse")
    assert code == 303
    inside = Client(one.port, {"cookie": headers["set-cookie"].split(";")[0]})
    assert len(inside.json("GET", "/api/runs")["runs"]) == 1
    assert nobody.ask("GET", f"/open?token={quote(one.server.access.token)}")[0] == 401


def test_what_is_new_is_told_at_once(client: Client, tmp_path: Path) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    connection.request("GET", "/api/live", headers=client.headers)
    stream = connection.getresponse()
    assert stream.headers["content-type"].startswith("text/event-stream")

    def version() -> int:
        while True:
            line = stream.readline()
            if line.startswith(b"data: "):
                return int(line[6:])

    first = version()
    began = time.monotonic()
    made(tmp_path / "runs" / "new")
    second = version()
    assert second > first and time.monotonic() - began < 10
    assert [run["path"] for run in client.json("GET", f"/api/runs?since={first}")["runs"]] == ["new"]
    client.json("PATCH", "/api/runs", {"runs": [RUN], "hidden": True})
    assert version() > second
    connection.close()


def test_the_description_names_every_address(shared: Client) -> None:
    found = shared.json("GET", "/api/openapi.json")
    assert found["openapi"] == "3.1.0" and found["paths"].keys() == {
        "/api/runs",
        "/api/columns",
        "/api/runs/{run}",
        "/api/runs/{run}/file",
        "/api/runs/{run}/evaluation",
        "/api/live",
        "/api/episodes/{episode}/series",
        "/api/runs/{run}/commands",
        "/api/runs/{run}/episodes",
        "/api/episodes/{episode}/step",
        "/api/episodes/{episode}/frame",
        "/api/episodes/{episode}/image",
        "/api/lines",
        "/api/export",
        "/api/charts",
        "/api/charts/{name}",
    }
    references = {text.split('"')[0] for text in json.dumps(found).split("#/components/schemas/")[1:]}
    assert references <= found["components"]["schemas"].keys()
