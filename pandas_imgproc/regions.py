"""Regions: the box and the frame of each row of a job, and the order in which rows of one file are processed together.

A row's input is a file and a region of it. Several rows may have the same file, which each partition reads and decodes
once: rows of a file are neighbors in the work order, although partitions and results have the order of the frame.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_imgproc.custom_files import CustomFile

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[float, float, float, float]


class Region(NamedTuple):
    """Region of one row.

    Attributes
    ----------
    box : tuple of float, optional
        Left, top, right and bottom, half-open, in the upright image; None is the whole image.
    frame : int, optional
        Number of the frame; None is that of the decode options.
    is_fraction : bool
        Whether the box is in fractions of the image's sides, and not in pixels.
    pads : bool
        Whether a part of the box outside of the image is filled with the background, and not cut off.
    is_shared : bool
        Whether other rows of the call have the same file: it is decoded for all of them, at its full scale.
    """

    box: Box | None = None
    frame: int | None = None
    is_fraction: bool = False
    pads: bool = False
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class RegionData:
    """Region of an image that is not decoded yet, which the codec takes in place of the bytes.

    Attributes
    ----------
    data : bytes, PIL.Image.Image, or ndarray of uint8, shape (height, width, channels)
        The whole file, or an image in memory.
    region : Region
    memo : callable
        Function of a key and a function without arguments: it returns the value of the latter, or that of an earlier
        call for the same key of this file.
    opened : list
        The image at its latest frame, or nothing: the codec goes on from it to later frames of this file.
    """

    data: Any
    region: Region
    memo: Callable[[Any, Callable[[], Any]], Any]
    opened: list[Any] = field(default_factory=list)


def file_data(data: Any) -> Any:
    """Return the bytes or the image of a file, of a region of it, of one that a user's function reads, or of itself."""
    if isinstance(data, RegionData):
        data = data.data
    return data.data if isinstance(data, CustomFile) else data


@dataclass(frozen=True)
class Regions:
    """Regions of rows, with the numbers of their files.

    Attributes
    ----------
    files : ndarray of int64, shape (n,)
        Number of the file of each row, in the order of their first rows; rows of one file have the same number.
    is_shared : ndarray of bool, shape (n,)
        Whether other rows of the call have the same file.
    boxes : ndarray of float64, shape (n, 4), optional
        Left, top, right and bottom.
    frames : ndarray of int64, shape (n,), optional
    is_fraction, pads : bool
        As of a `Region`.
    """

    files: Array
    is_shared: Array
    boxes: Array | None = None
    frames: Array | None = None
    is_fraction: bool = False
    pads: bool = False

    @classmethod
    def of_inputs(cls, inputs: Sequence[Any], **regions: Any) -> Regions:
        """Return the regions of inputs, of which equal ones are one file."""
        numbers: dict[Any, int] = {}
        files = np.fromiter((numbers.setdefault(file_key(value), len(numbers)) for value in inputs), np.int64)
        return cls(files, np.bincount(files)[files] > 1 if len(files) else np.zeros(0, bool), **regions)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Region:
        box: Any = None if self.boxes is None else tuple(self.boxes[i].tolist())
        frame = None if self.frames is None else int(self.frames[i])
        return Region(box, frame, self.is_fraction, self.pads, bool(self.is_shared[i]))

    def take(self, rows: Array) -> Regions:
        """Return the regions of some rows."""
        boxes, frames = (None if array is None else array[rows] for array in (self.boxes, self.frames))
        return dataclasses.replace(
            self, files=self.files[rows], is_shared=self.is_shared[rows], boxes=boxes, frames=frames
        )

    def work_order(self, blocks: Array | None = None) -> Array:
        """Return the rows in the order of their work: file by file, frame by frame, within blocks of neighbors."""
        keys = [np.zeros(len(self), np.int64) if self.frames is None else self.frames, self.files]
        return np.lexsort(keys if blocks is None else [*keys, blocks])

    def ends(self, order: Array) -> list[int]:
        """Return the places in an order after which other rows than those of one image, of a file, follow."""
        files, frames = self.files[order], None if self.frames is None else self.frames[order]
        changes = files[1:] != files[:-1]
        if frames is not None:
            changes |= frames[1:] != frames[:-1]
        ends: list[int] = [*(np.flatnonzero(changes) + 1).tolist(), len(order)]
        return ends

    def checksums(self) -> Array:
        """Return a CRC-32 of the region of each row: uint32, shape (n,)."""
        parts = [np.atleast_2d(array.T).T.astype("<f8") for array in (self.boxes, self.frames) if array is not None]
        switches = np.full((len(self), 1), 2.0 * self.is_fraction + self.pads, "<f8")
        rows = np.ascontiguousarray(np.concatenate([*parts, switches], axis=1))
        return np.fromiter(map(zlib.crc32, rows), np.uint32, len(rows))


def file_key(value: Any) -> Any:
    """Return the key of an input: equal paths, and the same object in memory, are one file.

    Examples
    --------
    >>> file_key("a.jpg"), file_key({"bytes": None, "path": "a.jpg"})
    ('a.jpg', 'a.jpg')
    """
    if isinstance(value, Mapping):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    return value if isinstance(value, str | int | float | None) else id(value)
