"""Downloads from a Maven repository: verified by SHA-256, resumable, moved into place atomically."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from cryptoviz.engines.download_progress import ProgressReporter
from cryptoviz.engines.jars import Jar, sha256_of
from cryptoviz.errors import DownloadError, EngineUnavailable
from cryptoviz.local.ownership import make_private
from cryptoviz.security.tls import trust
from cryptoviz.settings import DownloadSettings, NetworkSettings

__all__ = ["download_jars"]

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_ATTEMPTS = 5
# Without content encoding, so that ranges and sizes are those of the file.
_IDENTITY = {"Accept-Encoding": "identity"}
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0


class _BrokenOff(Exception):
    """The connection ended early or the server was busy: the received part is kept, and the next attempt requests the rest."""


def download_jars(
    jars: Sequence[Jar],
    folder: Path,
    settings: DownloadSettings,
    progress: ProgressReporter,
    what: str,
    first_wait_s: float = _FIRST_WAIT_S,
    network: NetworkSettings | None = None,
) -> None:
    """Download `jars` into `folder`, a few at a time. Partial files are kept in a folder next to it.

    Args:
        jars: files to download.
        folder: destination; files appear atomically.
        settings: repository and number of connections.
        progress: receives bytes under the name `what`.
        what: display name of these files.
        network: proxy and certificates; None for a direct connection.
        first_wait_s: pause before the second attempt of a file, doubled for each further attempt.

    Raises:
        DownloadError: a file does not match the lock file (`url`, `expected`, `received`); it was removed.
        EngineUnavailable: the repository is not reachable; downloaded parts are kept for the next run.
    """
    parts = folder.with_name(folder.name + ".part")
    for path in (folder, parts):
        make_private(path)
    progress.begin(what, sum(jar.size for jar in jars))
    stop = threading.Event()
    with _client(settings.maven_url, network or NetworkSettings()) as client, ThreadPoolExecutor(settings.parallel) as pool:
        fetchers = [_Fetcher(client, settings.maven_url, jar, parts, partial(progress.advance, what), stop) for jar in jars]
        waits = [pool.submit(fetcher.fetch, folder / fetcher.jar.name, first_wait_s) for fetcher in fetchers]
        try:
            for wait in waits:
                wait.result()
        except BaseException:
            # Also on Ctrl-C: the other connections stop at their next chunk and keep their parts.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if not any(parts.iterdir()):
        parts.rmdir()
    progress.end(what)


class _Fetcher:
    """Download of one file."""

    def __init__(self, client: httpx.Client, base_url: str, jar: Jar, parts: Path, advance: Callable[[int], None], stop: threading.Event) -> None:
        self.jar = jar
        self._client = client
        self._url = f"{base_url.rstrip('/')}/{jar.path}"
        self._part = parts / f"{jar.sha256}.part"
        self._advance = advance
        self._stop = stop
        self._counted = 0

    def fetch(self, target: Path, first_wait_s: float) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type((_BrokenOff, httpx.TransportError)),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=first_wait_s, max=_LONGEST_WAIT_S, jitter=first_wait_s),
            sleep=self._pause,
            reraise=True,
        )
        resumed = self._size() > 0
        try:
            retrying(self._attempt)
            received = sha256_of(self._part)
            if received != self.jar.sha256 and resumed:
                # An old partial file may belong to another file: retry once from the beginning.
                self._start_over()
                retrying(self._attempt)
                received = sha256_of(self._part)
        except (_BrokenOff, httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            text = f"cannot download {self._url}: {why}. Run it again to resume at {self._size():,} of {self.jar.size:,} bytes"
            raise EngineUnavailable(f"{text}; CRYPTOVIZ_DOWNLOADS__MAVEN_URL sets a mirror", engine="downloads", address=self._url) from error
        if received != self.jar.sha256:
            self._start_over()
            raise DownloadError(
                f"{self._url} is corrupt: expected SHA-256 {self.jar.sha256}, received {received}. It was removed; run it again, or set another "
                "repository with CRYPTOVIZ_DOWNLOADS__MAVEN_URL",
                url=self._url,
                expected=self.jar.sha256,
                received=received,
            )
        self._part.replace(target)

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _attempt(self) -> None:
        have = self._size()
        self._count(have)
        if have >= self.jar.size:
            return
        with self._client.stream("GET", self._url, headers=_IDENTITY | ({"Range": f"bytes={have}-"} if have else {})) as response:
            self._check_status(response)
            if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
                have = 0  # the server ignored the range and sends the whole file
            # Readable and writable only for this user, whatever the umask.
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if have else os.O_TRUNC), 0o600)
            with os.fdopen(descriptor, "ab" if have else "wb") as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
                    have += len(chunk)
                    self._count(have)
                    if have > self.jar.size or self._stop.is_set():
                        break
        if have < self.jar.size:
            raise _BrokenOff(f"the connection ended after {have:,} of {self.jar.size:,} bytes")

    def _check_status(self, response: httpx.Response) -> None:
        code = response.status_code
        if code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._start_over()
            raise _BrokenOff("range not satisfiable")
        if code in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _BrokenOff(f"the server returned {code} {response.reason_phrase}")
        if code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            received = f"status {code} {response.reason_phrase}"
            raise DownloadError(f"cannot download {self._url}: {received}", url=self._url, expected=self.jar.sha256, received=received)

    def _start_over(self) -> None:
        self._part.unlink(missing_ok=True)
        self._count(0)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _count(self, have: int) -> None:
        self._advance(have - self._counted)
        self._counted = have


def _client(url: str, network: NetworkSettings) -> httpx.Client:
    """A client that trusts the system's certificates besides certifi's, since corporate proxies use their own."""
    return httpx.Client(timeout=_TIMEOUT, verify=trust(network.ca_file), trust_env=False, proxy=network.proxy_for(url), follow_redirects=True)
