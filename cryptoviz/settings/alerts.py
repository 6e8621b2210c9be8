"""Where firings of alerts are sent. Only settings name receivers, so that a page cannot make the server call other hosts."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from cryptoviz.addresses import Host, is_loopback, require_parts
from cryptoviz.settings.secret_types import AccessKey, Secret

__all__ = ["AlertsSettings"]

_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


class AlertsSettings(BaseModel):
    """Delivery of alerts (docs/alerts.md). Without a receiver, firings are in the history and on the page only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    webhook_url: Secret | None = None
    """`https://host/path` that each firing is posted to as JSON. Secret, because the addresses of chat services are."""
    webhook_token: Secret | None = None
    """Sent to it as `Authorization: Bearer <token>`."""
    smtp_host: Host | Literal[""] = ""
    """Mail server. Empty: no mail."""
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: AccessKey = ""
    smtp_password: Secret | None = None
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()

    @field_validator("webhook_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        try:
            require_parts(value.get_secret_value(), ("http", "https"), path=True, query=True)
        except ValueError:  # its text may contain the address
            raise ValueError("valid is http:// or https:// with a host, an optional path and query, and no user") from None
        return value

    @field_validator("mail_from", "mail_to")
    @classmethod
    def _mailboxes(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for one in (value,) if isinstance(value, str) else value:
            if one and not _MAILBOX.fullmatch(one):
                raise ValueError("valid is name@host, without a display name")
        return value

    @model_validator(mode="after")
    def _complete(self) -> AlertsSettings:
        name = "CRYPTOVIZ_ALERTS__"
        if self.smtp_host and not (self.mail_from and self.mail_to):
            raise ValueError(f"{name}SMTP_HOST is set without {name}MAIL_FROM and {name}MAIL_TO: valid are all of them, or none")
        if not self.smtp_host and (self.mail_from or self.mail_to or self.smtp_user or self.smtp_password):
            raise ValueError(f"settings of mail are set without {name}SMTP_HOST: valid are all of them, or none")
        if bool(self.smtp_user) != bool(self.smtp_password):
            raise ValueError(f"{name}SMTP_USER and {name}SMTP_PASSWORD belong together: valid are both, or neither")
        if self.smtp_password and self.smtp_security == "none" and not is_loopback(self.smtp_host):
            raise ValueError(
                f"{name}SMTP_PASSWORD would be sent without encryption: valid for {name}SMTP_SECURITY is starttls or tls beyond loopback"
            )
        parts = urlsplit(self.webhook_url.get_secret_value() if self.webhook_url else "")
        if self.webhook_token and not self.webhook_url:
            raise ValueError(f"{name}WEBHOOK_TOKEN is set without {name}WEBHOOK_URL: valid are both, or no token")
        if self.webhook_token and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError(f"{name}WEBHOOK_TOKEN would be sent without encryption: valid for {name}WEBHOOK_URL is https:// beyond loopback")
        return self
