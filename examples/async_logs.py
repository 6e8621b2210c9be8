"""Follow the logs of several components at once, with the async client: `python examples/async_logs.py collector lake`. Ends with Ctrl-C.

Each log reconnects when the control service restarts, and misses and repeats no line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from cryptoviz.client import AsyncControlClient
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import load_settings


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("component", nargs="*", help="names as `cryptoviz status` shows them (default: all)")
    parser.add_argument("--demo", action="store_true", help="the demo's pipeline instead of the live one's")
    parser.add_argument("--address", help="host:port of the control service")
    parser.add_argument("--token-file", type=Path, help="its token (default: control.token in the data directory)")
    parser.add_argument("--lines", type=int, default=1, help="lines of each log to begin with")
    parser.add_argument("--no-follow", action="store_true", help="end after them")
    options = parser.parse_args()
    settings = load_settings("demo" if options.demo else "live")

    async with AsyncControlClient.from_settings(settings, address=options.address, token_file=options.token_file) as control:

        async def follow(name: str) -> None:
            async for line in control.tail_logs(name, options.lines, follow=not options.no_follow):
                print(f"{name:20} {line}", flush=True)

        try:
            names = options.component or [component.name for component in (await control.list()).components]
            await asyncio.gather(*(follow(name) for name in names))
        except CryptoVizError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
