"""The pages in a real browser, on a real server: Chromium without a window, driven by Playwright."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment
from dbrrl.checkpoint import load, same
from tests.dashboard import images  # noqa: F401 (registers an environment)
from tests.dashboard.browsing import MISSING, REASON, names, opened, unnamed, wav
from tests.dashboard.conftest import Site

sync_api = pytest.importorskip("playwright.sync_api", reason=REASON)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING, reason=REASON)]
Start = Callable[..., Site]
expect = sync_api.expect


def test_the_table_sorts_filters_groups_and_chooses_columns(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.locator("#connection")).to_have_text("live")
    page.get_by_role("button", name="score").click()
    assert names(page)[:2] == ["ppo-0", "ppo-1"]
    page.get_by_role("button", name="score").click()
    assert names(page)[0] == "dqn-0"
    search = page.get_by_placeholder("Filter")
    search.fill("learning_rate>=0.2 state=finished")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert sorted(names(page)) == ["ppo-1", "ppo-2"] and "filter=" in page.url
    search.fill("agent!=ppo")
    expect(page.locator("tbody tr")).to_have_count(1)
    search.fill("nothing like it")
    expect(page.get_by_text("None of the 5 runs matches")).to_be_visible()
    search.fill("")
    page.get_by_role("button", name="Columns").click()
    page.get_by_placeholder("Find a setting").fill("learning_rate")
    page.get_by_role("checkbox", name="learning_rate").check()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("button", name="learning_rate")).to_be_visible()
    expect(page.locator("tr", has_text="ppo-1")).to_contain_text("0.2")
    page.get_by_label("Group by").select_option("batch_size")  # a setting that is no column
    expect(page.get_by_role("button", name="batch_size: 32")).to_be_visible()
    page.get_by_label("Group by").select_option("agent")
    expect(page.get_by_role("button", name="agent: ppo")).to_be_visible()
    expect(page.locator("tr.group", has_text="ppo")).to_contain_text("4 runs, mean score")
    page.get_by_role("button", name="agent: ppo").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    page.reload()
    expect(page.get_by_role("button", name="learning_rate")).to_be_visible()  # what was chosen stays


def test_runs_are_compared_marked_hidden_restored_and_deleted(
    page: Any, runs: Path, site: Start, complaints: list[str]
) -> None:
    opened(page, site(runs))
    page.get_by_label("Select ppo-0").check()
    page.get_by_label("Select ppo-1").check()
    page.get_by_role("button", name="Differences").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody th")).to_have_text(["learning_rate", "seed"])
    expect(dialog.get_by_role("heading")).to_be_in_viewport()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_label("Select ppo-1").uncheck()
    page.get_by_role("button", name="Name, tag, note").click()
    page.get_by_role("textbox", name="Name").fill("<b>best</b>")
    page.get_by_role("textbox", name="Tags").fill("keep, paper")
    page.get_by_role("textbox", name="Note").fill("my note")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="<b>best</b>")).to_be_visible()
    expect(page.locator("tr", has_text="<b>best</b>").locator(".tag")).to_have_text(["keep", "paper"])
    page.get_by_role("button", name="Hide").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("hidden ones too").check()
    page.get_by_label("Select <b>best</b>").check()
    page.get_by_role("button", name="Restore").click()
    expect(page.locator("tr.hidden-run")).to_have_count(0)
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Name of the folder").fill("wrong")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#messages")).to_contain_text("type the name of its folder, ppo-0")
    assert (runs / "ppo-0").exists() and len(complaints) == 1 and "409" in complaints.pop()
    page.get_by_label("Name of the folder").fill("ppo-0")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    assert not (runs / "ppo-0").exists()


def test_a_chart_is_chosen_shared_saved_and_exported(page: Any, runs: Path, site: Start, tmp_path: Path) -> None:
    opened(page, site(runs))
    page.get_by_label("Select ppo-0").check()
    page.get_by_label("Select ppo-1").check()
    page.get_by_role("button", name="Chart", exact=True).click()
    expect(page.locator(".legend .series")).to_have_count(2)
    expect(page.locator(".legend .series").first).to_contain_text("9")
    page.get_by_label("One line for each").select_option("agent")
    expect(page.locator(".legend .series")).to_have_text([re.compile("agent ppo.*8.5")])
    page.get_by_text("Statistic: mean").click()
    page.get_by_role("checkbox", name="entropy").check()
    expect(page.locator(".legend .series")).to_have_count(2)
    page.get_by_role("checkbox", name="right axis").nth(1).check()
    page.get_by_text("Ranges and title").click()
    for end, value in (("from", "-1"), ("to", "4")):
        page.get_by_label(f"right axis {end}").fill(value)
        page.get_by_label(f"right axis {end}").press("Enter")
    page.get_by_text("Ranges and title").click()
    page.get_by_text("Statistic: mean, entropy").click()
    page.get_by_label("Of a group").select_option("iqm")
    page.get_by_label("Smooth").fill("3")
    page.get_by_label("Smooth").press("Enter")
    page.get_by_label("log y").check()
    page.get_by_label("Against").select_option("elapsed")
    for part in (
        "group=agent",
        "y=mean,entropy",
        "right=entropy",
        "rightrange=-1,4",
        "center=iqm",
        "smooth=3",
        "logy=1",
        "x=elapsed",
        "runs=",
    ):
        assert part in page.url
    address = page.url
    for form, start in (
        ("PNG", b"\x89PNG"),
        ("SVG", b"<?xml"),
        ("CSV", b"line,statistic,elapsed"),
        ("PY", b'"""Draws'),
    ):
        with page.expect_download() as caught:
            page.get_by_role("button", name=form, exact=True).click()
        file = tmp_path / caught.value.suggested_filename
        caught.value.save_as(file)
        assert file.read_bytes().startswith(start)
    argv, sys.argv = sys.argv, ["chart.py", str(tmp_path / "again.png")]
    try:
        runpy.run_path(str(tmp_path / "chart.py"), run_name="__main__")
    finally:
        sys.argv = argv
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "chart.png").read_bytes()
    page.get_by_role("button", name="Save").click()
    page.get_by_label("Name of the chart").fill("mine")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Charts").click()
    expect(page.locator(".legend .series")).to_have_count(5)
    page.get_by_role("button", name="Saved charts").click()
    page.get_by_role("link", name="mine").click()
    expect(page.locator(".legend .series")).to_have_count(2)
    assert sorted(page.url.partition("?")[2].split("&")) == sorted(address.partition("?")[2].split("&"))


