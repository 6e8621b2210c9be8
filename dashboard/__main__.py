"""`python -m dashboard`: serve the page until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from tornado.ioloop import PeriodicCallback
from tornado.websocket import WebSocketClosedError

from cryptoviz.client import ControlClient
from cryptoviz.errors import CryptoVizError
from cryptoviz.local.heartbeat import HEARTBEAT_FILE, Heartbeat
from cryptoviz.log import configure_logging, get_logger
from cryptoviz.settings import settings_from_environment
from dashboard.app import make_server
from dashboard.app_context import AppContext
from dashboard.feeds.lake_history import LakeHistory

_BEAT_MS = 500

log = get_logger("dashboard")


def _note_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore browsers that disconnect during a message: https://github.com/bokeh/bokeh/issues/7619."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def main() -> int:
    """Exit status: 0 after a signal, 1 for invalid settings or a port in use."""
    try:
        settings = settings_from_environment()
    except CryptoVizError as error:
        configure_logging()
        log.critical("dashboard_not_started", reason=str(error))
        return 1
    configure_logging(settings.log_level, form=settings.log_format)
    app_context = AppContext.create(settings, lambda: ControlClient.from_settings(settings, retry=None), LakeHistory(settings))
    try:
        server = make_server(app_context)
    except OSError as error:
        log.critical("dashboard_not_started", reason=str(error), setting="CRYPTOVIZ_DASHBOARD__PORT", port=settings.dashboard.port)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.io_loop.add_callback_from_signal(server.io_loop.stop))
    app_context.start()
    server.io_loop.add_callback(lambda: asyncio.get_running_loop().set_exception_handler(_note_loop_error))
    heartbeat = Heartbeat(settings.run_dir / HEARTBEAT_FILE)
    PeriodicCallback(heartbeat.beat, _BEAT_MS).start()
    server.start()
    log.info("dashboard_serving", url=f"http://{settings.dashboard.address}/")
    try:
        server.io_loop.start()
    finally:
        server.stop()
        app_context.stop()
        heartbeat.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
