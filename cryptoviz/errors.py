"""Exceptions of CryptoViz.

    CryptoVizError
    ├── TransientError          the same call may succeed later: retry with backoff
    │   ├── ProviderUnavailable     timeout, connection refused, 5xx, 429
    │   ├── EngineUnavailable       Kafka, S3, Redis or the control service does not answer
    │   ├── ComponentLost           a component's actor is dead or does not answer
    │   ├── OperationBusy           another operation of the same kind is running
    │   ├── QueueFull               a bounded queue is full
    │   └── DeliveryFailed          the receiver of an alert does not answer, or not now
    └── TerminalError           a retry cannot succeed: settings, data or an external system must be changed
        ├── SettingsError           a setting is missing or invalid
        │   └── UsageError              an argument of a command is not valid
        ├── SpecError               a fact of a provider's `ProviderSpec` is not valid; also a ValueError
        ├── MissingExtra            packages of an extra of `cryptoviz` are not installed
        ├── PreflightError          the machine does not meet a requirement (port, disk, memory, Java)
        ├── DownloadError           a downloaded file does not match the lock file
        ├── BadPayload              a provider's response body is not as documented
        ├── ProviderRefused         the provider refuses: key, plan, region
        ├── NoHistory               a provider has no history of an asset at that time
        ├── UnknownAsset            unknown asset id
        ├── UnknownComponent        unknown component name
        ├── UnknownOperation        unknown operation id
        ├── UnknownAlert            unknown id of an alert rule
        ├── AlertRefused            a value of an alert rule is not valid
        ├── DeliveryRefused         the receiver of an alert refuses it
        ├── ControlRefused          the control service refuses a call: token, state
        │   └── InvalidRequest          an argument of the call is not valid
        ├── QueryError              a query or an argument of the lake reader is not valid
        │   ├── InvalidTime             a time without a time zone, an invalid time, or an empty range
        │   ├── UnknownColumn           unknown column of a table
        │   └── VersionNotKept          a version of a table that its log does not contain
        ├── FrameError              a frame of a venue's stream does not have the documented content
        ├── RecordError             a record cannot be decoded or is not valid
        └── LakeError               the lake cannot continue without losing or duplicating rows

Retry code decides by the class, never by the text. All exceptions pickle with their attributes and notes, for calls between Ray actors. The errors
of a provider are also `ProviderFailure`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self, dataclass_transform

from cryptoviz.masking import redact_value
from cryptoviz.records import FallbackReason

__all__ = [
    "AlertRefused",
    "BadPayload",
    "ComponentLost",
    "ControlRefused",
    "CryptoVizError",
    "DeliveryFailed",
    "DeliveryRefused",
    "DownloadError",
    "EngineUnavailable",
    "FrameError",
    "InvalidRequest",
    "InvalidTime",
    "LakeError",
    "MissingExtra",
    "NoHistory",
    "OperationBusy",
    "PreflightError",
    "ProviderFailure",
    "ProviderRefused",
    "ProviderUnavailable",
    "QueryError",
    "QueueFull",
    "RecordError",
    "SettingsError",
    "SpecError",
    "TerminalError",
    "TransientError",
    "UnknownAlert",
    "UnknownAsset",
    "UnknownColumn",
    "UnknownComponent",
    "UnknownOperation",
    "VersionNotKept",
]


@dataclass_transform(eq_default=False, kw_only_default=True)
@dataclass(eq=False, repr=False)
class CryptoVizError(Exception):
    """Root of the tree. Annotations of a subclass are its facts, as fields of a dataclass with keywords; code reads those, never the text.

    Attributes:
        message: what happened, the value received, what is valid and which setting changes it.

    Secrets that this process knows are removed from the message, the notes and all other attributes when they are set, because an error can reach a
    status, a log, a topic, a page or a terminal. The errors in `__cause__` and `__context__` stay as they are.
    """

    message: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(eq=False, repr=False, kw_only=True)(cls)

    def __post_init__(self) -> None:
        if not isinstance(self.message, str):
            self.message = str(self.message)
        super().__init__(self.message)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value if name in _CHAIN else redact_value(value))

    def add_note(self, note: str) -> None:
        super().add_note(redact_value(note))

    def with_texts(self, clean: Callable[[str], str]) -> Self:
        """A copy with `clean` applied to the message and to each attribute that is a plain string."""
        return self._changed({name: clean(value) for name, value in vars(self).items() if type(value) is str})

    def with_message(self, message: str) -> Self:
        """A copy with another message."""
        return self._changed({"message": message})

    def _changed(self, values: dict[str, str]) -> Self:
        other = copy(self)
        for name, value in values.items():
            setattr(other, name, value)
        other.args = (other.message,)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Without a call of `__init__`, which subclasses in other packages may have changed.
        return (_rebuild, (type(self), self.args), vars(self))

    def __str__(self) -> str:
        return self.message


_CHAIN = frozenset(("__cause__", "__context__", "__suppress_context__", "__traceback__"))


def _rebuild(cls: type[CryptoVizError], arguments: tuple[Any, ...]) -> CryptoVizError:
    return cls.__new__(cls, *redact_value(arguments))


class TransientError(CryptoVizError):
    """The same call may succeed later."""


class TerminalError(CryptoVizError):
    """A retry cannot succeed until settings, data or an external system are changed."""


class ProviderFailure(CryptoVizError):
    """A provider's call failed.

    Attributes:
        provider: its name.
        reason: as records carry it.
        retry_after_s: wait that the provider imposes; None without one.
        final: the same request can never succeed.
        unknown_id: the provider does not know an id of the request.
    """

    provider: str = ""
    reason: FallbackReason = FallbackReason.UNAVAILABLE
    retry_after_s: float | None = None
    final: bool = False
    unknown_id: bool = False


class ProviderUnavailable(ProviderFailure, TransientError):
    """A provider gave no usable response: timeout, no connection, 5xx, 429."""


class BadPayload(ProviderFailure, TerminalError):
    """A provider's body does not have the documented content."""

    reason: FallbackReason = FallbackReason.BAD_PAYLOAD


