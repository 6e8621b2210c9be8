"""Every error that CryptoViz raises on purpose.

    CryptoVizError
    ├── TransientError          the same call may succeed later: retry with back-off
    │   ├── ProviderUnavailable     timeout, connection refused, 5xx, 429
    │   ├── EngineUnavailable       Kafka, S3, Redis or the control service does not answer
    │   ├── ComponentLost           a component's actor is gone or does not answer
    │   ├── OperationBusy           another operation of the kind runs
    │   └── QueueFull               a bounded queue refused an item
    └── TerminalError           retrying changes nothing: a person or a setting must act
        ├── SettingsError           a setting is missing or invalid
        ├── PreflightError          this machine cannot run what was asked (port, disk, memory, Java)
        ├── DownloadError           a downloaded file is not the one that the lock names
        ├── BadPayload              a provider's body does not say what it should
        ├── ProviderRefused         the provider says no: key, plan, region
        ├── NoHistory               a provider keeps no history of an asset at that time
        ├── UnknownAsset            an asset id that the table does not have
        ├── UnknownComponent        a component name that the pipeline does not have
        ├── UnknownOperation        an operation id that the control service does not have
        ├── ControlRefused          the control service refuses a call: token, argument, state
        ├── QueryError              a query or an argument of the lake's reader is not valid
        │   ├── InvalidTime             a time without a zone, unreadable, or a range that is empty
        │   ├── UnknownColumn           a column that the table does not have
        │   └── VersionNotKept          a version of a table that its log no longer has, or not yet
        ├── RecordError             a record does not decode or validate
        └── LakeError               the lake cannot go on without losing or doubling rows

Retry code asks for the class and never reads the text. All of them pickle with their attributes, so that they cross Ray.
"""

from __future__ import annotations

from typing import Any

from cryptoviz.masking import redact, redact_value

__all__ = [
    "BadPayload",
    "ComponentLost",
    "ControlRefused",
    "CryptoVizError",
    "DownloadError",
    "EngineUnavailable",
    "InvalidTime",
    "LakeError",
    "NoHistory",
    "OperationBusy",
    "PreflightError",
    "ProviderRefused",
    "ProviderUnavailable",
    "QueryError",
    "QueueFull",
    "RecordError",
    "SettingsError",
    "TerminalError",
    "TransientError",
    "UnknownAsset",
    "UnknownColumn",
    "UnknownComponent",
    "UnknownOperation",
    "VersionNotKept",
]


class CryptoVizError(Exception):
    """Root of the tree. `details` holds the facts (provider, asset, component, setting, value) as attributes.

    Args:
        message: what happened, the value received, what is valid and which setting changes it. Secrets that this process knows are taken out.
        details: facts that code may read; each is also an attribute of the error.
    """

    def __init__(self, message: str, **details: Any) -> None:
        # Whatever a library put into its own text, and wherever this one goes: status, log, topic, page, terminal.
        self.message = redact(message)
        super().__init__(self.message)
        self.details: dict[str, Any] = redact_value(details)

    def __getattr__(self, name: str) -> Any:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[CryptoVizError], message: str, details: dict[str, Any]) -> CryptoVizError:
    return cls(message, **details)


class TransientError(CryptoVizError):
    """The same call may succeed later."""


class ProviderUnavailable(TransientError):
    """A provider did not answer usefully; `reason` is a `FallbackReason`, `retry_after_s` a float or None."""


class EngineUnavailable(TransientError):
    """Kafka, S3, Redis or the control service does not answer; `engine` and `address` name it."""


class ComponentLost(TransientError):
    """A component's actor is gone or does not answer; `component`."""


class OperationBusy(TransientError):
    """Another operation of the kind runs; `operation` is its id."""


class QueueFull(TransientError):
    """A bounded queue refused an item; `queue` and `limit` say which and how many it holds."""


class TerminalError(CryptoVizError):
    """Retrying changes nothing until a person or a setting acts."""


class SettingsError(TerminalError):
    """A setting is missing or invalid; `setting` names it."""


class PreflightError(TerminalError):
    """This machine cannot run what was asked; `problems` lists the findings."""


class DownloadError(TerminalError):
    """A downloaded file is not the one that the lock names; `url`, `expected`, `received`."""


class BadPayload(TerminalError):
    """A provider's body does not say what it should; `provider`, `reason` (a `FallbackReason`)."""


class ProviderRefused(TerminalError):
    """A provider says no and will go on saying no: key, plan, region; `provider`, `reason`."""


class NoHistory(TerminalError):
    """A provider keeps no history of an asset at that time; `provider`, `asset`, `reason` (a `FallbackReason`)."""


class UnknownAsset(TerminalError):
    """No such asset in the table; `asset`."""


class UnknownComponent(TerminalError):
    """No such component in the pipeline; `component`."""


class UnknownOperation(TerminalError):
    """No such operation, or one so old that it is forgotten; `operation`."""


class ControlRefused(TerminalError):
    """The control service refuses a call; `code` is the gRPC status name (`UNAUTHENTICATED`, `INVALID_ARGUMENT`, ...)."""


class QueryError(TerminalError):
    """A query or an argument of the lake's reader is not valid; `argument`, or `sql` with `line` and `column` (from 1) where they are known."""


class InvalidTime(QueryError):
    """A time has no zone or cannot be read, or start is not before end; `argument`."""


class UnknownColumn(QueryError):
    """The table has no such column; `column`, `table`."""


class VersionNotKept(QueryError):
    """The table's log no longer has that version, or has not come so far; `table`."""


class RecordError(TerminalError):
    """A record does not decode or validate; `reason`, `field`."""


class LakeError(TerminalError):
    """The lake cannot go on without losing or doubling rows; `table`."""
