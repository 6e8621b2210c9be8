"""Executors on one worker host and on two (`python -m bench.hosts`): how fast each reads a backlog.

Root, Linux, `scripts/setup --cluster`; some 8 minutes. The hosts are namespaces of this machine, as in `make test-cluster`, so that they share its
cores: the figures show what the way to a second host costs, not what a second machine brings.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tests.cluster.hosts import HOME, ROOT, Host, HostNetwork
from tests.cluster.launcher import LIVE_SETTINGS, PROJECT, Launcher, add_with_project, installed_image
from tests.support.measure import load, machine
from tests.support.waiting import eventually

_MARKET_PORT = 8999
_DRAIN_S = 1_800.0
_RUNNING_S = 300.0


def settings_of(head: Host, market: Host, executors: int) -> dict[str, str]:
    """Of a cluster whose ticks are too rare to count beside a backlog."""
    return {
        "ENGINES__BIND": head.ip,
        "CONTROL__HOST": head.ip,
        "CONTROL__TLS_CERT": f"{HOME}/cryptoviz/tls.crt",
        "CONTROL__TLS_KEY": f"{HOME}/cryptoviz/tls.key",
        "COLLECT__TICK_S": "60",
        "COLLECT__PROVIDERS": "coingecko",
        "PROVIDERS__COINGECKO__BASE_URL": f"http://{market.ip}:{_MARKET_PORT}/coingecko",
        "KAFKA__RETENTION_BYTES": str(64 << 30),
        "LAKE__MAX_OFFSETS_PER_TRIGGER": "400000",
        "LAKE__EXECUTORS": str(executors),
        "LAKE__EXECUTOR_CORES": "1",
    }


def measure(launcher: Launcher, head: Host, executors: int, sizes: str) -> dict[str, Any]:
    """Start the pipeline, let its lake read the backlog, and end it."""
    launcher.up()
    try:
        eventually(launcher.all_run, _RUNNING_S, 2.0)
        before = load()
        found: dict[str, Any] = json.loads(head.run(f"cd {PROJECT} && .venv/bin/python -m bench.lake.drain {LIVE_SETTINGS} {sizes}", _DRAIN_S).stdout)
        nodes = next(each["nodes"] for each in launcher.status()["components"] if each["name"] == "lake")
        return found | {"executors": executors, "lake on": nodes, "load before": before}
    finally:
        launcher.down()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hosts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_200_000, help="of the backlog (default %(default)s)")
    parser.add_argument("--warm-records", type=int, default=400_000, help="before it (default %(default)s)")
    given = parser.parse_args()
    sizes = f"--records {given.records} --warm-records {given.warm_records}"
    print(f"Machine: {machine()}. Load before: {load()}.", flush=True)
    with HostNetwork() as network:
        image = installed_image(network)
        head, *workers = (network.add(name, image=image).boot() for name in ("head", "worker-1", "worker-2"))
        market = add_with_project(network, "market").boot()
        market.run(f"(cd {ROOT} && {sys.executable} -m tests.cluster.serve_market {market.ip} {_MARKET_PORT} ~/log) >~/market.log 2>&1 & true")
        launcher = Launcher(network, {}, demo=False)
        launcher.make_certificate(head)
        for executors in (1, 2):
            launcher.configure(settings_of(head, market, executors))
            launcher.write_yaml(head, [worker.ip for worker in workers[:executors]])
            print(json.dumps(measure(launcher, head, executors, sizes)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
