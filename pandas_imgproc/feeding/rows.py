"""Images of a column by position: decoded by the kernel, or taken from the block of pixels of an image column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pandas_imgproc.array import ImageArray
from pandas_imgproc.codec import PillowSettings
from pandas_imgproc.kernel import NullLedger, RowLedger, run_partition
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.source import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas_imgproc.execution import Job


class Rows(Protocol):
    """Rows of a column, which any thread and any process may read."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of the images."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""

    @property
    def is_remote(self) -> bool:
        """Whether the images are read through a network."""

    def __len__(self) -> int: ...

    def read(
        self, positions: Sequence[int], ledger: RowLedger = ..., on_last_reads: Callable[[], None] | None = ...
    ) -> PartitionResult:
        """Return the images at these positions, in any order; `on_last_reads` is that of `run_partition`."""

    def path(self, position: int) -> str:
        """Return the name of a row's file, for messages."""

    def missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the mask of the rows of which it is known that they have no image."""


@dataclass(frozen=True)
class DecodedRows:
    """Images that the kernel decodes when they are read.

    Parameters
    ----------
    job : Job
        Of a task with pixels of one shape.
    settings : PillowSettings
        Those of the caller, for all processes.
    """

    job: Job = field(repr=False)
    settings: PillowSettings = field(default_factory=PillowSettings.current)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of the images."""
        height, width, channels = self.job.task.allocate(0).shape[1:]
        return height, width, channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""
        return self.job.task.allocate(0).dtype

    @property
    def is_remote(self) -> bool:
        """Whether the images are read through a network."""
        return self.job.source.is_remote(self.job.inputs)

    def __len__(self) -> int:
        return len(self.job.inputs)

    def read(
        self,
        positions: Sequence[int],
        ledger: RowLedger = NullLedger(),  # noqa: B008  has no state
        on_last_reads: Callable[[], None] | None = None,
    ) -> PartitionResult:
        """Decode the images at these positions."""
        inputs = [self.job.inputs[position] for position in positions]
        regions = None if self.job.regions is None else self.job.regions.take(np.asarray(positions, dtype=np.int64))
        partition = PartitionInput(positions, inputs, regions=regions)
        return run_partition(
            self.job.task, partition, self.job.source, ledger, self.settings, on_last_reads=on_last_reads
        )

    def path(self, position: int) -> str:
        """Return the name of a row's file."""
        value = self.job.inputs[position]
        return "" if value is None else InputFile(value, self.job.source).path

    def missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the mask of the rows without a path."""
        return np.array([value is None for value in self.job.inputs], dtype=bool)


@dataclass(frozen=True)
class StoredRows:
    """Images of an image column, as they are; those that a file holds are mapped again in another process."""

    images: ImageArray = field(repr=False)

    is_remote = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of the images."""
        return self.images.dtype.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""
        return self.images.dtype.subtype

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self,
        positions: Sequence[int],
        ledger: RowLedger = NullLedger(),  # noqa: ARG002, B008
        on_last_reads: Callable[[], None] | None = None,  # noqa: ARG002
    ) -> PartitionResult:
        """Copy the images at these positions."""
        pixels = self.images.pixels.take(positions, axis=0)
        result = PartitionResult.empty(PartitionInput(positions, positions), pixels)
        for i, code in enumerate(self.images.status.take(positions).tolist()):
            if code > 0:
                failed = self.images.failures[code - 1]
                result.add_failure(i, failed["path"], failed["kind"], failed["message"])
            else:
                result.status[i] = code
        return result

    def path(self, position: int) -> str:
        """Return the name of a row's file, if the row has failed."""
        code = self.images.status[position]
        return self.images.failures[code - 1]["path"] if code > 0 else ""

    def missing(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the mask of the rows without an image."""
        return self.images.isna()

    def __reduce__(self) -> tuple[Callable[..., StoredRows], tuple[Any, ...]]:
        pixels = self.images.pixels
        file = _mapped_file(pixels)
        if file is None or not pixels.flags.c_contiguous:
            return StoredRows, (self.images,)
        offset = file.offset + pixels.__array_interface__["data"][0] - file.__array_interface__["data"][0]
        location = str(file.filename), offset, pixels.dtype, pixels.shape
        return _map_again, (*location, self.images.status, self.images.failures)


def _mapped_file(pixels: np.ndarray[Any, Any]) -> np.memmap[Any, Any] | None:
    """Return the map of the file that holds an array, None if memory holds it."""
    base: Any = pixels
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return base if isinstance(base, np.memmap) and base.filename else None


def _map_again(
    path: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], status: Any, failures: Any
) -> StoredRows:
    return StoredRows(ImageArray(np.asarray(np.memmap(path, dtype, "r", offset, shape)), status, failures))
