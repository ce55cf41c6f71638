"""Contact sheet: images with captions in a grid, with the reason on the tile of each missing image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from PIL import Image, ImageDraw

from pandas_imgproc._validation import check_int
from pandas_imgproc.accessor.display.text_layout import ascii_line, draw_text, get_font, text_width, wrap
from pandas_imgproc.accessor.display.tiles import render_tile
from pandas_imgproc.array import ImageArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pandas_imgproc.errors import Failure

MAX_WIDTH, MAX_HEIGHT = 2000, 4000  # of a sheet, in pixels
MAX_CAPTION_LINES = 6
MIN_CAPTION_WIDTH = 96  # pixels; a narrower caption is illegible
DEFAULT_COLUMNS = 8
MARGIN, GAP, LINE_HEIGHT = 20, 14, 17
TEXT_SIZE, SMALL_SIZE, HEADING_SIZE = 13, 12, 20

BACKGROUND, TEXT_COLOR, MUTED_COLOR = "#f5f5f4", "#292524", "#78716c"
BORDER, MISSING_FILL = "#d6d3d1", "#e7e5e4"
FAILURE_FILL, FAILURE_BORDER, FAILURE_COLOR = "#f8eae2", "#dcb39c", "#9a4a2a"

Size = tuple[int, int]


class SheetLayout(NamedTuple):
    """Geometry of a sheet, in pixels."""

    columns: int
    rows: int
    tile_size: Size
    caption_lines: int  # of the longest caption
    header_height: int
    footer_height: int
    min_width: int  # of the title

    @property
    def stride(self) -> Size:
        """Offset from one tile to the next, horizontally and vertically."""
        return self.tile_size[0] + GAP, self.tile_size[1] + LINE_HEIGHT * self.caption_lines + GAP + 2

    @property
    def size(self) -> Size:
        """Width and height of the sheet."""
        width = max(self.columns * self.stride[0] - GAP, self.min_width)
        height = self.header_height + self.rows * self.stride[1] - GAP + self.footer_height
        return 2 * MARGIN + width, 2 * MARGIN + height

    def tile_origin(self, i: int) -> Size:
        """Return the upper left corner of a tile."""
        row, column = divmod(i, self.columns)
        return MARGIN + column * self.stride[0], self.header_height + MARGIN + row * self.stride[1]


def contact_sheet(
    images: pd.Series[Any] | ImageArray | Sequence[Any],
    captions: Sequence[str | Sequence[str]] | None = None,
    reasons: Sequence[Failure | None] | None = None,
    *,
    columns: int | None = None,
    tile: int | None = None,
    title: str | None = None,
) -> Image.Image:
    """Return images as one image, in a grid.

    Parameters
    ----------
    images : image column, ImageArray or sequence
        `ImageCell`, ndarrays of shape (height, width) or (height, width, channels) with 1, 3 or 4 channels, or
        Pillow images, of any sizes, and missing values. Other dtypes than uint8 are scaled to it: uint16 from its
        full range, others from their minimum and maximum if they exceed 0 to 255; floats within 0 and 1 from that.
    captions : sequence of str or of sequence of str, optional
        For each image the lines below it, the first one darker. A line that is too long ends in an ellipsis.
    reasons : sequence of dict or None, optional
        For each image its failure, as returned by `failure_reasons`; by default the failures of an ImageArray.
    columns : int, optional
        Number of columns, by default 8.
    tile : int, optional
        Maximum side of an image, 32 to 512 pixels. By default 128, or the largest multiple of the images' longest
        side up to 160.
    title : str, optional
        A heading.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB and at most 2000 x 4000 pixels: further images are not drawn, and the last line counts them.

    Raises
    ------
    ValueError, TypeError
        If captions or reasons are not as many as the images, or `columns` or `tile` are not integers in range.

    Notes
    -----
    Images smaller than the tile are enlarged by an integer factor with sharp pixels, larger ones reduced with Lanczos.
    Transparency is shown as a checkerboard.

    Examples
    --------
    >>> images = ImageArray(np.zeros((3, 48, 64, 3), dtype="uint8"), status=[0, 0, -1])
    >>> sheet = contact_sheet(images, [["0", "red cup"], ["1", "blue cup"], ["2", "lost cup"]], title="Cups")
    >>> sheet.mode, sheet.size
    ('RGB', (452, 234))
    """
    images = images.array if isinstance(images, pd.Series) else images
    lines = [()] * len(images) if captions is None else [(x,) if isinstance(x, str) else x for x in captions]
    reasons = failure_reasons(images) if reasons is None else list(reasons)
    _check_lengths(len(images), captions=len(lines), reasons=len(reasons))
    layout = _layout(images, lines, columns, tile, title)
    sheet = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_header_and_footer(draw, layout, title, len(images))
    for i in range(min(len(images), layout.columns * layout.rows)):
        _draw_tile(sheet, layout, i, images[i], reasons[i])
        _draw_caption(draw, layout, layout.tile_origin(i), lines[i])
    return sheet


def failure_reasons(images: ImageArray | Sequence[Any]) -> list[Failure | None]:
    """Return the failure of each image; None for an image, and where an ImageArray has not recorded one."""
    reasons: list[Failure | None] = [None] * len(images)
    if isinstance(images, ImageArray):
        for position, failure in zip(*images.failure_rows(), strict=True):
            reasons[position] = failure
    return reasons


def make_captions(index: pd.Index[Any], *titles: Iterable[Any]) -> list[list[str]]:
    """Return captions: the label of each row, followed by its titles.

    Titles are columns of the frame, as long as the index; a missing title is an empty line.

    Examples
    --------
    >>> make_captions(pd.Index([7, 8]), pd.Series(["red cup", None]))
    [['7', 'red cup'], ['8', '']]
    """
    labels = [", ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in index]
    rows = zip(labels, *([_to_text(value) for value in column] for column in titles), strict=True)
    return [list(row) for row in rows]


def _to_text(value: Any) -> str:
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _check_lengths(n: int, **lengths: int) -> None:
    for name, length in lengths.items():
        if length != n:
            raise ValueError(f"{name} must be one for each of the {n} images, got {length}")


def _layout(
    images: Sequence[Any] | ImageArray,
    captions: Sequence[Sequence[str]],
    columns: int | None,
    tile: int | None,
    title: str | None,
) -> SheetLayout:
    side = _default_tile(images) if tile is None else check_int("tile", tile, 32, 512)
    width = max(side, MIN_CAPTION_WIDTH)
    max_columns = (MAX_WIDTH - 2 * MARGIN + GAP) // (width + GAP)
    layout = SheetLayout(
        columns=min(DEFAULT_COLUMNS, max_columns) if columns is None else check_int("columns", columns, 1, max_columns),
        rows=1,
        tile_size=(width, side),
        caption_lines=min(max(map(len, captions), default=0), MAX_CAPTION_LINES),
        header_height=30 if title else 0,
        footer_height=0,
        min_width=min(math.ceil(text_width(ascii_line(title or ""), HEADING_SIZE)), MAX_WIDTH - 2 * MARGIN),
    )
    max_rows = (MAX_HEIGHT - layout.header_height - LINE_HEIGHT - 2 * MARGIN + GAP) // layout.stride[1]
    if columns is None and len(images) > layout.columns * max_rows:
        layout = layout._replace(columns=max_columns)
    rows = math.ceil(len(images) / layout.columns)
    if rows > max_rows:
        return layout._replace(rows=max_rows, footer_height=LINE_HEIGHT)
    return layout._replace(columns=max(1, min(layout.columns, len(images))), rows=max(1, rows))


def _default_tile(images: Sequence[Any] | ImageArray) -> int:
    """Return the side that images of one size fill without a border."""
    if not isinstance(images, ImageArray):
        return 128
    max_side = max(images.dtype.shape[:2])
    return max_side * (160 // max_side) if 40 <= max_side <= 160 else 128 + 32 * (max_side > 160)


def _draw_header_and_footer(draw: ImageDraw.ImageDraw, layout: SheetLayout, title: str | None, n: int) -> None:
    width = layout.size[0] - 2 * MARGIN
    if title:
        draw_text(draw, (MARGIN, MARGIN - 6), title, HEADING_SIZE, TEXT_COLOR, width)
    n_hidden = n - min(n, layout.columns * layout.rows)
    if n_hidden or not n:
        text = f"and {n_hidden:,} more" if n else "no rows"
        draw_text(draw, (MARGIN, layout.size[1] - LINE_HEIGHT - 5), text, SMALL_SIZE, MUTED_COLOR, width)


def _draw_tile(sheet: Image.Image, layout: SheetLayout, i: int, image: Any, failure: Failure | None) -> None:
    draw, origin = ImageDraw.Draw(sheet), layout.tile_origin(i)
    (x, y), (width, height) = origin, layout.tile_size
    tile = render_tile(image, height)
    if tile is not None:
        x, y = x + (width - tile.width) // 2, y + (height - tile.height) // 2
        draw.rectangle((x - 1, y - 1, x + tile.width, y + tile.height), outline=BORDER)
        sheet.paste(tile, (x, y))
    elif failure is not None:
        _draw_failure(draw, origin, layout.tile_size, failure)
    else:
        _draw_missing(draw, origin, layout.tile_size)


def _draw_missing(draw: ImageDraw.ImageDraw, origin: Size, size: Size) -> None:
    (x, y), (width, height) = origin, size
    draw.rectangle((x - 1, y - 1, x + width, y + height), fill=MISSING_FILL, outline=BORDER)
    center = x + (width - text_width("missing", TEXT_SIZE)) / 2, y + (height - LINE_HEIGHT) / 2
    draw.text(center, "missing", MUTED_COLOR, get_font(TEXT_SIZE))


def _draw_failure(draw: ImageDraw.ImageDraw, origin: Size, size: Size, failure: Failure) -> None:
    (x, y), (width, height) = origin, size
    draw.rectangle((x - 1, y - 1, x + width, y + height), fill=FAILURE_FILL, outline=FAILURE_BORDER)
    draw.rectangle((x, y, x + width - 1, y + 2), fill=FAILURE_BORDER)
    draw_text(draw, (x + 8, y + 9), failure["kind"], TEXT_SIZE + 1, FAILURE_COLOR, width - 16)
    max_lines = max(0, (height - 34) // (LINE_HEIGHT - 1))
    for i, line in enumerate(wrap(failure["message"], SMALL_SIZE, width - 16, max_lines)):
        draw.text((x + 8, y + 32 + i * (LINE_HEIGHT - 1)), line, TEXT_COLOR, get_font(SMALL_SIZE))


def _draw_caption(draw: ImageDraw.ImageDraw, layout: SheetLayout, origin: Size, lines: Sequence[str]) -> None:
    for i, line in enumerate(lines[: layout.caption_lines]):
        xy = origin[0], origin[1] + layout.tile_size[1] + 4 + i * LINE_HEIGHT
        size, color = (SMALL_SIZE, MUTED_COLOR) if i else (TEXT_SIZE, TEXT_COLOR)
        draw_text(draw, xy, line, size, color, layout.tile_size[0])
