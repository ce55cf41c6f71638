"""Rasters: pixels as the SIMD packages take and return them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels as contiguous bytes. Pillow itself holds RGB in four bytes per pixel.

    Parameters
    ----------
    mode : str
        Pillow's.
    size : tuple of (int, int)
        Width and height in pixels.
    data : bytes
        Rows of pixels without padding, of one byte per channel.
    """

    mode: str
    size: tuple[int, int]
    data: bytes


def to_raster(image: Image.Image | Raster) -> Raster:
    r"""Return the pixels of an image.

    Examples
    --------
    >>> to_raster(Image.new("RGB", (1, 1), "red"))
    Raster(mode='RGB', size=(1, 1), data=b'\xff\x00\x00')
    """
    return image if isinstance(image, Raster) else Raster(image.mode, image.size, image.tobytes())


def to_image(raster: Image.Image | Raster) -> Image.Image:
    """Return the image of a raster."""
    return Image.frombytes(raster.mode, raster.size, raster.data) if isinstance(raster, Raster) else raster
