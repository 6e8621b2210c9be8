"""The page to sign in with a token, and to sign out."""

from __future__ import annotations

import html
import time
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from tornado.web import RequestHandler

from cryptoviz.log import get_logger
from dashboard.access.failed_sign_ins import FailedSignIns
from dashboard.access.rules import SIGN_IN_PATH, SIGN_OUT_PATH
from dashboard.access.visitors import SIGNED_IN_S, Visitor, Visitors
from dashboard.views.texts import LANGUAGES, language_of, texts

__all__ = ["REOPEN", "SignInHandler", "SignOutHandler", "back_to", "sign_in_address", "sign_in_patterns"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_MAX_QUERY, _MOST_FIELDS = 512, 16

_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>CryptoViz: {sign_in}</title><meta name="viewport" content="width=device-width">
<style>
  :root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center }}
  body {{ background: light-dark(#f5f7fa, #0b0f14); color: light-dark(#16202c, #e6edf3) }}
  form {{ width: min(24rem, 100% - 3rem); display: grid; gap: .75rem }}
  h1 {{ font-size: 1.25rem; margin: 0 }} p {{ margin: 0 }} .wrong {{ color: light-dark(#b3261e, #ff8a80) }}
  input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .4rem; border: 1px solid light-dark(#8794a3, #4b5866) }}
  input {{ background: light-dark(#fff, #131a22); color: inherit }} button {{ background: #1857c4; color: #fff; border-color: #1857c4 }}
  code {{ font-size: .85em; overflow-wrap: anywhere }} label {{ display: grid; gap: .25rem }}
</style></head>
<body><main><form method="post" action="{action}">
  <h1>CryptoViz</h1>
  <label>{token} <input name="token" type="password" autocomplete="current-password" required autofocus></label>
  {problem}
  <button type="submit">{sign_in}</button>
  <p>{help}</p>
</form></main></body></html>
"""
_HELP = {
    "file": "<code>control.token</code>",
    "command": "<code>cryptoviz tokens add NAME --role read</code>",
    "operate": "<code>operate</code>",
}
REOPEN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CryptoViz</title><meta http-equiv="refresh" content="0;url={url}"></head><body></body></html>
"""
"""Opens the page again as a link of its own site: a browser sends no cookie with the link of another site."""

log = get_logger("dashboard")


def back_to(query: str) -> str:
    """Address of the page with the same deep link. Built from known parts, so that nothing can lead elsewhere."""
    pairs = parse_qsl(query[:_MAX_QUERY])[:_MOST_FIELDS] if query.isascii() else []
    return f"/?{urlencode(pairs)}" if pairs else "/"


def sign_in_address(query: str) -> str:
    """Address of the page to sign in, which then shows the deep link."""
    kept = back_to(query).removeprefix("/").removeprefix("?")
    return f"{SIGN_IN_PATH}?{kept}" if kept else SIGN_IN_PATH


def sign_in_patterns(visitors: Visitors) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Routes for the server."""
    failed = FailedSignIns()
    return [
        (SIGN_IN_PATH, SignInHandler, {"visitors": visitors, "failed": failed}),
        (SIGN_OUT_PATH, SignOutHandler, {"visitors": visitors}),
    ]


class _Handler(RequestHandler):
    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", _POLICY)

    def _keep(self, cookie: str, name: str, max_age_s: int) -> None:
        secure = "; Secure" if self.request.headers.get("Origin", "").lower().startswith("https://") else ""
        self.set_header("Set-Cookie", f"{name}={cookie}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}")


class SignInHandler(_Handler):
    """GET shows the form, POST takes the token. The gate has checked the Origin of a POST."""

    def initialize(self, visitors: Visitors, failed: FailedSignIns) -> None:
        self._visitors, self._failed = visitors, failed

    def get(self) -> None:
        self._show()

    def post(self) -> None:
        address, now_s = str(self.request.remote_ip), time.monotonic()
        if wait_s := self._failed.wait_s(address, now_s):
            self.set_status(HTTPStatus.TOO_MANY_REQUESTS)
            self.set_header("Retry-After", str(wait_s))
            self._show("sign_in_wait", seconds=wait_s)
            return
        visitor = self._visitors.sign_in(self.get_body_argument("token", ""))
        if visitor is None:
            self._failed.note(address, now_s)
            log.warning("sign_in_refused", address=address)
            self.set_status(HTTPStatus.FORBIDDEN)
            self._show("sign_in_wrong")
            return
        log.info("signed_in", name=visitor.name, role=str(visitor.role))
        self._keep(cast("str", visitor.cookie), self._visitors.cookie_name, SIGNED_IN_S)
        self.redirect(back_to(self.request.query), status=HTTPStatus.SEE_OTHER)

    def _show(self, problem: str = "", **values: object) -> None:
        """The form, in the language of the deep link or the browser; `problem` is a key of the texts."""
        asked = self.request.query_arguments.get("lang", [b""])[0].decode("ascii", "replace").lower()
        language = asked if asked in LANGUAGES else language_of(self.request.headers.get("Accept-Language", ""))
        t = texts(language)
        shown = f'<p class="wrong" role="alert">{html.escape(t(problem).format(**values))}</p>' if problem else ""
        words = html.escape(t("sign_in_help"), quote=False).format(**_HELP)
        action = html.escape(sign_in_address(self.request.query))
        self.write(_PAGE.format(language=language, action=action, problem=shown, sign_in=t("sign_in"), token=t("sign_in_token"), help=words))


class SignOutHandler(_Handler):
    """POST ends the visitor's cookie."""

    def initialize(self, visitors: Visitors) -> None:
        self._visitors = visitors

    def post(self) -> None:
        visitor: Visitor = cast("Any", self.request.connection).visitor
        self._visitors.sign_out(visitor)
        log.info("signed_out", name=visitor.name)
        self._keep("", self._visitors.cookie_name, 0)
        self.redirect(SIGN_IN_PATH, status=HTTPStatus.SEE_OTHER)