class ProviderRefused(ProviderFailure, TerminalError):
    """A provider refuses permanently: key, plan, region."""

    reason: FallbackReason = FallbackReason.AUTH


class NoHistory(ProviderFailure, TerminalError):
    """A provider has no history of an asset at that time; `asset` is empty if unknown."""

    reason: FallbackReason = FallbackReason.MISSING_ASSET
    asset: str = ""


class EngineUnavailable(TransientError):
    """Kafka, S3, Redis or the control service does not answer; `engine`, `address`."""

    engine: str = ""
    address: str = ""


class ComponentLost(TransientError):
    """The actor of `component` is gone or does not answer."""

    component: str = ""


class OperationBusy(TransientError):
    """Another operation of the same kind is running; `operation` is its id."""

    operation: str = ""


class QueueFull(TransientError):
    """The bounded queue `queue` holds `limit` items and refused another."""

    queue: str = ""
    limit: int = 0


class DeliveryFailed(TransientError):
    """The receiver of `channel` (`webhook`, `mail`) did not take a message; `status` is its answer's, 0 without one."""

    channel: str = ""
    status: int = 0


class SettingsError(TerminalError):
    """A setting is missing or invalid; `setting` names it, `settings` all that are concerned. `asset` and `near`: as in `UnknownAsset`."""

    setting: str = ""
    settings: tuple[str, ...] = ()
    asset: str = ""
    near: tuple[str, ...] = ()


class UsageError(SettingsError):
    """An argument of a command is not valid; `setting` names it."""


class SpecError(TerminalError, ValueError):
    """A fact of a `ProviderSpec` is not valid; `attribute` names it, `provider` is the spec's name."""

    provider: str = ""
    attribute: str = ""


class MissingExtra(TerminalError):
    """The packages of `extra`, such as `pipeline`, are not installed; `modules` are those that are missing."""

    extra: str = ""
    modules: tuple[str, ...] = ()


class PreflightError(TerminalError):
    """The machine does not meet a requirement; `problems` lists the findings."""

    problems: Sequence[str] = ()


class DownloadError(TerminalError):
    """A downloaded file does not match the lock file, or cannot be downloaded."""

    url: str = ""
    expected: str = ""
    received: str = ""


class UnknownAsset(TerminalError):
    """The table has no asset `asset`; `near` are similar names."""

    asset: str = ""
    near: tuple[str, ...] = ()


class UnknownComponent(TerminalError):
    """The pipeline has no component `component`."""

    component: str = ""


class UnknownOperation(TerminalError):
    """No operation has the id `operation`, or its status is no longer kept."""

    operation: str = ""


class UnknownAlert(TerminalError):
    """No alert rule has the id `rule`."""

    rule: str = ""


class AlertRefused(TerminalError):
    """A value of an alert rule is not valid; `field` names it, `value` is what was received, `valid` says what is."""

    field: str = ""
    value: str = ""
    valid: str = ""


class DeliveryRefused(TerminalError):
    """The receiver of `channel` (`webhook`, `mail`) refuses a message; `status` is its answer's, 0 without one."""

    channel: str = ""
    status: int = 0


class ControlRefused(TerminalError):
    """The control service refuses a call; `code` is the gRPC status name (`UNAUTHENTICATED`, `INVALID_ARGUMENT`, ...)."""

    code: str = ""


class InvalidRequest(ControlRefused):
    """Arguments of a call to the control service are not valid; `violations` are pairs of field and description."""

    code: str = "INVALID_ARGUMENT"
    violations: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, *violations: tuple[str, str]) -> Self:
        """With the violations as message."""
        return cls("; ".join(f"{field}: {text}" for field, text in violations), violations=violations)


class QueryError(TerminalError):
    """A query or an argument of the lake reader is not valid; `argument`, or `sql` with `line` and `column` (from 1) if known."""

    argument: str = ""
    sql: str = ""
    line: int | None = None
    column: int | str | None = None
    table: str = ""


class InvalidTime(QueryError):
    """A time has no time zone or is invalid, or start is not before end; `argument`."""


class UnknownColumn(QueryError):
    """The table `table` has no column `column`."""


class VersionNotKept(QueryError):
    """The log of `table` no longer has that version, or does not have it yet."""


class FrameError(TerminalError):
    """A frame of the stream of `venue` does not have the documented content; nothing of it is used.

    `reason`: `not_json`, `shape`, `value`, or `quote`: a best bid and ask that cannot be, in a frame without trades.
    """

    venue: str = ""
    reason: str = ""


class RecordError(TerminalError):
    """A record cannot be decoded or is not valid; `reason`, `field`."""

    reason: str = ""
    field: str = ""


class LakeError(TerminalError):
    """The lake job must stop, because it would lose or duplicate rows.

    Attributes:
        table, column: of the lake.
        topic, partition: of Kafka.
        other_run: a run of the lake job that has taken over.
    """

    table: str = ""
    column: str = ""
    topic: str = ""
    partition: int | None = None
    other_run: str = ""
