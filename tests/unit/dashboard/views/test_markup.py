"""External text stays text on the page: a hostile corpus through every function that makes markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cryptoviz.client import PipelineStatus
from cryptoviz.components import ComponentState
from dashboard.views.header import banner_markup, header_markup, total
from dashboard.views.history_rows import history_table, summary_markup
from dashboard.views.market_summary import summarize, summary_strip
from dashboard.views.markup import breaking_text, element, text
from dashboard.views.pipeline_frame import component_table, console_links
from dashboard.views.pipeline_rows import component_row, pipeline_summary
from dashboard.views.placeholders import state_markup, waiting_markup
from dashboard.views.quote import other_currencies, quote_markup
from dashboard.views.statistics import PriceRow
from tests.unit.dashboard.records import NOW_MS, TICK_MS, a_component, a_record, a_summary

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</span><iframe src=javascript:alert(1)>",
    "a\x1f<b>",
    "&lt;script&gt;",
]
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
ALLOWED = TABLE | {"span", "b", "i", "small", "div", "dl", "dt", "dd", "svg", "polyline", "button", "a", "p", "wbr", "cv-age", "cv-time"}


class Reader(HTMLParser):
    """Tags, attributes and text of markup."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


def made(evil: str) -> list[str]:
    record = a_record(name=evil, symbol=evil, provider=evil, role="fallback", fallback_reason=evil, quote_currency=evil, asset_id=evil)
    component = a_component(
        name=evil, message=evil, url=f"http://127.0.0.1/{evil}", depends_on=(evil,), metrics={evil: 1.0}, state=ComponentState.FAILED
    )
    pipeline = PipelineStatus(ComponentState.FAILED, evil, (component,))
    summary = a_summary(evil)
    return [
        summary_strip(summarize([record]), str),
        history_table([PriceRow(NOW_MS, evil, 1.0, evil, evil, evil)], 0),
        component_table([component_row(component)]), console_links([(evil, "http://127.0.0.1:1")]),
        *(value for field, value in component_row(component).items() if field != "component"),
        quote_markup(record, evil), quote_markup(None, evil), summary_markup(summary),
        text(other_currencies({evil: 2}, "rows")), state_markup("error", evil, evil),
        header_markup(total([record]), pipeline, None, True, TICK_MS), header_markup(total([]), None, evil, False, TICK_MS),
        banner_markup(evil, evil), pipeline_summary(pipeline), waiting_markup(pipeline, None), waiting_markup(None, evil),
    ]  # fmt: skip


@pytest.mark.parametrize("evil", HOSTILE)
def test_no_text_becomes_markup(evil: str) -> None:
    for markup in made(evil):
        found = read(markup)
        assert found.tags <= ALLOWED, markup
        assert not {name for name in found.attributes if name.startswith("on")}, markup


def test_a_hostile_name_is_still_readable() -> None:
    shown = quote_markup(a_record(name="<script>", symbol="<b>"), "x")
    assert read(shown).words.startswith("<script> <b>")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", ""])
def test_only_http_addresses_become_links(url: str) -> None:
    assert "href" not in component_row(a_component(url=url))["name"]


def test_attributes_are_escaped_and_absent_when_none() -> None:
    assert element("a", text("<x>"), "c", title='"', data_x=1, disabled=None) == '<a class="c" title="&quot;" data-x="1">&lt;x&gt;</a>'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("scraper/coin-gecko_pro/12", "scraper/|coin-|gecko_|pro/|12"),
        ("kafka-0.kafka.svc:9092", "kafka-|0.|kafka.|svc:9092"),
        ("at 1.5 s of -5, 127.0.0.1, 2026-01-31, 3/5, a - b.", "at 1.5 s of -5, 127.0.0.1, 2026-01-31, 3/5, a - b."),
        ("/var/lib/<b>.log", "/var/|lib/&lt;b&gt;.log"),
        (f"id {'f' * 21}, {'f' * 20}", f'id <span class="cv-any">{"f" * 21},</span> {"f" * 20}'),
        ("", ""),
    ],
)
def test_a_line_ends_behind_a_separator_and_in_no_word(value: str, shown: str) -> None:
    assert breaking_text(value).replace("<wbr>", "|") == shown
