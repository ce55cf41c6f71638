"""Contact sheets: many small images on one, each with its caption, and a tile that says why where there is none."""
# ruff: noqa: RUF001  the signs that the font lacks

from __future__ import annotations

import base64
import bisect
import functools
import io
import math
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from pandas_imgproc.array import ImageArray, ImageCell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pandas_imgproc.errors import Failure

MAX_WIDTH, MAX_HEIGHT = 2000, 4000
"""The bound of every sheet, in pixels."""
TILES = range(32, 513)
COLUMNS = 8
MAX_PNG_BYTES = 16_000  # bytes; beyond it a JPEG takes less
MARGIN, GAP = 20, 14
LINE = 17
MIN_CAPTION_WIDTH = 96  # below it no caption can be read
TEXT, SMALL, HEADING = 13, 12, 20

PAPER, INK, GREY = "#f5f5f4", "#292524", "#78716c"
FRAME, EMPTY, NOTHING = "#d6d3d1", "#e7e5e4", "#a8a29e"
WARNING, WARNING_FRAME, WARNING_INK = "#f8eae2", "#dcb39c", "#9a4a2a"
GRAYSCALE_LIKE_MODES = ("L", "RGB", "RGBA", "I", "I;16", "F")  # modes whose numbers are brightness
CHECKER = (np.uint8(255), np.uint8(228))  # what stands for nothing behind transparent pixels

# Pillow's own font has hardly more than ASCII; accents are taken off by decomposition, these have none.
PLAIN = str.maketrans({"×": "x", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "-", "ß": "ss"})

