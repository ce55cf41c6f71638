"""Convolution in float64: the definition of a resize, against which roundings are measured."""

from __future__ import annotations

import numpy as np


def _bilinear(x):
    return np.clip(1 - np.abs(x), 0, None)


def _bicubic(x):
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_FILTERS = {"bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0), "lanczos": (_lanczos, 3.0)}


def _weights(n_in: int, n_out: int, start: float, stop: float, resample: str) -> np.ndarray:
    """Return the matrix (n_out, n_in) of one axis: the filter at the distances of pixel centers, of sum 1."""
    function, support = _FILTERS[resample]
    scale = (stop - start) / n_out
    wide = max(scale, 1.0)
    centers = start + (np.arange(n_out)[:, None] + 0.5) * scale
    distances = np.arange(n_in)[None, :] + 0.5 - centers
    weights = np.where(np.abs(distances) < support * wide, function(distances / wide), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def convolved(levels: np.ndarray, size, resample: str = "bicubic", box=None) -> np.ndarray:
    """Return an image (h, w) or (h, w, channels), resized to (width, height), as float64, neither rounded nor clipped.

    With four channels the last is alpha, which weights the others.
    """
    levels = levels.astype(np.float64)
    height, width = levels.shape[:2]
    left, top, right, bottom = box or (0, 0, width, height)
    rows, columns = _weights(height, size[1], top, bottom, resample), _weights(width, size[0], left, right, resample)
    if levels.ndim == 3 and levels.shape[2] == 4:
        levels[..., :3] *= levels[..., 3:] / 255
    resized = (
        np.moveaxis(rows @ np.moveaxis(levels, -1, 0) @ columns.T, 0, -1)
        if levels.ndim == 3
        else (rows @ levels @ columns.T)
    )
    if levels.ndim == 3 and levels.shape[2] == 4:
        alpha = resized[..., 3:]
        resized[..., :3] = np.where(alpha > 0.5, resized[..., :3] * 255 / np.maximum(alpha, 0.5), 0)
    return resized


def psnr_to(exact: np.ndarray, levels: np.ndarray) -> float:
    """Return the PSNR in dB of 8-bit levels to the exact ones, which are clipped as an image clips them."""
    error = np.clip(exact, 0, 255) - levels
    return float(10 * np.log10(255**2 / max(1e-9, np.mean(error**2))))
