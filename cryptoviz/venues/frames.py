"""Recorded frames: what a venue sent on a connection, byte for byte, as the value in the topic `crypto-frames`."""

from __future__ import annotations

import msgspec

from cryptoviz.errors import RecordError

__all__ = ["FrameBatch", "frames_key"]


class FrameBatch(msgspec.Struct, frozen=True, array_like=True):
    """Successive frames of one connection: none is missing between the first and the last.

    Attributes:
        venue: its name.
        connection: id of the connection, as in the trades that it brought.
        symbols: the venue's names of the instruments of the connection.
        first: number of the first frame. All frames of a connection are counted from 0, recorded or not.
        frames: arrival (UTC epoch us, `ingest_ts` of its trades) and content of each; text as UTF-8.
    """

    venue: str
    connection: str
    symbols: tuple[str, ...]
    first: int
    frames: list[tuple[int, bytes]]

    def encode(self) -> bytes:
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> FrameBatch:
        """Raises `RecordError` if it is not the output of `encode`."""
        try:
            return _DECODER.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RecordError(f"recorded frames cannot be decoded: {error}", reason="invalid_frames") from None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FrameBatch)


def frames_key(venue: str, connection: str) -> bytes:
    """Kafka key of the frames of a connection, which keeps them in one partition and in order."""
    return f"{venue}:{connection}".encode()