def test_the_pointer_shows_values_and_the_legend_highlights(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    page.get_by_role("link", name="Charts").click()
    expect(page.locator(".legend .series")).to_have_count(5)
    box = page.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".legend")).to_contain_text("at 200 environment steps")
    expect(page.locator(".legend .series", has_text="ppo-0")).to_contain_text("5")
    pixels = "canvas => canvas.toDataURL()"
    page.mouse.move(5, 5)
    plain = page.locator("canvas").evaluate(pixels)
    page.locator(".legend .series").first.hover()
    highlighted = page.locator("canvas").evaluate(pixels)
    page.locator(".legend .series").nth(1).hover()
    assert len({plain, highlighted, page.locator("canvas").evaluate(pixels)}) == 3
    page.mouse.move(box["x"] + 300, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 50)
    page.mouse.up()
    page.wait_for_function("location.search.includes('xrange')")
    page.get_by_text("Ranges and title").click()
    page.get_by_role("button", name="all", exact=True).click()
    page.wait_for_function("!location.search.includes('xrange')")


def test_a_page_of_a_run_shows_all_that_is_known_and_no_html(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    page.get_by_role("link", name="broken").click()
    expect(page.locator("h1")).to_contain_text("broken failed")
    expect(page.locator("pre.problem")).to_have_text("ValueError: <img src=x onerror=alert(1)>")
    assert page.locator("main img").count() == 0
    expect(page.get_by_text("python -m dbrrl.train --resume")).to_be_visible()
    expect(page.locator(".u-over")).to_be_visible()
    page.get_by_role("tab", name="Curve").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Evaluations")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#tab tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Episodes of evaluation 2").click()
    expect(page.get_by_role("dialog").locator("tbody td")).to_have_text(["0", "9.5", "40", "1", "8.5", "38"])
    page.get_by_role("button", name="Close").click()
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("#tab")).to_contain_text("learning_rate")
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("#tab li").first).to_contain_text("ValueError: <img src=x onerror=alert(1)>")
    page.get_by_role("tab", name="Files").click()
    with page.expect_download() as caught:
        page.get_by_role("link", name="scores.csv").click()
    assert Path(caught.value.path()).read_bytes() == (runs / "broken" / "scores.csv").read_bytes()
    (runs / "broken" / "said.wav").write_bytes(wav(0.1))
    page.get_by_role("button", name="Read log.jsonl").click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text('"text": "ValueError: <img src=x')
    page.get_by_role("button", name="Close").click()
    page.reload()
    length = "audio => new Promise(done => audio.readyState ? done(audio.duration)"
    length += " : audio.addEventListener('loadedmetadata', () => done(audio.duration)))"
    assert page.locator("audio").evaluate(length) == pytest.approx(0.1)


