"""A control server with fakes as a process of its own: prints its address and tokens, and ends with its standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cryptoviz.log import configure_logging
from cryptoviz.security.tokens import Role, TokenFile
from tests.support.control_server import serving

if __name__ == "__main__":
    configure_logging("CRITICAL", sys.stderr)
    with serving(Path(sys.argv[1])) as served:
        tokens = {role: TokenFile(served.settings.home).add(f"all-{role}", role, 1) for role in Role}
        print(json.dumps({"address": served.address, "owner": served.token, **tokens}), flush=True)
        sys.stdin.read()
