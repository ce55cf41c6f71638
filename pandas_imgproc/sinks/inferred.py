"""Results with inferred shape and dtype: scalars and dicts stay objects, images become one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.sinks.memory import ArraySpec, MemorySink, allocate_sink, return_to_caller

if TYPE_CHECKING:
    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.tasks import Task


def memory_sink(task: Task, n: int) -> MemorySink:
    """Return the sink in memory for n rows of a task.

    Raises
    ------
    ResultTooLargeError
        If the values do not fit into memory.
    """
    spec = ArraySpec.from_task(task, n)
    return InferredSink(spec, task.mixed_shapes_hint) if spec.dtype.hasobject else allocate_sink(spec)


class InferredSink(MemorySink):
    """Sink of objects until the first image, then of images of its shape and dtype.

    Parameters
    ----------
    spec : ArraySpec
        Spec of the objects.
    hint : str
        Advice for values of several shapes.
    """

    def __init__(self, spec: ArraySpec, hint: str) -> None:
        super().__init__(spec)
        self._hint = hint
        self._images: MemorySink | None = None

    def writer(self, positions: range) -> PartitionWriter:
        """Return the writer that stacks images, once their shape is known."""
        if self._images is None:
            return return_to_caller
        return StackingWriter(self._images.spec, self._images.writer(positions))

    def commit(self, part: PartitionResult) -> None:
        """Store the values that were returned to the caller, and record the rows as finished.

        Raises
        ------
        ValueError
            If images differ in shape or dtype, or only some values are images.
        ResultTooLargeError
            If the images do not fit into memory.
        """
        if part.values is not None and part.values.dtype == object:
            self._infer(part)
        super().commit(part)

    def _infer(self, part: PartitionResult) -> None:
        """Allocate memory for images at the first one, and check all later values against its spec."""
        assert part.values is not None
        values = part.values[np.repeat(part.status == 0, self.spec.n_outputs)]
        if self._images is None and len(values) and _is_image(values[0]):
            spec = ArraySpec(self.spec.name, self.n, self.spec.n_outputs, values[0].shape, values[0].dtype)
            if (self._status == 0).any():
                raise self._mixed_error(spec, "something else than an image")
            self._images = allocate_sink(spec)
            self._values = self._images._values
        if self._images is not None:
            spec = self._images.spec
            other = next((value for value in values if not spec.matches(value)), None)
            if other is not None:
                raise self._mixed_error(spec, _describe(other))
            part.values = spec.stack(part)

    def _mixed_error(self, spec: ArraySpec, other: str) -> ValueError:
        images = f"images of {spec.dtype} and shape {spec.row_shape}"
        return ValueError(f"{spec.name}: there are {images} and {other}; {self._hint}")

    @property
    def schema_known(self) -> bool:
        """Whether any row has a result."""
        return self._images is not None or bool((self._status == 0).any())

    def close(self) -> None:
        """Close the buffer of the images."""
        if self._images is not None:
            self._images.close()


@dataclass(frozen=True)
class StackingWriter:
    """Writer of a partition's images as one array; other values return to the caller, which raises the error."""

    spec: ArraySpec
    writer: PartitionWriter

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Stack the images of a partition, and write the array."""
        assert part.values is not None
        if not all(map(self.spec.matches, part.values[np.repeat(part.status == 0, self.spec.n_outputs)])):
            return part
        part.values = self.spec.stack(part)
        return self.writer(part)


def _is_image(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 3


def _describe(value: Any) -> str:
    return f"one of {value.dtype} and shape {value.shape}" if _is_image(value) else "something else than an image"
