"""Signing in to the real server, over sockets: beyond loopback everybody, on loopback other users of the machine."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from cryptoviz.security.tokens import Role, TokenFile
from dashboard.app_context import AppContext
from tests.support.dashboard_server import exchange, new_app_context, serving
from tests.support.intruder import as_another_user, http_answer
from tests.support.ports import free_port

OWNERS_TOKEN = "cd" * 32
SESSION = re.compile(r'<script[^>]* id="cv-session">(.*?)</script>', re.DOTALL)
# Raised inside panel-material-ui's own FileDownload, which sets both.
pytestmark = pytest.mark.filterwarnings("ignore:Both 'variant' and 'button_style' were provided:PendingDeprecationWarning")
EVERYTHING = ("/static/js/bokeh.min.js", "/favicon.ico", "/assets/page.0123456789abcdef.css")


@pytest.fixture(scope="module")
def app_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppContext]:
    home = tmp_path_factory.mktemp("beyond")
    with new_app_context(home, dashboard={"host": "0.0.0.0", "port": free_port()}) as made, serving(made):
        made.settings.token_file.write_text(OWNERS_TOKEN)
        yield made


@pytest.fixture
def port(app_context: AppContext) -> int:
    return app_context.settings.dashboard.port


def get(port: int, target: str, **fields: str) -> tuple[int, dict[str, str], bytes]:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return exchange(port, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n")


def post(port: int, target: str, body: str = "", origin: str | None = "own", **fields: str) -> tuple[int, dict[str, str], bytes]:
    named = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body)), **fields}
    if origin is not None:
        named["Origin"] = f"http://127.0.0.1:{port}" if origin == "own" else origin
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return exchange(port, f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n{body}")


def sign_in(port: int, token: str = OWNERS_TOKEN) -> str:
    """`name=value` of the cookie."""
    status, headers, _ = post(port, "/sign-in", urlencode({"token": token}))
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


def test_beyond_loopback_nothing_but_health_and_the_form_is_served(port: int) -> None:
    assert get(port, "/healthz")[0] == 200
    status, headers, body = get(port, "/sign-in")
    assert (status, b"Token" in body) == (200, True)
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
    assert headers["x-frame-options"] == "DENY"
    assert [get(port, target)[0] for target in EVERYTHING] == [401] * len(EVERYTHING)
    for cookie in ("", "cryptoviz=x", f"cryptoviz-{port}=owner:99999999999999:{'0' * 64}", '"; $Path=/', "=" * 5000):
        status, headers, body = get(port, "/", Cookie=cookie)
        assert (status, headers["location"], body) == (303, "/sign-in", b""), cookie


def test_the_deep_link_comes_back_and_leads_nowhere_else(port: int) -> None:
    assert get(port, "/?coin=bitcoin&tf=1h")[1]["location"] == "/sign-in?coin=bitcoin&tf=1h"
    status, headers, _ = post(port, "/sign-in?coin=bitcoin&tf=1h", urlencode({"token": OWNERS_TOKEN}))
    assert (status, headers["location"]) == (303, "/?coin=bitcoin&tf=1h")
    for query in (
        "next=//evil.example",
        "//evil.example",
        "=%0d%0aSet-Cookie:%20x",
        "a=%22%3E%3Cscript%3E",
        "x=" + "y" * 4000,
        "&".join(f"a{n}=1" for n in range(99)),
    ):
        _, headers, _ = post(port, f"/sign-in?{query}", urlencode({"token": OWNERS_TOKEN}))
        assert headers["location"].startswith("/?") or headers["location"] == "/"
        assert headers["set-cookie"].startswith("cryptoviz-")
        assert b"<script" not in get(port, f"/sign-in?{query}")[2]
        assert get(port, f"/?{query}")[0] == 303


def test_a_token_opens_the_page_by_a_cookie_that_scripts_and_other_sites_do_not_get(port: int) -> None:
    status, headers, _ = post(port, "/sign-in", urlencode({"token": OWNERS_TOKEN}))
    attributes = {each.strip() for each in headers["set-cookie"].split(";")[1:]}
    assert (status, attributes) == (303, {"Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Strict"})
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, body = get(port, "/", Cookie=cookie)
    assert status == 200
    # Bokeh writes headers of the request into the page; the cookie would be readable by scripts.
    assert cookie.partition("=")[2].encode() not in body
    tokens = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in body.decode().split('"token": "')[1].split('"')[0].split(".")[:1]]
    assert b"Cookie" not in tokens[0]
    assert get(port, "/static/js/bokeh.min.js", Cookie=cookie)[0] == 200


def test_the_form_speaks_the_language_of_the_link_or_the_browser(port: int) -> None:
    _, _, body = get(port, "/sign-in?lang=fr")
    assert [part in body for part in (b'<html lang="fr">', b"Se connecter", b"Jeton", b"<code>control.token</code>")] == [True] * 4
    headers = {"Accept_Language": "fr-FR,fr;q=0.9,en;q=0.5"}
    assert "n'est pas valable" not in get(port, "/sign-in", **headers)[2].decode()
    assert "n&#x27;est pas valable" in post(port, "/sign-in", urlencode({"token": "wrong"}), **headers)[2].decode()
    assert b"Sign in" in get(port, "/sign-in?lang=%ff%3Cscript%3E", **headers | {"Accept_Language": "de"})[2]


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
def test_a_form_of_another_site_signs_nobody_in_or_out(port: int, origin: str | None) -> None:
    cookie = sign_in(port)
    assert post(port, "/sign-in", urlencode({"token": OWNERS_TOKEN}), origin)[0] == 403
    assert post(port, "/sign-out", "", origin, Cookie=cookie)[0] == 403
    assert get(port, "/sign-out", Cookie=cookie)[0] in (403, 405)
    assert get(port, "/favicon.ico", Cookie=cookie)[0] != 401


def test_signing_out_ends_the_cookie_and_not_only_the_browsers_copy(port: int) -> None:
    cookie = sign_in(port)
    status, headers, _ = post(port, "/sign-out", Cookie=cookie)
    assert (status, headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in headers["set-cookie"]
    assert get(port, "/", Cookie=cookie)[0] == 303
    assert post(port, "/sign-out")[0] == 401


@pytest.mark.parametrize("sizes", [{"Content_Length": "5000"}, {"Content_Length": "-1"}, {"Content_Length": "9999999999"}, {"Content_Length": "x"}])
def test_a_form_is_small(port: int, sizes: dict[str, str]) -> None:
    assert post(port, "/sign-in", "token=x", **sizes)[0] in (400, 413)


def test_a_wrong_token_gets_no_cookie_and_soon_waits(tmp_path: Path) -> None:
    with new_app_context(tmp_path, dashboard={"host": "0.0.0.0", "port": free_port()}) as made, serving(made):
        made.settings.token_file.write_text(OWNERS_TOKEN)
        port = made.settings.dashboard.port
        answers = [post(port, "/sign-in", urlencode({"token": f"wrong<{number}>"})) for number in range(11)]
        assert [status for status, _, _ in answers] == [403] * 10 + [429]
        assert not [headers for _, headers, _ in answers if "set-cookie" in headers]
        assert not [body for _, _, body in answers if b"wrong<" in body]
        assert 0 < int(answers[-1][1]["retry-after"]) <= 60
        # The right one waits too: otherwise its answer would tell.
        assert post(port, "/sign-in", urlencode({"token": OWNERS_TOKEN}))[0] == 429


def test_no_request_chooses_its_session(port: int) -> None:
    cookie = sign_in(port)
    for query in ("bokeh-session-id=x", "bokeh-token=x", "a=1&bokeh-session-id=x", "bokeh%2Dsession%2Did=x", "BOKEH-TOKEN=x"):
        assert get(port, f"/?{query}", Cookie=cookie)[0] == 400, query
    assert get(port, "/", Cookie=cookie, Bokeh_Session_Id="named-by-a-client")[0] == 200
    assert b"named-by-a-client" not in get(port, "/", Cookie=cookie, Bokeh_Session_Id="named-by-a-client")[2]


async def opened(port: int, cookie: str | None, token: str) -> str:
    """First answer of the WebSocket: the type of a message, `closed`, or the status of the refusal."""
    headers = {"Origin": f"http://127.0.0.1:{port}"} | ({"Cookie": cookie} if cookie else {})
    request = HTTPRequest(f"ws://127.0.0.1:{port}/ws", headers=headers, request_timeout=60)
    try:
        connection = await websocket_connect(request, subprotocols=["bokeh", token])
    except HTTPClientError as error:
        return str(error.code)
    header = await connection.read_message()
    connection.close()
    if header is None:
        return "closed"
    # Until the server has closed it, too: the loop that ends before would leave the socket open.
    while await connection.read_message() is not None:
        continue
    return str(json.loads(header)["msgtype"])


def test_the_websocket_asks_too_and_a_page_belongs_to_one_visitor(app_context: AppContext, port: int) -> None:
    reader = TokenFile(app_context.settings.home).add("reader", Role.READ, 0)
    owners, readers = sign_in(port), sign_in(port, reader)
    # Also with what a client may write into a token itself: headers of a request that it never made.
    forged = generate_jwt_token(generate_session_id(signed=False), signed=False, extra_payload={"headers": {"Cookie": owners}, "arguments": {}})
    token = json.loads(SESSION.findall(get(port, "/", Cookie=owners)[2].decode())[0])["token"]

    async def all_of_them() -> list[str]:
        return [await opened(port, cookie, token) for cookie in (None, "x=y", owners, owners, readers)] + [await opened(port, owners, forged)]

    assert asyncio.run(all_of_them()) == ["401", "401", "ACK", "ACK", "closed", "closed"]


def test_another_user_of_the_machine_signs_in_on_loopback_and_the_owner_need_not(tmp_path: Path) -> None:
    with new_app_context(tmp_path) as made, serving(made):
        port = made.settings.dashboard.port
        assert get(port, "/")[0] == 200
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        own = {"Host": f"127.0.0.1:{port}"}
        origin = own | {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/x-www-form-urlencoded"}
        socket = own | {"Origin": origin["Origin"], "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}

        def tried() -> list[int]:
            address = ("127.0.0.1", port)
            return [
                http_answer(address, "/", headers=own)[0],
                http_answer(address, "/static/js/bokeh.min.js", headers=own)[0],
                http_answer(address, "/ws", headers=socket | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})[0],
                http_answer(address, "/sign-in", "POST", origin, b"token=x")[0],
            ]

        assert as_another_user(tried) == [303, 401, 401, 403]


def test_a_link_of_another_site_opens_the_page_of_who_is_signed_in(port: int) -> None:
    # The browser sends no cookie with the link; the answer makes it open the page once more, then from this site.
    status, headers, body = get(port, "/?coin=bitcoin%22%3E", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert status == 200
    assert b'content="0;url=/?coin=bitcoin%22%3E"' in body
    assert "location" not in headers
    assert get(port, "/?coin=bitcoin", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="navigate")[1]["location"] == "/sign-in?coin=bitcoin"
