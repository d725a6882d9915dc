"""The pages in a real browser while things change: live runs, late answers, several pages, shared addresses."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbrrl import Experiment
from tests.dashboard.browsing import MISSING, REASON, names, opened, wav
from tests.dashboard.conftest import Site
from tests.dashboard.folders import made

sync_api = pytest.importorskip("playwright.sync_api", reason=REASON)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING, reason=REASON)]
Start = Callable[..., Site]
expect = sync_api.expect


def test_ranges_that_a_logarithm_has_not_are_no_end_of_the_page(page: Any, runs: Path, site: Start) -> None:
    one = site(runs)
    opened(page, one)
    for query in ("logx=1&xrange=0,1000", "logx=1&xrange=-5,1000", "logy=1&yrange=-1,4", "logx=1&logy=1&xrange=50,900"):
        page.goto(f"http://127.0.0.1:{one.port}/charts?{query}")
        expect(page.locator(".legend .series")).to_have_count(5)
        assert page.locator("canvas").evaluate("canvas => canvas.width") > 100


def test_an_answer_that_comes_late_is_not_drawn(page: Any, runs: Path, site: Start) -> None:
    one = site(runs)
    opened(page, one)
    waiting: list[Any] = []
    page.route("**/api/lines", lambda route: waiting.append(route) if not waiting else route.continue_())
    page.goto(f"http://127.0.0.1:{one.port}/charts")
    expect(page.get_by_placeholder("all; filter them")).to_be_visible()
    page.get_by_placeholder("all; filter them").fill("seed=1")
    expect(page.locator(".legend .series")).to_have_text([re.compile("ppo-1")])
    with page.expect_response("**/api/lines"):
        waiting[0].continue_()
    expect(page.locator(".legend .series")).to_have_text([re.compile("ppo-1")])


def test_settings_that_are_wanted_while_others_come_are_there_in_the_end(page: Any, runs: Path, site: Start) -> None:
    one = site(runs)
    opened(page, one)
    expect(page.locator("tbody tr")).to_have_count(5)
    waiting: list[Any] = []
    page.route("**/api/runs?since=*", lambda route: waiting.append(route) if not waiting else route.continue_())
    with open(runs / "ppo-0" / "scores.csv", "a") as file:
        file.write("400,40,2,77,77,1,7,9\n")
    page.wait_for_event("request", lambda request: "since=" in request.url)
    page.get_by_placeholder("Filter").fill("learning_rate=0.2")
    waiting[0].continue_()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert names(page) == ["ppo-1"]


def test_what_is_typed_and_played_stays_while_a_run_goes_on(page: Any, tmp_path: Path, site: Start) -> None:
    folder = made(tmp_path / "runs" / "live", ended=None, alive=True, learning_rate=0.1)
    (folder / "said.wav").write_bytes(wav(0.1))
    opened(page, site(tmp_path / "runs"))
    page.get_by_role("link", name="live").click()
    steps = page.locator("dd").first

    def go_on(to: int) -> None:
        (folder / "heartbeat").write_text("\n")
        with open(folder / "scores.csv", "a") as file:
            file.write(f"{to},40,2,77,77,1,7,9\n")
        expect(steps).to_have_text(f"{to} of 300")

    page.get_by_role("tab", name="Steering").click()
    page.get_by_label("New value").fill("0.5")
    page.get_by_label("at step").fill("7")
    go_on(400)
    expect(page.get_by_label("New value")).to_have_value("0.5")
    page.get_by_role("tab", name="Files").click()
    page.locator("audio").evaluate("audio => { audio.dataset.mine = 'yes' }")
    size = page.locator("tr", has_text="scores.csv").inner_text()
    go_on(500)
    expect(page.locator("tr", has_text="scores.csv")).not_to_have_text(size)
    expect(page.locator("audio")).to_have_attribute("data-mine", "yes")
    page.get_by_role("tab", name="Steering").click()
    expect(page.get_by_label("New value")).to_have_value("0.5")
    expect(page.get_by_label("at step")).to_have_value("7")


def test_a_press_that_began_before_an_update_is_a_click(page: Any, tmp_path: Path, site: Start) -> None:
    folder = made(tmp_path / "runs" / "live", ended=None, alive=True)
    opened(page, site(tmp_path / "runs"))
    for link, steps, address in (
        (page.get_by_role("link", name="live"), page.locator("tbody td.number").nth(1), "**/run/*"),
        (page.get_by_role("link", name="Inspect an episode"), page.locator("dd").first, "**/inspect/*"),
    ):
        box = link.bounding_box()
        before = steps.inner_text()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        (folder / "heartbeat").write_text("\n")
        with open(folder / "scores.csv", "a") as file:
            file.write(f"{1000 + len(address)},40,2,77,77,1,7,9\n")
        expect(steps).not_to_have_text(before)
        page.mouse.up()
        page.wait_for_url(address)


def test_a_browser_may_have_many_pages_open(browser: Any, runs: Path, site: Start) -> None:
    one = site(runs)
    context = browser.new_context()
    pages = [context.new_page() for _ in range(8)]
    for page in pages:
        page.goto(one.server.address)
        expect(page.locator("tbody tr")).to_have_count(5)
        expect(page.locator("#connection")).to_have_text("live")
    made(runs / "new")
    for page in pages:
        expect(page.get_by_role("link", name="new")).to_be_visible(timeout=15_000)
    pages[0].close()  # the one that listens for all
    made(runs / "newer")
    for page in pages[1:]:
        expect(page.get_by_role("link", name="newer")).to_be_visible(timeout=15_000)
    context.close()


def test_a_shared_address_is_reached(browser: Any, runs: Path, site: Start) -> None:
    one = site(runs, host="0.0.0.0", password="correct horse")
    context = browser.new_context()
    page = context.new_page()
    address = f"http://127.0.0.1:{one.port}/charts?group=agent"
    page.goto(address)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Open").click()
    expect(page.locator(".legend .series")).to_have_count(2)
    assert page.url == address
    page.goto(f"data:text/html,<a href='{address}'>a link in a letter</a>")  # another site: no cookie comes with it
    page.get_by_role("link").click()
    expect(page.locator(".legend .series")).to_have_count(2)
    assert page.url == address
    context.close()


def test_skipping_to_the_content_changes_nothing(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    page.get_by_role("link", name="ppo-0").click()
    expect(page.locator(".u-over")).to_be_visible()
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#page")
    expect(page.get_by_role("tab", name="Curve")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.get_by_role("tab", name="Curve")).to_have_attribute("aria-selected", "true")


def test_the_bar_of_the_inspector_can_be_used_while_an_episode_is_played(
    page: Any, tmp_path: Path, site: Start
) -> None:
    settings: dict[str, Any] = {"steps": 20_000, "num_envs": 8, "final_episodes": 1, "eval_episodes": 1}
    Experiment("ppo", "CartPole-v1", out=tmp_path / "runs", name="run", curve=False, **settings).run()
    opened(page, site(tmp_path / "runs"))
    page.get_by_role("link", name="run", exact=True).click()
    page.get_by_role("link", name="Inspect an episode").click()
    expect(page.locator("img.frame")).to_be_visible(timeout=60_000)
    page.get_by_label("Speed").select_option("¼ speed")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("output")).to_contain_text("step 2 of")
    box = page.get_by_role("button", name="Pause").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    before = page.locator("output").inner_text()
    expect(page.locator("output")).not_to_have_text(before)  # a step later, the button is still the same
    page.mouse.up()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    step, last = map(int, re.findall(r"\d+", page.locator("output").inner_text()))
    page.get_by_role("button", name="One step on").click()
    page.keyboard.press("ArrowRight")
    expect(page.locator("output")).to_contain_text(f"step {step + 2} of")
    box = page.get_by_label("Step of the episode").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.3, 0.5, 0.7):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    page.mouse.up()
    reached = int(re.findall(r"\d+", page.locator("output").inner_text())[0])
    assert reached == pytest.approx(0.7 * last, abs=0.03 * last + 1)


def test_what_is_refused_leaves_the_episode_as_it_was(
    page: Any, tmp_path: Path, site: Start, complaints: list[str]
) -> None:
    settings: dict[str, Any] = {"steps": 64, "num_envs": 2, "final_episodes": 1, "eval_episodes": 1, "preset": False}
    Experiment("sac", "Pendulum-v1", out=tmp_path / "runs", name="run", curve=False, **settings).run()
    one = site(tmp_path / "runs")
    opened(page, one)
    page.get_by_role("link", name="run", exact=True).click()
    page.get_by_role("link", name="Inspect an episode").click()
    expect(page.locator("img.frame")).to_be_visible(timeout=60_000)
    for text, told in (
        ("5", "is not in Box"),
        ("0.5, 0.5", "is not in Box"),
        ("", "with commas between"),
        ("a", "commas"),
    ):
        page.get_by_label("Another action").fill(text)
        page.get_by_role("button", name="Go on from it").click()
        expect(page.locator("#messages")).to_contain_text(told)
        page.get_by_role("button", name="Close the message").click()
        expect(page.locator("img.frame")).to_be_visible()
    for text in ("-1", "1.5", "99999999999999999"):
        page.get_by_label("seed").fill(text)
        page.get_by_label("seed").press("Enter")
        expect(page.locator("#messages")).to_contain_text("A seed is a whole number")
        page.get_by_role("button", name="Close the message").click()
        expect(page.get_by_label("seed")).to_have_value("")
    page.get_by_label("seed").fill("3000000000")
    page.get_by_label("seed").press("Enter")
    page.wait_for_url("**seed=3000000000**")
    expect(page.locator("img.frame")).to_be_visible(timeout=60_000)
    assert len([complaints.pop() for _ in range(2)]) == 2 and all("409" in line for line in complaints)
    complaints.clear()


def test_a_filter_is_read_as_it_is_meant(page: Any, runs: Path, site: Start) -> None:
    opened(page, site(runs))
    page.get_by_label("Select ppo-0").check()
    page.get_by_role("button", name="Name, tag, note").click()
    page.get_by_role("textbox", name="Name").fill("two words")
    page.get_by_role("textbox", name="Tags").fill("red, blue, red")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".tag")).to_have_text(["red", "blue"])
    search = page.get_by_placeholder("Filter")
    counts = {"environment=CartPole-v1": 5, 'name="two words"': 1, '"two words"': 1, "tags=red": 1, "tags!=red": 4}
    for text, count in (counts | {"score>=": 5, "score > 7 agent = ppo": 2, "time<1.2": 1}).items():
        search.fill(text)
        expect(page.locator("tbody tr")).to_have_count(count)
    search.fill("foo=1")
    expect(page.get_by_text("No run has a setting or column foo")).to_be_visible()


def test_ranges_may_be_open_and_closer_looks_have_more_points(page: Any, tmp_path: Path, site: Start) -> None:
    made(tmp_path / "runs" / "long", means=[float(i * i % 97) for i in range(5_000)])
    one = site(tmp_path / "runs")
    opened(page, one)
    page.goto(f"http://127.0.0.1:{one.port}/charts")
    expect(page.locator(".legend .series")).to_have_count(1)
    page.get_by_text("Ranges and title").click()
    page.get_by_label("x from").fill("100000")
    with page.expect_response("**/api/lines") as asked:
        page.get_by_label("x from").press("Enter")
    assert asked.value.request.post_data_json["within"] == [100_000, None] and "xrange=100000," in page.url
    page.get_by_label("x to").fill("110000")
    with page.expect_response("**/api/lines") as asked:
        page.get_by_label("x to").press("Enter")
    (line,) = asked.value.json()["lines"]
    assert line["places"] == list(range(99_900, 110_101, 100))
    page.get_by_label("x from").fill("200000")
    page.get_by_label("x from").press("Enter")
    expect(page.locator("#messages")).to_contain_text('"from" has to be less than "to"')
    expect(page.get_by_label("x from")).to_have_value("100000")
    page.locator(".u-over").dblclick()
    expect(page.get_by_label("x from")).to_have_value("")
    assert "xrange" not in page.url
