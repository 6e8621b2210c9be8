"""Print every change of the pipeline, one line each, over restarts of its control service: `python examples/watch.py`. Ends with Ctrl-C.

The client reconnects and resumes after the last state; the example only sets how long it tries.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryptoviz.client import ControlClient, PipelineStatus, Retry
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="the demo's pipeline instead of the live one's")
    parser.add_argument("--address", help="host:port of the control service")
    parser.add_argument("--token-file", type=Path, help="its token (default: control.token in the data directory)")
    parser.add_argument("--reconnect", type=float, default=60.0, help="seconds to try to reconnect")
    parser.add_argument("--count", type=int, default=0, help="end after so many states (default: never)")
    options = parser.parse_args()
    settings = load_settings("demo" if options.demo else "live")
    retry = Retry(reconnect_s=options.reconnect)

    with ControlClient.from_settings(settings, address=options.address, token_file=options.token_file, retry=retry) as control:
        try:
            for seen, pipeline in enumerate(control.watch(), 1):
                _show(pipeline)
                if seen == options.count:
                    break
        except CryptoVizError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _show(pipeline: PipelineStatus) -> None:
    states = "  ".join(f"{component.name}={component.state}" for component in pipeline.components)
    print(f"{pipeline.version} {pipeline.state} ({pipeline.reason})  {states}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
