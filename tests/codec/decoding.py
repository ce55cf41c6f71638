"""Helpers of the codec tests: decode bytes as the kernel does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pandas_imgproc import codec

BICUBIC = Image.Resampling.BICUBIC


def pixels(data: bytes, size=None, **options) -> np.ndarray:
    """Decode as the kernel does, with Pillow's warnings silenced."""
    return np.asarray(loaded(data, codec.decode_options(size, **options)))


def loaded(data: bytes, options: codec.DecodeOptions) -> Image.Image:
    with codec.pillow_settings(codec.PillowSettings.current()):
        return codec.load(data, options)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2)))


def kind_of(data: bytes, size=8, **options) -> str:
    with pytest.raises((Exception, SystemExit)) as raised:
        pixels(data, size, **options)
    return codec.classify_error(raised.value)[0]


def assert_single_line(message: str) -> None:
    assert message
    assert len(message) <= 300
    assert message.isprintable()
    assert "\\x" not in message
    assert "object at" not in message
