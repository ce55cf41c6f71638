"""Styled table with images as thumbnails, in which every text is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_int

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


def style(frame: pd.DataFrame | pd.Series[Any], size: int = 96) -> Styler:
    """Return a frame as a styled table with images as thumbnails, in which every text is escaped.

    Parameters
    ----------
    frame : DataFrame or Series
        Rows to show: each image is embedded in the page, so select them first.
    size : int
        Maximum length of the longest side, in pixels, as of `thumbnail`.

    Returns
    -------
    Styler
        Of `pandas.DataFrame.style`, with all its methods. Cells, labels of rows and columns, their names and the
        caption are shown as text, with any formatter: none of them becomes HTML.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> df = pd.DataFrame({"image_path": ["red.png"]}, index=pd.Index(["<b>cup</b>"], name="id"))
    >>> df["image"] = df.img.load_resized("image_path", 8)
    >>> html = style(df.head(20)).set_caption("Cups & plates").to_html()
    >>> "&lt;b&gt;cup&lt;/b&gt;" in html, "Cups &amp; plates" in html, html.count("<img")
    (True, True, 1)
    """
    if not isinstance(frame, pd.DataFrame | pd.Series):
        raise TypeError(f"frame={shorten(frame)} is neither a DataFrame nor a Series of pandas")
    from pandas_imgproc.accessor.display.styler import ImageStyler  # pandas imports Jinja for it

    check_int("size", size)
    styler = ImageStyler(frame.to_frame() if isinstance(frame, pd.Series) else frame)
    styler.size = size
    return styler
