"""The dashboard's server with many runs: seconds of its answers, and its memory.

    python benchmarks/dashboard.py [--runs 10000] [--rows 100]
    python benchmarks/dashboard.py --browsers 20 --minutes 5 --runs 500

It makes the folders of runs in a temporary folder, each with a table of scores, and asks a real server for them. With
--browsers, pages of Chromium (by playwright) look at the runs, some of which go on, and the server's memory is printed.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from dbrrl.dashboard.server import Server

CONFIG = """agent = "ppo"
env = "CartPole-v1"
seed = {seed}
steps = 100000
num_envs = 8
[config]
learning_rate = {rate}
n_steps = 128
gamma = 0.99
[versions]
git_commit = "0123456789abcdef0123456789abcdef01234567"
"""
HEADER = "steps,episodes,elapsed,mean,median,stdev,min,max,evaluation_episodes\n"


def make(root: Path, runs: int, rows: int) -> None:
    """Make the folders."""
    for run in range(runs):
        folder = root / f"group{run % 10}" / f"ppo-CartPole-v1-seed{run}"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(CONFIG.format(seed=run, rate=1e-4 * (1 + run % 7)))
        numbers = [
            (1000 * row, row, row / 7, row * 0.37 + run % 13, row / 3, 1.25, 0.5, row * 2.5, 10) for row in range(rows)
        ]
        lines = [",".join(map(str, row)) + "\n" for row in numbers]
        (folder / "scores.csv").write_text(HEADER + "".join(lines))
        begun = f'{{"time": {1.7e9 + run}, "event": "start", "step": 0}}\n'
        (folder / "log.jsonl").write_text(begun + '{"time": 1, "event": "finished"}\n')


def memory(process: int | str = "self") -> float:
    """Megabytes that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--browsers", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make(root, options.runs, options.rows)
        print(f"{options.runs:,} runs, {options.runs * options.rows:,} rows of scores")
        if options.browsers:
            crowd(root, options.browsers, options.minutes)
        else:
            measure(root)


def crowd(root: Path, browsers: int, minutes: float) -> None:
    """Let pages look at the runs while some of these go on; print the server's memory, and how long its list takes."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
    command = [sys.executable, "-m", "dbrrl.dashboard", str(root), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = re.search(r"http\S+", server.stdout.readline())
    assert address is not None
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    growing = sorted(root.glob("*/*"))[:10]
    for folder in growing:
        (folder / "log.jsonl").write_text('{"time": 1, "event": "start", "step": 0}\n')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        pages = [browser.new_context().new_page() for _ in range(browsers)]
        for index, page in enumerate(pages):
            page.goto(address[0])
            page.wait_for_selector("table.runs", timeout=120_000)
            if index % 3:
                page.goto(address[0].partition("/open")[0] + "/charts?group=learning_rate")
        began = last = time.monotonic()
        step = 10**6
        while time.monotonic() - began < 60 * minutes:
            step += 1000
            for folder in growing:
                (folder / "heartbeat").write_text("\n")
                with open(folder / "scores.csv", "a") as file:
                    file.write(f"{step},1,1,{step % 997},1,1,1,1,1\n")
            if time.monotonic() - last >= 30:
                last = time.monotonic()
                lost = sum(page.locator("#connection").inner_text() != "live" for page in pages)
                took = pages[0].evaluate(
                    "async () => { const t = Date.now(); await fetch('/api/runs'); return Date.now() - t }"
                )
                told = f"{memory(server.pid):.0f} MB, list {took / 1000:.2f} s, {lost} pages without a connection"
                print(f"{last - began:4.0f} s: {told}", flush=True)
            time.sleep(1)
        browser.close()
    server.terminate()
    server.wait()
    server.stdout.close()


def measure(root: Path) -> None:
    """Start a server and ask it."""
    server = Server(root)
    threading.Thread(target=server.run_here, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.access.port, timeout=600)
    headers = {"authorization": f"Bearer {server.access.token}"}

    def ask(method: str, path: str, body: Any = None) -> tuple[float, Any]:
        start = time.perf_counter()
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        content = connection.getresponse().read()
        return time.perf_counter() - start, json.loads(content)

    def median(method: str, path: str, body: Any = None) -> tuple[float, Any]:
        times = [ask(method, path, body) for _ in range(9)]
        return statistics.median(seconds for seconds, _ in times), times[-1][1]

    before = memory()
    first, found = ask("GET", "/api/runs?columns=learning_rate")
    print(f"the first look: {first:.2f} s")
    whole, found = median("GET", "/api/runs?columns=learning_rate")
    print(f"the list after it: {whole:.3f} s (at most 1), {len(found['runs']):,} runs")
    looks = []
    for run in range(9):
        with open(root / "group1" / "ppo-CartPole-v1-seed1" / "scores.csv", "a") as file:
            file.write(f"{10**6 + run},1,1,1,1,1,1,1,1\n")
        start = time.perf_counter()
        assert server.service.refresh()
        looks.append(time.perf_counter() - start)
    print(f"a look that finds one changed run: {statistics.median(looks):.3f} s")
    changed, found = median("GET", f"/api/runs?since={found['version']}")
    print(f"what has changed: {changed:.4f} s, {len(found['runs'])} runs")
    ids = [run["id"] for run in ask("GET", "/api/runs")[1]["runs"]]
    lines = [{"runs": [one], "y": "mean"} for one in ids[:100]]
    print(f"a chart of 100 runs, first: {ask('POST', '/api/lines', {'lines': lines})[0]:.3f} s", end="; ")
    print(f"again: {median('POST', '/api/lines', {'lines': lines})[0]:.3f} s (at most 0.3)")
    group = [{"runs": ids[1000 + 10 * i : 1010 + 10 * i], "y": "mean", "group": True} for i in range(10)]
    for center in ("mean", "iqm"):
        seconds = ask("POST", "/api/lines", {"lines": group, "center": center})[0]
        print(f"10 groups of 10 runs, {center}: {seconds:.3f} s")
    print(f"memory: {memory() - before:.0f} MB more than before")
    server.should_exit = True


if __name__ == "__main__":
    main()
