"""The loop with fakes: what happens when the desired state cannot be stored, or changes meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from control.reconcile.desired_state import DesiredDocument
from cryptoviz.components import ComponentState as S
from cryptoviz.components import DesiredState
from cryptoviz.errors import ControlRefused
from tests.support.control_fakes import Bench


async def test_a_refused_save_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: DesiredDocument) -> None:
        raise OSError(28, "No space left on device")

    async with Bench() as bench:
        monkeypatch.setattr(bench.store, "save", full)
        with pytest.raises(ControlRefused, match=r"No space left on device.*nothing was changed") as refused:
            await bench.reconciler.start("engine")
        assert refused.value.code == "RESOURCE_EXHAUSTED"
        assert bench.reconciler.component("engine").desired is DesiredState.STOPPED


async def test_a_restart_that_cannot_be_stored_restarts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would enable the engine, on which the worker depends."""

    async def full(_: DesiredDocument) -> None:
        raise OSError(28, "No space left on device")

    async with Bench() as bench:
        await bench.reconciler.start_all()
        await bench.until(worker=S.RUNNING, reader=S.RUNNING)
        await bench.reconciler.stop("engine")
        await bench.until(engine=S.STOPPED, worker=S.DEGRADED)
        monkeypatch.setattr(bench.store, "save", full)
        with pytest.raises(ControlRefused, match="nothing was changed"):
            await bench.reconciler.restart("worker")
        monkeypatch.undo()
        await bench.reconciler.stop("page")
        await bench.until(page=S.STOPPED)
        assert bench.reconciler.component("worker").restarts == 0
        assert ("stop", "worker") not in bench.runtime.calls


async def test_a_start_of_all_keeps_what_a_call_stops_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bench() as bench:
        await bench.reconciler.start("reader/one")
        gate, save = asyncio.Event(), bench.store.save

        async def slow(document: DesiredDocument) -> None:
            await gate.wait()
            await save(document)

        monkeypatch.setattr(bench.store, "save", slow)
        stop = asyncio.create_task(bench.reconciler.stop("reader/one"))
        await asyncio.sleep(0)
        start = asyncio.create_task(bench.reconciler.start_all(keep_stopped=True))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(stop, start)
        assert bench.reconciler.component("reader/one").desired is DesiredState.STOPPED
