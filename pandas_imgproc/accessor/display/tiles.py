"""Tiles of a contact sheet: one image, scaled to 8 bits and to the tile, as a Pillow image or as HTML."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from pandas_imgproc.accessor.display.overlay import OverlaidImage
from pandas_imgproc.array import ImageCell

MAX_PNG_BYTES = 16_000  # bytes; above it a JPEG is smaller
GRAYSCALE_LIKE_MODES = ("L", "RGB", "RGBA", "I", "I;16", "F")  # modes whose values are brightness
CHECKERBOARD = (np.uint8(255), np.uint8(228))  # gray levels behind transparent pixels

Pixels = np.ndarray[Any, np.dtype[Any]]


def thumbnail(image: Any, size: int = 96) -> str:
    """Return an image as HTML, for a table: a formatter of `pandas.DataFrame.style` and ``to_html``.

    `style` returns a whole table, in which every text is escaped too.

    Parameters
    ----------
    image : ImageCell, ndarray or PIL.Image.Image
        As in an image column; an empty text for a missing value.
    size : int
        Maximum length of the longest side, in pixels; smaller images are enlarged by an integer factor and stay sharp.

    Returns
    -------
    str
        An ``img`` element that holds the image, about 16 kB at most.

    Examples
    --------
    >>> import pandas as pd
    >>> from pandas_imgproc import ImageArray
    >>> df = pd.DataFrame({"name": ["cup", "lost"], "image": ImageArray(np.zeros((2, 8, 8, 3), "uint8"), [0, -1])})
    >>> html = df.head(20).style.format({"image": thumbnail}).to_html()
    >>> html.count("<img")
    1
    """
    tile = render_tile(image, size)
    return "" if tile is None else f"<img alt='' src='{to_data_uri(tile)}'>"


def render_tile(image: Any, size: int) -> Image.Image | None:
    """Return an image, as in `contact_sheet`, with the longest side at most `size` pixels; None for a missing value.

    Examples
    --------
    >>> render_tile(np.zeros((20, 50), dtype="uint8"), 128).size
    (100, 40)
    """
    overlaid = image if isinstance(image, OverlaidImage) else None
    pixels = _load_pixels(image if overlaid is None else overlaid.image)
    if pixels is None:
        return None
    tile = _on_checkerboard(_fit(Image.fromarray(pixels), size))
    return tile if overlaid is None else overlaid.draw_on(tile)


def to_data_uri(image: Image.Image) -> str:
    """Return an image as a data URI, PNG or the smaller JPEG."""
    subtype, data = "png", _encode(image, "PNG")
    if len(data) > MAX_PNG_BYTES:
        subtype, data = "jpeg", _encode(image, "JPEG", quality=85)
    return f"data:image/{subtype};base64,{base64.b64encode(data).decode()}"


def _encode(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002  as in Image.save
    file = io.BytesIO()
    image.convert("RGB").save(file, format, **options)
    return file.getvalue()


def is_image(value: Any) -> bool:
    """Return whether a value has pixels: a cell of an image column, an array or a Pillow image."""
    return isinstance(value, (ImageCell, np.ndarray)) or hasattr(value, "__array_interface__")


def _load_pixels(image: Any) -> Pixels | None:
    """Return uint8 pixels of shape (height, width) or (height, width, 3 or 4); None for a missing value."""
    if not is_image(image):
        return None
    if isinstance(image, Image.Image) and image.mode not in GRAYSCALE_LIKE_MODES:
        image = image.convert("RGBA")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise ValueError(f"images must have 1, 3 or 4 channels, got an array of shape {pixels.shape}")
    return _to_uint8(pixels)


def _to_uint8(pixels: Pixels) -> Pixels:
    """Return pixels of any dtype as the brightness that they most likely mean."""
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


def _fit(image: Image.Image, size: int) -> Image.Image:
    max_side = max(image.size)
    if max_side > size:
        width, height = (max(1, round(length * size / max_side)) for length in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    factor = size // max_side
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def _on_checkerboard(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    y, x = np.ogrid[: image.height, : image.width]
    background = Image.fromarray(np.where((y // 8 + x // 8) % 2, *CHECKERBOARD)).convert("RGBA")
    return Image.alpha_composite(background, image)