def test_a_run_that_trains_is_followed_live(page: Any, tmp_path: Path, site: Start) -> None:
    root = tmp_path / "runs"
    opened(page, site(root))
    expect(page.get_by_text("No runs yet")).to_be_visible()
    command = [sys.executable, "-m", "dbrrl.train", "--agent", "dqn", "--env", "CartPole-v1", "--steps", "2000000"]
    command += ["--out", str(root), "--name", "live", "--log-interval", "2000", "--eval-interval", "5000", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        expect(page.get_by_role("link", name="live")).to_be_visible(timeout=30_000)
        expect(page.locator(".badge.running")).to_be_visible(timeout=15_000)
        page.get_by_role("link", name="live").click()
        expect(page.locator(".badge.running")).to_be_visible()
        steps = page.locator("dd").first
        before = steps.inner_text()
        expect(steps).not_to_have_text(before, timeout=30_000)
        expect(page.locator(".legend .series", has_text="mean_return")).to_be_visible(timeout=30_000)
        process.terminate()
        assert process.wait(60) == 130
        expect(page.locator(".badge.stopped")).to_be_visible(timeout=30_000)
        expect(page.get_by_text("To go on with it")).to_be_visible()
    finally:
        process.kill()
        process.wait()


def test_a_run_that_trains_is_steered_and_resumed_bit_for_bit(page: Any, tmp_path: Path, site: Start) -> None:
    root = tmp_path / "runs"
    one = site(root)
    command = [sys.executable, "-m", "dbrrl.train", "--agent", "ppo", "--env", "CartPole-v1", "--steps", "100000000"]
    command += [
        "--out",
        str(root),
        "--name",
        "live",
        "--eval-interval",
        "1000000",
        "--log-interval",
        "20000",
        "--no-curve",
    ]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    try:
        opened(page, one)
        page.get_by_role("link", name="live").click(timeout=30_000)
        page.get_by_role("tab", name="Steering").click()
        page.get_by_label("Setting").select_option("learning_rate")
        page.get_by_label("New value").fill("1e-5")
        page.get_by_role("button", name="Change").click()
        rows = page.locator("table.commands tbody tr")
        expect(rows.first).to_contain_text("learning_rate = 0.00001")
        expect(rows.first).to_have_class("done", timeout=30_000)
        page.get_by_role("button", name="Evaluate", exact=True).click()
        expect(page.locator("tr.done", has_text="evaluate")).to_be_visible(timeout=30_000)
        page.get_by_role("button", name="Another command").click()
        page.get_by_role("textbox", name="Name").fill("dance")
        page.get_by_role("button", name="Give it").click()
        expect(page.locator("tr.refused", has_text="unknown command 'dance'")).to_be_visible(timeout=30_000)
        shutil.copytree(root / "live", root / "copy")
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Stop it").click()
        expect(page.locator(".badge.stopped")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("it takes no commands until it is resumed")).to_be_visible()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    # A copy from before the stop repeats the commands, up to the step at which the run was stopped.
    newest = sorted((root / "live" / "checkpoints").iterdir())[-1]
    stop = {"command": "stop", "at": int(newest.stem.removeprefix("step-"))}
    (root / "copy" / "commands" / f"1-{'0' * 16}.json").write_text(json.dumps(stop))
    resume = [sys.executable, "-m", "dbrrl.train", "--resume", str(root / "copy")]
    assert subprocess.run(resume, **quiet).returncode == 130
    live, copy = (load(root / name / "checkpoints" / newest.name, kind="run") for name in ("live", "copy"))
    assert same(live["agent"], copy["agent"]) and same(live["environments"], copy["environments"])
    assert live["agent"]["config"]["learning_rate"] == 1e-5


KINDS: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("ppo", "CartPole-v1", {}, ["Probability"]),
    ("a2c", "CartPole-v1", {"recurrent": "lstm"}, ["Probability"]),
    ("dqn", "CartPole-v1", {}, ["Q"]),
    ("iqn", "CartPole-v1", {}, ["Q"]),
    ("sac", "Pendulum-v1", {}, ["Policy"]),
]
SHOWN = {"ppo": "probability 1", "a2c": "observation 2", "dqn": "Q 1", "iqn": "95 % of the return", "sac": "mean 0"}


