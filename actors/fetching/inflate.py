"""Decompression with a bounded result: a gzip bomb is refused after `limit` bytes."""

from __future__ import annotations

import zlib

__all__ = ["BodyTooLarge", "BoundedInflater", "UnknownEncoding"]

# zlib's window arguments: 16 + 15 for a gzip header, 15 for a zlib header.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class BodyTooLarge(Exception):
    """The decoded body exceeds the limit."""


class UnknownEncoding(Exception):
    """The content encoding is unknown, or the body does not have it."""


class BoundedInflater:
    """Decodes the chunks of one body. `encoding` is the Content-Encoding header; `limit` counts decoded bytes."""

    def __init__(self, encoding: str, limit: int) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", *_WINDOW_BITS):
            raise UnknownEncoding(f"content encoding {name[:40]!r}")
        self._inflate = zlib.decompressobj(_WINDOW_BITS[name]) if name in _WINDOW_BITS else None
        self._left = limit
        self._fed = False

    def feed(self, chunk: bytes) -> bytes:
        """The decoded bytes of the next chunk.

        Raises:
            BodyTooLarge: the limit is exceeded.
            UnknownEncoding: not a stream of the declared encoding.
        """
        inflate = self._inflate
        self._fed |= bool(chunk)
        try:
            # One byte more than the rest, so that a body of exactly the limit passes and a longer one is detected.
            decoded = chunk if inflate is None else inflate.decompress(chunk, self._left + 1)
        except zlib.error as error:
            raise UnknownEncoding(str(error)) from None
        if inflate is not None and inflate.unused_data:
            # zlib would keep the rest and copy it with each further chunk.
            raise UnknownEncoding("more data behind the end of the compressed stream")
        self._left -= len(decoded)
        if self._left < 0:
            raise BodyTooLarge
        return decoded

    def end(self) -> None:
        """No more chunks. Raises UnknownEncoding if a stream has begun and not ended: it is incomplete."""
        if self._inflate is not None and self._fed and not self._inflate.eof:
            raise UnknownEncoding("the compressed stream is incomplete")
