"""What an operator sees of one tick in a running demo: its lines in all logs and its trace; and what Spark and Ray show."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cryptoviz.components import COLLECTOR, LAKE, scraper_name
from cryptoviz.lake import Lake
from cryptoviz.telemetry.log_files import log_path
from tests.support import pipeline
from tests.support.files import contents
from tests.support.otlp import Received, Receiver, otlp_receiver
from tests.support.pipeline import CRYPTOVIZ, Demo, running_demo, secrets_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.alone]
PROVIDERS = ("coingecko", "coinmarketcap")
CANARY = "canary-tracing-41"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as found:
        yield found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Demo]:
    extra = {
        "CRYPTOVIZ_LOG_LEVEL": "DEBUG",
        "CRYPTOVIZ_LOG_FORMAT": "json",
        "CRYPTOVIZ_TRACING__ENDPOINT": receiver.endpoint,
        "CRYPTOVIZ_TRACING__HEADERS": json.dumps({"x-key": CANARY}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "EXTRA_ENVIRONMENT", extra)
        with running_demo(tmp_path_factory.mktemp("demo") / "home", 2.0) as started:
            yield started


def lines_of(demo: Demo, component: str) -> list[dict[str, Any]]:
    """The lines of a component's log. Each must be JSON; the last may not be written to its end yet."""
    whole, _, _ = log_path(demo.settings, component).read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def of_event(demo: Demo, component: str, event: str, **wanted: object) -> list[dict[str, Any]]:
    return [line for line in lines_of(demo, component) if line["event"] == event and all(line.get(key) == value for key, value in wanted.items())]


def only(demo: Demo, component: str, event: str, **wanted: object) -> dict[str, Any]:
    """The single line of an event, once it is there: a component acts before it says so."""
    (found,) = eventually(lambda: of_event(demo, component, event, **wanted), 120)
    return found


def newest_tick(demo: Demo) -> int:
    """A tick that is in the lake, by the lake's log, and to which all providers responded in time: on a busy machine not all do."""

    def ticks() -> list[int]:
        return [int(tick) for line in of_event(demo, LAKE, "batch") if line["prices"] for tick in line["ticks"].split(",")]

    def full(tick: int) -> bool:
        closed = of_event(demo, COLLECTOR, "tick_closed", tick_ts=tick)
        exchanges = [one for name in PROVIDERS for one in of_event(demo, scraper_name(name), "exchange", tick_ts=tick)]
        ok = {one["fetch_id"] for one in exchanges if one["outcome"] == "ok"}
        return len(exchanges) == len(ok) == len(PROVIDERS) and [set(one["fetch_ids"].split(",")) for one in closed] == [ok]

    before = max(ticks(), default=0)
    return eventually(lambda: max((tick for tick in ticks() if tick > before and full(tick)), default=0), 120)


def test_a_tick_is_followed_by_its_id_through_all_logs(demo: Demo) -> None:
    tick = newest_tick(demo)
    fetch_ids = set()
    for provider in PROVIDERS:
        polled = only(demo, scraper_name(provider), "polled", tick_ts=tick)
        exchange = only(demo, scraper_name(provider), "exchange", tick_ts=tick)
        assert (exchange["fetch_id"], exchange["status"], exchange["outcome"]) == (polled["fetch_id"], 200, "ok")
        assert only(demo, scraper_name(provider), "published", transaction=polled["fetch_id"])["tick_ts"] == tick
        received = only(demo, COLLECTOR, "result_received", tick_ts=tick, provider=provider)
        assert (received["fetch_id"], received["prices"]) == (polled["fetch_id"], 17)
        fetch_ids.add(polled["fetch_id"])
    closed = only(demo, COLLECTOR, "tick_closed", tick_ts=tick)
    assert set(closed["fetch_ids"].split(",")) == fetch_ids
    published = only(demo, COLLECTOR, "published", tick_ts=tick)
    assert (published["transaction"], published["records"]) == (f"tick-{tick}", 17)
    places = {place: record for place, record in demo.stream().items() if record.tick_ts == tick}
    assert len(places) == 17
    assert {record.fetch_id for record in places.values()} <= fetch_ids
    # The offsets of the tick's records are in its batches. A second one, logged later, follows one that was planned between the partitions' ends.
    eventually(lambda: not places.keys() - places_in_batches(demo, tick))


