"""A smaller image to measure: its longest edge has as many pixels as that of every other."""

from __future__ import annotations

from PIL import Image


def downscale(image: Image.Image, longest: int | None) -> Image.Image:
    """Return the image with its longest edge at most `longest` pixels; a smaller one is never enlarged.

    Parameters
    ----------
    image : PIL.Image.Image
    longest : int or None
        None returns the image itself.

    Notes
    -----
    Each pixel is the mean of those it stands for (Pillow's "box", with ``reducing_gap=2.0``). Not `Image.reduce`
    alone, whose factors are whole numbers: of images of 256 and of 257 pixels one would be twice the other, and
    what depends on the scale, such as blur, would jump.

    Examples
    --------
    >>> downscale(Image.new("RGB", (1000, 400)), 256).size
    (256, 102)
    """
    width, height = image.size
    if longest is None or max(width, height) <= longest:
        return image
    scale = longest / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
