"""Why a server is not reached: a name that does not exist is another thing than a name server that does not answer."""

from __future__ import annotations

import socket

import pytest

from cryptoviz.engines.machine import UNRESOLVED, ThisMachine

NAMES = [(socket.EAI_NONAME, f"{UNRESOLVED} 'broker'"), (socket.EAI_AGAIN, "no answer to the name 'broker'")]


@pytest.mark.parametrize(("code", "text"), NAMES)
def test_names(code: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise socket.gaierror(code, "as the resolver says")

    monkeypatch.setattr(socket, "create_connection", fails)
    assert ThisMachine().reach("broker", 9092) == text
    # A name that may be right is waited for, as any server that does not answer (`cryptoviz.doctor`).
    assert text.startswith(UNRESOLVED) is (code != socket.EAI_AGAIN)
