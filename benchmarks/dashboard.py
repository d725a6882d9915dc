"""The dashboard's server with many runs: seconds of its answers, and its memory.

    python benchmarks/dashboard.py [--runs 10000] [--rows 100]
    python benchmarks/dashboard.py --browsers 20 --minutes 5 --runs 500

It makes the folders of runs in a temporary folder, each with a table of scores, and asks a real server for them. With
--browsers, pages of Chromium (by playwright) look at the runs, some of which go on, and the server's memory is printed.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        (folder / "progress.csv").write_text("steps,episodes,elapsed,mean_return\n" + "1000,1,0.5,7.25\n" * 5)
        begun = f'{{"time": {1.7e9 + run}, "event": "start", "step": 0}}\n'
        (folder / "log.jsonl").write_text(begun + '{"time": 1, "event": "finished"}\n')


def memory(process: int) -> float:
    """Megabytes that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print the seconds; the exit status is 1 if a bar is missed."""
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
        kept = crowd(root, options.browsers, options.minutes) if options.browsers else measure(root)
    sys.exit(0 if kept else 1)


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server in a process of its own; yield the process and the address to open."""
    command = [sys.executable, "-m", "dbrrl.dashboard", str(root), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = re.search(r"http\S+", server.stdout.readline())
        assert address is not None
        yield server, address[0]
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def crowd(root: Path, browsers: int, minutes: float) -> bool:
    """Let pages look at the runs while some of these go on; return whether they hold, and the memory stays."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    growing = sorted(root.glob("*/*"))[:10]
    for folder in growing:
        (folder / "log.jsonl").write_text('{"time": 1, "event": "start", "step": 0}\n')
    memories, holds = [], True
    with served(root) as (server, address), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        pages = [browser.new_context().new_page() for _ in range(browsers)]
        for index, page in enumerate(pages):
            page.goto(address)
            page.wait_for_selector("table.runs", timeout=120_000)
            if index % 3:
                page.goto(address.partition("/open")[0] + "/charts?group=learning_rate")
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
                memories.append(memory(server.pid))
                holds &= lost == 0
                told = f"{memories[-1]:.0f} MB, list {took / 1000:.2f} s, {lost} pages without a connection"
                print(f"{last - began:4.0f} s: {told}", flush=True)
            time.sleep(1)
        browser.close()
    half = memories[len(memories) // 2 :]
    print(f"memory in the second half: {min(half):.0f} to {max(half):.0f} MB (at most 5 % more)")
    return holds and max(half) <= 1.05 * min(half)


def measure(root: Path) -> bool:
    """Ask a server; return whether its answers are fast enough."""
    with served(root) as (server, address):
        site, _, token = address.partition("/open?token=")
        connection = http.client.HTTPConnection(site.removeprefix("http://"), timeout=600)
        headers = {"authorization": f"Bearer {token}"}

        def ask(method: str, path: str, body: Any = None) -> tuple[float, Any]:
            start = time.perf_counter()
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            content = connection.getresponse().read()
            return time.perf_counter() - start, json.loads(content)

        def median(method: str, path: str, body: Any = None) -> tuple[float, Any]:
            times = [ask(method, path, body) for _ in range(9)]
            return statistics.median(seconds for seconds, _ in times), times[-1][1]

        first, found = ask("GET", "/api/runs?columns=learning_rate")
        print(f"the first answer, with the first look: {first:.2f} s")
        whole, found = median("GET", "/api/runs?columns=learning_rate")
        print(f"the list after it: {whole:.3f} s (at most 1), {len(found['runs']):,} runs")
        ids = [run["id"] for run in found["runs"]]
        looks = []
        for run in range(5):
            with open(root / "group1" / "ppo-CartPole-v1-seed1" / "scores.csv", "a") as file:
                file.write(f"{10**6 + run},1,1,1,1,1,1,1,1\n")
            changes: dict[str, Any] = {"runs": []}
            while not changes["runs"]:  # the folder is looked at again after a while
                time.sleep(0.1)
                seconds, changes = ask("GET", f"/api/runs?since={found['version']}")
            found = changes
            looks.append(seconds)
        print(f"a look that finds one changed run: {statistics.median(looks):.3f} s")
        lines = [{"runs": [one], "y": "mean"} for one in ids[:100]]
        print(f"a chart of 100 runs, first: {ask('POST', '/api/lines', {'lines': lines})[0]:.3f} s", end="; ")
        again = median("POST", "/api/lines", {"lines": lines})[0]
        print(f"again: {again:.3f} s (at most 0.3)")
        group = [{"runs": ids[1000 + 10 * i : 1010 + 10 * i], "y": "mean", "group": True} for i in range(10)]
        for center in ("mean", "iqm"):
            seconds = ask("POST", "/api/lines", {"lines": group, "center": center})[0]
            print(f"10 groups of 10 runs, {center}: {seconds:.3f} s")
        print(f"memory: {memory(server.pid):.0f} MB")
    return whole <= 1 and again <= 0.3


if __name__ == "__main__":
    main()
