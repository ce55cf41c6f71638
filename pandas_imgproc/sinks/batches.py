"""Sink of a training loop: rows in their order become batches, which workers fill and the caller takes."""

from __future__ import annotations

import mmap
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pandas_imgproc.partition import as_position_array

if TYPE_CHECKING:
    from pandas_imgproc.array import PixelFormat
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import PartitionResult

MIN_MAPPED_NBYTES = 2**20
"""Bytes of a batch from which on it is mapped."""

Array = np.ndarray[Any, np.dtype[Any]]
Missing = Literal["skip", "raise"] | float


@dataclass(frozen=True)
class BatchSpec:
    """Form of the batches.

    Attributes
    ----------
    batch_size : int
        Rows of a batch.
    image_shape : tuple of int
        Shape (height, width, channels) of the images that are read.
    form : PixelFormat
        Format of the pixels in a batch.
    missing : {"skip", "raise"} or number
        Rows without an image: left out, the end of the stream, or images of this value.
    drop_last : bool
        Whether the last batch is dropped if it is not full.
    """

    batch_size: int
    image_shape: tuple[int, int, int]
    form: PixelFormat
    missing: Missing = "skip"
    drop_last: bool = False

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of one image of a batch."""
        return int(np.prod(self.image_shape)) * self.form.dtype.itemsize


class Batch:
    """Batch that is filled by several writes, in any order.

    Attributes
    ----------
    positions : ndarray of int64, shape (size,)
    images : ndarray, shape (size, *shape of an image in its format)
    n : int
        Rows that have a slot.
    n_writes : int
        Writes that are not finished.
    n_read : int
        Rows of the stream up to the last one of the batch, those without an image included.
    """

    def __init__(self, size: int, spec: BatchSpec) -> None:
        self.positions = np.empty(size, dtype=np.int64)
        self.images = _allocate((size, *spec.form.shape(spec.image_shape)), spec.form.dtype)
        self.n = self.n_writes = self.n_read = 0

    @property
    def n_free(self) -> int:
        """Number of slots that no row has."""
        return len(self.positions) - self.n


@dataclass(frozen=True)
class BatchWrite:
    """Write of some rows of a partition into consecutive slots of a batch, which any thread may execute."""

    batch: Batch
    slots: slice
    part: PartitionResult
    rows: Array  # positions in the partition
    spec: BatchSpec

    def __call__(self) -> None:
        """Convert the pixels into the batch."""
        assert self.part.values is not None
        rows, images = _as_slice(self.rows), self.batch.images[self.slots]
        self.batch.positions[self.slots] = as_position_array(self.part.positions)[rows]
        self.spec.form.write(self.part.values[rows], images)
        missing = self.part.status[rows] != 0
        if missing.any():
            images[missing] = self.spec.missing


@dataclass
class BatchSink:
    """Sink of rows that are added in their order; its caller has the lock of the stream.

    Parameters
    ----------
    spec : BatchSpec
    n_rows : int
        Rows that will be added, unless the stream ends early.
    """

    spec: BatchSpec
    n_rows: int
    failures: list[Failure] = field(default_factory=list)
    n_read: int = 0  # rows that were added
    n_missing: int = 0  # rows without an image among them
    stopped_at: int | None = None  # position of the row at which missing="raise" has ended the stream
    _batches: deque[Batch] = field(default_factory=deque)

    @property
    def is_ended(self) -> bool:
        """Whether no more rows are accepted."""
        return self.stopped_at is not None or self.n_read == self.n_rows

    def add(self, part: PartitionResult) -> list[BatchWrite]:
        """Assign slots to the next rows, and return the writes that fill them."""
        if self.is_ended:
            return []
        rows = self._select(part)
        self.failures += part.failures
        self.n_missing += int((part.status != 0).sum())
        writes = []
        while len(rows):
            batch = self._open_batch()
            taken, rows = rows[: batch.n_free], rows[batch.n_free :]
            writes.append(BatchWrite(batch, slice(batch.n, batch.n + len(taken)), part, taken, self.spec))
            batch.n, batch.n_writes = batch.n + len(taken), batch.n_writes + 1
            batch.n_read = self.n_read + int(taken[-1]) + 1
        self.n_read += len(part.status)
        return writes

    def _select(self, part: PartitionResult) -> Array:
        """Return the rows of a partition that get a slot."""
        rows: Array = np.arange(len(part.status))
        if self.spec.missing == "skip":
            return np.flatnonzero(part.status == 0)
        if self.spec.missing != "raise" or (part.status == 0).all():
            return rows
        first = int((part.status != 0).argmax())
        self.stopped_at = int(as_position_array(part.positions)[first])
        return rows[:first]

    def _open_batch(self) -> Batch:
        """Return the batch that is not full."""
        if not self._batches or not self._batches[-1].n_free:
            self._batches.append(Batch(min(self.spec.batch_size, self.n_rows - self.n_read), self.spec))
        return self._batches[-1]

    def pop(self) -> Batch | None:
        """Remove the first batch and return it, None if it is not finished."""
        if not self._batches or self._batches[0].n_writes:
            return None
        batch = self._batches[0]
        if batch.n_free or batch.n < self.spec.batch_size:  # the last, or the one before a row that ends the stream
            if not self.is_ended:
                return None
            if self.spec.drop_last or self.stopped_at is not None:
                self._batches.clear()
                return None
        return self._batches.popleft()

    @property
    def is_empty(self) -> bool:
        """Whether no batch is left."""
        return not self._batches


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return a new array; a large one is in pages of its own, which return to the system with it.

    The C library keeps the memory of a freed array of some megabytes, and from then on takes all smaller ones from such
    memory too, in pieces: a pass needed twice as much.
    """
    nbytes = int(np.prod(shape)) * dtype.itemsize
    if nbytes < MIN_MAPPED_NBYTES or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype).reshape(shape)


def _as_slice(rows: Array) -> Any:
    """Return consecutive rows as a slice, which copies nothing."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows
