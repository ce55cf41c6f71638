"""Method that shows a contact sheet."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from pandas_imgproc._delegates import delegates
from pandas_imgproc._validation import check_int
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.display.contact_sheet import failure_reasons, make_captions
from pandas_imgproc.accessor.display.html import TILE_SIZE, ContactSheet
from pandas_imgproc.accessor.options import (
    COLORS,
    FRAME,
    READERS,
    SOURCE,
    ReadOptions,
    ShowKwargs,
    decode_and_read_options,
    get_column,
)
from pandas_imgproc.array import ImageArray
from pandas_imgproc.tasks import Thumbnail

if TYPE_CHECKING:
    from typing import Unpack

    from pandas_imgproc import codec
    from pandas_imgproc.errors import Failure

MAX_TILES = 200


class _DisplayMethods(_ImageAccessorBase):
    """Method that shows images."""

    @delegates(FRAME, COLORS, READERS, SOURCE)
    def show(self, n: int = 24, *, title: Any = None, **options: Unpack[ShowKwargs]) -> ContactSheet:
        """Show the first n rows as a contact sheet; no other image is read.

        Parameters
        ----------
        n : int
            Number of rows, from the first on: at most 200.
        title : name or Series, or a list of them, optional
            Captions, below the label of the row: columns of the frame (for ``df.img.show``), or other Series with the
            same index.
        frame, color_profile, readers
            As in `load_resized`.
        root, suffix, storage_options, schemes, redirect_hosts
            As in `load_resized`.

        Returns
        -------
        ContactSheet
            Shown by a notebook, in at most 2 MB of HTML; otherwise ``.image`` is a `PIL.Image.Image` and
            ``.save("sheet.png")`` writes a file. The tile of a row without an image shows the reason.

        Raises
        ------
        KeyError
            If the frame has no such title.
        ValueError, TypeError
            If an argument is wrong; before anything is read.

        Examples
        --------
        >>> df = pd.DataFrame({"image_path": ["red.png", "half.jpg"], "name": ["a cup", "half a cup"]})
        >>> df.img.show("image_path", title="name", root=getfixture("photos"))
        <contact sheet of 2 of 2 rows, 1 failed; .image, or .save('sheet.png')>
        """
        if check_int("n", n) > MAX_TILES:
            raise ValueError(f"n={n!r} is more than {MAX_TILES}; choose rows with df.sample(24), nlargest or a mask")
        titles = [] if title is None else title if isinstance(title, list) else [title]
        captions = [self._title(title) for title in titles]
        shown = {**options, "errors": "coerce", "progress": False}
        decode_and_read = decode_and_read_options(
            TILE_SIZE, shown, mode="RGBA", fit="thumbnail", allow_any_size=True
        )  # fmt: skip
        return self._contact_sheet(n, captions, *decode_and_read)

    def _contact_sheet(
        self, n: int, titles: list[pd.Series[Any]], decode_options: codec.DecodeOptions, read_options: ReadOptions
    ) -> ContactSheet:
        column, *titles = (series.iloc[:n] for series in (self._column, *titles))
        frame = None if self._frame is None else self._frame.iloc[:n]
        return make_contact_sheet(column, frame, titles, decode_options, read_options, len(self._column))

    def _title(self, title: Any) -> pd.Series[Any]:
        if isinstance(title, pd.Series):
            if not title.index.equals(self._column.index):
                raise ValueError(f"title={title.name!r} is a column of another index; select the same rows of it first")
            return title
        if self._frame is None:
            raise TypeError(
                f"title={title!r:.100} names a column of a frame: use df.img.show(column, title=…), or give the "
                f"column, title=df[{title!r:.100}]"
            )
        return get_column(self._frame, title)


def make_contact_sheet(
    column: pd.Series[Any],
    frame: pd.DataFrame | None,
    titles: list[pd.Series[Any]],
    decode_options: codec.DecodeOptions,
    read_options: ReadOptions,
    total: int | None,
) -> ContactSheet:
    """Return the contact sheet of some of `total` rows; None is an unknown total."""
    captions = make_captions(column.index, *titles)
    regions = None if read_options.regions is None else read_options.regions.head(len(column))
    if isinstance(column.array, ImageArray) and regions is None:
        return ContactSheet(column.array, captions, failure_reasons(column.array), total)
    read_options = dataclasses.replace(read_options, regions=regions)
    tiles = list(_DisplayMethods(column, frame)._run(Thumbnail(decode_options), read_options))
    reasons: list[Failure | None] = [cast("Failure", tile) if isinstance(tile, dict) else None for tile in tiles]
    return ContactSheet(tiles, captions, reasons, total)
