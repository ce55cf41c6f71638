"""Styler of pandas that shows images as thumbnails, and escapes every text; the result of `style`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas.io.formats.style import Styler

from pandas_imgproc.accessor.display.html import escape_html
from pandas_imgproc.accessor.display.tiles import is_image, thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_BLANK = "&nbsp;"  # pandas' empty cell of a header


class ImageStyler(Styler):
    """Styler that shows images as thumbnails, and escapes every text of the table when it is rendered as HTML.

    Attributes
    ----------
    size : int
        Maximum length of the longest side of a thumbnail, in pixels.
    """

    size = 96
    tooltips: Any

    def _copy(self, deepcopy: bool = False) -> ImageStyler:
        copied: ImageStyler = super()._copy(deepcopy)  # type: ignore[misc]  # not in pandas' stubs
        copied.size = self.size
        return copied

    def set_tooltips(self, ttips: pd.DataFrame, *args: Any, **kwargs: Any) -> ImageStyler:
        """Set the tooltips, with escaped texts (see `pandas.io.formats.style.Styler.set_tooltips`)."""
        super().set_tooltips(ttips.map(_escape_tooltip, na_action="ignore"), *args, **kwargs)
        return self

    def _render(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # The last step before the template, which escapes nothing: a formatter that is set later changes nothing here.
        rendered: dict[str, Any] = super()._render(*args, **kwargs)  # type: ignore[misc]
        if _BLANK not in (*args, *kwargs.values()):  # not as HTML
            return rendered
        tooltip = "" if self.tooltips is None else f'<span class="{self.tooltips.class_name}"></span>'
        for cell in _cells(rendered):
            cell["display_value"] = self._to_html(cell, tooltip)
        rendered["caption"] = _escape_caption(rendered.get("caption"))
        for name in ("table_styles", "cellstyle", "cellstyle_index", "cellstyle_columns"):
            for rule in rendered.get(name) or []:
                rule["props"] = [(_escape_css(key), _escape_css(value)) for key, value in rule["props"]]
        return rendered

    def _to_html(self, cell: dict[str, Any], tooltip: str) -> str:
        text, suffix = str(cell.get("display_value")), ""
        if tooltip and text.endswith(tooltip):
            text, suffix = text.removesuffix(tooltip), tooltip
        if cell["type"] == "td" and is_image(cell.get("value")):
            return thumbnail(cell["value"], self.size) + suffix
        return (text if text == _BLANK else escape_html(text)) + suffix


def _cells(rendered: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in ("head", "body"):
        for row in rendered.get(part) or []:
            yield from row


def _escape_caption(caption: Any) -> Any:
    """Return a caption, or a pair of a long and a short one, escaped."""
    if caption is None:
        return None
    return escape_html(str(caption)) if not isinstance(caption, tuple) else tuple(map(escape_html, map(str, caption)))


def _escape_css(value: Any) -> str:
    # Within a style element "<" begins the end tag, and nothing else.
    return str(value).replace("<", r"\3c ")


def _escape_tooltip(text: Any) -> str:
    # It becomes a string of CSS, or an attribute of HTML.
    return " ".join(escape_html(str(text)).replace("\\", "&#92;").split())
