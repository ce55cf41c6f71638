"""Document of the page "Images", one for each browser that opens it."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

from pandas_imgproc.cluster.images_page.tables import (
    CALL_COLUMNS,
    STAGES,
    calls_table,
    failures_table,
    headline,
    kinds_table,
    points_table,
    stages_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.cluster.images_page.call import CallState
    from pandas_imgproc.cluster.images_page.state import PageState

UPDATE_MILLISECONDS = 1000
"""Time between two updates of an open page."""

FIGURE_UPDATES = 2
"""Figures are drawn at every second update: they take most of the time."""

PROGRESS_BAR = (
    "<div style='background:linear-gradient(to right,#fdd49e <%- percent %>%,transparent 0);padding:0 4px'>"
    "<%- value %></div>"
)
"""Template of a cell, whose values Bokeh escapes."""

WIDTHS = {
    "state": 75, "method": 115, "column": 95, "target": 110, "rows": 145, "failed": 200, "now": 95, "rate": 60,
    "left": 85, "resumed": 65, "memory": 65, "deaths": 55, "retries": 55,
}  # fmt: skip
"""Widths of the columns of the table of calls, in pixels."""

CAPTION = "Failures by kind (select one), and the last 20 of it"

EMPTY = "No call has run on this cluster yet. Short calls run inline, without it, and do not appear here."


def images_doc(current_state: Callable[[], PageState], extra: dict[str, Any] | None, doc: Any) -> None:
    """Fill a document; `extra` are the variables of Dask's template, None for a page without navigation."""
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env

    page = ImagesPage(current_state)
    page.update()
    doc.title = "Dask: Images"
    doc.add_root(page.root)
    doc.theme = BOKEH_THEME
    if extra is not None:
        doc.template = env.get_template("simple.html")
        doc.template_variables.update(extra)
    doc.add_periodic_callback(page.update, UPDATE_MILLISECONDS)


