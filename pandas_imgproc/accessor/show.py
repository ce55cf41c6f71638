"""Method that shows a contact sheet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc._validation import check_int
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.display.contact_sheet import failure_reasons, make_captions
from pandas_imgproc.accessor.display.html import TILE_SIZE, ContactSheet
from pandas_imgproc.accessor.display.overlay import OverlaidImage
from pandas_imgproc.accessor.display.tiles import is_image
from pandas_imgproc.accessor.options import (
    BOX,
    COLORS,
    FRAME,
    READERS,
    SOURCE,
    BoxKwargs,
    ReadOptions,
    ShowKwargs,
    decode_and_read_options,
    select_kwargs,
)
from pandas_imgproc.accessor.regions import region_options
from pandas_imgproc.array import ImageArray
from pandas_imgproc.tasks import Thumbnail

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from pandas_imgproc.accessor.regions import RegionOptions
    from pandas_imgproc.errors import Failure

MAX_TILES = 200

ColumnLike = Any
"""Name of a column of the frame, or a Series; in the shell a name."""


class _DisplayMethods(_ImageAccessorBase):
    """Method that shows images."""

    @delegates(BOX, FRAME, COLORS, READERS, SOURCE)
    def show(
        self, n: int = 24, *, title: Any = None, mask: ColumnLike = None, **options: Unpack[ShowKwargs]
    ) -> ContactSheet:
        """Show the first n rows as a contact sheet; no other image is read.

        Parameters
        ----------
        n : int
            Number of rows, from the first on: at most 200.
        title : name or Series, or a list of them, optional
            Captions, below the label of the row: columns of the frame (for ``df.img.show``), or other Series with the
            same index.
        mask : name or Series, optional
            Column of masks, images of class numbers or their files, which are laid over the images: class 0 is not
            drawn, and each other one has a color.
        box : list of names, name, or array of shape (n, 4), optional
            Box of each row, as in `load_resized`: its outline is drawn, with the first of the titles, or else the label
            of the row. Boxes with equal texts have one color.
        box_format, box_unit, frame, color_profile, readers
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
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> from pathlib import Path
        >>> _ = Path("half.jpg").write_bytes(Path("blue.jpg").read_bytes()[:-50])
        >>> df = pd.DataFrame({"image_path": ["red.png", "half.jpg"], "name": ["a cup", "half a cup"]})
        >>> df.img.show("image_path", title="name")
        <contact sheet of 2 of 2 rows, 1 failed; .image, or .save('sheet.png')>
        """
        if check_int("n", n) > MAX_TILES:
            raise ValueError(f"n={n!r} is more than {MAX_TILES}; choose rows with df.sample(24), nlargest or a mask")
        titles = [] if title is None else title if isinstance(title, list) else [title]
        captions = [self._frame_column("title", title, "show") for title in titles]
        masks = [] if mask is None else [self._frame_column("mask", mask, "show")]
        box = region_options(**select_kwargs(options, BoxKwargs))
        shown = {name: value for name, value in options.items() if name not in BoxKwargs.__annotations__}
        decode_options, read_options = decode_and_read_options(
            TILE_SIZE, {**shown, "errors": "coerce", "progress": False}, mode="RGBA", fit="thumbnail",
            allow_any_size=True,
        )  # fmt: skip
        return self._contact_sheet(n, captions, masks, box, decode_options, read_options)

    def _contact_sheet(
        self,
        n: int,
        titles: list[pd.Series[Any]],
        masks: list[pd.Series[Any]],
        box: RegionOptions | None,
        decode_options: codec.DecodeOptions,
        read_options: ReadOptions,
    ) -> ContactSheet:
        frame = None if self._frame is None else self._frame.iloc[:n]
        overlay = Overlay([mask.iloc[:n] for mask in masks], None if box is None else box.head(n))
        rows = ShownRows(self._column.iloc[:n], frame, [title.iloc[:n] for title in titles], len(self._column))
        return make_contact_sheet(rows, overlay, decode_options, read_options)


@dataclass(frozen=True)
class ShownRows:
    """First rows of a column, with its frame and its titles; `total` is the number of all, None if it is unknown."""

    column: pd.Series[Any]
    frame: pd.DataFrame | None
    titles: list[pd.Series[Any]]
    total: int | None


@dataclass(frozen=True)
class Overlay:
    """Masks, of one column at most, and boxes that are drawn over the images."""

    masks: list[pd.Series[Any]]
    box: RegionOptions | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is drawn."""
        return not self.masks and self.box is None