def places_in_batches(demo: Demo, tick: int) -> set[tuple[int, int]]:
    """Partition and offset of all records of the stream topic in the batches that the lake's log names for a tick."""
    stream = demo.settings.kafka.stream_topic
    batches = [line for line in of_event(demo, LAKE, "batch") if str(tick) in line["ticks"].split(",") and line["prices"]]
    ranges = [one.removeprefix(stream) for line in batches for one in line["ranges"].split(",") if one.startswith(f"{stream}[")]
    bounds = [(int(place[1:-1]), *map(int, ends.split("-"))) for place, _, ends in (one.partition("=") for one in ranges)]
    return {(partition, offset) for partition, start, end in bounds for offset in range(start, end)}


def test_logs_show_no_secret(demo: Demo) -> None:
    texts = {path.name: content.decode(errors="replace") for path, content in contents(demo.settings.log_dir)}
    assert {"collector.log", "lake.log", "scraper-coingecko.log"} <= set(texts)
    assert [(name, secret) for name, text in texts.items() for secret in (*secrets_of(demo.settings), CANARY) if secret in text] == []


def test_the_command_shows_a_line_as_it_is(demo: Demo) -> None:
    done = demo.cli("logs", "collector", "-n", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["component"]


def arrived(receiver: Receiver, tick: int) -> list[Received]:
    """All spans of the trace of a tick. Raises AssertionError until the last of them has arrived."""
    roots = [one for one in receiver.spans(name="tick") if one.attributes["cryptoviz.tick_ts"] == tick]
    assert len(roots) == 1
    (root,) = roots
    found = receiver.spans(trace=root.trace)
    commits = [one for one in found if one.name == "lake commit" and one.attributes["cryptoviz.table"] == "prices"]
    assert sum(one.attributes["cryptoviz.records"] for one in commits) == 17
    assert sum(one.attributes["cryptoviz.records"] for one in found if one.name == "lake commit") >= 17 + 3  # two exchanges and the audit record
    # Each component sends its own spans when it likes: a commit may arrive before the request that it came from, or before its batch has ended.
    assert {one.parent for one in found} <= {"", *(one.id for one in found)}
    assert {str(one.attributes["cryptoviz.provider"]) for one in found if one.name == "GET"} == set(PROVIDERS)
    assert all(receiver.spans(id=batch_id) for one in commits for _, batch_id in one.links)
    return found


def spans_of(receiver: Receiver, tick: int) -> list[Received]:
    """All spans of the trace of a tick, once the last of them has arrived."""
    return eventually(lambda: arrived(receiver, tick), 120)


def test_a_tick_is_one_trace_from_the_request_to_the_commit(demo: Demo, receiver: Receiver) -> None:
    tick = newest_tick(demo)
    spans = spans_of(receiver, tick)
    by_id = {one.id: one for one in spans}
    names = Counter((one.name, by_id[one.parent].name if one.parent else "") for one in spans)
    assert {pair: count for pair, count in names.items() if pair != ("lake commit", "publish")} == {
        ("tick", ""): 1, ("poll", "tick"): 2, ("GET", "poll"): 2, ("merge", "tick"): 1, ("publish", "merge"): 1, ("publish", "GET"): 2,
    }  # fmt: skip
    assert {(one.name, one.service) for one in spans if one.name in ("GET", "merge", "lake commit")} == {
        ("merge", "collector"), ("lake commit", "lake"), *(("GET", scraper_name(name)) for name in PROVIDERS),
    }  # fmt: skip
    # Attributes are those of the records.
    records = {place: record for place, record in demo.stream().items() if record.tick_ts == tick}
    gets = {str(one.attributes["cryptoviz.provider"]): one for one in spans if one.name == "GET"}
    assert {record.fetch_id for record in records.values()} <= {one.attributes["cryptoviz.fetch_id"] for one in gets.values()}
    for name, get in gets.items():
        assert (get.attributes["http.response.status_code"], get.attributes["cryptoviz.outcome"]) == (200, "ok")
        assert str(get.attributes["url.full"]).startswith(f"{demo.market}/{name}/")
        poll = by_id[get.parent]
        assert (poll.attributes["cryptoviz.provider"], poll.attributes["cryptoviz.tick_ts"], poll.attributes["cryptoviz.prices"]) == (name, tick, 17)
    commits = [one for one in spans if one.name == "lake commit" and one.attributes["cryptoviz.table"] == "prices"]
    covered = set()
    for one in commits:
        known = one.attributes
        partition = int(known["messaging.destination.partition.id"])
        own = {offset for of, offset in records if of == partition}
        assert (known["cryptoviz.first_offset"], known["cryptoviz.last_offset"], known["cryptoviz.records"]) == (min(own), max(own), len(own))
        covered |= {(partition, offset) for offset in own}
        # The batch, in a trace of its own, committed that version.
        ((trace, batch_id),) = one.links
        (batch,) = receiver.spans(id=batch_id)
        assert (batch.name, batch.trace, batch.parent) == ("lake batch", trace, "")
        assert one.trace in {linked for linked, _ in batch.links}
        versions = {
            span.attributes["cryptoviz.table"]: span.attributes["cryptoviz.table_version"] for span in receiver.spans(parent=batch_id, name="commit")
        }
        assert versions["prices"] == known["cryptoviz.table_version"]
    assert covered == set(records)
    version = max(int(one.attributes["cryptoviz.table_version"]) for one in commits)
    rows = Lake(demo.settings).prices(version=version).arrow().to_pylist()
    assert sum(row["tick_ts"] == datetime.fromtimestamp(tick / 1000, UTC) for row in rows) == 17
    # In the order of time, with the clock of one machine.
    (root,) = receiver.spans(name="tick", trace=spans[0].trace)
    assert root.begin == tick * 1_000_000
    assert all(one.begin >= root.begin for one in spans)
    assert {headers["x-key"] for headers in receiver.headers} == {CANARY}


@pytest.mark.parametrize("how", ["refuses", "silent"])
def test_a_receiver_that_fails_changes_nothing(demo: Demo, receiver: Receiver, how: str) -> None:
    # Each says it once, so that all are counted before the first can fail.
    failures = {component: len(of_event(demo, component, "spans_not_sent")) for component in (COLLECTOR, *map(scraper_name, PROVIDERS))}
    receiver.status, receiver.silent = (503, False) if how == "refuses" else (200, True)
    receiver.released.clear()
    try:
        for component, before in failures.items():
            eventually(lambda: len(of_event(demo, component, "spans_not_sent")) > before, 120)  # noqa: B023 (called before the next round)
        for _ in range(3):
            tick = newest_tick(demo)
            assert len([one for one in demo.stream().values() if one.tick_ts == tick]) == 17
        eventually(lambda: set(demo.states().values()) == {"RUNNING"}, 120)
    finally:
        receiver.status, receiver.silent = 200, False
        receiver.released.set()
    ticks: list[int] = []

    def all_spans_again() -> list[Received]:
        """Of some tick: the spans of the first may be among those that were given up."""
        ticks.append(newest_tick(demo))
        for tick in ticks:
            with contextlib.suppress(AssertionError):
                return arrived(receiver, tick)
        return []

    assert eventually(all_spans_again, 240)


def test_the_ui_of_spark_shows_the_input_rate(demo: Demo) -> None:
    newest_tick(demo)

    def rate() -> float:
        page = httpx.get(f"http://127.0.0.1:{demo.settings.lake.ui_port}/StreamingQuery/", timeout=60).text
        assert "Active Streaming Queries" in page
        active = page[page.index("Active Streaming Queries") :]
        cells = re.findall(r"<td[^>]*>(.*?)</td>", active, re.DOTALL)
        rates = [float(cell) for cell in map(str.strip, cells) if re.fullmatch(r"[0-9]+\.[0-9]+", cell)]
        assert rates, page[-3000:]
        return rates[0]

    # 17 prices, two exchanges and an audit record each 2 s.
    assert eventually(lambda: 3 < rate() < 30, 120)


def actors_of(listed: Iterable[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Class and state by name."""
    return {one["name"]: (one["class_name"], one["state"]) for one in listed if one["state"] != "DEAD"}


ACTORS = {
    "controller": "Controller", "supervisor": "Supervisor", "collector": "CollectorActor", "lake": "LakeActor",
    **{scraper_name(name): "ScraperActor" for name in PROVIDERS},
}  # fmt: skip


def test_ray_shows_the_actors_by_the_names_of_their_components(demo: Demo) -> None:
    ray, token = demo.settings.ray, demo.settings.ray_token_file
    head = f"http://127.0.0.1:{ray.dashboard_port}"
    env = demo.env | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    command = [str(Path(CRYPTOVIZ).with_name("ray")), "list", "actors", "--address", head, "--format", "json", "--detail"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    listed = actors_of(json.loads(done.stdout[done.stdout.index("[") :]))
    assert {name: listed.get(name) for name in ACTORS} == {name: (kind, "ALIVE") for name, kind in ACTORS.items()}
    # What the page of Ray's dashboard is made of.
    page = httpx.get(f"{head}/logical/actors", headers={"authorization": f"Bearer {token.read_text().strip()}"}, timeout=120).json()
    shown = {one["name"]: one["actorClass"] for one in page["data"]["actors"].values()}
    assert {name: shown.get(name) for name in ACTORS} == ACTORS
