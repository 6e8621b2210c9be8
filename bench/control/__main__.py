"""What the control service takes: of its callers' time, and of an operator's (`make bench-control`).

- flood: calls of one honest caller beside a flood of calls without a token, on a server of its own.
- rate: a demo with all components (17 coins, 2 s tick), called at a fixed rate in turn by all methods that a page or a script polls. The time of
  a call counts from the moment at which it was due, so that a server that stalls is seen by all calls that it delays.
- restart: the controller is killed with -9; seconds until its successor answers, and until it reports RUNNING. Every other process must stay.
- stop: seconds of `cryptoviz down`, from RUNNING to the end of the last process.
"""

from __future__ import annotations

import argparse

from bench.control.flood import flood
from bench.control.pipeline import pipeline
from tests.support.measure import load, machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.control", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("flood", "pipeline"), help="flood, or rate, restart and stop (default: all)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each load is measured (default 30)")
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second (default 200)")
    parser.add_argument("--kills", type=int, default=5, help="kills of the controller (default 5)")
    parser.add_argument("--stops", type=int, default=3, help="starts and stops of the demo (default 3)")
    given = parser.parse_args()
    print(f"Machine: {machine()}, load {load()}.")
    if given.only != "pipeline":
        flood(given.seconds)
    if given.only != "flood":
        pipeline(given.rate, given.seconds, given.kills, given.stops)


if __name__ == "__main__":
    main()
