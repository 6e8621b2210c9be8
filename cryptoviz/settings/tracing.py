"""Where the spans of the pipeline are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cryptoviz.addresses import is_loopback
from cryptoviz.settings.file_type import File
from cryptoviz.settings.secret_types import HeaderSecret, ReceiverUrl, SecretUrl

__all__ = ["TracingSettings"]

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


class TracingSettings(BaseModel):
    """OpenTelemetry traces of ticks (docs/tracing.md). Off unless `endpoint` is set. Connections to the receiver never use the proxy."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    endpoint: ReceiverUrl = SecretUrl("")
    """Base address of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`; spans are sent to `/v1/traces` below it. Empty: no traces."""
    headers: dict[str, HeaderSecret] = Field(default_factory=dict)
    """Headers of each request, such as `{"authorization": "Bearer ..."}`."""
    ca_file: File | None = None
    """PEM file of the certificate authorities of the receiver, on each node. None: those of certifi."""
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Deadline of a request with its repetitions; then its spans are dropped."""

    @field_validator("headers")
    @classmethod
    def _names(cls, value: Mapping[str, HeaderSecret]) -> Mapping[str, HeaderSecret]:
        for name in value:
            if not _HEADER.fullmatch(name):
                raise ValueError("a name of a header has letters, digits and hyphens, at most 64")
        return value

    @model_validator(mode="after")
    def _encrypted(self) -> TracingSettings:
        """Each header may be a credential."""
        parts = urlsplit(self.endpoint)
        if self.headers and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "CRYPTOVIZ_TRACING__HEADERS would be sent without encryption to the receiver of CRYPTOVIZ_TRACING__ENDPOINT: "
                "valid is https:// beyond loopback, or no headers"
            )
        return self