@pytest.mark.parametrize(("agent", "env", "settings", "captions"), KINDS, ids=[kind[0] for kind in KINDS])
def test_an_episode_is_inspected(
    page: Any, tmp_path: Path, site: Start, agent: str, env: str, settings: dict[str, Any], captions: list[str]
) -> None:
    settings = {"steps": 128, "num_envs": 2, "final_episodes": 1, "eval_episodes": 1, "preset": False, **settings}
    Experiment(agent, env, out=tmp_path / "runs", name="run", curve=False, **settings).run()
    opened(page, site(tmp_path / "runs"))
    page.get_by_role("link", name="run", exact=True).click()
    page.get_by_role("link", name="Inspect an episode").click()
    expect(page.locator("img.frame")).to_be_visible(timeout=60_000)
    for caption in captions:
        expect(page.locator("caption", has_text=caption).first).to_be_visible()
    if agent == "iqn":
        expect(page.get_by_role("img", name="Distribution of the return")).to_be_visible()
    page.get_by_label("gradient with respect").check()
    expect(page.locator("caption", has_text="and the gradient")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="One step on").click()
    expect(page.locator("output")).to_contain_text("step 1 of")
    page.get_by_label("Step of the episode").fill("3")
    expect(page.locator("img.frame")).to_have_attribute("alt", "The environment at step 3")
    assert page.locator("img.frame").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    if env == "CartPole-v1":
        chosen = page.locator("tr.chosen th").first.inner_text()
        page.locator(".hand").get_by_role("button", name=str(1 - int(chosen))).click()
    else:
        page.get_by_label("Another action").fill("1.5")
        page.get_by_role("button", name="Go on from it").click()
    expect(page.get_by_text("(by hand)")).to_be_visible(timeout=60_000)
    page.get_by_text("Over the episode: value").click()
    page.get_by_role("checkbox", name=SHOWN[agent]).check()
    expect(page.locator(".legend .series", has_text=SHOWN[agent])).to_be_visible()
    page.get_by_text("Over the episode: value").click()
    page.locator(".u-over").click()  # in the middle
    expect(page.locator("output")).not_to_contain_text("step 3 of")
    step, last = map(int, re.findall(r"\d+", page.locator("output").inner_text()))
    assert abs(step - last / 2) <= 1 + last / 50
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("output")).not_to_contain_text(f"step {step} of")
    page.get_by_label("compared with").select_option("best/agent.dbrrl")
    expect(page.locator("img.frame")).to_have_count(2, timeout=60_000)
    assert "other=best" in page.url and "saliency=1" in page.url
    page.reload()
    expect(page.locator("img.frame")).to_have_count(2, timeout=60_000)
    expect(page.locator(".legend .series", has_text=f"{SHOWN[agent]} (compared)")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert unnamed(page) == []


def test_an_episode_of_pictures_is_inspected(page: Any, tmp_path: Path, site: Start) -> None:
    settings: dict[str, Any] = {"steps": 64, "num_envs": 2, "final_episodes": 1, "eval_episodes": 1, "preset": False}
    Experiment("ppo", "dbrrl-tests/Dot-v0", out=tmp_path / "runs", name="run", curve=False, **settings).run()
    opened(page, site(tmp_path / "runs"))
    page.get_by_role("link", name="run", exact=True).click()
    page.get_by_role("link", name="Inspect an episode").click()
    seen = page.get_by_alt_text("The observation")
    expect(seen).to_be_visible(timeout=60_000)
    size = "image => image.decode().then(() => image.naturalWidth)"
    assert seen.evaluate(size) == 144 and page.locator("img.frame").evaluate(size) == 30
    assert "saliency" not in seen.get_attribute("src")
    page.get_by_label("gradient with respect").check()
    expect(seen).to_have_attribute("src", re.compile("saliency=true"), timeout=60_000)
    assert seen.evaluate(size) == 144


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_has_both_themes_and_fits_a_phone(browser: Any, runs: Path, site: Start, theme: Any) -> None:
    one = site(runs)
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=theme)
    page = context.new_page()
    page.goto(one.server.address)
    expect(page.locator("tbody tr")).to_have_count(5)
    link = page.get_by_role("link", name="ppo-0").get_attribute("href")
    for address in ("/", "/charts", link):
        page.goto(f"http://127.0.0.1:{one.port}{address}")
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        page.wait_for_selector("table, canvas")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, address
        assert unnamed(page) == []
    for tab in ("Evaluations", "Steering", "Settings", "Log", "Files"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
        assert unnamed(page) == []
    page.get_by_label("Switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if theme == "light" else "light")
    context.close()


def test_a_lost_server_and_a_wrong_address_are_told(browser: Any, runs: Path, site: Start) -> None:
    one = site(runs)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{one.port}/")
    expect(page.get_by_text("Open the address that")).to_be_visible()
    page.goto(one.server.address)
    expect(page.locator("tbody tr")).to_have_count(5)
    page.goto(f"http://127.0.0.1:{one.port}/run/0000000000000000")
    expect(page.get_by_role("heading", name="No such run")).to_be_visible()
    page.goto(f"http://127.0.0.1:{one.port}/")
    expect(page.locator("#connection")).to_have_text("live")
    one.server.should_exit = True
    expect(page.locator("#connection")).to_have_text("no connection", timeout=30_000)
    context.close()


def test_a_password_is_typed(browser: Any, runs: Path, site: Start) -> None:
    one = site(runs, host="0.0.0.0", password="correct horse")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{one.port}/")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_have_text("not the password")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    context.close()


def test_keys_alone_are_enough(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    expect(page.locator("tbody tr")).to_have_count(5)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    box = page.get_by_label("Select ppo-1")
    box.focus()
    page.keyboard.press("Space")
    expect(box).to_be_focused()
    expect(page.get_by_text("1 selected")).to_be_visible()
