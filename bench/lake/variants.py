"""Variants of the lake job for comparison (`--variant`): the actor applies a change before the job starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from cryptoviz.settings import Settings
from spark_jobs.streaming import session
from spark_jobs.streaming.actor import LakeActor

__all__ = ["VARIANTS", "variant"]


def _configured(**changes: str) -> Callable[[Settings], None]:
    def change(_: Settings) -> None:
        original = session.spark_configs

        def configs(*given: Any) -> dict[str, str]:
            return original(*given) | {key.replace("_", "."): value for key, value in changes.items()}

        patch.object(session, "spark_configs", configs).start()

    return change


def _eager_compiler(_: Settings) -> None:
    patch.object(session, "_PATIENT", "").start()


VARIANTS: dict[str, Callable[[Settings], None]] = {
    "in-use": lambda _: None,
    "no-worker-reuse": _configured(spark_python_worker_reuse="false"),
    "eager-compiler": _eager_compiler,
}


def variant(name: str) -> type[LakeActor]:
    """The actor class that runs the variant."""
    change = VARIANTS[name]

    class Varied(LakeActor):
        """Apply the change."""

        async def start(self) -> None:
            """Apply the change, then start."""
            change(self._settings)
            await super().start()

    return Varied
