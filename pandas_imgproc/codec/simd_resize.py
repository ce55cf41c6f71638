"""Resizing by cykooz-resizer: the convolutions of Pillow, rounded at least as well, with the processor's SIMD units.

Its bytes do not depend on the processor: AVX2, SSE4.1 and plain code give the same.
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.codec.engine import import_package
from pandas_imgproc.codec.raster import Raster, to_raster

if TYPE_CHECKING:
    from PIL import Image

    from pandas_imgproc.codec.option_values import Size

Box = tuple[float, float, float, float]

# Pillow's filter by its name: the same function. Its box filter counts pixels at a border otherwise, its package has no
# hamming, and nearest takes no mean.
_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
_SUPPORTS = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # distance to the last pixel that counts, in pixels
_PIXEL_TYPES = {"L": "U8", "RGB": "U8x3", "RGBA": "U8x4"}
_MAX_PIXELS = 2**29  # 2 GiB at four bytes: sizes are computed in 32 bits
# Of an image that Pillow has decoded: above, two copies of its pixels take longer than the resampler saves, and memory.
_MAX_COPIED_PIXELS = 2**22
_CHECKED_NBYTES = 2**24

_threads = threading.local()  # they have locks and buffers: each thread has its own


@dataclass(frozen=True, slots=True)
class _Tools:
    """Resizer and weighting by alpha of one thread."""

    resizer: Any
    alpha: Any


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
    raster = to_raster(image)
    n_channels = len(raster.mode)
    _check_memory(n_channels * (2 * math.prod(raster.size) + raster.size[0] * size[1] + math.prod(size)))
    return Raster(raster.mode, size, _convolve(raster, size, resample, box))


def _convolve(raster: Raster, size: Size, resample: str, box: Box) -> bytes:
    # Its resize_pil, which works in Pillow's own memory, takes 0.65 to 0.9 of the time with the copies of this way. But
    # it reads a private struct of Pillow by the number of its version: another layout would corrupt memory, unnoticed.
    package = import_package("cykooz_resizer", "engine='simd'")
    pixel_type, tools = package.PixelType[_PIXEL_TYPES[raster.mode]], _tools(package)
    image = package.ImageData(*raster.size, pixel_type, raster.data)
    try:
        if raster.mode == "RGBA":
            tools.alpha.multiply_alpha_inplace(image)
        for step_size, step_box in _steps(raster.size, size, resample, box):
            result = package.ImageData(*step_size, pixel_type)
            tools.resizer.resize(image, result, _options(resample, _crop(step_box, (image.width, image.height))))
            image = result
        if raster.mode == "RGBA":
            tools.alpha.divide_alpha_inplace(image)
    except BaseException:
        _threads.tools = None  # a panic leaves their locks unusable
        raise
    pixels: bytes = image.get_buffer()
    return pixels


def _steps(full_size: Size, size: Size, resample: str, box: Box) -> list[tuple[Size, Box]]:
    """Return size and box of each call of the package: one for the whole image, two for a part of it.

    In one call the package keeps, between its two passes, the columns that the first and the last pixel of a row use.
    In a part of an image that is enlarged, the second pixel may use more than the first: a bicubic weight is zero at a
    distance of one pixel, and not beyond. The package then reads outside of its buffer, which ends the process or mixes
    pixels of other rows. So a part is resized along the columns first, with whole columns, and then along the rows. In
    the whole image the first pixel uses the first column, and the last pixel the last one.
    """
    if box == (0, 0, *full_size):
        return [(size, box)]
    reach = _SUPPORTS[resample] * max(1.0, (box[2] - box[0]) / size[0]) + 1  # one pixel more than any rounding
    left, right = max(0, math.floor(box[0] - reach)), min(full_size[0], math.ceil(box[2] + reach))
    columns = (right - left, size[1]), (left, box[1], right, box[3])
    return [columns, (size, (box[0] - left, 0, box[2] - left, size[1]))]


@functools.lru_cache(maxsize=64)
def _options(resample: str, crop: Box) -> Any:
    package = import_package("cykooz_resizer", "engine='simd'")
    algorithm = package.ResizeAlg.convolution(package.FilterType[_FILTERS[resample]])
    return package.ResizeOptions(resize_alg=algorithm, use_alpha=False, crop_box=package.CropBox(*crop))


def _crop(box: Box, size: Size) -> Box:
    """Return left, top, width and height of a box, within the image to the last bit."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    return left, top, _extent(left, box[2], size[0]), _extent(top, box[3], size[1])


def _extent(start: float, stop: float, limit: int) -> float:
    extent = min(stop, limit) - start
    while start + extent > limit:
        extent = math.nextafter(extent, 0)
    return extent


def _tools(package: Any) -> _Tools:
    if getattr(_threads, "tools", None) is None:
        _threads.tools = _Tools(package.Resizer(), package.AlphaMulDiv())
    tools: _Tools = _threads.tools
    return tools


def _check_memory(nbytes: int) -> None:
    """Raise a MemoryError where the package would end the process."""
    if nbytes > _CHECKED_NBYTES:
        np.empty(nbytes, np.uint8)
