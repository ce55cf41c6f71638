"""Overlays of a tile: a mask in the colors of its classes, and a box with its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pandas_imgproc.accessor.display.text_layout import ascii_line, draw_text, text_width

COLORS = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45", "#911eb4", "#ffe119", "#469990",
    "#9a6324", "#fabed4",
)  # fmt: skip
"""Colors of classes and labels, which repeat after twelve."""

MASK_OPACITY = 0.5
TEXT_SIZE, LINE_HEIGHT = 12, 15
_BEYOND = 10  # pixels outside of a tile, where an edge of a box is not seen
_BLACK_TEXT_FROM = 140  # luma of a label's background

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class OverlaidImage:
    """Image of a tile, with a mask and a box over it.

    Attributes
    ----------
    image : image
        As `render_tile` takes it.
    mask : ndarray of int, shape (height, width) or (height, width, 1), optional
        Class ids: 0 is not drawn.
    box : tuple of float, optional
        Left, top, right and bottom, as fractions of the sides.
    label : str
        Text of the box.
    color : int
        Number of the color of the box.
    """

    image: Any
    mask: Array | None = None
    box: tuple[float, ...] | None = None
    label: str = ""
    color: int = 0

    def draw_on(self, tile: Image.Image) -> Image.Image:
        """Return a tile of the image, of mode "RGB" after, with mask and box."""
        tile = tile.convert("RGB")
        if self.mask is not None:
            tile = _with_mask(tile, self.mask)
        if self.box is not None:
            width, height = tile.size
            corners = [side * length for side, length in zip(self.box, (width, height) * 2, strict=True)]
            _draw_box(tile, corners, self.label, COLORS[self.color % len(COLORS)])
        return tile


def _with_mask(tile: Image.Image, mask: Array) -> Image.Image:
    ids = Image.fromarray(mask[..., 0] if mask.ndim == 3 else mask).resize(tile.size, Image.Resampling.NEAREST)
    classes = np.asarray(ids)
    palette = np.array([[int(color[k : k + 2], 16) for k in (1, 3, 5)] for color in COLORS])
    colors = palette[(classes.astype(int) - 1) % len(COLORS)]
    pixels = np.asarray(tile)
    mixed = np.where(classes[..., np.newaxis] > 0, (1 - MASK_OPACITY) * pixels + MASK_OPACITY * colors, pixels)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _draw_box(tile: Image.Image, corners: list[float], label: str, color: str) -> None:
    """Draw the outline of a box and its label; nothing of a box without an area, or outside of the tile.

    The label is above the box, else below it, else within it: the first place that the tile has.
    """
    width, height = tile.size
    if not (max(corners[0], 0) < min(corners[2], width) and max(corners[1], 0) < min(corners[3], height)):
        return
    limits = (-_BEYOND, -_BEYOND, width + _BEYOND, height + _BEYOND)  # Pillow wraps large numbers
    left, top = max(corners[0], limits[0]), max(corners[1], limits[1])
    right, bottom = max(left, min(corners[2], limits[2]) - 1), max(top, min(corners[3], limits[3]) - 1)
    draw = ImageDraw.Draw(tile)
    draw.rectangle((left, top, right, bottom), outline=color, width=2)
    text = ascii_line(label)
    if not text:
        return
    text_box = min(text_width(text, TEXT_SIZE) + 6, width)
    x = min(max(left, 0), width - text_box)
    below = bottom + 1
    y = top - LINE_HEIGHT if top >= LINE_HEIGHT else below if below <= height - LINE_HEIGHT else max(top, 0)
    draw.rectangle((x, y, x + text_box - 1, y + LINE_HEIGHT - 1), fill=color)
    luma = Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0))
    text_color = "#000000" if isinstance(luma, int) and luma >= _BLACK_TEXT_FROM else "#ffffff"
    draw_text(draw, (x + 3, y), text, TEXT_SIZE, text_color, text_box - 3)
