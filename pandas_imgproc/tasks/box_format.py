"""Formats of boxes: left, top, right and bottom within the package; as a table has them, and as Albumentations does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Boxes = np.ndarray[Any, np.dtype[np.float64]]


def to_corners(boxes: Boxes, box_format: str) -> Boxes:
    """Return boxes of shape (n, 4) as left, top, right and bottom.

    Examples
    --------
    >>> to_corners(np.array([[10.0, 20, 4, 2]]), "xywh"), to_corners(np.array([[10.0, 20, 4, 2]]), "cxcywh")
    (array([[10., 20., 14., 22.]]), array([[ 8., 19., 12., 21.]]))
    """
    first, last = boxes[:, :2], boxes[:, 2:]
    with np.errstate(over="ignore", invalid="ignore"):  # infinite numbers are boxes without an area
        if box_format == "xywh":
            return np.concatenate([first, first + last], axis=1)
        if box_format == "cxcywh":
            return np.concatenate([first - last / 2, first + last / 2], axis=1)
    return boxes


def from_corners(boxes: Boxes, box_format: str) -> Boxes:
    """Return boxes of left, top, right and bottom in another format.

    Examples
    --------
    >>> from_corners(np.array([[8.0, 19, 12, 21]]), "cxcywh")
    array([[10., 20.,  4.,  2.]])
    """
    first, last = boxes[:, :2], boxes[:, 2:]
    if box_format == "xywh":
        return np.concatenate([first, last - first], axis=1)
    if box_format == "cxcywh":
        return np.concatenate([(first + last) / 2, last - first], axis=1)
    return boxes


def sides(shape: tuple[int, ...]) -> Boxes:
    """Return (width, height, width, height) of an image of this shape, which scale the numbers of a box.

    Examples
    --------
    >>> sides((480, 640, 3))
    array([640., 480., 640., 480.])
    """
    return np.array([shape[1], shape[0]] * 2, dtype=float)


def clip(boxes: Boxes, shape: tuple[int, ...]) -> Boxes:
    """Return the parts of boxes, as corners, within an image of this shape; NaN for a box without any.

    Examples
    --------
    >>> clip(np.array([[-5.0, 2, 3, 9], [20, 2, 30, 9]]), (6, 10)).tolist()
    [[0.0, 2.0, 3.0, 6.0], [nan, nan, nan, nan]]
    """
    inside = np.clip(boxes, 0, sides(shape))
    inside[~(inside[:, :2] < inside[:, 2:]).all(axis=1)] = np.nan
    return inside
