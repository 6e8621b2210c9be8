"""Types of settings that are secret or may contain a secret. Values are stripped and checked when read, and masked when shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr

from cryptoviz.addresses import require_parts, require_visible, url_with_brackets
from cryptoviz.masking import mask_url
from cryptoviz.nearest import did_you_mean

__all__ = [
    "AccessKey",
    "EndpointUrl",
    "HeaderSecret",
    "HttpUrl",
    "ProxyUrl",
    "ReceiverUrl",
    "RedisUrl",
    "Secret",
    "SecretUrl",
    "StreamUrl",
    "secrets_in",
]

_HTTP = ("http", "https")
_REDIS = ("redis", "rediss")
_REDIS_OPTIONS = (
    "client_name", "db", "health_check_interval", "max_connections", "protocol", "retry_on_timeout", "socket_connect_timeout", "socket_keepalive",
    "socket_timeout", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile",
)  # fmt: skip
_NUMBER, _SWITCH = (r"[0-9]{1,9}(\.[0-9]{1,9})?", "a number"), (r"(?i)true|false|yes|no|1|0", "true or false")
_REDIS_FORMS = {
    "db": (r"[0-9]{1,4}", "a number"), "max_connections": (r"[0-9]{1,9}", "a number"), "protocol": (r"[23]", "2 or 3"),
    **dict.fromkeys(("health_check_interval", "socket_connect_timeout", "socket_timeout"), _NUMBER),
    **dict.fromkeys(("retry_on_timeout", "socket_keepalive", "ssl_check_hostname"), _SWITCH),
    "ssl_cert_reqs": (r"none|optional|required", "none, optional or required"),
}  # fmt: skip

_CUT = " (white space at both ends is removed)"


class SecretUrl(str):
    """A URL whose user, password and key parameters are masked in `repr`, but not in `str`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_url(str(self)))


def _cut(value: Any) -> Any:
    # White space from Windows line ends or from pasting.
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().strip())
    return value.strip() if isinstance(value, str) else value


def _visible_secret(value: SecretStr) -> SecretStr:
    require_visible(value.get_secret_value(), _CUT)
    return value


def _visible_header(value: SecretStr) -> SecretStr:
    for word in value.get_secret_value().split(" "):
        require_visible(word, _CUT)
    return value


def _visible_text(value: str) -> str:
    require_visible(value, _CUT)
    return value


Secret = Annotated[SecretStr, BeforeValidator(_cut), AfterValidator(_visible_secret)]
"""Key, password or token: visible ASCII, white space at both ends removed."""
HeaderSecret = Annotated[SecretStr, BeforeValidator(_cut), AfterValidator(_visible_header)]
"""Value of an HTTP header: as `Secret`, with single spaces between the words."""
AccessKey = Annotated[str, BeforeValidator(_cut), AfterValidator(_visible_text)]
"""Public part of a key pair: validated as a secret, but shown."""


def _redis_parts(url: str) -> None:
    parts = require_parts(url, _REDIS, user=True, path=True, query=True, example="/0")
    if not re.fullmatch(r"/?|/[0-9]{1,4}", parts.path):
        raise ValueError("its path is not a database number; valid is redis://host:port/0 or rediss://host:port/0")
    if "?" not in url:
        return
    for name, value in parse_qsl(parts.query, keep_blank_values=True) or [("", "")]:
        if name not in _REDIS_OPTIONS:
            raise ValueError(f"its option {name!r} is unknown{did_you_mean(name, _REDIS_OPTIONS)}: valid are {', '.join(_REDIS_OPTIONS)}")
        form, valid = _REDIS_FORMS.get(name, (r".+", "a text"))
        if not re.fullmatch(form, value):
            raise ValueError(f"its option {name} is {value!r}: valid is {valid}")
        if name == "db" and parts.path not in ("", "/"):
            raise ValueError("it selects a database both in its path and by db=: valid is one of them")


def _checked(check: Callable[[str], object]) -> AfterValidator:
    def run(value: SecretUrl) -> SecretUrl:
        if value:
            check(value)
        return value

    return AfterValidator(run)


_Url = Annotated[str, BeforeValidator(_cut), AfterValidator(_visible_text), AfterValidator(url_with_brackets), AfterValidator(SecretUrl)]
"""URL that may contain a password. IPv6 with or without brackets; may be empty."""
HttpUrl = Annotated[_Url, _checked(lambda url: require_parts(url, _HTTP, user=True, path=True))]
"""Base URL with optional path, user and password."""
StreamUrl = Annotated[_Url, _checked(lambda url: require_parts(url, ("ws", "wss"), path=True))]
"""WebSocket server with optional path."""
ReceiverUrl = Annotated[_Url, _checked(lambda url: require_parts(url, _HTTP, path=True))]
"""Server with optional path, without user and password."""
EndpointUrl = Annotated[_Url, _checked(lambda url: require_parts(url, _HTTP))]
"""Server without path, user and password."""
ProxyUrl = Annotated[_Url, _checked(lambda url: require_parts(url, _HTTP, user=True))]
"""Server with optional user and password."""
RedisUrl = Annotated[_Url, _checked(_redis_parts)]
"""Redis URL with optional user, password, database number and options."""


def secrets_in(value: Any) -> set[str]:
    """All secrets in a part of the settings: keys, passwords, and credentials in URLs."""
    if isinstance(value, SecretStr):
        return {value.get_secret_value()} - {""}
    if isinstance(value, SecretUrl):
        return _url_secrets(value)
    if isinstance(value, BaseModel):
        return set().union(*(secrets_in(getattr(value, name)) for name in type(value).model_fields))
    if isinstance(value, dict):
        return set().union(*(secrets_in(each) for each in value.values()))
    return set()


def _url_secrets(url: str) -> set[str]:
    userinfo = urlsplit(url).netloc.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    # A user without password is treated as a token.
    return {unquote(password or user), password or user} - {""}
