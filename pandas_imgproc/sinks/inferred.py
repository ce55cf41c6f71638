"""Values whose form is not known before the first is there: scalars and dicts stay objects, images become a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.sinks.memory import MemorySink, allocate_sink, return_to_caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class ImageSpec:
    """What images of one form need: the part of a task that memory is reserved for.

    Attributes
    ----------
    name : str
        The method's name.
    n_outputs : int
        Rows of the answer for each row of the frame.
    shape : tuple of int
        (height, width, channels).
    dtype : dtype
    """

    name: str
    n_outputs: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def allocate(self, n: int) -> np.ndarray[Any, np.dtype[Any]]:
        """Return n black images."""
        return np.zeros((n, *self.shape), dtype=self.dtype)

    def __str__(self) -> str:
        return f"images of {self.dtype} and shape {self.shape}"

    def matches(self, value: Any) -> bool:
        """Return whether a value is such an image."""
        return isinstance(value, np.ndarray) and value.shape == self.shape and value.dtype == self.dtype

    def stack(self, part: PartitionResult) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the images of a partition in one array, black where missing."""
        assert part.values is not None
        block = self.allocate(len(part.values))
        for row in np.flatnonzero(np.repeat(part.status == 0, self.n_outputs)):
            block[row] = part.values[row]
        return block


def memory_sink(task: Task, n: int) -> MemorySink:
    """Return where the values of n rows go in memory.

    Raises
    ------
    ResultTooLargeError
        If they cannot fit.
    """
    return InferredSink(task, n) if task.allocate(0).dtype.hasobject else allocate_sink(task, n)


class InferredSink(MemorySink):
    """Objects that come back to the caller, until one is an image: then room for images of its form.

    Parameters
    ----------
    task : Task
        Whose answers they are; with room for objects.
    n : int
        Rows of the frame.
    """

    def __init__(self, task: Task, n: int) -> None:
        super().__init__(task, n)
        self._task = task
        self._images: ImageSpec | None = None
        self._room: MemorySink = self

    def writer(self, positions: range) -> PartitionWriter:
        """Return what a worker does with a finished partition."""
        return return_to_caller if self._images is None else StackingWriter(self._images, self._room.writer(positions))

    def commit(self, part: PartitionResult) -> None:
        """Place in the caller what came back, and note it as done.

        Raises
        ------
        ValueError
            If images are not of one form, or some answers are images and others are not.
        ResultTooLargeError
            If all images cannot fit into memory.
        """
        if part.values is not None and part.values.dtype == object:
            self._discover(part)
        super().commit(part)

    def _write(self, positions: Sequence[int], values: np.ndarray[Any, np.dtype[Any]]) -> None:
        if self._room is self:
            super()._write(positions, values)
        else:
            self._room._write(positions, values)

    def _discover(self, part: PartitionResult) -> None:
        """Make room for images at the first, and hold all others against it."""
        assert part.values is not None
        answers = part.values[np.repeat(part.status == 0, self._copies)]
        if self._images is None and len(answers) and _is_image(answers[0]):
            self._images = ImageSpec(self._task.name, self._copies, answers[0].shape, answers[0].dtype)
            if (self._status == 0).any():
                raise ValueError(self._mixed("something else than an image"))
            self._room = allocate_sink(self._images, self.n)
        if self._images is not None:
            other = next((answer for answer in answers if not self._images.matches(answer)), None)
            if other is not None:
                raise ValueError(self._mixed(_said(other)))
            part.values = self._images.stack(part)

    def _mixed(self, other: str) -> str:
        return f"{self._task.name}: there are {self._images} and {other}; {self._task.mixed_shapes_hint}"

    @property
    def schema_known(self) -> bool:
        """Whether an answer has been seen."""
        return self._images is not None or bool((self._status == 0).any())

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows, as far as they are known."""
        return super().nbytes if self._room is self else self._room.nbytes

    def values(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the values of all rows, read-only."""
        return super().values() if self._room is self else self._room.values()

    def close(self) -> None:
        """Let go of what only a running call needs."""
        if self._room is not self:
            self._room.close()


@dataclass(frozen=True)
class StackingWriter:
    """Make one array of a partition's images, and put that; others are left for the caller, who tells."""

    images: ImageSpec
    put: PartitionWriter

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Stack the images of a partition."""
        assert part.values is not None
        answers = part.values[np.repeat(part.status == 0, self.images.n_outputs)]
        if not all(map(self.images.matches, answers)):
            return part
        part.values = self.images.stack(part)
        return self.put(part)


def _is_image(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 3


def _said(value: Any) -> str:
    return f"one of {value.dtype} and shape {value.shape}" if _is_image(value) else "something else than an image"