class ImagesPage:
    """Widgets and figures, and their update from the state of the scheduler.

    Parameters
    ----------
    current_state : callable
        Function that returns the state.
    """

    def __init__(self, current_state: Callable[[], PageState]) -> None:
        from bokeh.layouts import column, row
        from bokeh.models import Div

        self._current_state = current_state
        self._state: PageState | None = None
        self._chosen: str | None = None  # identifier of the call that the user has selected
        self._shown: str | None = None
        self._is_selecting = False
        self._n_updates, self._revision, self._n_drawn = 0, -1, 0
        self._kind: str | None = None
        self._sent: dict[str, Any] = {}
        self._create_tables()
        self._create_figures()
        wide = {"sizing_mode": "stretch_width"}
        self.root = column(
            self._calls_table, self._headline, row(self._stages, self._rates, self._durations, **wide),
            self._thumbnails, Div(text=CAPTION), row(self._kinds_table, self._failures_table, **wide),
            margin=(5, 10, 5, 10), **wide,
        )  # fmt: skip

    # ---- models

    def _create_tables(self) -> None:
        from bokeh.models import ColumnDataSource, Div, HTMLTemplateFormatter, StringFormatter, TableColumn

        self._calls, self._kinds, self._failures = (ColumnDataSource() for _ in range(3))
        text, bar = StringFormatter(), HTMLTemplateFormatter(template=PROGRESS_BAR)
        columns = [
            TableColumn(field=name, title=title, width=WIDTHS[name], formatter=bar if name == "rows" else text)
            for name, title in CALL_COLUMNS.items()
        ]
        self._calls_table = _table(self._calls, columns, height=175, sizing_mode="stretch_width")
        kinds = [TableColumn(field=name, title=name, width=w) for name, w in (("kind", 110), ("rows", 60))]
        self._kinds_table = _table(self._kinds, kinds, width=190, height=220)
        widths = {"kind": 90, "label": 110, "path": 380, "message": 520}
        titles = {"label": "index"}  # A column of classes is often named "label".
        failures = [TableColumn(field=name, title=titles.get(name, name), width=w) for name, w in widths.items()]
        self._failures_table = _table(self._failures, failures, height=220, sizing_mode="stretch_width")
        self._headline, self._thumbnails = (Div(sizing_mode="stretch_width") for _ in range(2))
        self._calls.selected.on_change("indices", self._on_call_selected)
        self._kinds.selected.on_change("indices", self._on_kind_selected)

    def _create_figures(self) -> None:
        from bokeh.models import ColumnDataSource, FactorRange, HoverTool
        from bokeh.plotting import figure

        self._stage_bars = ColumnDataSource(data={name: [] for name in ("worker", "rows", *STAGES)})
        self._points = ColumnDataSource(data={"x": [], "y": []})
        self._parts = ColumnDataSource(data={name: [] for name in ("x", "y", "rows", "worker", "color")})
        style: dict[str, Any] = {"height": 300, "tools": "", "toolbar_location": None, "sizing_mode": "stretch_width"}
        self._stages = figure(title="milliseconds of an image, by worker", y_range=FactorRange(), **style)
        stages = list(STAGES)
        self._stages.hbar_stack(
            stages, y="worker", height=0.8, source=self._stage_bars, color=list(STAGES.values()),
            legend_label=stages,
        )  # fmt: skip
        tooltips = [("worker", "@worker"), ("images", "@rows"), ("$name", "@$name ms")]
        self._stages.add_tools(HoverTool(tooltips=tooltips))
        self._stages.add_layout(self._stages.legend[0], "right")
        self._stages.legend[0].update(label_text_font_size="8pt", glyph_height=10, spacing=0, padding=2)
        self._stages.x_range.start = 0
        self._rates = figure(title="images/s, over the seconds of the call", **style)
        self._rates.line("x", "y", source=self._points, line_width=2, color="#4e79a7")
        self._rates.y_range.start = 0
        self._durations = figure(title="seconds of each partition, over those of the call", **style)
        self._durations.scatter("x", "y", source=self._parts, color="color", size=6, alpha=0.7)
        self._durations.y_range.start = 0
        tooltips = [("worker", "@worker"), ("images", "@rows"), ("seconds", "@y")]
        self._durations.add_tools(HoverTool(tooltips=tooltips))

    # ---- events of the browser

    def _on_call_selected(self, attr: str, old: list[int], new: list[int]) -> None:  # noqa: ARG002  Bokeh's names
        identifiers = self._calls.data.get("id", [])
        if not self._is_selecting and new and new[0] < len(identifiers) and identifiers[new[0]] != self._shown:
            self._chosen, self._kind = identifiers[new[0]], None
            self._revision = -1
            self.update()

    def _on_kind_selected(self, attr: str, old: list[int], new: list[int]) -> None:  # noqa: ARG002  Bokeh's names
        if self._is_selecting:
            return
        kinds = self._kinds.data.get("kind", [])
        self._kind = kinds[new[0]] if new and new[0] < len(kinds) else None
        self._revision = -1
        self.update()

    # ---- updates

    def update(self) -> None:
        """Send the browser all that has changed since the last update."""
        state, now = self._current_state(), time.time()
        if state is not self._state:  # the page was registered again
            self._state, self._revision, self._shown = state, -1, None
        if state.revision == self._revision and not state.running:
            return
        calls = state.calls()
        call = self._select(calls)
        self._send("calls", self._calls, calls_table(calls, now))
        shown = [other.id for other in calls].index(call.id) if call else None
        indices = [] if shown is None else [shown]
        self._set_indices(self._calls, indices)
        self._send_text(self._headline, f"<b>{html.escape(headline(call, now))}</b>" if call else EMPTY)
        is_other = call is not None and call.id != self._shown
        if call is not None and (is_other or self._revision < 0 or self._n_updates % FIGURE_UPDATES == 0):
            if is_other:
                self._set_indices(self._kinds, [])
            self._shown = call.id
            self._draw(call, is_other=is_other)
            self._revision = state.revision
        self._n_updates += 1

    def _select(self, calls: list[CallState]) -> CallState | None:
        """Return the call that the user has selected, or the newest."""
        chosen = [call for call in calls if call.id == self._chosen]
        return (chosen or calls or [None])[0]  # type: ignore[list-item]

    def _draw(self, call: CallState, *, is_other: bool) -> None:
        names, bars = stages_table(call)
        if names != self._sent.get("names"):
            self._sent["names"] = self._stages.y_range.factors = names
        self._send("bars", self._stage_bars, bars)
        self._send("points", self._points, points_table(call))
        self._send_partitions(call, is_other=is_other)
        self._send("kinds", self._kinds, kinds_table(call))
        self._send("failures", self._failures, failures_table(call, self._kind))
        self._send_text(self._thumbnails, _thumbnails(call))

    def _send_partitions(self, call: CallState, *, is_other: bool) -> None:
        """Send the partitions that are new since the last update."""
        from bokeh.palettes import Category10

        n = len(call.partitions) if is_other else min(call.n_partitions - self._n_drawn, len(call.partitions))
        self._n_drawn = call.n_partitions
        if is_other:
            self._parts.data = {name: [] for name in self._parts.data}
        if not n:
            return
        new, colors = list(call.partitions)[-n:], Category10[10]
        numbers = {address: i for i, address in enumerate(call.workers)}
        data = {
            "x": [round(t - call.started_at, 2) for t, *_ in new],
            "y": [round(seconds, 3) for _, seconds, *_ in new],
            "rows": [rows for _, _, rows, _ in new],
            "worker": [address for *_, address in new],
            "color": [colors[numbers.get(address, 0) % 10] for *_, address in new],
        }
        self._parts.stream(data, rollover=call.partitions.maxlen)

    def _set_indices(self, source: Any, indices: list[int]) -> None:
        """Select rows of a table, as no click of the user."""
        if source.selected.indices != indices:
            self._is_selecting = True
            source.selected.indices = indices
            self._is_selecting = False

    def _send(self, name: str, source: Any, data: dict[str, Any]) -> None:
        if self._sent.get(name) != data:
            self._sent[name] = source.data = data

    @staticmethod
    def _send_text(div: Any, markup: str) -> None:
        if div.text != markup:
            div.text = markup


def _table(source: Any, columns: list[Any], **kwargs: Any) -> Any:
    from bokeh.models import CustomJS, DataTable

    table = DataTable(
        source=source, columns=columns, index_position=None, sortable=False, reorderable=False, autosize_mode="none",
        **kwargs,
    )  # fmt: skip
    # Bokeh draws a table again only if its number of rows has changed.
    source.js_on_change("data", CustomJS(args={"view": table.view}, code="view.change.emit()"))
    return table


def _thumbnails(call: CallState) -> str:
    """Return the markup of the strip of thumbnails, the newest first; their data is text in base64."""
    return "".join(
        f"<img src='data:image/png;base64,{html.escape(data, quote=True)}' title='{html.escape(title, quote=True)}' "
        "style='height:64px;margin:2px;image-rendering:auto' alt=''>"
        for title, data in reversed(call.thumbnails)
    )
