"""The kinds of faults, their parameters, and their effect on the values of a quote.

Faults of transport and body are implemented in `market.transport`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from market.quotes import Quote

__all__ = ["FAULT_KINDS", "CoinParameters", "Parameters"]

_MAX_BYTES = 1024 * 1024 * 1024


class Parameters(BaseModel):
    """Parameters of a fault kind. `GET /_market/faults` shows the docstring of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Parameters):
    """The response is delayed by `seconds`."""

    seconds: float = Field(default=1.0, ge=0, le=3600)


class Hang(Parameters):
    """No response until the fault ends; then the connection is reset."""


class HttpStatus(Parameters):
    """The provider's error body with `status`; `retry_after` in seconds, `error_code` replaces the default code."""

    status: Literal[400, 401, 402, 403, 404, 408, 418, 429, 451, 500, 502, 503, 504] = 500
    retry_after: int | None = Field(default=None, ge=0)
    error_code: int | None = None


class Html200(Parameters):
    """An HTML page with status 200."""


class ErrorEnvelope200(Parameters):
    """The provider's error body for `status`, but with HTTP status 200."""

    status: Literal[400, 401, 402, 403, 404, 408, 418, 429, 451, 500, 503] = 429
    error_code: int | None = None


class Truncated(Parameters):
    """The first `fraction` of the body; `how`: `body` ends normally, `connection` closes before Content-Length is reached."""

    fraction: float = Field(default=0.5, ge=0, lt=1)
    how: Literal["body", "connection"] = "body"


class Huge(Parameters):
    """Valid JSON, padded with spaces to `size_bytes`."""

    size_bytes: int = Field(default=50 * 1024 * 1024, ge=1, le=_MAX_BYTES)


class GzipBomb(Parameters):
    """As `huge`, but gzipped: `size_bytes` after decompression, about a thousandth on the wire."""

    size_bytes: int = Field(default=100 * 1024 * 1024, ge=1, le=_MAX_BYTES)


class SlowLoris(Parameters):
    """The body, one byte per `interval_s`, then spaces, without end."""

    interval_s: float = Field(default=4.0, gt=0, le=3600)


class WrongType(Parameters):
    """JSON of the wrong type: `becomes`; by default an object instead of an array and vice versa."""

    becomes: Literal["swapped", "array", "object", "string", "number", "null"] = "swapped"


class Empty(Parameters):
    """`how`: `bytes` for an empty body, `data` for the provider's shape without coins."""

    how: Literal["bytes", "data"] = "bytes"


class Reset(Parameters):
    """The connection is reset (TCP RST) without a response."""


class Redirect(Parameters):
    """A redirect to `location`."""

    location: str = "http://169.254.169.254/latest/meta-data/"
    status: Literal[301, 302, 303, 307, 308] = 302


class ShapeVersion(Parameters):
    """The response in another of the provider's `shapes` (listed with the providers)."""

    shape: str


class CoinParameters(Parameters):
    """Faults of values. `coins` are asset ids, symbols or provider ids; empty: all."""

    coins: tuple[str, ...] = ()

    def apply(self, quote: Quote) -> Quote | None:
        """The changed quote; None omits the coin."""
        raise NotImplementedError


class NullPrice(CoinParameters):
    """The price is null."""

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, served=lambda _: None)


class NotANumber(CoinParameters):
    """The price is a bare `NaN`, `Infinity` or `-Infinity`, which is not JSON; as a string where prices are strings."""

    value: Literal["NaN", "Infinity", "-Infinity"] = "NaN"

    def apply(self, quote: Quote) -> Quote | None:
        value = float(self.value)
        return replace(quote, served=lambda _: value)


class ZeroPrice(CoinParameters):
    """The price is 0."""

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, served=lambda _: 0)


class Negative(CoinParameters):
    """The price is negated."""

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, served=lambda price: -price)


class Outlier(CoinParameters):
    """The price is multiplied by `factor`; other values are unchanged."""

    factor: float = 1.5

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, served=lambda price: price * self.factor)


class PriceValue(CoinParameters):
    """The price is `value`, any JSON, also where prices are strings."""

    value: JsonValue

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, served=lambda _: self.value, literal=True)


class MissingCoin(CoinParameters):
    """The coin is omitted from the response."""

    def apply(self, quote: Quote) -> Quote | None:
        del quote
        return None


class RenamedCoin(CoinParameters):
    """The coin's id in the response has `suffix` appended (digits keep a numeric id numeric)."""

    suffix: str = Field(default="000", min_length=1, max_length=40)

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, renamed=self.suffix)


class StringNumbers(CoinParameters):
    """All numbers of the coin are strings."""

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, as_strings=True)


class BareNumbers(CoinParameters):
    """Numbers that the provider sends as strings are JSON numbers."""

    def apply(self, quote: Quote) -> Quote | None:
        return replace(quote, bare=True)


class DuplicateKeys(Parameters):
    """The price occurs twice in its object: first as `value`, any JSON, then correctly."""

    value: JsonValue = 1


class ClockSkew(Parameters):
    """The provider's timestamps are shifted by `seconds`: negative into the past (stale), positive into the future."""

    seconds: float = Field(default=-3600.0, ge=-(10**9), le=10**9)


FAULT_KINDS: dict[str, type[Parameters]] = {
    "latency": Latency,
    "hang": Hang,
    "http_status": HttpStatus,
    "html_200": Html200,
    "error_envelope_200": ErrorEnvelope200,
    "truncated": Truncated,
    "huge": Huge,
    "gzip_bomb": GzipBomb,
    "slow_loris": SlowLoris,
    "wrong_type": WrongType,
    "empty": Empty,
    "reset": Reset,
    "redirect": Redirect,
    "shape_version": ShapeVersion,
    "clock_skew": ClockSkew,
    "null_price": NullPrice,
    "nan": NotANumber,
    "zero_price": ZeroPrice,
    "negative": Negative,
    "outlier": Outlier,
    "price_value": PriceValue,
    "missing_coin": MissingCoin,
    "renamed_coin": RenamedCoin,
    "string_numbers": StringNumbers,
    "bare_numbers": BareNumbers,
    "duplicate_keys": DuplicateKeys,
}
