"""Separate environment of quixstreams, which requires an older confluent-kafka than CryptoViz. Created from its lock file at the first run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cryptoviz.engines.cache import require_own_cache
from cryptoviz.settings import load_settings

__all__ = ["quix_python"]

_PROJECT = Path(__file__).with_name("quix")


def quix_python() -> Path:
    """Python interpreter of the environment. Raises SystemExit if uv is missing or the installation fails."""
    settings = load_settings()
    cache = settings.cache
    folder = cache / "bench-quix"
    require_own_cache(settings, (folder.name, *(path.name for path in cache.glob("uv-*"))))
    uv = shutil.which("uv") or next((str(path) for path in sorted(cache.glob("uv-*/bin/uv"))), None)
    if uv is None:
        raise SystemExit("uv is needed for the environment of quixstreams: run `make setup`, or leave it out with --contenders")
    command = [uv, "sync", "--frozen", "--quiet", "--project", str(_PROJECT)]
    if subprocess.run(command, env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder)}, check=False).returncode:
        raise SystemExit("the environment of quixstreams cannot be made: see above")
    return folder / "bin" / "python"
