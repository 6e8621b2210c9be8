"""Secrets in texts: passwords inside URLs, and known secrets in every escaped form that libraries give them."""

from __future__ import annotations

import base64
import html.entities
import re
import threading
from collections.abc import Iterable
from enum import Enum
from typing import Any
from urllib.parse import quote

__all__ = ["MASK", "Redactor", "clip", "forget", "hide", "mask_url", "mask_urls", "redact", "redact_value"]

MASK = "********"

_SCHEME = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*:(?:\\?/){2})"
# Greedy up to the last `@` before the path, as URL parsers split; a user without a password may be a token as well.
_USERINFO = re.compile(_SCHEME + r"(?P<userinfo>[^\s/?#\"'<>\\]*)@")
_KEY_WORDS = r"[\w.\-]*(?:api[_\-]?key|access[_\-]?key|auth|credential|key|pass|passwd|password|pwd|jwt|secret|sig|signature|token)[\w.\-]*"
_PARAMETER = re.compile(rf"(?P<name>[?&;#]{_KEY_WORDS}=)(?P<value>[^&;#\s\"'<>]+)", re.IGNORECASE)
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9]+")
# A shorter run stands in too many texts to say anything.
_RUN = 4
_BASE64_END = r"(?:[A-Za-z0-9+/_\-]{0,3}={0,2}|(?:%3D){1,2})"
_ENTITIES: dict[str, str] = {}
for _name, _meant in html.entities.html5.items():
    _ENTITIES[_meant] = f"{_ENTITIES[_meant]}|{re.escape(_name)}" if _meant in _ENTITIES else re.escape(_name)


def mask_urls(text: str) -> str:
    """The text with user and password of every URL in it, and query values whose names say that they are keys, replaced by `MASK`."""
    if "://" in text or ":\\/" in text:
        text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    return _PARAMETER.sub(rf"\g<name>{MASK}", text) if "=" in text else text


def mask_url(value: str) -> str:
    """As `mask_urls`, for a text that is a single URL: its password may contain quotes, slashes and other characters that end a URL within a text.

    Everything from `://` to the last `@` is masked, so that too much is hidden rather than too little.
    """
    scheme, separator, rest = value.partition("://")
    _, at, address = rest.rpartition("@")
    return mask_urls(f"{scheme}{separator}{MASK}@{address}") if separator and at else mask_urls(value)


class Redactor:
    """Replaces known secrets in texts, also as `repr`, JSON, a URL, HTML, hexadecimal digits or base64 (Basic authentication) write them.

    Args:
        secrets: the texts; empty ones count for nothing.
        mask: what stands in their place.
        shortest: shorter secrets are left, because they would stand in ordinary words.
    """

    def __init__(self, secrets: Iterable[str], mask: str = MASK, shortest: int = 1) -> None:
        # The longest first: one secret may hold another.
        kept = sorted({secret for secret in secrets if len(secret) >= max(1, shortest)}, key=len, reverse=True)
        self._mask = mask
        self._secrets = [_Secret(secret) for secret in kept]

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = secret.remove(text, self._mask)
        return text


class _Secret:
    """One secret. A look for plain substrings decides whether the pattern, which is slow on long bodies, has to be asked."""

    def __init__(self, text: str) -> None:
        raw = text.encode()
        self._pattern: re.Pattern[str] | None = None
        self._text = text
        longest = max(_NEVER_ESCAPED.findall(text), key=len, default="")
        self._hints = {longest} if len(longest) >= _RUN else {text[:1], text[-1:], "%", "\\", "&#"}
        for style in ("%{:02x}", "%25{:02x}", "\\x{:02x}", "\\u{:04x}", "&#x{:x};", "%{:02X}", "%25{:02X}", "\\x{:02X}", "\\u{:04X}", "&#{};"):
            self._hints.add("".join(style.format(ord(character)) for character in text[:_RUN]))
        self._forms = {raw.hex(), raw.hex().upper(), *_base64_forms(raw)}
        self._forms |= {quote(form, safe="") for form in self._forms}

    def remove(self, text: str, mask: str) -> str:
        """Every form of it out of `text`."""
        text = text.replace(self._text, mask)
        if any(hint in text for hint in self._hints):
            if self._pattern is None:
                self._pattern = re.compile("".join(_character(one) for one in self._text))
            text = self._pattern.sub(mask, text)
        for form in self._forms:
            if form in text:
                # What follows is the end of the secret, with the beginning of what stands behind it.
                text = re.sub(re.escape(form) + _BASE64_END, mask, text)
        return text


def _character(one: str) -> str:
    """A pattern for one character, plain or escaped, once or twice over."""
    code = ord(one)
    digits = "".join(f"[{digit}{digit.upper()}]" for digit in f"{code:02x}")
    ways = [rf"\\*{re.escape(one)}", f"%(?:25)*{digits}", rf"\\+x{digits}", rf"\\+u00{digits}", rf"\\+{code:03o}", f"&(?:amp;)*#0*{code};"]
    ways.append(f"&(?:amp;)*#[xX]0*{digits};")
    if one in _ENTITIES:
        ways.append(f"&(?:amp;)*(?:{_ENTITIES[one]})")
    if one == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _base64_forms(raw: bytes) -> set[str]:
    """What base64 makes of it wherever it begins within three bytes, without the digits at both ends that its neighbours share."""
    forms: set[str] = set()
    for before in range(3):
        plain = base64.b64encode(b"\0" * before + raw).decode()
        end = len(plain) if (before + len(raw)) % 3 == 0 else 4 * ((before + len(raw)) // 3)
        core = plain[(0, 2, 3)[before] : end]
        if len(core) >= 2 * _RUN:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


_SHORTEST_KNOWN = 8
"""A shorter password may be an ordinary word of our own messages."""
_MOST_KNOWN = 64
_lock = threading.Lock()
_known: dict[str, None] = {}
_redactor = Redactor(())


def hide(secrets: Iterable[str]) -> None:
    """Take these secrets out of every error and log line of this process from now on. The newest 64 are known."""
    global _redactor
    with _lock:
        for secret in secrets:
            _known.pop(secret, None)
            _known[secret] = None
        for oldest in list(_known)[:-_MOST_KNOWN]:
            del _known[oldest]
        _redactor = Redactor(_known, shortest=_SHORTEST_KNOWN)


def forget() -> None:
    """Know no secret any more: between tests, one of which must not hide another's texts."""
    with _lock:
        _known.clear()
    hide(())


def redact(text: str) -> str:
    """The text without known secrets, and without those inside URLs."""
    return mask_urls(_redactor(text))


def clip(text: str, longest: int) -> str:
    """The first `longest` characters of the redacted text. Secrets are redacted first: part of a secret would not be recognized after the cut."""
    return redact(text)[:longest]


def redact_value(value: Any) -> Any:
    """As `redact`, for a text or one inside lists, tuples and mappings; other values stay."""
    if isinstance(value, str):
        return value if isinstance(value, Enum) else redact(value)
    if type(value) is dict:
        return {redact_value(key): redact_value(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(redact_value(each) for each in value)
    return value
