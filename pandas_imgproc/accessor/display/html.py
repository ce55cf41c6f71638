"""What `show` gives: a contact sheet as HTML for a notebook, as an image for everything else."""

from __future__ import annotations

import functools
import html
from typing import TYPE_CHECKING, Any

from pandas_imgproc.accessor.display.contact_sheet import contact_sheet, render_tile, to_data_uri

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image

    from pandas_imgproc.array import ImageArray
    from pandas_imgproc.errors import Failure

SIDE = 160
MAX_HTML_CHARS = 2_000_000
"""Characters of HTML, at most; what finds no room is counted at its foot."""
LONGEST = 200

# Colours are the page's own, so that both themes of every notebook are right.
STYLE = (
    ".pimg{display:flex;flex-wrap:wrap;gap:14px;color:inherit;font:12px/1.35 system-ui,sans-serif}"
    ".pimg figure{margin:0;width:160px}.pimg div{height:160px;display:flex;align-items:center;justify-content:center}"
    ".pimg img{max-width:160px;max-height:160px;margin:0}.pimg .no{box-sizing:border-box;padding:8px;overflow:hidden;"
    "flex-direction:column;border:1px solid #c2703d;background:rgba(194,112,61,.14);overflow-wrap:anywhere}"
    ".pimg figcaption{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.pimg .t{opacity:.7}"
)


class ContactSheet:
    """Images with captions; a notebook shows them, `image` and `save` are for everywhere else.

    Attributes
    ----------
    n : int
        How many rows are shown.
    failures : int
        How many of them have no image, for a reason that is known.
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
        """The sheet as Pillow's image, of mode RGB and at most 2000 x 4000 pixels."""
        return contact_sheet(self._images, self._captions, self._reasons, tile=SIDE)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet as a file, in the format that its name says.

        Parameters
        ----------
        path : path
            Such as ``"sheet.png"``.
        """
        self.image.save(path)

    def _repr_html_(self) -> str:
        parts = [f"<style>{STYLE}</style><div class='pimg'>"]
        room = MAX_HTML_CHARS - len(parts[0]) - 200
        for done, row in enumerate(zip(self._images, self._captions, self._reasons, strict=True)):
            figure = _figure(*row)
            room -= len(figure)
            if room < 0:
                parts.append(f"<p>and {self.n - done:,} more</p>")
                break
            parts.append(figure)
        return "".join([*parts, "</div>" if self.n else "no rows</div>"])

    def __repr__(self) -> str:
        failed = f", {self.failures:,} failed" if self.failures else ""
        rows = f"the first {self.n:,}" if self._total is None else f"{self.n:,} of {self._total:,}"
        return f"<contact sheet of {rows} rows{failed}; .image, or .save('sheet.png')>"


def _figure(image: Any, caption: list[str], reason: Failure | None) -> str:
    shown = render_tile(image, SIDE)
    if shown is not None:
        tile = f"<div><img alt='' src='{to_data_uri(shown)}'></div>"
    elif reason is not None:
        tile = f"<div class='no'><b>{_text(reason['kind'])}</b><span>{_text(reason['message'])}</span></div>"
    else:
        tile = "<div class='no'>missing</div>"
    lines = [f"<figcaption{' class=t' if k else ''}>{_text(line)}</figcaption>" for k, line in enumerate(caption[:6])]
    return f"<figure>{tile}{''.join(lines)}</figure>"


def _text(text: str) -> str:
    # A lone surrogate, from a name that is not UTF-8, would not leave the kernel.
    text = text.encode("utf-8", "replace").decode()
    return html.escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
