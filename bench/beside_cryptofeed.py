"""Processor time of a million trades beside cryptofeed: its parsers and ours on the same trades, then both to Kafka; and the trades that come out.

    python3.11 -m venv v2 && v2/bin/pip install cryptofeed==2.4.1 aiokafka            # the last one for Python 3.11
    python3.13 -m venv v3 && v3/bin/pip install 'cryptofeed[kafka]==3.0.1'
    .venv/bin/python -m bench.beside_cryptofeed v2/bin/python v3/bin/python [--trades 20000] [--rounds 3] [--kafka 5000]

`own` are frames as the venues send them to this project, `adapted` the same trades in the form that cryptofeed 2.4.1 subscribes to (Binance
`aggTrade`, Kraken v1, Coinbase Advanced Trade). One trade a frame. Rounds of all take turns, and the fastest of each counts. `--kafka` is the number
of trades of a venue that are sent to a broker of the project, started for it: ours in transactions of 100 (5 000 trades a second for 20 ms).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import NewTopic

from actors.publishing.kafka_transport import KafkaTransport, PublishedTransactions
from actors.publishing.publisher import Publisher
from actors.publishing.transaction import KafkaTransaction, PublisherState, Refused
from actors.streaming.actor import transactional_id, utc_us
from bench.stream_frames import MadeTrade, adapted_frame, frame, trades_of
from bench.stream_read import read_all
from cryptoviz.engines.topics import TopicAdmin
from cryptoviz.kafka import admin_client
from cryptoviz.settings import Settings, claim_home, load_settings
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.events import Trades
from cryptoviz.venues.registry import BUILT_IN_VENUES, venue_of
from cryptoviz.venues.spec import Channel, Instrument
from tests.support.engines import engine_sections, engines
from tests.support.topics import read_all as topic_values
from tests.support.waiting import eventually

FORMS = {"own": frame, "adapted": adapted_frame}
_TOGETHER = 100
_FLUSH_S = 120.0


class Child:
    """cryptofeed in another environment."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("cryptofeed_child.py")
        self._process = subprocess.Popen([python, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self._answer()
        self.name = f"cryptofeed {hello['cryptofeed']} (Python {hello['python']}, aiokafka {hello['aiokafka']})"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@dataclass
class Case:
    """A venue and its trades, with a file of frames for each form."""

    venue: StreamVenue
    instruments: Sequence[Instrument]
    trades: Sequence[MadeTrade]
    frames: Sequence[str]
    paths: dict[str, Path]

    @classmethod
    def of(cls, name: str, count: int, folder: Path) -> Case:
        venue = venue_of(name)
        instruments = venue.spec.instruments()
        trades = list(trades_of(name, instruments, count))
        paths = {form: folder / f"{name}-{form}-{count}.txt" for form in FORMS}
        for form, path in paths.items():
            path.write_text("\n".join(FORMS[form](name, one) for one in trades))
        return cls(venue, instruments, trades, [frame(name, one) for one in trades], paths)

    @property
    def name(self) -> str:
        return self.venue.spec.name

    def request(self, form: str) -> dict[str, Any]:
        symbols = {self.std(one.symbol): one.symbol for one in self.instruments}
        if (self.name, form) == ("kraken", "adapted"):
            symbols = {std: symbol.replace("BTC", "XBT") for std, symbol in symbols.items()}
        return {"venue": self.name, "path": str(self.paths[form]), "symbols": symbols}

    def std(self, symbol: str) -> str:
        """The symbol's name in cryptofeed."""
        return f"{symbol.removesuffix('USDT')}-USDT" if self.name == "binance" else symbol.replace("/", "-")

    def parse(self) -> int:
        session = self.venue.session(self.instruments, [Channel.TRADES], "c1")
        return sum(len(event.trades) for one in self.frames for event in session.parse(one, utc_us()) if isinstance(event, Trades))


def ours_differ(case: Case) -> Counter[str]:
    """Fields of our trades that are not those of the frames, as text."""
    session = case.venue.session(case.instruments, [Channel.TRADES], "c1")
    found = [one for text in case.frames for event in session.parse(text, utc_us()) if isinstance(event, Trades) for one in event.trades]
    assert len(found) == len(case.trades)
    differ: Counter[str] = Counter()
    for ours, made in zip(found, case.trades, strict=True):
        got = (ours.venue_symbol, ours.trade_number, ours.price, ours.size, ours.side, ours.venue_ts)
        want = (made.symbol, made.number, made.price, made.size, made.side, made.at_us)
        differ.update(name for name, one, other in zip(("symbol", "id", "price", "size", "side", "time"), got, want, strict=True) if one != other)
    return differ


def theirs_differ(case: Case, form: str, rows: Sequence[Sequence[str]]) -> Counter[str]:
    """Fields of cryptofeed's trades that are not those of the frames, as numbers. Adapted frames of Binance have milliseconds."""
    differ: Counter[str] = Counter()
    unit_us = 1000 if (case.name, form) == ("binance", "adapted") else 1
    for (symbol, number, price, size, side, time_s), made in zip(rows, case.trades, strict=True):
        same = {
            "symbol": symbol == case.std(made.symbol),
            "id": number == str(made.number),
            "price": Decimal(price) == Decimal(made.price),
            "size": Decimal(size) == Decimal(made.size),
            "side": side == made.side,
            "time": round(float(time_s) * 1e6) == made.at_us // unit_us * unit_us,
        }
        differ.update(name for name, equal in same.items() if not equal)
    return differ


def compare(case: Case, children: Sequence[Child], rounds: int, folder: Path) -> dict[str, str]:
    """Prints trades and times. Returns the form that each child reads."""
    print(f"{case.name}: {len(case.trades)} trades, {len(case.frames[0])} bytes a frame; ours differ in {dict(ours_differ(case)) or 'nothing'}")
    forms: dict[str, str] = {}
    for child in children:
        for form in FORMS:
            dump = folder / "trades.txt"
            answer = child.ask(case.request(form) | {"dump": str(dump)})
            if answer["trades"] != len(case.trades):
                print(f"  {child.name}, {form}: {answer['trades']} trades; {answer['error'] or answer['warning']}")
                continue
            forms.setdefault(child.name, form)
            found = theirs_differ(case, form, [json.loads(line) for line in dump.read_text().splitlines()])
            print(f"  {child.name}, {form}: all trades; differ in {dict(found) or 'nothing'}")
    runs: dict[str, Callable[[], float]] = {"ours, parse": partial(cpu_s, case.parse)}
    for child in children:
        if (read := forms.get(child.name)) is not None:
            runs[f"{child.name}, {read}: handler, empty callback"] = partial(child_cpu_s, child, case.request(read))
    report(runs, rounds, len(case.trades))
    return forms


def report(runs: dict[str, Callable[[], float]], rounds: int, trades: int) -> None:
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(rounds):
        for label, run in runs.items():
            times[label].append(run())
    for label, found in times.items():
        print(f"  {label:90} {min(found) / trades * 1e6:7.1f} s a million", flush=True)


def cpu_s(run: Callable[[], int]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def child_cpu_s(child: Child, request: dict[str, Any]) -> float:
    return float(child.ask(request)["cpu_s"])


class _Events:
    """`PublisherEvents`. Nothing may be refused or dropped."""

    def connected(self, last_tick_ts: int | None) -> None:
        """Waited for by the state."""

    def published(self, transaction: KafkaTransaction) -> None:
        """Waited for by `close`."""

    def refused(self, transaction: KafkaTransaction, refused: Refused) -> None:
        raise AssertionError(transaction, refused)

    def dropped(self, transaction: KafkaTransaction) -> None:
        raise AssertionError(transaction)


def ours_to_kafka(case: Case, settings: Settings) -> int:
    kafka = settings.kafka
    identity = transactional_id(kafka, case.name, 0)
    transport = KafkaTransport(kafka, kafka.trades_topic, identity, PublishedTransactions(), audit_topic=kafka.trade_gaps_topic)
    publisher = Publisher(case.name, transport, 2**31, _Events(), together=8)
    publisher.start()
    eventually(lambda: publisher.stats.state is PublisherState.READY)
    found = read_all(case.venue, case.instruments, case.frames, utc_us, together=_TOGETHER, publish=publisher.offer)
    assert publisher.close(_FLUSH_S)
    return found


@contextlib.contextmanager
def kafka_engine(folder: Path) -> Iterator[tuple[Settings, psutil.Process]]:
    settings = claim_home(
        load_settings(home=folder / "home", log_level="WARNING", streams={"venues": BUILT_IN_VENUES}, kafka=engine_sections()["kafka"])
    )
    with engines(settings, "kafka") as (kafka,):
        TopicAdmin(settings.kafka, settings.stream_topics, settings.topic_limits).ensure_topics({})
        yield settings, psutil.Process(kafka.probe().pid)


def to_kafka(case: Case, children: Sequence[Child], forms: dict[str, str], rounds: int, settings: Settings, broker: psutil.Process) -> None:
    kafka = settings.kafka
    topics = [f"trades-{case.name.upper()}-{case.std(one.symbol)}" for one in case.instruments]
    admin = admin_client(kafka)  # a client that is not referenced any more does not answer
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in topics]).values():
        future.result(60)
    access = {"bootstrap_servers": kafka.bootstrap_servers, "security_protocol": kafka.security_protocol, "sasl_mechanism": kafka.sasl_mechanism}
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password is not None else ""
    access |= {"sasl_plain_username": kafka.sasl_username, "sasl_plain_password": password}
    brokers: dict[str, list[float]] = {}

    def with_broker(label: str, run: Callable[[], float]) -> float:
        before, found = _cpu_s(broker), run()
        brokers.setdefault(label, []).append(_cpu_s(broker) - before)
        return found

    runs: dict[str, Callable[[], float]] = {"ours, to Kafka": partial(cpu_s, partial(ours_to_kafka, case, settings))}
    for child in children:
        if child.name in forms:
            request = case.request(forms[child.name]) | {"kafka": access}
            runs[f"{child.name}, {forms[child.name]}: to Kafka"] = partial(child_cpu_s, child, request)
    report({label: partial(with_broker, label, run) for label, run in runs.items()}, rounds, len(case.trades))
    for label, found in brokers.items():
        print(f"  {'broker: ' + label:90} {min(found) / len(case.trades) * 1e6:7.1f} s a million", flush=True)
    stored = sum(len(topic_values(settings, name)) for name in topics)
    print(f"  cryptofeed's records in Kafka: {stored}, sent {len(case.trades) * rounds * (len(runs) - 1)}")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.beside_cryptofeed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", nargs="+", help="of environments with cryptofeed")
    parser.add_argument("--trades", type=int, default=20_000, help="of each venue (default 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--kafka", type=int, default=0, metavar="TRADES", help="of each venue to send to Kafka (default 0)")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cv-cryptofeed-")))
        children = [Child(python) for python in given.python]
        for child in children:
            stack.callback(child.close)
        print(f"load {os.getloadavg()[0]:.1f}")
        forms = {name: compare(Case.of(name, given.trades, folder), children, given.rounds, folder) for name in BUILT_IN_VENUES}
        if given.kafka:
            settings, broker = stack.enter_context(kafka_engine(folder))
            for name in BUILT_IN_VENUES:
                print(f"{name}: {given.kafka} trades to Kafka, load {os.getloadavg()[0]:.1f}")
                to_kafka(Case.of(name, given.kafka, folder), children, forms[name], given.rounds, settings, broker)


if __name__ == "__main__":
    main()
