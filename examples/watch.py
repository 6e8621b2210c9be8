"""Print every change of the pipeline, one line each, and resume where it broke off: `python examples/watch.py`. Ends with Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cryptoviz.client import ControlClient, PipelineStatus
from cryptoviz.errors import ControlRefused, EngineUnavailable
from cryptoviz.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true", help="the demo's pipeline instead of the live one's")
    parser.add_argument("--address", help="host:port of the control service")
    parser.add_argument("--token-file", type=Path, help="its token (default: control.token in the data directory)")
    parser.add_argument("--count", type=int, default=0, help="end after so many states (default: never)")
    options = parser.parse_args()
    settings = load_settings("demo" if options.demo else "live")

    seen, version = 0, 0
    with ControlClient(options.address or settings.control.address, token_file=options.token_file or settings.token_file) as control:
        while True:
            try:
                for pipeline in control.watch(version):
                    version, seen = pipeline.version, seen + 1
                    _show(pipeline)
                    if seen == options.count:
                        return 0
            except EngineUnavailable as away:
                print(away, file=sys.stderr)
                if options.count:
                    return 1
                time.sleep(2)
            except ControlRefused as refused:
                print(refused, file=sys.stderr)
                return 1


def _show(pipeline: PipelineStatus) -> None:
    states = "  ".join(f"{component.name}={component.state}" for component in pipeline.components)
    print(f"{pipeline.version} {pipeline.state} ({pipeline.reason})  {states}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
