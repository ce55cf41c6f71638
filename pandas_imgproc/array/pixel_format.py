"""Format of pixels for a model: dtype, range of values, order of the axes, written in one pass over the memory."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice

Pixels = np.ndarray[Any, np.dtype[Any]]

BLOCK_NBYTES = 2**18
"""Bytes that are written before the next images are read: the cache of a core holds them."""

CHANNEL_ORDERS = ("last", "first")


@dataclass(frozen=True)
class PixelFormat:
    """Format of an array of pixels: ``(pixels * scale - mean) / std``, of a dtype, with the channels last or first.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of the result.
    factor, offset : ndarray of float, shape (channels,), or None
        The arithmetic as ``pixels * factor + offset``; None without any.
    channels_first : bool
        Whether an image has the shape (channels, height, width).

    Examples
    --------
    >>> form = pixel_format("uint8", 3, scale=1 / 255, channels="first")
    >>> form.convert(np.full((1, 2, 4, 3), 255, "uint8")).shape, form.dtype
    ((1, 3, 2, 4), dtype('float32'))
    """

    dtype: np.dtype[Any]
    factor: Pixels | None = None
    offset: Pixels | None = None
    channels_first: bool = False

    def is_identity(self, dtype: np.dtype[Any]) -> bool:
        """Return whether pixels of this dtype are already in the format."""
        return self.factor is None and not self.channels_first and self.dtype == dtype

    def shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an image in this format, for its shape (height, width, channels)."""
        height, width, channels = image_shape
        return (channels, height, width) if self.channels_first else (height, width, channels)

    def convert(self, pixels: Pixels) -> Pixels:
        """Return images, shape (n, height, width, channels), in this format, as a new array."""
        out = np.empty((len(pixels), *self.shape(pixels.shape[1:])), self.dtype)
        self.write(pixels, out)
        return out

    def write(self, pixels: Pixels, out: Pixels) -> None:
        """Write images, shape (n, height, width, channels), into an array of this format."""
        if self.factor is None:
            out[...] = np.moveaxis(pixels, 3, 1) if self.channels_first else pixels
            return
        # A few images at a time: the second operation finds the values of the first in the cache.
        step = max(1, BLOCK_NBYTES * len(out) // max(1, out.nbytes))
        for start in range(0, len(out), step):
            self._scale(pixels[start : start + step], out[start : start + step])

    def _scale(self, pixels: Pixels, out: Pixels) -> None:
        if self.channels_first:
            for channel, (factor, offset) in enumerate(zip(self._factor, self._offset, strict=True)):
                _multiply_add(pixels[..., channel], factor, offset, out[:, channel])
        else:  # rows of an image at once: three channels at a time would be slow
            n, height, width, channels = pixels.shape
            shape, factor, offset = (n, height, width * channels), self._factor, self._offset
            _multiply_add(pixels.reshape(shape), np.tile(factor, width), np.tile(offset, width), out.reshape(shape))

    @property
    def _factor(self) -> Pixels:
        assert self.factor is not None
        return self.factor

    @property
    def _offset(self) -> Pixels:
        return np.zeros_like(self._factor) if self.offset is None else self.offset


def pixel_format(
    source_dtype: Any,
    n_channels: int,
    *,
    dtype: Any = None,
    scale: Any = None,
    mean: Any = None,
    std: Any = None,
    channels: Any = "last",
) -> PixelFormat:
    """Check the arguments and return the format.

    Parameters
    ----------
    source_dtype : dtype
        Dtype of the pixels before.
    n_channels : int
        Number of channels of an image.
    dtype : dtype, optional
        Dtype of the result: by default ``float32`` with `scale`, `mean` or `std`, else that of the pixels.
    scale : number, optional
        Factor of the pixels, such as ``1 / 255``.
    mean, std : number, or sequence with one for each channel, optional
        Subtracted, and divided by, after `scale`.
    channels : {"last", "first"}
        Order of the axes of an image.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.

    Examples
    --------
    >>> pixel_format("uint8", 3, scale=1 / 255, dtype="uint8")
    Traceback (most recent call last):
    ValueError: dtype=uint8 cannot hold the values of scale=, mean= and std=; give 'float32', 'float16' or 'float64'
    """
    is_first = check_choice("channels", channels, CHANNEL_ORDERS) == "first"
    arithmetic = not (scale is None and mean is None and std is None)
    target = np.dtype(("float32" if arithmetic else source_dtype) if dtype is None else dtype)
    if target.kind not in "biufc":  # texts would be cut to the length of the first
        raise TypeError(f"dtype={target} is no dtype of numbers, such as 'float32'")
    if not arithmetic:
        return PixelFormat(target, channels_first=is_first)
    if target.kind != "f":
        raise ValueError(
            f"dtype={target} cannot hold the values of scale=, mean= and std=; give 'float32', 'float16' or 'float64'"
        )
    means = _per_channel("mean", 0.0 if mean is None else mean, n_channels)
    stds = _per_channel("std", 1.0 if std is None else std, n_channels)
    if (stds <= 0).any():
        raise ValueError(f"std={shorten(std)} is not above 0; pixels are divided by it")
    scales = _per_channel("scale", 1.0 if scale is None else scale, n_channels)
    # Half precision is computed in single: NumPy has no fast arithmetic for it.
    precision = np.float64 if target.itemsize > 4 else np.float32
    offset = None if mean is None else (-means / stds).astype(precision)
    return PixelFormat(target, (scales / stds).astype(precision), offset, is_first)


def _multiply_add(pixels: Pixels, factor: Any, offset: Any, out: Pixels) -> None:
    if out.dtype == np.float16:
        out[...] = pixels * factor + offset
        return
    np.multiply(pixels, factor, out=out, casting="same_kind")
    out += offset


def _per_channel(name: str, value: Any, n_channels: int) -> Pixels:
    """Return finite numbers, one for each channel."""
    values = list(value) if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) else [value] * n_channels
    legal = f"is not a number, or {n_channels} numbers, one for each channel"
    if not all(isinstance(item, numbers.Real) and not isinstance(item, bool) for item in values):
        raise TypeError(f"{name}={shorten(value)} {legal}")
    if len(values) != n_channels or not all(math.isfinite(item) for item in values):
        raise ValueError(f"{name}={shorten(value)} {legal}")
    return np.array(values, dtype=np.float64)