Pixels = np.ndarray[Any, np.dtype[Any]]
Box = tuple[int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class SheetLayout(NamedTuple):
    """Where tiles and text stand, in pixels."""

    columns: int
    rows: int
    box: Box  # room for an image
    lines: int  # of the longest caption
    head: int  # height of the title
    foot: int  # height of the line that tells what had no room
    least: int  # width of the title

    @property
    def step(self) -> Box:
        """From one tile to the next."""
        return self.box[0] + GAP, self.box[1] + LINE * self.lines + GAP + 2

    @property
    def size(self) -> Box:
        """Of the sheet."""
        width = max(self.columns * self.step[0] - GAP, self.least)
        return 2 * MARGIN + width, self.head + 2 * MARGIN + self.rows * self.step[1] - GAP + self.foot

    def corner(self, number: int) -> Box:
        """Of a tile, its upper left."""
        row, column = divmod(number, self.columns)
        return MARGIN + column * self.step[0], self.head + MARGIN + row * self.step[1]


def contact_sheet(
    images: pd.Series[Any] | ImageArray | Sequence[Any],
    captions: Sequence[str | Sequence[str]] | None = None,
    reasons: Sequence[Failure | None] | None = None,
    *,
    columns: int | None = None,
    tile: int | None = None,
    title: str | None = None,
) -> Image.Image:
    """Return images as one image that a person can look at.

    Parameters
    ----------
    images : image column, ImageArray or sequence
        `ImageCell`, ndarrays of shape (height, width) or (height, width, channels) with 1, 3 or 4 channels, or
        Pillow's images, of any sizes; anything missing for none. Other dtypes than uint8 are scaled to it: uint16
        from its whole range, other numbers from their own when they leave 0 to 255; floats within 0 and 1 from that.
    captions : sequence of str or of sequence of str, optional
        For each image the lines under it, the first one darker. A line that is too long ends in an ellipsis.
    reasons : sequence of dict or None, optional
        For each image why it is missing, as `failure_reasons` gives them; by default what an ImageArray knows itself.
    columns : int, optional
        How many stand side by side, by default 8.
    tile : int, optional
        Pixels, 32 to 512: no image is shown larger. By default 128, or the largest multiple of the images'
        longest side up to 160.
    title : str, optional
        A line above.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB and at most 2000 x 4000 pixels, whatever is given: images that find no room are not drawn, and
        a line at the foot tells how many they are.

    Raises
    ------
    ValueError
        If captions or reasons are not as many as the images, or `columns` or `tile` are out of range.

    Notes
    -----
    Images smaller than the tile are enlarged by a whole factor with sharp pixels, larger ones reduced with Lanczos.
    Transparency is shown as a chequered ground.

    Examples
    --------
    >>> images = ImageArray(np.zeros((3, 48, 64, 3), dtype="uint8"), status=[0, 0, -1])
    >>> sheet = contact_sheet(images, [["0", "red cup"], ["1", "blue cup"], ["2", "lost cup"]], title="Cups")
    >>> sheet.mode, sheet.size
    ('RGB', (452, 234))
    """
    images = images.array if isinstance(images, pd.Series) else images
    lines = [()] * len(images) if captions is None else [(x,) if isinstance(x, str) else x for x in captions]
    why = failure_reasons(images) if reasons is None else list(reasons)
    _check_lengths(len(images), captions=len(lines), reasons=len(why))
    layout = _layout(images, lines, columns, tile, title)
    sheet = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        _line(draw, (MARGIN, MARGIN - 6), title, HEADING, INK, layout.size[0] - 2 * MARGIN)
    drawn = min(len(images), layout.columns * layout.rows)
    for number in range(drawn):
        _tile(sheet, draw, layout, layout.corner(number), images[number], why[number])
        _caption(draw, layout, layout.corner(number), lines[number])
    if drawn < len(images) or not drawn:
        rest = f"and {len(images) - drawn:,} more" if drawn else "no rows"
        _line(draw, (MARGIN, layout.size[1] - LINE - 5), rest, SMALL, GREY, layout.size[0] - 2 * MARGIN)
    return sheet


def failure_reasons(images: ImageArray | Sequence[Any]) -> list[Failure | None]:
    """Return for each image why it is missing; None for images, and where nobody knows.

    Parameters
    ----------
    images : ImageArray or sequence
        Only the former knows reasons.

    Returns
    -------
    list of dict or None, length n

    Examples
    --------
    >>> why = {"position": 7, "path": "a.jpg", "kind": "empty", "message": "no bytes"}
    >>> failure_reasons(ImageArray(np.zeros((2, 2, 2, 1), dtype="uint8"), [1, -1], [why]))
    [{'position': 7, 'path': 'a.jpg', 'kind': 'empty', 'message': 'no bytes'}, None]
    """
    reasons: list[Failure | None] = [None] * len(images)
    if isinstance(images, ImageArray):
        for row, failed in zip(*images.failure_rows(), strict=True):
            reasons[row] = failed
    return reasons


def make_captions(index: pd.Index[Any], *titles: Iterable[Any]) -> list[list[str]]:
    """Return captions: the label of each row, and under it its titles.

    Parameters
    ----------
    index : Index
        Of the images.
    *titles : iterable
        Columns of the frame, as long as the index. A missing title is an empty line.

    Returns
    -------
    list of list of str, length n

    Examples
    --------
    >>> make_captions(pd.Index([7, 8]), pd.Series(["red cup", None]))
    [['7', 'red cup'], ['8', '']]
    """
    labels = [", ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in index]
    rows = zip(labels, *([_text_of(value) for value in column] for column in titles), strict=True)
    return [list(row) for row in rows]


def _text_of(value: Any) -> str:
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _check_lengths(n: int, **lengths: int) -> None:
    for name, length in lengths.items():
        if length != n:
            raise ValueError(f"{name} must be one for each of the {n} images, got {length}")


# ---- Where everything stands


def _layout(
    images: Sequence[Any] | ImageArray,
    captions: Sequence[Sequence[str]],
    columns: int | None,
    tile: int | None,
    title: str | None,
) -> SheetLayout:
    side = _check("tile", tile, TILES) if tile is not None else _default_tile(images)
    most = (MAX_WIDTH - 2 * MARGIN + GAP) // (max(side, MIN_CAPTION_WIDTH) + GAP)
    wanted = _check("columns", columns, range(1, most + 1)) if columns is not None else min(COLUMNS, most)
    layout = SheetLayout(
        columns=wanted,
        rows=1,
        box=(max(side, MIN_CAPTION_WIDTH), side),
        lines=min(max(map(len, captions), default=0), 6),
        head=30 if title else 0,
        foot=0,
        least=min(math.ceil(_font(HEADING).getlength(_plain(title or ""))), MAX_WIDTH - 2 * MARGIN),
    )
    most_rows = (MAX_HEIGHT - layout.head - LINE - 2 * MARGIN + GAP) // layout.step[1]
    if columns is None and len(images) > wanted * most_rows:
        layout = layout._replace(columns=most)
    rows = math.ceil(len(images) / layout.columns)
    if rows > most_rows:
        return layout._replace(rows=most_rows, foot=LINE)
    return layout._replace(columns=max(1, min(layout.columns, len(images))), rows=max(1, rows))


def _check(name: str, value: int, legal: range) -> int:
    if value not in legal:
        raise ValueError(f"{name}={value!r} is not a whole number from {legal[0]} to {legal[-1]}")
    return int(value)


def _default_tile(images: Sequence[Any] | ImageArray) -> int:
    """Return a side that images of one size fill without a border."""
    if not isinstance(images, ImageArray):
        return 128
    longest = max(images.dtype.shape[:2])
    return longest * (160 // longest) if 40 <= longest <= 160 else 128 + 32 * (longest > 160)


# ---- Images


def _tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, layout: SheetLayout, corner: Box, image: Any, reason: Failure | None
) -> None:
    tile = render_tile(image, layout.box[1])
    if tile is None:
        _missing(draw, layout.box, corner, reason)
        return
    left = corner[0] + (layout.box[0] - tile.width) // 2
    top = corner[1] + (layout.box[1] - tile.height) // 2
    draw.rectangle((left - 1, top - 1, left + tile.width, top + tile.height), outline=FRAME)
    sheet.paste(tile, (left, top))


def render_tile(image: Any, side: int) -> Image.Image | None:
    """Return an image as it stands on a tile; None for no image.

    Parameters
    ----------
    image : ImageCell, ndarray or PIL.Image.Image
        As in `contact_sheet`.
    side : int
        Pixels of the longest side, at most.

    Examples
    --------
    >>> render_tile(np.zeros((20, 50), dtype="uint8"), 128).size
    (100, 40)
    """
    pixels = _pixels(image)
    return None if pixels is None else _on_checker(_fitted(Image.fromarray(pixels), side))


def thumbnail(image: Any, size: int = 96) -> str:
    """Return an image as HTML, for a table: the formatter of `pandas.DataFrame.style` and ``to_html``.

    Parameters
    ----------
    image : ImageCell, ndarray or PIL.Image.Image
        As in an image column; anything missing gives an empty text.
    size : int
        Pixels of the longest side, at most; smaller images are enlarged by a whole factor and stay sharp.

    Returns
    -------
    str
        An ``img`` element that holds the image, at most some 16 kB.

    Examples
    --------
    >>> df = pd.DataFrame({"name": ["cup", "lost"], "image": ImageArray(np.zeros((2, 8, 8, 3), "uint8"), [0, -1])})
    >>> html = df.head(20).style.format({"image": thumbnail}).to_html()
    >>> html.count("<img")
    1
    """
    tile = render_tile(image, size)
    return "" if tile is None else f"<img alt='' src='{to_data_uri(tile)}'>"


def to_data_uri(image: Image.Image) -> str:
    """Return an image as a URL that holds it.

    Examples
    --------
    >>> to_data_uri(Image.new("RGB", (1, 1)))[:22]
    'data:image/png;base64,'
    """
    kind, data = "png", _encoded(image, "PNG")
    if len(data) > MAX_PNG_BYTES:
        kind, data = "jpeg", _encoded(image, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, form, **options)
    return file.getvalue()


def _pixels(image: Any) -> Pixels | None:
    """Return what Pillow takes: uint8 of shape (height, width) or (height, width, 3 or 4); None for no image."""
    if not (isinstance(image, (ImageCell, np.ndarray)) or hasattr(image, "__array_interface__")):
        return None
    if isinstance(image, Image.Image) and image.mode not in GRAYSCALE_LIKE_MODES:
        image = image.convert("RGBA")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise ValueError(f"images must have 1, 3 or 4 channels, got an array of shape {pixels.shape}")
    return _as_bytes(pixels)


def _as_bytes(pixels: Pixels) -> Pixels:
    """Return numbers of any kind as the brightness that they most likely mean."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.uint16:
        return (pixels // 257).astype(np.uint8)
    real: Pixels = np.abs(pixels) if pixels.dtype.kind == "c" else pixels.astype(np.float64)
    values = np.nan_to_num(real, posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and pixels.dtype.kind in "bf":
        low, high = 0, 1
    elif low >= 0 and high <= 255:
        low, high = 0, 255
    scaled: Pixels = np.rint(255 * (values - low) / (high - low or 1)).astype(np.uint8)
    return scaled


def _fitted(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest > side:
        width, height = (max(1, round(edge * side / longest)) for edge in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    factor = side // longest
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def _on_checker(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    rows, columns = np.ogrid[: image.height, : image.width]
    ground = Image.fromarray(np.where((rows // 8 + columns // 8) % 2, *CHECKER)).convert("RGBA")
    return Image.alpha_composite(ground, image)


# ---- Text


def _missing(draw: ImageDraw.ImageDraw, box: Box, corner: Box, reason: Failure | None) -> None:
    (left, top), (width, height) = corner, box
    frame = (left - 1, top - 1, left + width, top + height)
    if reason is None:
        draw.rectangle(frame, fill=EMPTY, outline=FRAME)
        at = left + (width - _font(TEXT).getlength("missing")) / 2, top + (height - LINE) / 2
        draw.text(at, "missing", GREY, _font(TEXT))
        return
    draw.rectangle(frame, fill=WARNING, outline=WARNING_FRAME)
    draw.rectangle((left, top, left + width - 1, top + 2), fill=WARNING_FRAME)
    _line(draw, (left + 8, top + 9), reason["kind"], TEXT + 1, WARNING_INK, width - 16)
    room = max(0, (height - 34) // (LINE - 1))
    for number, line in enumerate(_wrapped(reason["message"], SMALL, width - 16, room)):
        draw.text((left + 8, top + 32 + number * (LINE - 1)), line, INK, _font(SMALL))


def _caption(draw: ImageDraw.ImageDraw, layout: SheetLayout, corner: Box, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines[: layout.lines]):
        at = corner[0], corner[1] + layout.box[1] + 4 + number * LINE
        _line(draw, at, line, SMALL if number else TEXT, GREY if number else INK, layout.box[0])


def _line(draw: ImageDraw.ImageDraw, at: Box, text: str, size: int, colour: str, width: int) -> None:
    draw.text(at, _clipped(_plain(text), size, width), colour, _font(size))


@functools.cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _plain(text: object) -> str:
    """Return a text in one line that the font can draw, however long and strange it was."""
    folded = unicodedata.normalize("NFKD", str(text)[:1000]).translate(PLAIN)
    shown = "".join(sign if sign.isprintable() else " " for sign in folded if not unicodedata.combining(sign))
    return " ".join(shown.split())


def _clipped(text: str, size: int, width: float) -> str:
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    fitting = bisect.bisect_right(range(len(text)), width, key=lambda n: font.getlength(f"{text[:n]}…"))
    return f"{text[: max(0, fitting - 1)].rstrip()}…"


def _wrapped(text: str, size: int, width: float, room: int) -> list[str]:
    """Return a text as at most `room` lines; the last one tells by an ellipsis that there was more."""
    words = list(_words(_plain(text), size, width))
    lines: list[str] = []
    while words and len(lines) < room - 1:
        line = words.pop(0)
        while words and _font(size).getlength(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    return [*lines, _clipped(" ".join(words), size, width)] if words and room else lines


def _words(text: str, size: int, width: float) -> Iterator[str]:
    """Yield words; one that is wider than the line, such as a path, in pieces."""
    for word in text.split():
        piece = ""
        for sign in word:
            if piece and _font(size).getlength(piece + sign) > width:
                yield piece
                piece = ""
            piece += sign
        yield piece
