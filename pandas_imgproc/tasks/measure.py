"""Images as numbers: header fields, measures and hashes, in one pass."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.tasks.base import Task, with_labels
from pandas_imgproc.tasks.fingerprint import function_fingerprint
from pandas_imgproc.tasks.user_function import explain, user_code

if TYPE_CHECKING:
    from PIL import Image

    from pandas_imgproc.errors import Failure, FailureKind
    from pandas_imgproc.features import FeatureSpec
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Measure(Task):
    """What is measured of each image.

    Attributes
    ----------
    name : str
        The method's name.
    names : tuple of str
        The columns of the answer, in their order.
    decode_options : DecodeOptions
        Of full size: formats and limits, and how the image is decoded if any measure wants it.
    size : int or None
        The working size: pixels of the longest edge; None is the whole image.
    features : tuple of FeatureSpec
        The functions that give the columns; the user's own travel with the task.
    """

    name: str  # type: ignore[misc]  # of one task for three methods
    names: tuple[str, ...]
    decode_options: codec.DecodeOptions
    size: int | None
    features: tuple[FeatureSpec, ...] = field(repr=False)

    @property
    def needs_cluster(self) -> bool:  # type: ignore[override]  # of the user's measures alone
        """Whether the user's own functions run, which may end their process."""
        return not all(measured.builtin for measured in self.features)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each column's value is kept in a row."""
        filled = [name for measured in self.features for name in measured.names]
        return {name: place for place, name in enumerate(filled)}

    @cached_property
    def _row(self) -> np.dtype[Any]:
        # One dtype without objects, so that rows can lie in shared memory. Zeros are missing values.
        stored = [(measured, name) for measured in self.features for name in measured.names]
        fields: list[Any] = [(f"value {place}", measured.storage_dtype) for place, (measured, _) in enumerate(stored)]
        return np.dtype([*fields, ("there", "?", (len(stored),))])

    def allocate(self, n: int) -> Values:
        """Return n rows of missing values: a structured array, a field for each value and which of them are there."""
        return np.zeros(n, dtype=self._row)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the protocol's
        """Measure one image; it is opened and decoded once, and only if a measure wants it."""
        views = _FeatureInputs(file, self.decode_options, self.size)
        row = out[0]
        there = row["there"]
        place = 0
        for measured in self.features:
            view = views.of(measured)
            with timed("measure"), nullcontext() if measured.builtin else user_code():
                found = measured.function(view)
                for value in _values(measured, found):
                    if not _is_missing(value):
                        row[place] = _stored(value, measured.dtype)
                        there[place] = True
                    place += 1

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why an image could not be measured."""
        return explain(exc)

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes this task equal to another, as values that JSON has."""
        functions = [function_fingerprint(measured.function) for measured in self.features if not measured.builtin]
        decode_options = asdict(self.decode_options)
        return {
            "method": self.name,
            "names": self.names,
            "recipe": decode_options,
            "size": self.size,
            "functions": functions,
        }

    def to_pandas(
        self,
        values: Values,
        status: Values,  # noqa: ARG002  rows without an answer hold nothing
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.DataFrame:
        """Return the DataFrame of the columns, in the order of their names."""
        dtypes = {name: measured.dtype for measured in self.features for name in measured.names}
        columns = {}
        for name in self.names:
            place = self._places[name]
            columns[name] = _column(values[f"value {place}"], values["there"][:, place], dtypes[name])
        frame = pd.DataFrame(columns, index=index)
        frame.attrs["failures"] = with_labels(failures, index)
        return frame


class _FeatureInputs:
    """One image in the forms that measures read, each made once and only if it is read."""

    def __init__(self, file: InputFile, decode_options: codec.DecodeOptions, size: int | None) -> None:
        self._file, self._recipe, self._size = file, decode_options, size

    def of(self, measured: FeatureSpec) -> Any:
        """Return what a measure reads."""
        return self.planar if measured.builtin and measured.input == "pixels" else getattr(self, measured.input)

    @cached_property
    def _data(self) -> Any:
        return self._file.data()

    @cached_property
    def _image(self) -> Image.Image:
        return codec.load(self._data, self._recipe)

    @cached_property
    def _working(self) -> Image.Image:
        with timed("resize"):
            return codec.downscale(self._image, self._size)

    @cached_property
    def bytes(self) -> bytes | None:
        return None if hasattr(self._data, "__array_interface__") else self._data

    @cached_property
    def header(self) -> codec.Header:
        return codec.read_header(self._data, self._recipe)

    @cached_property
    def full(self) -> Values:
        return np.asarray(self._image)

    @cached_property
    def full_grey(self) -> Values:
        return np.asarray(self._image.convert("L"))

    @cached_property
    def pixels(self) -> Values:
        return np.asarray(self._working)

    @cached_property
    def planar(self) -> Values:
        """`pixels` with each channel in one piece, as the library's own measures are quickest."""
        return np.stack([np.asarray(channel) for channel in self._working.split()]).transpose(1, 2, 0)

    @cached_property
    def grey(self) -> Values:
        return np.asarray(self._working.convert("L"))


def _values(measured: FeatureSpec, found: Any) -> Any:
    """Return the values that a measure gave, one for each of its names."""
    n = len(measured.names)
    values = (found,) if n == 1 else tuple(found)
    if measured.builtin:
        return values
    if len(values) != n:
        raise ValueError(f"it returned {len(values)} values for {n} columns")
    for value in values:
        if np.ndim(value):
            raise ValueError(f"it returned an array of shape {np.shape(value)}, not a number")
    return values


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or bool(value != value)  # NaN and NaT are not themselves


def _stored(value: Any, dtype: str) -> Any:
    if dtype in ("string", "category"):
        return str(value).encode(errors="replace")
    if dtype in ("Int64", "UInt64") and value != int(value):
        raise ValueError(f"it returned {value!r}, which is no whole number, for a column of {dtype}")
    return value


def _column(values: Values, there: Values, dtype: str) -> Any:
    """Return stored values as a column of pandas."""
    if dtype == "float64":
        return np.where(there, values, np.nan)
    if dtype == "datetime64[s]":
        return np.where(there, values, np.datetime64("NaT", "s"))
    if dtype in ("string", "category"):
        texts = np.full(len(values), None, dtype=object)
        # a character that was cut at the end of its room goes
        texts[there] = [text.decode(errors="ignore") for text in values[there].tolist()]
        return _categorical(texts) if dtype == "category" else pd.array(texts, dtype="string")
    kind = pd.arrays.BooleanArray if dtype == "boolean" else pd.arrays.IntegerArray
    return kind(values.copy(), ~there)


def _categorical(texts: Values) -> pd.Categorical:
    # Where no row has one, pandas would infer another dtype of the categories, and parts would not fit together.
    categories = pd.Index(sorted({text for text in texts if text is not None}), dtype="str")
    return pd.Categorical(texts, categories=categories)
