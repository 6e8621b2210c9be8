"""Latency and memory of a running demo, measured from outside (`make bench-latency`).

- provider response to page: a real Chromium notes when each new `ingest_ts` of the chosen coin is in the document; both clocks are this machine's.
- Kafka append to committed row: each Delta commit's own time stamp against the time stamp of every record it brought (set by the producer, so the
  figure includes the way to the broker).
- memory: sum of PSS (each shared page counted once) of all processes of the demo.

Starts a demo of its own and ends it. Prints a Markdown table; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

from bench.table_commits import table_commits
from cryptoviz.cluster_record import read_record
from cryptoviz.lake.parts import parse_part
from cryptoviz.lake.topic_reader import read_topic
from cryptoviz.settings import Settings, load_settings
from tests.support.browser import launch_chromium
from tests.support.measure import machine, pss_mb, spread, sum_by
from tests.support.pipeline import running_demo

WEIGH_S = 64.0
# Runs in the page at each animation frame, so that what is measured is what could be seen. Shadow roots are Panel's.
WATCH = """() => {
  const find = (root) => {
    const hit = root.querySelector('.cv-latest-ingest');
    if (hit) return hit;
    for (const node of root.querySelectorAll('*')) { if (node.shadowRoot) { const inner = find(node.shadowRoot); if (inner) return inner; } }
    return null;
  };
  window.seen = [];
  let last = null, node = null;
  const look = () => {
    if (!node || !node.isConnected) node = find(document);
    const stamp = node && node.dataset.ingestTs;
    if (stamp && stamp !== last) { if (last !== null) window.seen.push(Date.now() - Number(stamp)); last = stamp; }
    requestAnimationFrame(look);
  };
  look();
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to measure (default 10)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cryptoviz-bench-") as home, running_demo(Path(home), load_settings("demo").collect.tick_s) as demo:
        settings, first_row_s = demo.settings, time.monotonic() - begin
        figures = measure(settings, arguments.minutes * 60)
    figures["start_to_first_row_s"] = round(first_row_s, 1)
    figures["machine"] = machine()
    figures["load"] = f"{len(settings.assets)} assets, {settings.collect.tick_s:g} s tick, {arguments.minutes:g} minutes"
    report(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(settings: Settings, seconds: float) -> dict[str, Any]:
    """Watch page and lake for that long, then weigh the processes."""
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{settings.dashboard.port}/")
        page.wait_for_function("() => document.readyState === 'complete'")
        page.evaluate(WATCH)
        warm_since_ms = time.time() * 1000 + 20_000
        page.wait_for_timeout(20_000)
        page.evaluate("() => { window.seen = []; }")
        page.wait_for_timeout(seconds * 1000)
        to_page = seen(page)
        memory = memory_mb(settings)
        browser.close()
    commits = table_commits(settings)
    rows = sum(commit["rows"] for commit in commits)
    return {
        "bytes_per_row": round(sum(commit["bytes"] for commit in commits) / rows),
        "files_per_tick": round(sum(len(commit["paths"]) for commit in commits) / (rows / len(settings.assets)), 2),
        "response_to_page_ms": summary(to_page),
        "append_to_commit_ms": summary(commit_latencies(settings, commits, warm_since_ms)),
        "pss_mb": memory,
    }


def seen(page: Page) -> list[float]:
    """Latencies that the page noted, ms."""
    values: list[float] = page.evaluate("() => window.seen")
    return values


def commit_latencies(settings: Settings, commits: list[dict[str, Any]], since_ms: float) -> list[float]:
    """Commit time minus record time of every row appended after `since_ms`, ms."""
    stamps = record_times(settings)
    found: list[float] = []
    for commit in commits:
        for path in commit["paths"]:
            part = parse_part(path)
            if part is None:
                continue
            for offset in range(part.start, part.end + 1):
                stamp = stamps.get((part.partition, offset))
                if stamp is not None and stamp >= since_ms:
                    found.append(commit["timestamp"] - stamp)
    return found


def record_times(settings: Settings) -> dict[tuple[int, int], int]:
    """Time stamp (UTC epoch ms) of each committed record of the stream topic by (partition, offset)."""
    records = read_topic(settings.kafka, settings.kafka.stream_topic)
    return {(record.partition(), record.offset()): record.timestamp()[1] for record in records}


def memory_mb(settings: Settings) -> dict[str, float]:
    """PSS in MB over a minute, so that a round of maintenance, a process of some seconds, is among the samples: the median whole and its largest
    processes, and the largest whole.
    """
    record = read_record(settings.home)
    root = psutil.Process(record.pid) if record else None
    if root is None:
        raise SystemExit("the demo ended before its memory was read")
    samples = []
    until = time.monotonic() + WEIGH_S
    while time.monotonic() < until:
        samples.append(sum_by([root, *root.children(recursive=True)], label_of, pss_mb))
        time.sleep(1.0)
    samples.sort(key=lambda sizes: sum(sizes.values()))
    usual, most = samples[len(samples) // 2], samples[-1]
    largest = dict(sorted(usual.items(), key=lambda item: -item[1])[:12])
    totals: dict[str, float] = {"total": round(sum(usual.values())), "most": round(sum(most.values())), "processes": len(usual)}
    return totals | {name: round(size) for name, size in largest.items()}


def label_of(process: psutil.Process) -> str:
    """Name and process id; of a JVM also its class."""
    words = process.cmdline() if process.name() == "java" else []
    return f"{process.name()}{' ' + words[-1].rsplit('.', 1)[-1] if words else ''} ({process.pid})"


def summary(values: list[float]) -> dict[str, float]:
    """Count, p50, p95, p99 and maximum."""
    found = spread(values)
    return {"n": found.count, "p50": round(found.p50), "p95": round(found.p95), "p99": round(found.p99), "max": round(found.most)}


def report(figures: dict[str, Any]) -> None:
    """The table that docs/performance.md holds."""
    page, commit, memory = figures["response_to_page_ms"], figures["append_to_commit_ms"], figures["pss_mb"]
    print(f"Machine: {figures['machine']}. Load: {figures['load']}.\n")
    print("| figure | samples | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|")
    for name, row in (("provider response to page, ms", page), ("Kafka append to committed row, ms", commit)):
        print(f"| {name} | {row['n']} | {row['p50']} | {row['p95']} | {row['p99']} | {row['max']} |")
    print(f"\nStart to first committed row: {figures['start_to_first_row_s']} s.")
    day_mb = figures["bytes_per_row"] * 86_400 / 60 / 1e6
    print(f"Size before compaction: {figures['bytes_per_row']} bytes a row, {day_mb:.2f} MB a day and coin at a 60 s tick.")
    print(f"Memory (sum of PSS): {memory['total']} MB in {memory['processes']} processes; at most {memory['most']} MB.")


if __name__ == "__main__":
    main()
