"""The page: app bar, banner, market view and pipeline view."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
from panel.util import edit_readonly

from dashboard.app_context import AppContext
from dashboard.page_session import Session
from dashboard.pages.coin_panel import CoinPanel
from dashboard.pages.coin_table import CoinTable
from dashboard.pages.history_table import HistoryTable
from dashboard.pages.parts import markup, set_markup, stack
from dashboard.pages.pipeline import PipelinePage
from dashboard.shared_state import CONNECTING
from dashboard.styles import PAGE, TEMPLATE
from dashboard.views.header import banner_markup, header_markup, total
from dashboard.views.link import VIEWS, Link, parse_link

__all__ = ["RootPage"]

_FLASH_MS = 900  # duration of a price's flash; then its CSS class is removed, so that a redrawn row does not flash again

_THEME: dict[str, Any] = {
    "light": {"palette": {"primary": {"main": "#1f4e8c"}, "background": {"default": "#f2f5f9", "paper": "#ffffff"}}},
    "dark": {"palette": {"primary": {"main": "#6ea8fe"}, "background": {"default": "#0b0f14", "paper": "#141a22"}}},
}
_TABS: dict[str, Any] = {
    "minHeight": "36px",
    "& .MuiTab-root": {"minHeight": "36px", "padding": "0 18px", "textTransform": "none", "fontSize": "13.5px", "fontWeight": 600},
}


class RootPage:
    """A browser's page. `view` is served by Panel."""

    def __init__(self, app_context: AppContext, doc: Any, arguments: dict[str, str]) -> None:
        self._app_context = app_context
        self._session = session = Session(app_context, doc)
        link = parse_link(arguments, [asset.asset_id for asset in app_context.settings.assets])
        self._seen = (-1, -1)
        self._pulled_ms = 0
        self._flashing = False
        self._header = markup(css_class="cv-header-pane", sizing_mode="stretch_width")
        self._banner = markup(css_class="cv-banner-pane", sizing_mode="stretch_width", visible=False)
        self._coins = CoinTable(session, self._choose)
        self._panel = CoinPanel(session, link.coin, link.interval, self._update_url)
        self._history = HistoryTable(session, link.coin)
        self._coins.choose(link.coin)
        grid = stack(self._coins.view, self._panel.view, self._history.view, self._history.statistics, css_class="cv-market")
        self._market = stack(grid, css_class="cv-place")
        self._pipeline: PipelinePage | None = None
        self._pipeline_place = stack(css_class="cv-place")
        self._tabs = pmui.TabMenu(items=[view.capitalize() for view in VIEWS], active=VIEWS.index(link.view), css_classes=["cv-tabs"], sx=_TABS)
        self._tabs.param.watch(lambda _event: self._switched(), "active")
        self.view = pmui.Page(
            title="CryptoViz",
            header=[self._header],
            main=[self._banner, self._tabs, self._market, self._pipeline_place, session.delivery.view],
            theme_config=_THEME,
            sx=_BAR,
            stylesheets=[PAGE],
            template=TEMPLATE,
            meta_name="CryptoViz",
            meta_description="Live crypto market data with provenance",
        )
        # panel-material-ui binds the busy indicator to a global, which would keep every page in memory and notify all browsers of each pull. A plain
        # value does not unbind it (param only drops the name); a reference to a local parameter that is never set does.
        with edit_readonly(self.view):
            self.view.busy = self._banner.param.loading
        self._switch_view()
        self._refresh_frame()
        self._coins.refresh(live=False)
        # Only after the browser has rendered: a patch for a missing table is an error in its console.
        pn.state.onload(lambda: session.open(self.pull))

    def pull(self) -> bool:
        """Update the page to the current state; return whether that may have changed it."""
        seen = (self._app_context.live.version, self._app_context.control.version)
        now_ms = self._session.now_ms()
        live, news = seen[0] != self._seen[0], seen != self._seen
        after_flash = self._flashing and now_ms - self._pulled_ms >= _FLASH_MS
        if self._view == "market":
            self._history.refresh()
        if not news and not after_flash:
            return False
        self._seen, self._pulled_ms, self._flashing = seen, now_ms, news
        self._refresh_frame()
        if self._view == "market":
            self._coins.refresh(live=live)
            if live:
                # In a separate callback: the first call creates the chart, and other pages need the loop too.
                self._session.later(self._panel.refresh)
        elif self._pipeline is not None:
            self._pipeline.refresh()
        return True

    def _refresh_frame(self) -> None:
        app_context = self._app_context
        pipeline, lost = app_context.control.read()
        replayed = pipeline.replayed if pipeline is not None else app_context.settings.profile == "demo"
        header = header_markup(total(app_context.live.latest().values()), pipeline, lost, replayed, app_context.tick_ms)
        set_markup(self._header, header)
        status = app_context.live.status
        feed_lost = None if status.connected or status.message == CONNECTING else status.message
        banner = banner_markup(feed_lost, None if lost in (None, CONNECTING) else lost)
        if self._banner.object != banner:
            self._banner.param.update(object=banner, visible=bool(banner))

    def _choose(self, coin: str) -> None:
        self._coins.choose(coin)
        self._panel.choose(coin)
        self._history.choose(coin)
        self._update_url()

    @property
    def _view(self) -> str:
        return VIEWS[self._tabs.active or 0]

    def _switched(self) -> None:
        self._switch_view()
        self._seen = (-1, -1)
        self.pull()
        self._update_url()

    def _switch_view(self) -> None:
        """Show one view and hide the other; removing and adding a view would redraw it."""
        if self._view == "pipeline" and self._pipeline is None:
            self._pipeline = PipelinePage(self._session)
            self._pipeline_place[:] = [self._pipeline.view]
        self._market.visible = self._view == "market"
        self._pipeline_place.visible = self._view == "pipeline"

    def _update_url(self) -> None:
        link = Link(self._panel.coin, self._panel.interval, self._view)
        if pn.state.location is not None:
            pn.state.location.search = link.query()


_BAR: dict[str, Any] = {
    "& .MuiAppBar-root": {"backgroundColor": "#12294a", "backgroundImage": "none", "boxShadow": "none", "color": "#fff"},
    "& .MuiToolbar-root": {"minHeight": "48px !important"},
}
