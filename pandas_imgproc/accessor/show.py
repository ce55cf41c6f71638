"""The method that shows images to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.display.contact_sheet import failure_reasons, make_captions
from pandas_imgproc.accessor.display.html import TILE_SIZE, ContactSheet
from pandas_imgproc.accessor.naming import column_of
from pandas_imgproc.accessor.options import ReadOptions, SourceKwargs, check_count, read_options, with_source_kwargs
from pandas_imgproc.array import ImageArray
from pandas_imgproc.tasks import Thumbnail

if TYPE_CHECKING:
    from typing import Unpack

    from pandas_imgproc.errors import Failure

MAX_TILES = 200


class _DisplayMethods(_ImageAccessorBase):
    """Look at images."""

    @with_source_kwargs
    def show(
        self,
        n: int = 24,
        *,
        title: Any = None,
        **options: Unpack[SourceKwargs],
    ) -> ContactSheet:
        """Show the first n rows as a contact sheet; no other image is read.

        Parameters
        ----------
        n : int
            How many rows, from the first on as they stand: at most 200.
        title : name or Series, or a list of them, optional
            What stands under the images, below the label of the row: columns of the frame (for ``df.img.show``), or
            columns with the same index from elsewhere.
        root, suffix, storage_options, schemes
            As in `load_resized`.

        Returns
        -------
        ContactSheet
            A notebook shows it, in at most 2 MB of HTML. Elsewhere ``.image`` is a `PIL.Image.Image` and
            ``.save("sheet.png")`` writes a file. A row without an image is a tile that says why.

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
        if check_count("n", n) > MAX_TILES:
            raise ValueError(f"n={n!r} is more than {MAX_TILES}; choose rows with df.sample(24), nlargest or a mask")
        how = read_options(errors="coerce", progress=False, **options)
        return self._contact_sheet(n, self._titles(title), how)

    def _contact_sheet(self, n: int, titles: list[pd.Series[Any]], how: ReadOptions) -> ContactSheet:
        return make_contact_sheet(self._column.iloc[:n], [title.iloc[:n] for title in titles], how, len(self._column))

    def _titles(self, title: Any) -> list[pd.Series[Any]]:
        if title is None:
            return []
        return [self._title(one) for one in (title if isinstance(title, list) else [title])]

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
        return column_of(self._frame, title)


def make_contact_sheet(
    column: pd.Series[Any], titles: list[pd.Series[Any]], how: ReadOptions, total: int | None
) -> ContactSheet:
    """Return the sheet of some rows of `total`, None where nobody has counted them."""
    captions = make_captions(column.index, *titles)
    if isinstance(column.array, ImageArray):
        return ContactSheet(column.array, captions, failure_reasons(column.array), total)
    decode_options = codec.decode_options(size=TILE_SIZE, mode="RGBA", fit="thumbnail", allow_any_size=True)
    shown = list(_DisplayMethods(column)._run(Thumbnail(decode_options), how))
    reasons: list[Failure | None] = [cast("Failure", row) if isinstance(row, dict) else None for row in shown]
    return ContactSheet(shown, captions, reasons, total)
