"""Progress of downloads that nothing shows."""

from __future__ import annotations

__all__ = ["SilentProgress"]


class SilentProgress:
    """Shows nothing."""

    def begin(self, what: str, total: int, unit: str = "MB") -> None:
        pass

    def advance(self, what: str, amount: int) -> None:
        pass

    def end(self, what: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass
