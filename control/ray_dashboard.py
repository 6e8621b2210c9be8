"""`python ray_dashboard.py .../ray/dashboard/dashboard.py OPTION...`: Ray's dashboard, which asks its modules only twice a minute how they are.

Ray's asks each of them by HTTP every second, half of what the dashboard costs while no browser is open. The end of a module is still noticed at
once.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from ray.dashboard.subprocesses import handle

__all__ = ["main"]

_EVERY = 30
"""Of the checks, one a second for each module, that asks it."""

_ask = handle.SubprocessModuleHandle._health_check


async def _ask_seldom(module: Any) -> web.StreamResponse:
    checks = module.__dict__.get("checks", 0)
    module.checks = checks + 1
    return web.Response() if checks % _EVERY else await _ask(module)


def main() -> None:
    """Run Ray's program as if it had been started itself."""
    vars(handle)["SubprocessModuleHandle"]._health_check = _ask_seldom
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
