"""Stop a component, see it stopped, start it again: `python examples/start_stop.py scraper/coingecko`.

Needs a running pipeline (`make demo`). Address, token and certificates are found in the settings; give address and token to control another user's
pipeline.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cryptoviz.client import ControlClient, PipelineStatus
from cryptoviz.components import ComponentState
from cryptoviz.errors import CryptoVizError
from cryptoviz.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("component", nargs="?", default="scraper/coingecko")
    parser.add_argument("--demo", action="store_true", help="the demo's pipeline instead of the live one's")
    parser.add_argument("--address", help="host:port of the control service")
    parser.add_argument("--token-file", type=Path, help="its token (default: control.token in the data directory)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for each change")
    options = parser.parse_args()
    settings = load_settings("demo" if options.demo else "live")

    with ControlClient.from_settings(settings, address=options.address, token_file=options.token_file) as control:
        try:
            control.stop(options.component)
            _wait(control, options.component, ComponentState.STOPPED, options.timeout)
            control.start(options.component)
            _wait(control, options.component, ComponentState.RUNNING, options.timeout)
        except CryptoVizError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _wait(control: ControlClient, name: str, state: ComponentState, timeout_s: float) -> None:
    def there(pipeline: PipelineStatus) -> bool:
        component = pipeline.component(name)
        return component is not None and component.state is state

    pipeline = control.wait(timeout_s, there)
    print(f"{name} is {state}; the pipeline is {pipeline.state}: {pipeline.reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
