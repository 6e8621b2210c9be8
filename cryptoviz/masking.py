"""Masking of secrets in texts: passwords in URLs, and known secrets in all escaped forms that libraries produce."""

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
# Shorter substrings occur in too many texts.
_RUN = 4
_BASE64_END = r"(?:[A-Za-z0-9+/_\-]{0,3}={0,2}|(?:%3D){1,2})"
_ENTITIES: dict[str, str] = {}
for _name, _meant in html.entities.html5.items():
    _ENTITIES[_meant] = f"{_ENTITIES[_meant]}|{re.escape(_name)}" if _meant in _ENTITIES else re.escape(_name)


def mask_urls(text: str) -> str:
    """Replace user and password of every URL, and values of query parameters named like keys, by `MASK`."""
    if "://" in text or ":\\/" in text:
        text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    return _PARAMETER.sub(rf"\g<name>{MASK}", text) if "=" in text else text


def mask_url(value: str) -> str:
    """As `mask_urls`, for a text that is a single URL: its password may contain quotes, slashes and other characters that end a URL within a text.

    Everything from `://` to the last `@` is masked, so that rather too much is hidden than too little.
    """
    scheme, separator, rest = value.partition("://")
    _, at, address = rest.rpartition("@")
    return mask_urls(f"{scheme}{separator}{MASK}@{address}") if separator and at else mask_urls(value)


class Redactor:
    """Masks known secrets in texts, also in the escaped forms of `repr`, JSON, URLs and HTML, in hexadecimal and in base64 (Basic authentication).

    Args:
        secrets: the secrets; empty texts are ignored.
        mask: replacement.
        shortest: shorter secrets are not masked, because they may be part of ordinary words.
    """

    def __init__(self, secrets: Iterable[str], mask: str = MASK, shortest: int = 1) -> None:
        # Longest first, because a secret may contain another.
        kept = sorted({secret for secret in secrets if len(secret) >= max(1, shortest)}, key=len, reverse=True)
        self._mask = mask
        self._secrets = [_Secret(secret) for secret in kept]

    def __call__(self, text: str) -> str:
        """Return the text with secrets masked."""
        for secret in self._secrets:
            text = secret.remove(text, self._mask)
        return text


class _Secret:
    """A secret. A search for plain substrings decides whether the pattern, which is slow on long texts, is applied."""

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
        text = text.replace(self._text, mask)
        if any(hint in text for hint in self._hints):
            if self._pattern is None:
                self._pattern = re.compile("".join(_character(one) for one in self._text))
            text = self._pattern.sub(mask, text)
        for form in self._forms:
            if form in text:
                # The following characters encode the end of the secret together with the text after it.
                text = re.sub(re.escape(form) + _BASE64_END, mask, text)
        return text


def _character(one: str) -> str:
    """Pattern for a character, plain or escaped, also repeatedly."""
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
    """Base64 forms for all three alignments, without digits at both ends that depend on neighbouring bytes."""
    forms: set[str] = set()
    for before in range(3):
        plain = base64.b64encode(b"\0" * before + raw).decode()
        end = len(plain) if (before + len(raw)) % 3 == 0 else 4 * ((before + len(raw)) // 3)
        core = plain[(0, 2, 3)[before] : end]
        if len(core) >= 2 * _RUN:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


_SHORTEST_KNOWN = 8
"""Shorter passwords may be ordinary words of messages."""
_MOST_KNOWN = 64
_DEEPEST = 20
"""Values that are nested deeper, or contain themselves, are masked as one text."""
_lock = threading.Lock()
_known: dict[str, None] = {}
_redactor = Redactor(())


def hide(secrets: Iterable[str]) -> None:
    """Mask these secrets in all further errors and log lines of this process. The newest 64 are kept."""
    global _redactor
    with _lock:
        for secret in secrets:
            _known.pop(secret, None)
            _known[secret] = None
        for oldest in list(_known)[:-_MOST_KNOWN]:
            del _known[oldest]
        _redactor = Redactor(_known, shortest=_SHORTEST_KNOWN)


def forget() -> None:
    """Remove all known secrets; used between tests."""
    with _lock:
        _known.clear()
    hide(())


def redact(text: str) -> str:
    """Mask known secrets and secrets in URLs."""
    return mask_urls(_redactor(text))


def clip(text: str, longest: int) -> str:
    """The first `longest` characters of the redacted text. Secrets are redacted first: part of a secret would not be recognized after the cut."""
    return redact(text)[:longest]


def redact_value(value: Any, depth: int = 0) -> Any:
    """As `redact`, for texts, bytes, and what is in lists, tuples, sets and dicts.

    Any other value is returned unchanged, unless its `repr` shows a secret: then it becomes that text, masked.
    """
    if value is None or isinstance(value, (bool, int, float, Enum)):
        return value
    if isinstance(value, str):
        return redact(value)
    if type(value) in (bytes, bytearray):
        return type(value)(redact(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))
    if depth < _DEEPEST:
        if type(value) is dict:
            return {redact_value(key, depth + 1): redact_value(each, depth + 1) for key, each in value.items()}
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(redact_value(each, depth + 1) for each in value) if value else value
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 (of any package)
        return f"<{type(value).__qualname__}>"
    masked = redact(shown)
    return value if masked == shown else masked
