"""Image arrays for tests: every image is filled with its number, so that each row proves its position."""

import itertools

import numpy as np
import pandas as pd

from pandas_imgproc.array import ImageArray, ImageCell
from pandas_imgproc.errors import failure

SHAPE = (2, 3, 3)
NAME = "image[uint8, (2, 3, 3)]"
NA = pd.NA


def pixels_of(numbers, shape=SHAPE, dtype="uint8"):
    pixels = np.zeros((len(numbers), *shape), dtype=dtype)
    pixels[:] = np.reshape([0 if n is NA else n for n in numbers], (-1, 1, 1, 1))
    return pixels


def images(numbers):
    """Return an array of images filled with these numbers; NA is missing."""
    return ImageArray(pixels_of(numbers), [-1 if n is NA else 0 for n in numbers])


def numbers(column):
    """Return the number of each image of a column, checked in every pixel."""
    cells = list(column)
    for cell in cells:
        assert cell is NA or len(np.unique(np.asarray(cell))) == 1
    return [NA if cell is NA else int(np.asarray(cell).flat[0]) for cell in cells]


def image_of(number):
    return pixels_of([number])[0]


def cell(number):
    return ImageCell(image_of(number))


def with_failures(rows, n=None):
    """Return an array in which each row except 0 is a failure of the file with its number."""
    table = [failure(row, f"{row}.jpg", "truncated" if row % 2 else "empty", f"reason {row}") for row in rows if row]
    codes = list(itertools.accumulate(1 if row else 0 for row in rows))
    return ImageArray(
        pixels_of([0] * len(rows)), [code if row else 0 for code, row in zip(codes, rows, strict=True)], table
    )


def reasons(array):
    """Return the path of the failure at each position."""
    rows, failures = array.failure_rows()
    return {int(row): failure["path"] for row, failure in zip(rows, failures, strict=True)}


def image_frame():
    """Return a frame of four rows with repeated labels; the third image is missing."""
    columns = {"label": ["b", "a", "b", "c"], "image": images([10, 20, NA, 40])}
    return pd.DataFrame(columns, index=["w", "x", "x", "z"])
