"""First frames of GIF files that are smaller than the canvas: the rest of the canvas is empty, as in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageFile

    Box = tuple[int, int, int, int]


def gif_frame_box(image: ImageFile.ImageFile) -> Box | None:
    """Return the box of a GIF file's first frame, before ``load()``; None if it covers the canvas, or for other images.

    Examples
    --------
    >>> with Image.open(getfixture("photos") / "red.png") as image:
    ...     gif_frame_box(image)
    """
    if image.format != "GIF" or image.tell() or not image.tile:
        return None
    box: Box | None = image.tile[0][1]
    return None if box == (0, 0, *image.size) else box


def clear_outside(image: Image.Image, box: Box) -> Image.Image:
    r"""Return an image that is transparent outside of a box, where Pillow draws the background color.

    Examples
    --------
    >>> clear_outside(Image.new("L", (3, 1)), (1, 0, 2, 1)).getchannel("A").tobytes()
    b'\x00\xff\x00'
    """
    frame = image.convert("RGBA").crop(box)
    canvas = Image.new("RGBA", image.size)
    canvas.paste(frame, box)
    canvas.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return canvas
