"""Class-data sharing: an archive of the classes that a JVM has loaded, which halves the processor time of its start.

The JVM checks an archive against its own version and its jars, and ignores an archive that does not match. A truncated archive, as after an
interrupted copy, crashes it, so an archive ends with its length and is used only if it has that length. Without an archive everything
works, only later. `spark_jobs.record_classes` writes the archives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptoviz.engines.cache import make_cache
from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings

__all__ = ["archive_file", "archive_options", "record_classes"]

_FOLDER = "class-archives"
_KEPT_S = 30 * 86_400.0
_SEAL = b"cv-size "
# An archive that does not match is ignored without a line on standard output.
_QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")
# At the address that it was written for. Elsewhere, the default since Java 17.0.5 or so, the JVM changes every pointer in it, so that each JVM has a
# copy of all pages instead of those of the file.
_IN_PLACE = ("-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0")


def archive_file(settings: Settings, name: str, java: Path, jars: str) -> Path:
    """Place of the archive for this Java and class path, whether it exists or not. A changed jar or Java has another place."""
    known = hashlib.sha256(f"{java.resolve()}\0{jars}".encode())
    for entry in (str(java.resolve()), *jars.split(os.pathsep)):
        for jar in sorted(Path(entry).parent.glob("*.jar")) if entry.endswith("*") else [Path(entry)]:
            state = jar.stat()
            known.update(f"\0{jar}\0{state.st_size}\0{state.st_mtime_ns}".encode())
    return settings.cache / _FOLDER / f"{name}-{known.hexdigest()[:32]}.jsa"


def archive_options(settings: Settings, name: str, java: Path, jars: str) -> list[str]:
    """Options of a JVM that uses the archive; none if it does not exist, or cannot be read or used."""
    archive = archive_file(settings, name, java, jars)
    if not _is_whole(archive):
        return []
    with contextlib.suppress(OSError):  # a cache that root shares is read-only
        os.utime(archive)
    return [f"-XX:SharedArchiveFile={archive}", *_IN_PLACE, *_QUIET]


def record_classes(settings: Settings, name: str, java: Path, jars: str, run: Callable[[Sequence[str]], None]) -> bool:
    """Write the archive unless it exists and is whole; returns whether it did.

    `run` starts a JVM with the given options, uses it, and ends it, not by a signal 9.

    Raises:
        SettingsError: another user could change the cache.
        EngineUnavailable: the JVM wrote no archive.
    """
    archive = archive_file(settings, name, java, jars)
    if _is_whole(archive):
        return False
    make_cache(settings)
    archive.parent.mkdir(mode=0o700, exist_ok=True)
    _remove_unused(archive.parent)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        written = Path(folder) / archive.name
        run((f"-XX:ArchiveClassesAtExit={written}", *_QUIET))
        if not written.is_file():
            raise EngineUnavailable(f"the JVM of {name} wrote no class archive", engine=name)
        _seal(written)
        written.replace(archive)
    return True


def _is_whole(archive: Path) -> bool:
    try:
        with archive.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_end(size))))
            return file.read() == _end(size)
    except OSError:  # also: root's, in a cache that root shares
        return False


def _seal(archive: Path) -> None:
    """Append the length, and write all to the disk: after a power failure, parts might be missing."""
    archive.chmod(0o600)  # the JVM makes it read-only
    with archive.open("ab") as file:
        file.write(_end(file.tell() + len(_end(0))))
        file.flush()
        os.fsync(file.fileno())


def _end(size: int) -> bytes:
    return _SEAL + size.to_bytes(8, "big")


def _remove_unused(folder: Path) -> None:
    """Remove archives that no JVM has used for a month, as those of a removed installation, and what a killed set-up has left."""
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):  # another set-up may remove it
            if entry.stat().st_mtime >= time.time() - _KEPT_S:
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
