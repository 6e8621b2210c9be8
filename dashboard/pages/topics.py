"""The topics page: partitions, offsets, lag and rate; records by offset, time and key; dead letters."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard.page_session import Session
from dashboard.pages.page import Page, PageKind
from dashboard.views.explore_frames import topics_frame
from dashboard.views.lake_rows import dead_table
from dashboard.views.link import Link
from dashboard.views.markup import element, text
from dashboard.views.placeholders import state_markup
from dashboard.views.texts import say
from dashboard.views.topic_rows import Browse, Start, found_markup, parse_browse, topic_table

__all__ = ["KIND", "TopicsPage"]


class TopicsPage(Page):
    """Verbs: choose (topic), browse (fields of the form)."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._topic = session.app_context.settings.kafka.stream_topic
        self._asked = 0
        self._records = ""
        self._browse(Browse(self._topic))

    def refresh(self) -> None:
        inspection = self.session.app_context.inspection
        topics, problem = inspection.topics.look()
        stale = "" if problem is None else state_markup("error", "Kafka does not answer", problem)
        if topics:
            self.out.put("topics.table", stale + topic_table(topics, self._topic))
        elif problem is not None or topics is not None:
            self.out.put("topics.table", stale or state_markup("empty", "No topics yet", "The first start of the pipeline makes them."))
        self.out.put("topics.chosen", element("b", text(self._topic)))
        self.out.put("topics.records", self._records)
        dead, lost = inspection.dead_letters.look()
        if dead is not None:
            counts, letters = dead
            empty = state_markup("empty", "No dead letters", "Every record was decoded and valid.")
            self.out.put("topics.dead", dead_table(counts, letters) if letters else empty)
        elif lost is not None:
            self.out.put("topics.dead", state_markup("error", "Cannot read the lake", lost))

    def act(self, verb: str, values: Mapping[str, str]) -> None:
        topics = self.session.app_context.inspection.topic_browser.topics
        if verb == "choose" and values.get("topic") in topics:
            self._topic = values["topic"]
            self._browse(Browse(self._topic))
        elif verb == "browse":
            asked = parse_browse({**values, "topic": self._topic}, topics)
            if isinstance(asked, str):
                self._asked += 1
                self._records = state_markup("error", "Cannot browse", asked)
            else:
                self._browse(asked)
        elif verb == "record":
            asked = parse_browse({**values, "start": Start.OFFSET, "limit": "1"}, topics)
            if isinstance(asked, Browse):
                self._topic = asked.topic
                self._browse(asked)

    def _browse(self, asked: Browse) -> None:
        inspection = self.session.app_context.inspection
        self._asked += 1
        number = self._asked
        self._records = state_markup("loading", say("Reading {topic}", topic=asked.topic))
        self.session.in_background(
            lambda: inspection.topic_browser.browse(asked),
            lambda found: self._show(number, found_markup(found, asked)),
            lambda error: self._show(number, state_markup("error", "Cannot read the topic", str(error))),
            inspection.workers,
        )

    def _show(self, number: int, markup: str) -> None:
        """Unless another request has replaced it."""
        if number == self._asked:
            self._records = markup


KIND = PageKind("topics", "topics", topics_frame, TopicsPage)
