"""What the kernel and the drivers need to know of a task, and what tasks share."""

from __future__ import annotations

import dataclasses
import pickle
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from pandas_imgproc import _pickling, codec
from pandas_imgproc.tasks.fingerprint import function_fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import Failure, FailureKind
    from pandas_imgproc.source import InputFile

Values = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Task(ABC):
    """What one row means.

    Attributes
    ----------
    name : str
        The method's name: what the dashboard and the summary call it.
    n_outputs : int
        Rows of the answer for each row of the frame.
    uses_position : bool
        Whether the answer depends on where the row stands in the frame.
    needs_cluster : bool
        Whether rows run what may end their process: only on a cluster does that cost one row.
    mixed_shapes_hint : str
        What to do when the answers are not of one form.
    """

    name: ClassVar[str]
    uses_position: ClassVar[bool] = False
    needs_cluster: ClassVar[bool] = False
    mixed_shapes_hint: ClassVar[str] = ""

    @property
    def n_outputs(self) -> int:  # noqa: D102  see Attributes
        return 1

    @property
    def nbytes_per_row(self) -> int:
        """Bytes that one row needs while it is done, as far as that is known before."""
        return 0

    @abstractmethod
    def allocate(self, n: int) -> Values:
        """Return room for n rows, holding what a row without an answer holds.

        Room for objects means that the form of the answers is not known before the first.
        """

    @abstractmethod
    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Write the answer of one row into ``out[:copies]``."""

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return the index of the answer, by that of the frame."""
        return index

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return the kind and the message of what `fill` raised."""
        return codec.classify_error(exc)

    @abstractmethod
    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return the answer as pandas; the only place where the index comes back."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes this task equal to another, as values that JSON has: a job is known by it."""
        return {"method": self.name, **{f.name: _to_json(getattr(self, f.name)) for f in dataclasses.fields(self)}}

    def with_nullable_dtype(self) -> Self:
        """Return a task whose answers have one dtype, whichever rows are missing: for frames in many parts."""
        return self

    def clone_for_partition(self) -> Self:
        """Return a task for one partition alone: threads do not share what has a state."""
        return self

    def __reduce__(self) -> Any:
        # Dask pickles tasks of its graphs by itself, and loses the names of files that failures of functions name.
        return _restored, (_pickling.dumps((type(self), vars(self))),)


def _restored(pickled: bytes) -> Task:
    kind, attributes = pickle.loads(pickled)
    task: Task = object.__new__(kind)
    vars(task).update(attributes)
    return task


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value.fingerprint() if isinstance(value, Task) else dataclasses.asdict(value)
    if callable(value):
        return function_fingerprint(value)
    return value if isinstance(value, int | float | str | list | tuple | None) else str(value)


def with_labels(failures: tuple[Failure, ...], index: pd.Index[Any]) -> tuple[dict[str, Any], ...]:
    """Return failures with the labels of their rows, for ``attrs``, which stay as they are when rows are selected.

    Plain values only: pandas writes ``attrs`` as JSON.

    Examples
    --------
    >>> from pandas_imgproc.errors import failure
    >>> with_labels((failure(1, "b.jpg", "empty", "the file has no bytes"),), pd.Index([10, 20]))[0]["label"]
    20
    """
    return tuple({"label": _to_json_label(index[failed["position"]]), **failed} for failed in failures)


def _to_json_label(label: Any) -> Any:
    if isinstance(label, tuple):
        return tuple(map(_to_json_label, label))
    value = label.item() if isinstance(label, np.generic) else label
    return value if isinstance(value, str | int | float | bool | None) else str(value)
