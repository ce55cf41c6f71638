"""Contact sheet as HTML for notebooks; the result of `show`."""

from __future__ import annotations

import functools
import html
from typing import TYPE_CHECKING, Any

from pandas_imgproc.accessor.display.contact_sheet import MAX_CAPTION_LINES, contact_sheet
from pandas_imgproc.accessor.display.tiles import render_tile, to_data_uri

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image

    from pandas_imgproc.array import ImageArray
    from pandas_imgproc.errors import Failure

TILE_SIZE = 160
MAX_HTML_CHARS = 2_000_000
MAX_TEXT_CHARS = 200

# Text inherits the color of the page, so that light and dark themes are legible.
STYLE = (
    ".pimg{display:flex;flex-wrap:wrap;gap:14px;color:inherit;font:12px/1.35 system-ui,sans-serif}"
    ".pimg figure{margin:0;width:160px}.pimg div{height:160px;display:flex;align-items:center;justify-content:center}"
    ".pimg img{max-width:160px;max-height:160px;margin:0}.pimg .no{box-sizing:border-box;padding:8px;overflow:hidden;"
    "flex-direction:column;border:1px solid #c2703d;background:rgba(194,112,61,.14);overflow-wrap:anywhere}"
    ".pimg figcaption{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.pimg .t{opacity:.7}"
)


class ContactSheet:
    """Contact sheet of images with captions; notebooks display the HTML, `image` and `save` are for scripts.

    Attributes
    ----------
    n : int
        Number of rows shown.
    failures : int
        Number of rows with a recorded failure.
    """

    def __init__(
        self,
        images: Sequence[Any] | ImageArray,
        captions: list[list[str]],
        reasons: list[Failure | None],
        total: int | None,
    ) -> None:
        self._images, self._captions, self._reasons, self._total = images, captions, reasons, total
        self.n, self.failures = len(captions), sum(reason is not None for reason in reasons)

    @functools.cached_property
    def image(self) -> Image.Image:
        """Sheet as a Pillow image, of mode RGB and at most 2000 x 4000 pixels."""
        return contact_sheet(self._images, self._captions, self._reasons, tile=TILE_SIZE)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet to a file, in the format of its suffix.

        Parameters
        ----------
        path : path
            Such as ``"sheet.png"``.
        """
        self.image.save(path)

    def _repr_html_(self) -> str:
        parts = [f"<style>{STYLE}</style><div class='pimg'>"]
        n_chars_left = MAX_HTML_CHARS - len(parts[0]) - 200
        for i, row in enumerate(zip(self._images, self._captions, self._reasons, strict=True)):
            figure = _tile_html(*row)
            n_chars_left -= len(figure)
            if n_chars_left < 0:
                parts.append(f"<p>and {self.n - i:,} more</p>")
                break
            parts.append(figure)
        return "".join([*parts, "</div>" if self.n else "no rows</div>"])

    def __repr__(self) -> str:
        failed = f", {self.failures:,} failed" if self.failures else ""
        rows = f"the first {self.n:,}" if self._total is None else f"{self.n:,} of {self._total:,}"
        return f"<contact sheet of {rows} rows{failed}; .image, or .save('sheet.png')>"


def _tile_html(image: Any, caption: list[str], failure: Failure | None) -> str:
    tile = render_tile(image, TILE_SIZE)
    if tile is not None:
        content = f"<div><img alt='' src='{to_data_uri(tile)}'></div>"
    elif failure is not None:
        content = f"<div class='no'><b>{_escape(failure['kind'])}</b><span>{_escape(failure['message'])}</span></div>"
    else:
        content = "<div class='no'>missing</div>"
    lines = [
        f"<figcaption{' class=t' if i else ''}>{_escape(line)}</figcaption>"
        for i, line in enumerate(caption[:MAX_CAPTION_LINES])
    ]
    return f"<figure>{content}{''.join(lines)}</figure>"


def _escape(text: str) -> str:
    return escape_html(text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}…")


def escape_html(text: str) -> str:
    r"""Return a text as HTML that shows it, without lone surrogates: the Jupyter protocol cannot encode them.

    A file name that is not UTF-8 contains some.

    Examples
    --------
    >>> escape_html("<b>\udcff")
    '&lt;b&gt;?'
    """
    return html.escape(text.encode("utf-8", "replace").decode())
