"""Resizing by cykooz-resizer: the convolutions of Pillow, rounded at least as well, with the processor's SIMD units.

Its bytes do not depend on the processor: AVX2, SSE4.1 and plain code give the same.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.codec.engine import import_package
from pandas_imgproc.codec.raster import Raster, to_image, to_raster

if TYPE_CHECKING:
    from PIL import Image

    from pandas_imgproc.codec.options import Size

Box = tuple[float, float, float, float]

# Pillow's filter by its name: the same function. Its box filter counts pixels at a border otherwise, its package has no
# hamming, and nearest takes no mean.
_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
_PIXEL_TYPES = {"L": "U8", "RGB": "U8x3", "RGBA": "U8x4"}
_REDUCING_GAP = 32.0
"""An image of 64 times the size and more is first reduced to 32 times and more, to means of whole pixels: as Pillow's
``reducing_gap``, many times as fast. The error is below that of rounding, which it is not at 8 times; coefficients of
16 bits are too coarse for means of many thousands."""
_MAX_PIXELS = 2**29  # 2 GiB at four bytes: sizes are computed in 32 bits
# Of an image that Pillow has decoded: above, two copies of its pixels take longer than the resampler saves, and memory.
_MAX_COPIED_PIXELS = 2**22
_CHECKED_NBYTES = 2**24

_threads = threading.local()  # a resizer has a lock and buffers: each thread has its own


def covers(image: Image.Image | Raster, size: Size, resample: str) -> bool:
    """Return whether the resampler is used for an image, by its mode and size and the filter alone."""
    if resample not in _FILTERS or image.mode not in _PIXEL_TYPES:
        return False
    if max(math.prod(size), image.size[0] * size[1]) > _MAX_PIXELS:
        return False
    return 0 < math.prod(image.size) <= (_MAX_PIXELS if isinstance(image, Raster) else _MAX_COPIED_PIXELS)


def resize(image: Image.Image | Raster, size: Size, resample: str, box: Box | None) -> Image.Image | Raster:
    r"""Resize an image that is covered.

    Parameters
    ----------
    image : PIL.Image.Image or Raster
        Of mode "L", "RGB", or "RGBA", whose colors are weighted by alpha.
    size : tuple of (int, int)
        Width and height of the result in pixels.
    resample : {"bilinear", "bicubic", "lanczos"}
    box : tuple of float or None
        Left, top, right and bottom of the visible part, to a fraction of a pixel; None is the whole image.

    Examples
    --------
    >>> resize(Raster("L", (4, 1), bytes([0, 0, 200, 200])), (2, 1), "bilinear", None).data
    b'\x1d\xab'
    """
    box = box or (0.0, 0.0, *image.size)
    if size == image.size and box == (0, 0, *size):
        return image
    image, box = _reduce(image, size, box)
    raster = to_raster(image)
    n_channels = len(raster.mode)
    _check_memory(n_channels * (2 * math.prod(raster.size) + raster.size[0] * size[1] + math.prod(size)))
    return Raster(raster.mode, size, _convolve(raster, size, resample, box))


def _reduce(image: Image.Image | Raster, size: Size, box: Box) -> tuple[Image.Image | Raster, Box]:
    """Return a much larger image reduced by whole factors, and its box."""
    x = max(1, int((box[2] - box[0]) / size[0] / _REDUCING_GAP))
    y = max(1, int((box[3] - box[1]) / size[1] / _REDUCING_GAP))
    if x == y == 1:
        return image, box
    return to_image(image).reduce((x, y)), (box[0] / x, box[1] / y, box[2] / x, box[3] / y)


def _convolve(raster: Raster, size: Size, resample: str, box: Box) -> bytes:
    # Its resize_pil, which works in Pillow's own memory, takes 0.65 to 0.9 of the time with the copies of this way. But
    # it reads a private struct of Pillow by the number of its version: another layout would corrupt memory, unnoticed.
    package = import_package("cykooz_resizer", "engine='simd'")
    pixel_type = package.PixelType[_PIXEL_TYPES[raster.mode]]
    source = package.ImageData(*raster.size, pixel_type, raster.data)
    result = package.ImageData(*size, pixel_type)
    try:
        _resizer(package).resize(source, result, _options(resample, raster.mode == "RGBA", _crop(box, raster.size)))
    except BaseException:
        _threads.resizer = None  # a panic leaves its lock unusable
        raise
    pixels: bytes = result.get_buffer()
    return pixels


@functools.lru_cache(maxsize=64)
def _options(resample: str, use_alpha: bool, crop: Box) -> Any:
    package = import_package("cykooz_resizer", "engine='simd'")
    algorithm = package.ResizeAlg.convolution(package.FilterType[_FILTERS[resample]])
    return package.ResizeOptions(resize_alg=algorithm, use_alpha=use_alpha, crop_box=package.CropBox(*crop))


def _crop(box: Box, size: Size) -> Box:
    """Return left, top, width and height of a box, within the image to the last bit."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    return left, top, _extent(left, box[2], size[0]), _extent(top, box[3], size[1])


def _extent(start: float, stop: float, limit: int) -> float:
    extent = min(stop, limit) - start
    while start + extent > limit:
        extent = math.nextafter(extent, 0)
    return extent


def _resizer(package: Any) -> Any:
    if getattr(_threads, "resizer", None) is None:
        _threads.resizer = package.Resizer()
    return _threads.resizer


def _check_memory(nbytes: int) -> None:
    """Raise a MemoryError where the package would end the process."""
    if nbytes > _CHECKED_NBYTES:
        np.empty(nbytes, np.uint8)
