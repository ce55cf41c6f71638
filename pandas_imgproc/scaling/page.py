"""A scaling report as HTML, in the colours of whatever page it stands in."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from pandas_imgproc.scaling import sentences

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.scaling.report import ScalingReport

COLOURS = {
    "read": "#7a9cc6", "decode": "#d98c5f", "resize": "#6aa384", "measure": "#b58ac2", "function": "#c9b458",
    "encode": "#8a7f76", "transfer": "#5f9ea8", "write": "#c77b8a", "other": "#9aa0a6", "waiting": "#c8ccd0",
}  # fmt: skip
"""Of the stages, of middle brightness: they stand out on white and on black."""

STYLE = (
    ".pimgs{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:60em}"
    ".pimgs table{border-collapse:collapse;font:inherit;margin:.4em 0}"
    ".pimgs th,.pimgs td{padding:2px 12px 2px 0;text-align:right;border:0;font-weight:400}"
    ".pimgs thead th{opacity:.7}.pimgs tbody th{text-align:left}"
    ".pimgs .bar{display:flex;height:16px;margin:2px 0 2px 2.5em;position:relative}.pimgs .bar i{height:100%}"
    ".pimgs .bar b{position:absolute;left:-2.5em;width:2em;text-align:right;font-weight:400}"
    ".pimgs .key{display:flex;flex-wrap:wrap;gap:12px;margin:.4em 0 .4em 2.5em}"
    ".pimgs .key i{display:inline-block;width:10px;height:10px;margin-right:4px}.pimgs .note{opacity:.8}"
)


def page(report: ScalingReport) -> str:
    """Return a report as a piece of HTML."""
    parts = [
        f"<style>{STYLE}</style><div class='pimgs'><p><b>{_text(sentences.title(report))}</b></p>",
        _table(sentences.shown(report.table)),
        _paragraph(sentences.law(report)),
        _table(sentences.shown(report.predicted)) if len(report.predicted) else "",
        _paragraph(sentences.worth(report)),
        _paragraph(sentences.stages_title(report)),
        _bars(report.stages),
        _table(sentences.shown_stages(report.stages), index=True),
        _paragraph(sentences.rest(report)),
        *(f"<p class='note'>{_text(note)}</p>" for note in sentences.notes(report)),
    ]
    return "".join([*parts, "</div>"])


def _bars(stages: pd.DataFrame) -> str:
    """Return a bar for each number of workers, as long as what an image takes of a worker."""
    longest = stages.sum().max() or 1.0
    bars = []
    for workers, column in stages.items():
        pieces = "".join(_piece(str(name), value, 95 * value / longest) for name, value in column.items())
        bars.append(f"<div class='bar'><b>{workers}</b>{pieces}</div>")
    key = "".join(f"<span><i style='background:{COLOURS[name]}'></i>{name}</span>" for name in stages.index)
    return f"{''.join(bars)}<div class='key'>{key}</div>"


def _piece(name: str, milliseconds: float, percent: float) -> str:
    title = f"{name} {milliseconds:.3f} ms"
    return f"<i title='{title}' style='background:{COLOURS[name]};width:{percent:.2f}%'></i>"


def _table(texts: pd.DataFrame, *, index: bool = False) -> str:
    markup: str = texts.to_html(index=index, border=0)
    return markup


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    return html.escape(text)
