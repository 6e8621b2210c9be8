"""Which requests are answered: by Host, target, method, Origin and Fetch Metadata."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from tornado.httputil import HTTPHeaders

from cryptoviz.settings import load_settings
from dashboard.access.rules import Access

OWN = "127.0.0.1:5006"
LOOPBACK = ("127.0.0.1:5006", "localhost:5006", "[::1]:5006")


def access(**dashboard: object) -> Access:
    return Access.of(load_settings(dashboard={"port": 5006, **dashboard}))


def asked(rules: Access, target: str = "/", method: str = "GET", host: str | None = OWN, **fields: str) -> int:
    headers = HTTPHeaders()
    if host is not None:
        headers.add("Host", host)
    for name, value in fields.items():
        headers.add(name.replace("_", "-"), value)
    refusal = rules.refusal(method, target, headers)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize("host", [*LOOPBACK, "LOCALHOST:5006", "[::1]:5006"])
def test_loopback_is_served_by_each_of_its_names(host: str) -> None:
    assert asked(access(), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:5006", "evil.example", "localhost", "127.0.0.1", "localhost:5007", "127.0.0.1:80", "localhost.:5006", "a.localhost:5006",
        "localhost.evil.example:5006", "user@localhost:5006", "localhost:5006@evil.example", "127.0.0.2:5006", "127.1:5006", "0.0.0.0:5006",
        "2130706433:5006", "[::ffff:127.0.0.1]:5006", "[::1]", "::1:5006", "", "localhost:5006, evil.example", "localhost:05006",
        "*", "*:5006", "192.168.1.7:5006",
    ],
)  # fmt: skip
def test_every_other_host_is_refused(host: str) -> None:
    assert asked(access(), host=host) == HTTPStatus.FORBIDDEN


def test_a_request_names_one_host_exactly() -> None:
    assert asked(access(), host=None) == HTTPStatus.BAD_REQUEST
    twice = HTTPHeaders()
    twice.add("Host", OWN)
    twice.add("Host", OWN)
    refusal = access().refusal("GET", "/", twice)
    assert refusal is not None
    assert refusal.status == HTTPStatus.BAD_REQUEST


def test_headers_of_proxies_do_not_stand_in_for_the_host() -> None:
    assert asked(access(), host="evil.example:5006", X_Forwarded_Host=OWN, Forwarded=f"host={OWN}", X_Host=OWN) == HTTPStatus.FORBIDDEN
    assert asked(access(), X_Forwarded_Host="evil.example") == 200


def test_settings_add_hosts_with_the_ports_that_browsers_leave_out() -> None:
    rules = access(allow_origins=["prices.example.org:443", "Other.example.org:8443", "https://third.example.org"])
    for host in ("prices.example.org", "prices.example.org:443", "other.example.org:8443", "third.example.org", *LOOPBACK):
        assert asked(rules, host=host) == 200, host
    for host in ("other.example.org", "prices.example.org:80", "third.example.org:80", "b:1", "x", "anything:5006"):
        assert asked(rules, host=host) == HTTPStatus.FORBIDDEN, host
    assert asked(rules, "/ws", host="prices.example.org", Origin="https://prices.example.org") == 200
    assert asked(rules, "/ws", host="prices.example.org", Origin="http://prices.example.org") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(("bind", "host"), [("192.168.1.7", "192.168.1.7:5006"), ("::1", "[::1]:5006"), ("fd00::7", "[fd00::7]:5006")])
def test_the_bind_address_is_served_and_a_wildcard_names_nothing(bind: str, host: str) -> None:
    assert asked(access(host=bind), host=host) == 200
    for wildcard in ("0.0.0.0", "::"):
        assert asked(access(host=wildcard), host="0.0.0.0:5006") == HTTPStatus.FORBIDDEN
        assert asked(access(host=wildcard), host="192.168.1.7:5006") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("target", ["http://127.0.0.1:5006/", "http://evil.example/", "//evil.example/", "evil.example:80", "*", "", "ws"])
def test_only_targets_in_origin_form_are_served(target: str) -> None:
    assert asked(access(), target) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "target",
    [
        "/?coin=bitcoin", "/healthz", "/favicon.ico", "/static/js/bokeh.min.js?v=1", "/static/extensions/panel/bundled/a@%5E1.10.0/dist/b.min.js",
        "/assets/page.0123456789abcdef.js", "/download/aZ_-9",
    ],
)  # fmt: skip
def test_the_pages_own_paths_are_served(target: str) -> None:
    assert asked(access(), target) == 200


@pytest.mark.parametrize(
    "target",
    [
        "/autoload.js?bokeh-autoload-element=x", "/metadata", "/rest/session_info", "/admin", "/index",
        "/components/panel/x/_css/y", "/assets/", "/assets/../x", "/assets/a/b", "/download/", "/download/a.b",
        "/components/panel/../os/x", "/components/panelx/A/_css/y", "/static/../../etc/passwd", "/static/%2e%2e/x", "/static/%252e%252e/x",
        "/static/a%00b",
        "/static/..%5cx", "/ws/", "/healthz/", "/login", "/logout",
    ],
)  # fmt: skip
def test_nothing_else_is_there(target: str) -> None:
    assert asked(access(), target) == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_only_reading_methods_are_served(method: str) -> None:
    assert asked(access(), method=method) == HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("origin", [f"http://{host}" for host in LOOPBACK])
def test_own_origins_open_the_websocket(origin: str) -> None:
    assert asked(access(), "/ws", Origin=origin) == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://evil.example:5006", "null", "http://localhost:5007", "file://", ""])
@pytest.mark.parametrize("target", ["/ws", "/", "/healthz", "/static/js/bokeh.min.js"])
def test_a_foreign_origin_is_refused_everywhere(target: str, origin: str) -> None:
    assert asked(access(), target, Origin=origin) == HTTPStatus.FORBIDDEN


def test_a_websocket_needs_an_origin() -> None:
    assert asked(access(), "/ws") == HTTPStatus.FORBIDDEN
    assert asked(access(), "/", Upgrade="websocket") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_link_to_the_page_and_nothing_else(site: str) -> None:
    link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert asked(access(), "/?coin=solana", **link) == 200
    assert asked(access(), "/healthz", **link) == HTTPStatus.FORBIDDEN
    for dest in ("iframe", "frame", "image", "script", "object", "embed", "empty"):
        assert asked(access(), **(link | {"Sec_Fetch_Dest": dest})) == HTTPStatus.FORBIDDEN
    assert asked(access(), **(link | {"Sec_Fetch_Mode": "no-cors"})) == HTTPStatus.FORBIDDEN
    assert asked(access(), "/ws", Origin=f"http://{OWN}", Sec_Fetch_Site=site) == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_pages_own_requests_are_served(site: str) -> None:
    assert asked(access(), "/static/js/bokeh.min.js", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script") == 200
