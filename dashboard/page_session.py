"""The session of a browser's page: pulls from the shared state on its event loop, and sends what changed."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import panel as pn
from tornado.ioloop import IOLoop

from cryptoviz.errors import QueueFull
from dashboard.access.visitors import CURRENT
from dashboard.app_context import AppContext
from dashboard.delivery import Delivery
from dashboard.loop_calls import LoopCalls
from dashboard.outbox import Outbox
from dashboard.views.texts import say, speak

__all__ = ["Act", "Session"]

T = TypeVar("T")

_MOST_WORK = 16

Act = Callable[[str, str, Mapping[str, str]], None]
"""An action of the browser: page, verb, values. Untrusted."""

_HELLO, _STILL = ("root", "hello"), ("root", "still")
"""`still` asks whether anybody is there; it is answered by a message, empty if there is no news."""


class Session:
    """Event loop, lifetime and background work of one page.

    Wake-ups from ingest threads carry no data: they schedule a pull on the document's loop, the only thread-safe operation. A periodic pull is the
    safety net. Nothing is sent until the browser says hello, nor until it has acknowledged the last message; it then gets the newest state.
    """

    PULL_MS = 1000

    def __init__(self, app_context: AppContext, doc: Any, language: str, loop: IOLoop) -> None:
        self.app_context = app_context
        self.language = language
        self.visitor = CURRENT.get()
        self.out = Outbox()
        self._doc = doc
        self._calls = LoopCalls(doc, loop)
        self._pull: Callable[[], None] | None = None
        self._act: Act | None = None
        self._pending = threading.Event()
        self._closed = threading.Event()
        self._ready = False
        self._waiting: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # guards the two attributes above
        self._unsubscribe: Callable[[], None] = lambda: None
        self._at_end: list[Callable[[], None]] = []
        self._work: set[Future[Any]] = set()
        self.delivery = Delivery(lambda: time.monotonic() * 1000, self.now_ms, self._run_pull, self._acted, self._on_loop)

    def open(self, pull: Callable[[], None], act: Act) -> None:
        """Call `pull` on the session's loop after each change of the shared state, and once a second, as soon as the browser is ready.

        It writes to `out`. It is not called until the browser has acknowledged the last message. `act` gets the browser's actions.
        """
        self._pull, self._act = pull, act
        self._unsubscribe = self.app_context.wakeups.subscribe(self.wake)
        pn.state.add_periodic_callback(self._run_pull, period=self.PULL_MS)
        pn.state.on_session_destroyed(lambda _context: self.close())

    def when_closed(self, call: Callable[[], None]) -> None:
        """Call back when the page is released, to end work that only it waits for."""
        self._at_end.append(call)

    def close(self) -> None:
        """Release the page. Idempotent."""
        self._closed.set()
        self._unsubscribe()
        self._calls.close()
        with self._lock:
            self._waiting = []
        calls, self._at_end = self._at_end, []
        for call in calls:
            call()
        self._pull = self._act = None
        self.delivery.view.close()
        views = pn.state._views
        for key in [key for key, (_, _, doc, _) in views.items() if doc is self._doc]:
            del views[key]

    def now_ms(self) -> int:
        """UTC epoch ms by the shared clock."""
        return self.app_context.clock.now_ms()

    def in_background(
        self, work: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None], workers: ThreadPoolExecutor | None = None
    ) -> None:
        """Run `work` in a worker thread, then one of the callbacks on the session's loop, and then a pull.

        A page may wait for `_MOST_WORK` at once; `failed` gets QueueFull for more: whatever a browser sends, the others have their turns.
        """
        self._work = {future for future in self._work if not future.done()}
        if len(self._work) >= _MOST_WORK:
            failed(
                QueueFull(say("this page already waits for {count} answers: try again in a moment", count=_MOST_WORK), queue="page", limit=_MOST_WORK)
            )
            return
        future = (workers or self.app_context.workers).submit(work)
        self._work.add(future)
        self.when_done(future, then, failed)

    def when_done(self, future: Future[T], then: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Call back on the session's loop when `future` is done, and then pull."""
        # A shared future outlives its pages and keeps callbacks forever: this callback references its page only until it is called.
        page, calls = weakref.ref(self), [(then, failed)]

        def hand_over(done: Future[T]) -> None:
            (succeed, fail), session = calls.pop(), page()
            if session is None or done.cancelled():
                return
            error = done.exception()
            if error is None:
                session.later(partial(succeed, done.result()))
            elif isinstance(error, Exception):
                session.later(partial(fail, error))

        future.add_done_callback(hand_over)

    def notify(self, kind: str, message: str) -> None:
        """Show a notice for some seconds; `kind` is success, info, warning or error. From the session's loop only."""
        self.out.notice({"kind": kind, "text": message})

    def download(self, name: str, content_type: str, content: bytes) -> None:
        """Let the browser save a file of that name. From the session's loop only."""
        self.out.notice({"download": self.app_context.downloads.offer(name, content_type, content)})

    def later(self, call: Callable[[], None]) -> None:
        """Schedule a call on the session's loop, and a pull after it."""

        def then_pull() -> None:
            call()
            self._run_pull()

        self._later(then_pull)

    def _acted(self, page: str, verb: str, values: Mapping[str, str]) -> None:
        if (page, verb) == _HELLO:
            self._begin()
        speak(self.language)
        if self._act is not None:
            self._act(page, verb, values)
        self._run_pull()
        if (page, verb) == _STILL and self._ready and self.delivery.ready:
            self.delivery.send({}, [])

    def _begin(self) -> None:
        self.delivery.restart()
        with self._lock:
            self._ready = True
            waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._later(call)

    def wake(self) -> None:
        """Schedule a pull, from any thread. Carries no data; several before the pull are one."""
        if not self._pending.is_set():
            self._pending.set()
            self._later(self._run_pull)

    def _later(self, call: Callable[[], None]) -> None:
        if self._closed.is_set():
            return
        with self._lock:
            if not self._ready:
                self._waiting.append(call)
                return
        self._on_loop(call)

    def _on_loop(self, call: Callable[[], None]) -> None:
        """Schedule a call with the document's lock, from any thread."""
        self._calls.add(partial(self._in_language, call))

    def _in_language(self, call: Callable[[], None]) -> None:
        speak(self.language)
        call()

    def _run_pull(self) -> None:
        # Cleared first, so that a change during the pull triggers another.
        self._pending.clear()
        pull = self._pull
        if pull is None or not self._ready or not self.delivery.ready:
            return
        speak(self.language)
        pull()
        parts, notices = self.out.take()
        if parts or notices:
            self.delivery.send(parts, notices)
