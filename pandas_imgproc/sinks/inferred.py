"""Results with inferred shape and dtype: scalars and dicts stay objects, images become one array."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.sinks.memory import ArraySpec, MemorySink, allocate_sink, return_to_caller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.tasks import Task

MAX_MISMATCHED_NBYTES = 2**28
"""Bytes of images of another shape than most that are held until the end of a job, in case they are the most."""


def memory_sink(task: Task, n: int) -> MemorySink:
    """Return the sink in memory for n rows of a task.

    Raises
    ------
    ResultTooLargeError
        If the values do not fit into memory.
    """
    spec = ArraySpec.from_task(task, n)
    return InferredSink(spec, task) if spec.dtype.hasobject else allocate_sink(spec, in_background=True)


class InferredSink(MemorySink):
    """Sink of objects until the first image, then of images of its shape and dtype.

    The results of a job have the form of more than half of them; any other is a failure of its row. Images of another
    shape than the first are held beside its array until that is decided.

    Parameters
    ----------
    spec : ArraySpec
        Spec of the objects.
    task : Task
        Task that knows the form of its results.
    """

    def __init__(self, spec: ArraySpec, task: Task) -> None:
        super().__init__(spec)
        self._task = task
        self._images: MemorySink | None = None
        self._held: dict[int, Any] = {}  # objects of rows that do not match the images, by position
        self._held_nbytes = 0

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:
        """Return the writer that stacks images, once their shape is known."""
        if self._images is None:
            return return_to_caller
        return StackingWriter(self._images.spec, self._images.writer(positions, in_caller=in_caller))

    def commit(self, part: PartitionResult) -> None:
        """Store the values that were returned to the caller, and record the rows as finished.

        Raises
        ------
        ValueError
            If most images differ in shape or dtype from the first, and do not fit into memory.
        ResultTooLargeError
            If the images do not fit into memory.
        """
        if part.values is not None and part.values.dtype == object:
            self._infer(part)
        super().commit(part)

    def _write(self, positions: Sequence[int], values: Any) -> None:
        if self._images is None:
            super()._write(positions, values)
        else:
            self._images._write(positions, values)

    def _infer(self, part: PartitionResult) -> None:
        """Allocate memory for images at the first one, and hold all values that do not match it."""
        assert part.values is not None
        done = np.flatnonzero(part.status == 0).tolist()
        if self._images is None:
            first = next(
                (value for i in done for value in self._row(part.values, i) if self._task.is_stackable(value)), None
            )
            if first is None:
                return
            for position in np.flatnonzero(self._status == 0).tolist():
                self._hold(position, self._row(self._values, position).copy())
            self._use_images(ArraySpec(self.spec.name, self.n, self.spec.n_outputs, first.shape, first.dtype))
        assert self._images is not None
        spec = self._images.spec
        others = [i for i in done if not all(map(spec.matches, self._row(part.values, i)))]
        for i in others:
            row = self._row(part.values, i)
            self._hold(part.positions[i], row.copy())
            for k in range(len(row)):
                row[k] = np.zeros(spec.row_shape, spec.dtype)
        part.values = spec.stack(part)

    def _row(self, values: Any, i: int) -> Any:
        return values[i * self.spec.n_outputs : (i + 1) * self.spec.n_outputs]

    def _use_images(self, spec: ArraySpec) -> None:
        if self._images is not None:
            self._images.close()
        self._images = allocate_sink(spec)
        self._values = self._images._values

    def _hold(self, position: int, values: Any) -> None:
        self._held[position] = values
        self._held_nbytes += sum(getattr(value, "nbytes", 0) for value in values)
        if self._held_nbytes > MAX_MISMATCHED_NBYTES:
            n_matching = int((self._status == 0).sum()) - len(self._held)
            if n_matching < len(self._held):
                raise self._mixed_error()
            self._held = {k: [_Dropped(self._form(row))] for k, row in self._held.items()}
            self._held_nbytes = 0

    def reject_mismatched(self) -> Iterator[tuple[int, str]]:
        """Keep the results of the form that most have, and yield the position and the message of each other row.

        Raises
        ------
        ValueError
            If no form is that of more than half of the results.
        """
        forms = self._forms()
        counts = Counter(form for form in forms.values() if form is not None)
        if not counts:
            return
        form = max(counts, key=counts.__getitem__)
        if 2 * counts[form] <= counts.total():
            raise self._mixed_error()
        self._convert([k for k, other in forms.items() if other == form])
        for position, other in forms.items():
            if other != form and (other is not None or self._images is not None):
                self._values[position * self.spec.n_outputs : (position + 1) * self.spec.n_outputs] = self._missing
                hint = f"; {self._task.mixed_shapes_hint}" if self._images is not None else ""
                yield position, f"it returned {other or 'no value'}, and most rows {form}{hint}"

    @property
    def _missing(self) -> Any:
        return None if self._images is None else 0

    def _forms(self) -> dict[int, str | None]:
        """Return the form of each row with a result, by position."""
        positions = np.flatnonzero(self._status == 0).tolist()
        if self._images is None:
            return {k: self._form(self._row(self._values, k)) for k in positions}
        main = self._task.result_form(np.zeros(self._images.spec.row_shape, self._images.spec.dtype))
        return {k: self._form(self._held[k]) if k in self._held else main for k in positions}

    def _form(self, row: Any) -> str | None:
        """Return the form of the results of a row."""
        forms = dict.fromkeys(
            value.form if isinstance(value, _Dropped) else self._task.result_form(value) for value in row
        )
        return next(iter(forms)) if len(forms) == 1 else " and ".join(map(str, forms))

    def _convert(self, positions: list[int]) -> None:
        """Store the rows of a form that were held, if the array is of another one."""
        if self._images is None or not self._held or positions[0] not in self._held:
            return
        first = self._held[positions[0]][0]
        if self._task.is_stackable(first):
            self._use_images(ArraySpec(self.spec.name, self.n, self.spec.n_outputs, first.shape, first.dtype))
        else:
            self._images.close()
            self._images, self._values = None, self.spec.allocate()
        for position in positions:
            for k, value in enumerate(self._held[position]):
                self._values[position * self.spec.n_outputs + k] = value

    def _mixed_error(self) -> ValueError:
        held = {k: self._form(row) for k, row in self._held.items()}
        forms = {k: form for k, form in {**self._forms(), **held}.items() if form is not None}
        row, form = min(forms.items())
        other = next(k for k, value in sorted(forms.items()) if value != form)
        return ValueError(
            f"{self.spec.name}: results must be of one type and shape: row {row} has {form}, row {other} "
            f"{forms[other]}; {self._task.mixed_shapes_hint}"
        )

    @property
    def schema_known(self) -> bool:
        """Whether any row has a result."""
        return self._images is not None or bool((self._status == 0).any())

    def close(self) -> None:
        """Close the buffer of the images."""
        if self._images is not None:
            self._images.close()


@dataclass(frozen=True)
class _Dropped:
    """Form of an image whose pixels were dropped, since most rows have another form."""

    form: str | None


@dataclass(frozen=True)
class StackingWriter:
    """Writer of a partition's images as one array; if some are of another form, all return to the caller."""

    spec: ArraySpec
    writer: PartitionWriter

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Stack the images of a partition, and write the array."""
        assert part.values is not None
        if not all(map(self.spec.matches, part.values[np.repeat(part.status == 0, self.spec.n_outputs)])):
            return part
        part.values = self.spec.stack(part)
        return self.writer(part)
