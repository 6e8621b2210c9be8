"""Scrapers and the collector in a separate process that a test can stop, continue and kill: `python -m tests.chaos.collect_child SETTINGS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from actors.collecting.actor import CollectorActor
from actors.scraping.actor import ScraperActor
from cryptoviz.settings import load_settings_file
from tests.support.collection import LocalCollector


async def main(path: Path) -> None:
    settings = load_settings_file(path)
    client = LocalCollector()
    client.actor = collector = CollectorActor(settings)
    scrapers = [ScraperActor(settings, name, client) for name in settings.collect.providers]
    await collector.start()
    for scraper in scrapers:
        await scraper.start()
    # Runs until standard input ends, then publishes the queue.
    await asyncio.to_thread(sys.stdin.read)
    for scraper in scrapers:
        await scraper.stop()
    print((await collector.probe()).message, flush=True)
    await collector.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
