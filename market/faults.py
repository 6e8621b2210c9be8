"""The kinds of misbehaviour, their parameters, and what they do to the values of a quote.

Faults of transport and body are carried out in `market.transport`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from market.quotes import Quote

__all__ = ["FAULT_KINDS", "CoinParameters", "Parameters"]

_MAX_BYTES = 1024 * 1024 * 1024


class Parameters(BaseModel):
    """Parameters of a fault kind; the docstring of each kind is what `GET /_market/faults` shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Parameters):
    """The answer comes `seconds` late."""

    seconds: float = Field(default=1.0, ge=0, le=3600)


class Hang(Parameters):
    """No answer until the fault ends; then the connection is cut."""


class HttpStatus(Parameters):
    """The provider's own error body with `status`; `retry_after` in seconds, `error_code` instead of the usual one."""

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
    """The first `fraction` of the body; `how`: `body` ends it as if whole, `connection` cuts before the promised length."""

    fraction: float = Field(default=0.5, ge=0, lt=1)
    how: Literal["body", "connection"] = "body"


class Huge(Parameters):
    """Valid JSON, padded with blanks to `size_bytes`."""

    size_bytes: int = Field(default=50 * 1024 * 1024, ge=1, le=_MAX_BYTES)


class GzipBomb(Parameters):
    """As `huge`, but gzipped: `size_bytes` once unpacked, about a thousandth on the wire."""

    size_bytes: int = Field(default=100 * 1024 * 1024, ge=1, le=_MAX_BYTES)


class SlowLoris(Parameters):
    """The body one byte each `interval_s`, then blanks, for ever."""

    interval_s: float = Field(default=4.0, gt=0, le=3600)


class WrongType(Parameters):
    """JSON of the wrong type: `becomes`, or by default an object for an array and the other way round."""

    becomes: Literal["swapped", "array", "object", "string", "number", "null"] = "swapped"


class Empty(Parameters):
    """`how`: `bytes` for a body of length 0, `data` for the provider's shape without any coin."""

    how: Literal["bytes", "data"] = "bytes"


class Reset(Parameters):
    """The connection is reset (TCP RST) instead of an answer."""


class Redirect(Parameters):
    """A redirect to `location`."""

    location: str = "http://169.254.169.254/latest/meta-data/"
    status: Literal[301, 302, 303, 307, 308] = 302


class ShapeVersion(Parameters):
    """The answer in another of the provider's `shapes` (listed with the providers)."""

    shape: str


class CoinParameters(Parameters):
    """Faults of values. `coins` are asset ids, symbols or provider ids; empty means all."""

    coins: tuple[str, ...] = ()

    def apply(self, quote: Quote) -> Quote | None:
        """The quote as this fault serves it; None leaves the coin out."""
        raise NotImplementedError


class NullPrice(CoinParameters):
    """The price is null."""

    def apply(self, quote: Quote) -> Quote | None:
        """A null."""
        return replace(quote, served=lambda _: None)


class NotANumber(CoinParameters):
    """The price is a bare `NaN`, `Infinity` or `-Infinity`, which is no JSON; where prices are strings, that word as a string."""

    value: Literal["NaN", "Infinity", "-Infinity"] = "NaN"

    def apply(self, quote: Quote) -> Quote | None:
        """What json.loads accepts and JSON does not."""
        value = float(self.value)
        return replace(quote, served=lambda _: value)


class ZeroPrice(CoinParameters):
    """The price is 0."""

    def apply(self, quote: Quote) -> Quote | None:
        """An integer 0."""
        return replace(quote, served=lambda _: 0)


class Negative(CoinParameters):
    """The price with a minus sign."""

    def apply(self, quote: Quote) -> Quote | None:
        """The price below zero."""
        return replace(quote, served=lambda price: -price)


class Outlier(CoinParameters):
    """The price times `factor`; everything else stays."""

    factor: float = 1.5

    def apply(self, quote: Quote) -> Quote | None:
        """The price, off by the factor."""
        return replace(quote, served=lambda price: price * self.factor)


class PriceValue(CoinParameters):
    """The price is `value`, any JSON, even where prices are strings."""

    value: JsonValue

    def apply(self, quote: Quote) -> Quote | None:
        """What was asked for."""
        return replace(quote, served=lambda _: self.value, literal=True)


class MissingCoin(CoinParameters):
    """The coin is left out of the answer."""

    def apply(self, quote: Quote) -> Quote | None:
        """Nothing."""
        del quote
        return None


class RenamedCoin(CoinParameters):
    """The coin comes back under another id: its own with `suffix` appended (digits keep a numeric id numeric)."""

    suffix: str = Field(default="000", min_length=1, max_length=40)

    def apply(self, quote: Quote) -> Quote | None:
        """The same values under a foreign id."""
        return replace(quote, renamed=self.suffix)


class StringNumbers(CoinParameters):
    """All numbers of the coin are strings."""

    def apply(self, quote: Quote) -> Quote | None:
        """The same digits in quotes."""
        return replace(quote, as_strings=True)


class BareNumbers(CoinParameters):
    """Numbers that the provider writes as strings are JSON numbers."""

    def apply(self, quote: Quote) -> Quote | None:
        """The same digits without quotes."""
        return replace(quote, bare=True)


class DuplicateKeys(Parameters):
    """The price stands twice in its object: first as `value`, any JSON, then as it should."""

    value: JsonValue = 1


class ClockSkew(Parameters):
    """The provider's stamps are `seconds` off: negative is the past (stale), positive the future."""

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