def make_contact_sheet(
    rows: ShownRows, overlay: Overlay, decode_options: codec.DecodeOptions, read_options: ReadOptions
) -> ContactSheet:
    """Return the contact sheet of some rows."""
    captions = make_captions(rows.column.index, *rows.titles)
    regions = None if read_options.regions is None else read_options.regions.head(len(rows.column))
    read_options = dataclasses.replace(read_options, regions=regions)
    images, reasons, sizes = _load_tiles(
        rows.column, rows.frame, decode_options, read_options, has_full_size=overlay.box is not None
    )
    if not overlay.is_empty:
        masks: list[Any] = [None] * len(images)
        if overlay.masks:
            options = codec.mask_options(decode_options)
            masks, mask_reasons, _ = _load_tiles(
                overlay.masks[0], None, options, dataclasses.replace(read_options, regions=None)
            )
            reasons = [one or other for one, other in zip(reasons, mask_reasons, strict=True)]
        boxes = [None] * len(images) if overlay.box is None else _box_fractions(rows, overlay.box, sizes)
        images = _overlaid(images, masks, boxes, captions, reasons)
    return ContactSheet(images, captions, reasons, rows.total)


def _load_tiles(
    column: pd.Series[Any],
    frame: pd.DataFrame | None,
    decode_options: codec.DecodeOptions,
    read_options: ReadOptions,
    *,
    has_full_size: bool = False,
) -> tuple[Any, list[Failure | None], list[Any]]:
    """Return images, the reasons of those that are missing, and, on request, width and height of the images."""
    if isinstance(column.array, ImageArray) and read_options.regions is None:
        height, width, _ = column.array.dtype.shape
        return column.array, failure_reasons(column.array), [(width, height)] * len(column)
    tiles = _DisplayMethods(column, frame)._run(Thumbnail(decode_options, has_full_size=has_full_size), read_options)
    reasons: list[Failure | None] = [cast("Failure", tile) if isinstance(tile, dict) else None for tile in tiles]
    return list(tiles), reasons, tiles.attrs.get("full_sizes", [])


def _box_fractions(rows: ShownRows, box: RegionOptions, sizes: list[Any]) -> list[Any]:
    """Return the box of each row as fractions of the sides of its image; None where there is none."""
    _, regions = box.to_regions([None] * len(sizes), rows.column.index, rows.frame)
    assert regions.boxes is not None
    scale = np.ones((len(sizes), 4)) if regions.is_fraction else np.array([[*size, *size] for size in sizes], float)
    boxes = regions.boxes / np.maximum(scale.reshape(-1, 4), 1)
    return [None if np.isnan(numbers).any() else tuple(numbers.tolist()) for numbers in boxes]


def _overlaid(
    images: Any, masks: Any, boxes: list[Any], captions: list[list[str]], reasons: list[Failure | None]
) -> list[Any]:
    """Return images with their masks and boxes; None where an image or its mask is missing."""
    numbers: dict[str, int] = {}
    result: list[Any] = []
    for image, mask, box, caption, reason in zip(images, masks, boxes, captions, reasons, strict=True):
        label = caption[min(1, len(caption) - 1)]
        has_mask = is_image(mask)
        if reason is not None or not is_image(image):
            result.append(None)
            continue
        color = numbers.setdefault(label, len(numbers))
        result.append(OverlaidImage(image, np.asarray(mask) if has_mask else None, box, label, color))
    return result
