"""Pipeline status from the control service, by one watch thread per process, and the control verbs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentStatus
from cryptoviz.errors import CryptoVizError
from cryptoviz.log import get_logger
from dashboard.shared_state import ControlState

__all__ = ["ControlFeed", "ControlService"]

_RETRY_S = 1.0

log = get_logger("dashboard")


class ControlService(Protocol):
    """The used part of `cryptoviz.client.ControlClient`. All calls block and raise CryptoVizError."""

    def watch(self) -> Iterator[PipelineStatus]:
        """The current status, then each change."""

    def start(self, name: str) -> ComponentStatus:
        """Enable a component."""

    def stop(self, name: str) -> ComponentStatus:
        """Disable a component."""

    def restart(self, name: str) -> ComponentStatus:
        """Restart a component."""

    def start_pipeline(self) -> PipelineStatus:
        """Enable all components."""

    def stop_pipeline(self) -> PipelineStatus:
        """Disable all components."""

    def close(self) -> None:
        """Close the connection, which also ends a running watch."""


class ControlFeed:
    """Watches the control service and reports a lost connection."""

    def __init__(self, connect: Callable[[], ControlService], state: ControlState) -> None:
        self._connect = connect
        self._state = state
        self._stop = threading.Event()
        self._client: ControlService | None = None
        self._thread = threading.Thread(target=self._run, name="control-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stop.set()
        client = self._client
        if client is not None:
            client.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._client = self._connect()
                for pipeline in self._client.watch():
                    self._state.set_status(pipeline)
                    if self._stop.is_set():
                        return
                self._lose("the control service ended the watch")
            except CryptoVizError as error:
                self._lose(str(error))
            except ValueError as error:
                # grpc raises this when the channel is closed during a call, which is how `stop` ends the watch.
                self._lose(str(error))
            finally:
                if self._client is not None:
                    self._client.close()
            self._stop.wait(_RETRY_S)

    def _lose(self, why: str) -> None:
        if self._stop.is_set():
            return
        log.warning("control_lost", reason=why)
        self._state.set_lost(why)
