"""What tests and benchmarks print."""

from __future__ import annotations

import sys


def say(*texts: object) -> None:
    """Print a measured figure (shown with `pytest -rP` or `-s`)."""
    sys.stdout.write(" ".join(map(str, texts)) + "\n")
