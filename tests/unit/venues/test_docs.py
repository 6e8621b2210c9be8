"""The worked example of docs/venues.md does what the page says, as an installed package."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptoviz.errors import BadPayload, FrameError, SettingsError
from cryptoviz.trades.id_runs import IdRun
from cryptoviz.venues.base import StreamVenue
from cryptoviz.venues.events import Acked, Refused, Unknown
from cryptoviz.venues.registry import BUILT_IN_VENUES, forget_loaded, known_venues, venue_of
from cryptoviz.venues.spec import Channel
from tests.unit.venues.frames import NOW_US, response, the_trade

PAGE = (Path(__file__).parents[3] / "docs" / "venues.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found: str
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the example, whose entry points a test can change."""
    info = tmp_path / "acme_stream-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-stream\nVersion: 1.0\n")
    ((name, value),) = tomllib.loads(block("toml"))["project"]["entry-points"]["cryptoviz.venues"].items()
    (info / "entry_points.txt").write_text(f"[cryptoviz.venues]\n{name} = {value}\n")
    (tmp_path / "acme_stream.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("acme_stream", None)
    forget_loaded()


@pytest.fixture
def acme(package: Path) -> StreamVenue:
    del package
    return venue_of("acme")


def test_the_example_is_a_venue_by_its_entry_point(acme: StreamVenue):
    assert known_venues() == (*BUILT_IN_VENUES, "acme")
    instrument = acme.spec.instrument("bitcoin")
    assert instrument is not None
    assert acme.spec.instrument("ethereum") is None
    session = acme.session([instrument], [Channel.TRADES], "c1")
    assert session.subscribe() == ['{"sub":["X"]}']
    assert session.parse('{"ok":"X"}', NOW_US) == [Acked("X", "trades")]
    assert session.subscribe() == []
    assert session.parse('{"no":"X","why":"halted"}', NOW_US) == [Refused("X", "trades", "halted")]
    assert session.parse('{"m":"Y"}', NOW_US) == [Unknown("Y")]
    trade = the_trade(session.parse('{"m":"X","t":[[7,"1.50","2","b",1767225600000]]}', NOW_US))
    assert (trade.trade_number, trade.price, trade.side, trade.venue_ts, trade.quote_currency) == (7, "1.50", "buy", NOW_US, "USD")
    for frame in ("x", '{"m":"X","t":[[7,1.5,"2","b",1]]}', '{"m":"X","t":[[7,"1.5","2","q",1]]}'):
        with pytest.raises(FrameError):
            session.parse(frame, NOW_US)


def test_the_refill_of_the_example(acme: StreamVenue):
    instrument = acme.spec.instrument("bitcoin")
    assert instrument is not None
    call = acme.refill(instrument, IdRun(5, 9))
    assert call is not None
    page = acme.parse_refill(response(b'[[5,"1","2","s",1767225600000],[7,"1","2","b",1767225600000]]'), call)
    assert [trade.trade_number for trade in page.trades] == [5, 7]
    assert page.absent == ((IdRun(6, 6), "not_at_venue"),)
    assert page.next is not None
    assert dict(page.next.query) == {"m": "X", "from": "8"}
    assert acme.parse_refill(response(b"[]"), page.next).next is None
    with pytest.raises(BadPayload):
        acme.parse_refill(response(b"{}"), call)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("acme = acme_stream:SPEC", "valid is a subclass of StreamVenue"),
        ("acme = acme_stream:StreamVenue", "valid is a subclass of StreamVenue"),
        ("acme = acme_stream:Missing", "does not load"),
        ("other = acme_stream:AcmeVenue", "known venues are binance, coinbase, kraken, other"),
    ],
)
def test_an_entry_point_that_is_no_venue_is_a_settings_error(package: Path, entry, text):
    (package / "acme_stream-1.0.dist-info" / "entry_points.txt").write_text(f"[cryptoviz.venues]\n{entry}\n")
    with pytest.raises(SettingsError, match=text):
        venue_of("acme")


def test_an_entry_point_never_replaces_a_built_in(package: Path):
    (package / "acme_stream-1.0.dist-info" / "entry_points.txt").write_text("[cryptoviz.venues]\nkraken = acme_stream:AcmeVenue\n")
    assert venue_of("kraken").spec.display_name == "Kraken"
    with pytest.raises(SettingsError, match="names 'nowhere'"):
        venue_of("nowhere")
