"""Smaller images to measure, so that features do not depend on the resolution."""

from __future__ import annotations

from PIL import Image


def downscale(image: Image.Image, max_side: int | None) -> Image.Image:
    """Return the image with no side longer than `max_side` pixels; a smaller one is never enlarged.

    Parameters
    ----------
    image : PIL.Image.Image
    max_side : int or None
        Pixels; None returns the image itself.

    Notes
    -----
    Each pixel is the mean of those that it covers (Pillow's "box", with ``reducing_gap=2.0``). Not `Image.reduce`
    alone, whose factors are whole numbers: of images of 256 and of 257 pixels one would be twice the other, and
    features that depend on the scale, such as blur, would jump.

    Examples
    --------
    >>> downscale(Image.new("RGB", (1000, 400)), 256).size
    (256, 102)
    """
    width, height = image.size
    if max_side is None or max(width, height) <= max_side:
        return image
    scale = max_side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
