"""A page of another site in the same browser cannot start, stop or read anything, by any kind of request."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from playwright.sync_api import Browser, Page, Response

from cryptoviz.client import ControlClient
from tests.browser.conftest import DEADLINE_MS
from tests.support.http_server import threaded_server
from tests.support.page_stack import Stack

pytestmark = pytest.mark.browser

SOCKET = """url => new Promise(done => {
  const socket = new WebSocket(url, ["bokeh", "eyJzZXNzaW9uX2lkIjoieCIsInNlc3Npb25fZXhwaXJ5Ijo5OTk5OTk5OTk5fQ"])
  socket.onopen = () => done("open")
  socket.onerror = () => done("refused")
})"""
FETCH = """([url, mode, method]) => fetch(url, {mode, method, body: method === "POST" ? "x=1" : undefined}).then(
  async answer => answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`, () => "refused")"""
ELEMENT = """([tag, name, url]) => new Promise(done => {
  const made = document.createElement(tag)
  made[name] = url
  made.onload = () => done("loaded")
  made.onerror = () => done("refused")
  document.body.append(made)
})"""
FRAME = """url => new Promise(done => {
  const frame = document.createElement("iframe")
  frame.src = url
  frame.onload = () => { try { done(frame.contentDocument === null ? "unreadable" : "readable") } catch { done("unreadable") } }
  document.body.append(frame)
})"""


class Blank(BaseHTTPRequestHandler):
    """The hostile site: an empty page for the test's scripts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")


@pytest.fixture
def hostile(browser: Browser) -> Iterator[tuple[Page, list[Response]]]:
    """A page at evil.example, and every response that its browser received."""
    with threaded_server(Blank) as port:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer))
        page.goto(f"http://evil.example:{port}/")
        yield page, answers
        context.close()


@pytest.fixture
def own(market: Stack) -> Iterator[str]:
    """The dashboard's address; checks that the desired state of the pipeline is unchanged afterwards."""
    with ControlClient.from_settings(market.settings, timeout_s=60) as control:
        before = {component.name: (component.desired, component.restarts) for component in control.list().components}
        yield f"127.0.0.1:{market.settings.dashboard.port}"
        assert {component.name: (component.desired, component.restarts) for component in control.list().components} == before


def test_a_rebound_name_gets_no_page_and_no_websocket(market: Stack, own: str, browser: Browser) -> None:
    rebound = f"evil.example:{market.settings.dashboard.port}"
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    for path in ("", "?view=pipeline", "healthz", "static/js/bokeh.min.js", "autoload.js?bokeh-autoload-element=x", "rest/session_info", "admin"):
        answer = page.goto(f"http://{rebound}/{path}")
        assert answer is not None
        assert answer.status == 403, path
    # The response is a document of that origin: its scripts would have the Host and Origin of a rebound page.
    page.goto(f"http://{rebound}/")
    client = context.new_cdp_session(page)
    client.send("Page.setBypassCSP", {"enabled": True})
    page.goto(f"http://{rebound}/")
    assert page.evaluate(SOCKET, f"ws://{rebound}/ws") == "refused"
    assert page.evaluate(SOCKET, f"ws://{own}/ws") == "refused"
    assert page.evaluate(FETCH, [f"http://{rebound}/", "same-origin", "GET"]).startswith("403 ")
    assert page.evaluate(FETCH, [f"http://{rebound}/", "same-origin", "POST"]).startswith("403 ")
    context.close()


def test_scripts_of_another_site_read_nothing(hostile: tuple[Page, list[Response]], own: str) -> None:
    page, answers = hostile
    assert page.evaluate(SOCKET, f"ws://{own}/ws") == "refused"
    for path in ("", "healthz", "autoload.js?bokeh-autoload-element=x", "static/js/bokeh.min.js"):
        for mode in ("cors", "no-cors"):
            for method in ("GET", "POST"):
                assert page.evaluate(FETCH, [f"http://{own}/{path}", mode, method]) == "refused", (path, mode, method)
        for tag in ("script", "img"):
            assert page.evaluate(ELEMENT, [tag, "src", f"http://{own}/{path}"]) == "refused", (path, tag)
        page.evaluate(ELEMENT, ["embed", "src", f"http://{own}/{path}"])  # loads an empty plug-in when refused
    assert not [answer.url for answer in answers if own in answer.url and answer.status < 400]


def test_the_page_is_in_no_frame(hostile: tuple[Page, list[Response]], own: str) -> None:
    page, answers = hostile
    assert page.evaluate(FRAME, f"http://{own}/?view=pipeline") == "unreadable"
    assert [answer.status for answer in answers if own in answer.url] == [403]
    assert not [frame for frame in page.frames if frame.url.startswith(f"http://{own}")]


def test_a_form_of_another_site_does_nothing(hostile: tuple[Page, list[Response]], own: str) -> None:
    page, _ = hostile
    for target in ("", "ws", "?view=pipeline"):
        with page.expect_navigation() as navigation:
            page.evaluate(
                """url => {
                  const form = document.createElement("form")
                  form.method = "POST"; form.action = url; form.enctype = "text/plain"
                  document.body.append(form); form.submit()
                }""",
                f"http://{own}/{target}",
            )
        assert navigation.value is not None
        assert navigation.value.status == 405
        page.go_back()


def test_a_link_from_another_site_opens_the_page_alone(hostile: tuple[Page, list[Response]], own: str) -> None:
    page, _ = hostile
    page.evaluate("url => { window.opened = window.open(url) }", f"http://{own}/")
    opened = page.context.pages[-1] if len(page.context.pages) > 1 else page.context.wait_for_event("page")
    opened.wait_for_url(f"http://{own}/**")
    opened.locator(".cv-price").first.wait_for(state="visible", timeout=DEADLINE_MS)
    # Cross-Origin-Opener-Policy: the opener cannot access the window that it opened.
    assert page.evaluate("window.opened.closed")
    assert opened.evaluate("window.opener") is None
