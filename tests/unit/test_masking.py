"""Secrets in texts: every escaped form is removed, everything else is kept."""

from __future__ import annotations

import base64
import html
import io
import json
import pickle
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.errors import EngineUnavailable
from cryptoviz.lake.store_errors import reason, store_error
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.masking import MASK, Redactor, clip, hide, mask_url, mask_urls
from cryptoviz.rpc.convert import component_to_proto

AWKWARD = "CG-a'b\"c\\d/e+f%g&h<i>j=k"
PLAIN = "CG-canary0123456789"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "repr": repr,
    "repr of bytes": lambda s: repr(s.encode()),
    "repr of repr": lambda s: repr(repr(s)),
    "json": json.dumps,
    "json with a slash escaped": lambda s: json.dumps(s).replace("/", "\\/"),
    "json in json": lambda s: json.dumps(json.dumps(s)),
    "json in code points": lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    "python hex": lambda s: "".join(f"\\x{ord(c):02x}" for c in s),
    "percent": lambda s: quote(s, safe=""),
    "percent in small letters": lambda s: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in s),
    "percent, every character": lambda s: "".join(f"%{ord(c):02X}" for c in s),
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "html": html.escape,
    "html by number": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "html by hexadecimal number": lambda s: "".join(f"&#x{ord(c):x};" for c in s),
    "hexadecimal": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "Basic authentication": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "Basic authentication of another user": lambda s: base64.b64encode(f"ab:{s}".encode()).decode(),
    "Basic authentication without a user": lambda s: base64.b64encode(f":{s}".encode()).decode(),
}


def decodings(text: str) -> str:
    """The text and its decoded forms, by all of the escapes above."""
    from urllib.parse import unquote_plus

    return " ".join((text, unquote_plus(text), unquote_plus(unquote_plus(text)), html.unescape(text)))


@pytest.mark.parametrize("secret", [AWKWARD, PLAIN])
@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_secret_is_left(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    left = Redactor([secret])(f'before {written} after "price": 37000.5')
    assert left.startswith("before ")
    assert left.endswith(' after "price": 37000.5')
    assert MASK in left
    assert written not in left
    assert secret not in decodings(left)
    # Only the ends that base64 shares with neighbours may remain.
    assert len(left) <= len(f'before {MASK} after "price": 37000.5') + 9


def test_what_is_no_secret_stays() -> None:
    text = json.dumps([{"id": "bitcoin", "image": "https://x.example/1.png?1696501400", "p": "50%", "q": "a\\b & c"}])
    assert Redactor([PLAIN, AWKWARD])(text) == text
    assert Redactor(["", PLAIN])(f"a{PLAIN}b") == f"a{MASK}b"
    assert Redactor(["abc", "abcdef"], "#")("abcdef abc") == "# #"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:pw@h:1/0", f"redis://{MASK}@h:1/0"),
        ("redis://user:p@ss@h:1/0", f"redis://{MASK}@h:1/0"),
        ("https://token@h/x", f"https://{MASK}@h/x"),
        (
            "Error 111 connecting to 'rediss://u:p%40w@[::1]:6379', then http://a:b@c",
            f"Error 111 connecting to 'rediss://{MASK}@[::1]:6379', then http://{MASK}@c",
        ),
        ('{"url": "https:\\/\\/u:p@h\\/x"}', f'{{"url": "https:\\/\\/{MASK}@h\\/x"}}'),
        ("https://h/x?api_key=abc&ids=bitcoin", f"https://h/x?api_key={MASK}&ids=bitcoin"),
        ("https://h/x?ids=bitcoin&x_cg_demo_api_key=CG-1#top", f"https://h/x?ids=bitcoin&x_cg_demo_api_key={MASK}#top"),
        ("https://h/x?X-Amz-Signature=ab12&TOKEN=t", f"https://h/x?X-Amz-Signature={MASK}&TOKEN={MASK}"),
        ("https://h/x?jwt=abc#token=t&n=1", f"https://h/x?jwt={MASK}#token={MASK}&n=1"),
        ("https://h:1/a@b?c=d", "https://h:1/a@b?c=d"),
        ("mail@example.org, a=b", "mail@example.org, a=b"),
    ],
)
def test_urls_in_a_text_lose_user_password_and_keys_and_nothing_else(text: str, masked: str) -> None:
    assert mask_urls(text) == masked


@pytest.mark.parametrize("password", ["LE'AK", 'LE"AK', "LE/AK", "LE#AK", "LE?AK", "LE@AK", "<LEAK>", "LE\\AK"])
def test_a_value_that_is_a_url_loses_any_password(password: str) -> None:
    assert mask_url(f"https://user:{password}@host:1/path?n=1") == f"https://{MASK}@host:1/path?n=1"


@pytest.mark.parametrize("value", ["https://host:1/path?n=1", "kafka:9092", "user@host", ""])
def test_a_value_without_a_secret_stays(value: str) -> None:
    assert mask_url(value) == value


def test_an_error_shows_no_secret_that_the_process_knows_also_behind_a_pickle() -> None:
    hide([AWKWARD])
    error = EngineUnavailable(f"no: {AWKWARD!r}", engine="redis", address="redis://:other@h:1/0")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert str(one) == f"no: {one.message[4:]}"
        assert MASK in one.message
        assert "CG-a" not in one.message
        assert one.args == (one.message,)
        assert one.address == f"redis://{MASK}@h:1/0"


def test_a_log_line_shows_no_secret_in_values_or_traces() -> None:
    hide([PLAIN])
    stream = io.StringIO()
    configure_logging("DEBUG", stream)
    try:
        try:
            raise ValueError(f"Illegal header value b'{PLAIN}\\r'")
        except ValueError as error:
            get_logger("test").exception("failed", error=error, parts=[PLAIN, 1], url="redis://u:swordfish@h/0", number=5, none=None)
    finally:
        configure_logging("WARNING")
    text = stream.getvalue()
    assert "canary0123" not in text
    assert "swordfish" not in text
    assert "Traceback" in text
    assert "number=5" in text


def test_a_components_message_shows_no_secret_on_the_wire() -> None:
    hide([PLAIN])
    status = ComponentStatus(
        name="redis", kind=ComponentKind.ENGINE, desired=DesiredState.RUNNING, state=ComponentState.BACKOFF, trigger=Trigger.NONE,
        message=f"ConnectionError: redis://u:swordfish@h:1 {PLAIN!r}", since_ms=0, restarts=0, metrics={}, depends_on=(), pid=None, url=None,
    )  # fmt: skip
    wire = component_to_proto(status).SerializeToString()
    assert b"swordfish" not in wire
    assert PLAIN.encode() not in wire
    assert b"ConnectionError" in wire


@pytest.mark.parametrize(
    "shown",
    [
        lambda text: clip(text, 300),
        lambda text: str(store_error("http://h:1", "take k", OSError(text))),
        lambda text: reason(OSError(text + "y" * 400)),
        lambda text: reason(OSError("y" * 400 + text)),
    ],
    ids=["clip", "store_error", "reason", "reason, its end"],
)
def test_no_part_of_a_secret_is_left_where_the_text_of_an_engine_is_cut(shown: Callable[[str], str]) -> None:
    secret = "0c1d-canary-77a0-b1f2"
    hide([secret])
    for before in range(120, 320):
        text = shown("x" * before + secret + "z" * (400 - before))
        assert not [part for part in (secret[:4], "nary", secret[-4:]) if part in text], before
