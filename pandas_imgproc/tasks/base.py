"""Base class of the tasks, and the conversions that tasks share."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pandas_imgproc import _pickling, codec
from pandas_imgproc._labels import label_to_json
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks.fingerprint import function_fingerprint
from pandas_imgproc.tasks.readers import custom_file
from pandas_imgproc.tasks.user_instance import function_name, is_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from pandas_imgproc.custom_files import Readers
    from pandas_imgproc.errors import Failure, FailureKind
    from pandas_imgproc.source import InputFile

Values = np.ndarray[Any, np.dtype[Any]]

# Keys of fields that have another name in journals and manifests on disk, which must still be resumed.
_OPTIONAL = {"prefix", "column_names"}  # fields that journals lack without a value, as those of older versions do
_DISK_KEYS = {"decode_options": "recipe", "encode_options": "encoding", "strict": "promised"}


@dataclasses.dataclass(frozen=True)
class Task(ABC):
    """Operation on each row of a column of images.

    The kernel and the executors know this interface only. Equal tasks give equal results, on any machine.
    """

    mixed_shapes_hint = ""  # advice for an error on results that differ in dtype or shape

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the accessor's method, as on the dashboard and in the summary."""

    @property
    def n_outputs(self) -> int:
        """Number of result rows for each row of the frame."""
        return 1

    @property
    def fills_blocks(self) -> bool:
        """Whether rows are processed by `load` and `fill_block`, and not by `fill`."""
        return False

    @property
    def block_rows(self) -> int:
        """Number of neighboring rows that are processed together."""
        return 1

    @property
    def uses_position(self) -> bool:
        """Whether a result depends on the row's position in the frame."""
        return False

    @property
    def needs_cluster(self) -> bool:
        """Whether rows run code that may end its process: on a cluster, that costs one row only."""
        return False

    @property
    def releases_gil(self) -> bool:
        """Whether nearly all work on a photo is done without the lock of the interpreter."""
        return False

    @property
    def nbytes_per_row(self) -> int:
        """Bytes that the processing of one row needs; 0 if unknown in advance."""
        return 0

    @abstractmethod
    def allocate(self, n: int) -> Values:
        """Return an array of n rows, each with the value of a row without a result.

        An array of objects means that dtype and shape are not known before the first result.
        """

    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Write the results of one row into ``out``, which has ``n_outputs`` rows; `position` is that in the frame."""
        raise NotImplementedError

    def load(self, file: InputFile) -> Any:
        """Return the loaded image of one row of a block, for `fill_block`."""
        raise NotImplementedError

    def fill_block(
        self, out: Sequence[Values], position: int, files: Sequence[InputFile], items: Sequence[Any]
    ) -> None:
        """Write the results of rows of a block into ``out``, an array for each row.

        `position` is that of the first row in the frame, `items` are the loaded images. If it raises, it is called for
        each of the rows alone.
        """
        raise NotImplementedError

    @property
    def column_names(self) -> tuple[Any, ...] | None:
        """Names of other columns of the frame that the task uses."""
        return None

    @property
    def has_open_form(self) -> bool:
        """Whether rows without a result do not tell if the result is a Series or which columns it has."""
        return False

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return the index of the result for the index of the frame."""
        return index

    def classify_error(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return the kind and the message of an exception that `fill` raised."""
        return ("function", str(exc)) if isinstance(exc, UserFunctionError) else codec.classify_error(exc)

    @abstractmethod
    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return the result with the index of the frame, which has never left the caller."""

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters as JSON-serializable values; two jobs with equal values are the same job."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields = {name: _to_json(value) for name, value in values.items() if name not in _OPTIONAL or value is not None}
        return {"method": self.name, **{_DISK_KEYS.get(name, name): value for name, value in fields.items()}}

    def result_form(self, value: Any) -> str | None:
        """Return the form of one result, as messages name it, which is that of all; None of a value without any."""
        shape = getattr(value, "shape", ())
        return f"an image of {value.dtype} and shape {shape}" if len(shape) == 3 else "no image"

    def is_stackable(self, value: Any) -> bool:
        """Return whether results of the form of this one lie in one array, rather than as objects."""
        return isinstance(value, np.ndarray) and value.ndim == 3

    def with_nullable_dtype(self) -> Self:
        """Return the task with a dtype that holds missing values, so that all partitions have the same one."""
        return self

    def check_installed(self) -> None:
        """Raise a MissingExtraError if this process lacks a package with which the caller expects the results."""
        options = getattr(self, "decode_options", None)
        if options is not None:
            codec.require_engine(options.engine, strict=options.strict)

    @property
    def readers(self) -> Readers:
        """Functions of the user that read files, by the keys of these files."""
        return getattr(getattr(self, "decode_options", None), "readers", ())

    @property
    def convert(self) -> Callable[[str, Any], Any] | None:
        """Function of a file's name and bytes that makes `CustomFile` of those that a user's function reads."""
        return functools.partial(custom_file, self.readers) if self.readers else None

    @property
    def runs_user_code(self) -> bool:
        """Whether a row calls a function of the user, which is sent to workers."""
        return bool(self.user_functions or self.readers)

    @property
    def user_functions(self) -> tuple[Callable[..., Any], ...]:
        """Functions and classes of the user that the task calls."""
        return ()

    @property
    def function_names(self) -> str:
        """Names of the user's functions, for errors; empty without any."""
        return ", ".join(map(function_name, (*self.user_functions, *(function for _, function in self.readers))))

    @property
    def has_class(self) -> bool:
        """Whether a class takes the place of a function: `build` makes an instance, once in a process."""
        return any(map(is_class, self.user_functions))

    def build(self) -> Self:
        """Return the task with instances in place of the user's classes, which the threads of a process share.

        Raises
        ------
        UserFunctionError
            If a class cannot be built.
        """
        return self

    def clone_for_thread(self) -> Self:
        """Return a copy for one thread, because threads must not share state."""
        return self

    def __reduce__(self) -> Any:
        # Dask pickles the tasks of its graphs with plain cloudpickle, which drops the file names of functions.
        return _rebuild, (_pickling.dumps((type(self), vars(self))),)


def _rebuild(pickled: bytes) -> Task:
    cls, attributes = pickle.loads(pickled)
    task: Task = object.__new__(cls)
    vars(task).update(attributes)
    return task


def decode_fingerprint(options: codec.DecodeOptions) -> dict[str, Any]:
    """Return decode options as JSON-serializable values, without readers if there are none."""
    values = dataclasses.asdict(dataclasses.replace(options, readers=()))
    del values["readers"]
    readers = [[str(key), function_fingerprint(function)] for key, function in options.readers]
    return {**values, "readers": readers} if readers else values


def _to_json(value: Any) -> Any:
    if isinstance(value, codec.DecodeOptions):
        return decode_fingerprint(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return value.fingerprint() if isinstance(value, Task) else dataclasses.asdict(value)
    if callable(value):
        return function_fingerprint(value)
    if isinstance(value, list | tuple):
        return list(map(_to_json, value))
    return value if isinstance(value, int | float | str | None) else str(value)


def with_labels(failures: tuple[Failure, ...], index: pd.Index[Any], n_outputs: int = 1) -> tuple[dict[str, Any], ...]:
    """Return failures with the labels of their rows, for ``attrs``, which pandas keeps when rows are selected.

    Parameters
    ----------
    failures : tuple of Failure
        With the positions of rows in the frame.
    index : Index
        Index of the result.
    n_outputs : int
        Number of rows of the result for each row of the frame: a failure has a label for each of them.

    Examples
    --------
    >>> from pandas_imgproc.errors import failure
    >>> with_labels((failure(1, "b.jpg", "empty", "the file has no bytes"),), pd.Index([10, 20]))[0]["label"]
    20
    """
    # The values are built-in Python types, because pandas writes attrs as JSON.
    return tuple(
        {"label": label_to_json(index[failed["position"] * n_outputs + k]), **failed}
        for failed in failures
        for k in range(n_outputs)
    )
