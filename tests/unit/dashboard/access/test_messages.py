"""Messages of Bokeh's protocol that no page sends: the server closes their channel and says nothing of itself, and other pages go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from dashboard.access.messages import is_expected
from dashboard.app_context import AppContext
from tests.support.dashboard_server import FIRST_TICK_MS, new_app_context, serving
from tests.support.page_client import PageClient
from tests.support.page_stack import BASE_PRICES, TICK_MS, walk

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def app_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppContext]:
    with new_app_context(tmp_path_factory.mktemp("messages")) as made:
        yield made


@pytest.fixture(scope="module")
def url(app_context: AppContext) -> Iterator[str]:
    with serving(app_context) as served:
        yield served


class Hostile(PageClient):
    """A visitor of its own page, who writes messages by hand."""

    @property
    def model(self) -> dict[str, str]:
        return {"id": self._model}

    async def answers(self, kind: str, content: Any) -> str:
        """All that the server says after this message, until it closes the channel."""
        connection = self._connection
        assert connection is not None
        self._send(kind, content)
        said = []
        while (frame := await asyncio.wait_for(connection.read_message(), TIMEOUT_S)) is not None:
            said.append(str(frame))
        self.close()
        return "\n".join(said)


def event(**data: Any) -> dict[str, Any]:
    return {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": {"type": "event", **data}}]}


def action(model: Any, data: Any) -> dict[str, Any]:
    return event(name="data_event", values={"type": "map", "entries": [["model", model], ["data", data]]})


def texts(**entries: Any) -> dict[str, Any]:
    return {"type": "map", "entries": [list(each) for each in entries.items()]}


def changed(model: Any, attr: str, new: Any) -> dict[str, Any]:
    return {"events": [{"kind": "ModelChanged", "model": model, "attr": attr, "new": new}]}


def nested(depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = {"type": "list", "entries": [found]}
    return found


DOCUMENT = {"doc": {"version": "3.9.2", "title": "mine", "roots": []}}
NEW_MODEL = {"type": "object", "name": "panel.models.markup.HTML", "id": "p9999", "attributes": {"text": "x" * 100_000}}
HOSTILE: dict[str, tuple[str, Callable[[dict[str, str]], Any]]] = {
    "no_events": ("PATCH-DOC", lambda _: {}),
    "a_number": ("PATCH-DOC", lambda _: 5),
    "events_of_another_type": ("PATCH-DOC", lambda _: {"events": {"kind": "MessageSent"}}),
    "an_event_of_another_type": ("PATCH-DOC", lambda _: {"events": [None]}),
    "an_unknown_kind": ("PATCH-DOC", lambda _: {"events": [{"kind": "Nothing"}]}),
    "references_too": ("PATCH-DOC", lambda model: {**action(model, texts(ack="1 1")), "references": [NEW_MODEL]}),
    "an_unknown_model": ("PATCH-DOC", lambda _: action({"id": "p424242"}, texts(ack="1 1"))),
    "a_model_of_another_type": ("PATCH-DOC", lambda _: action(["p1"], texts(ack="1 1"))),
    "a_new_model": ("PATCH-DOC", lambda _: action(NEW_MODEL, texts(ack="1 1"))),
    "a_reference_in_a_value": ("PATCH-DOC", lambda model: action(model, texts(ack=model))),
    "a_deep_value": ("PATCH-DOC", lambda model: action(model, texts(ack=nested(100)))),
    "an_unknown_event": ("PATCH-DOC", lambda model: event(name="button_click", values={"type": "map", "entries": [["model", model]]})),
    "a_property": ("PATCH-DOC", lambda model: changed(model, "visible", True)),
    "a_property_of_panel": ("PATCH-DOC", lambda model: changed(model, "esm", "export function render() {}")),
    "a_property_that_does_not_exist": ("PATCH-DOC", lambda model: changed(model, "__class__", 5)),
    "a_property_of_an_unknown_model": ("PATCH-DOC", lambda _: changed({"id": "p424242"}, "visible", True)),
    "a_root": ("PATCH-DOC", lambda _: {"events": [{"kind": "RootAdded", "model": NEW_MODEL}]}),
    "no_root": ("PATCH-DOC", lambda model: {"events": [{"kind": "RootRemoved", "model": model}]}),
    "a_title": ("PATCH-DOC", lambda _: {"events": [{"kind": "TitleChanged", "title": "x"}]}),
    "a_document": ("PUSH-DOC", lambda _: DOCUMENT),
    "a_document_of_another_type": ("PUSH-DOC", lambda _: {"doc": [1]}),
    "a_message_of_the_server": ("PULL-DOC-REPLY", lambda _: DOCUMENT),
    "a_question": ("SERVER-INFO-REQ", lambda _: {}),
    "an_unknown_message": ("NOTHING", lambda _: {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_channel_closes_and_other_pages_go_on(app_context: AppContext, url: str, name: str) -> None:
    kind, content = HOSTILE[name]
    tick = FIRST_TICK_MS + TICK_MS * (1 + list(HOSTILE).index(name))

    async def visit() -> str:
        heard = asyncio.Event()

        def note(message: Mapping[str, Any]) -> None:
            if str(tick) in json.dumps(message["parts"].get("coins")):
                heard.set()

        other, hostile = PageClient(url, note), Hostile(url)
        await other.open()
        listening = asyncio.create_task(other.listen())
        await hostile.open()
        said = await hostile.answers(kind, content(hostile.model))
        app_context.live.apply([walk(asset, tick, 1)[0] for asset in BASE_PRICES])
        await asyncio.wait_for(heard.wait(), TIMEOUT_S)
        assert not listening.done()
        other.close()
        await asyncio.wait_for(listening, TIMEOUT_S)
        return said

    said = asyncio.run(visit())
    for internal in ("ERROR", "Traceback", "site-packages", ".py"):
        assert internal not in said


@pytest.mark.parametrize(
    "frames", [("5", "{}", "{}"), ("[]", "{}", "{}"), ("{}", "{}", "{}"), ('{"msgid": 1, "msgtype": {}}', "[]", "x"), ("{", "", "")]
)
def test_what_is_no_message_closes_the_channel_too(url: str, frames: tuple[str, ...]) -> None:
    async def visit() -> list[str]:
        hostile = Hostile(url)
        await hostile.open()
        connection = hostile._connection
        assert connection is not None
        for frame in frames:
            connection.write_message(frame)
        said = []
        while (answer := await asyncio.wait_for(connection.read_message(), TIMEOUT_S)) is not None:
            said.append(str(answer))
        hostile.close()
        return said

    assert "Traceback" not in "\n".join(asyncio.run(visit()))


def test_what_the_page_sends_is_expected() -> None:
    model = {"id": "p1016"}
    assert is_expected("PULL-DOC-REQ", {})
    assert is_expected("PATCH-DOC", event(name="document_ready", values={"type": "map"}))
    assert is_expected("PATCH-DOC", action(model, texts(ack="1 1796027257011")))
    assert is_expected("PATCH-DOC", action(model, texts(page="coin", act="older", values={"type": "map"})))
    assert is_expected("PATCH-DOC", action(model, texts(page="coin", act="choose", values=texts(coin="ethereum", tf="1m"))))
    assert not is_expected("PATCH-DOC", action(model, texts(page="coin", act="choose", values=texts(coin=texts(x="y")))))
