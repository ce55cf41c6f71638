"""Task of `features`, `metadata` and `hash`: images as numbers, in one pass."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.regions import file_data
from pandas_imgproc.tasks.base import Task, decode_fingerprint, with_labels
from pandas_imgproc.tasks.fingerprint import function_fingerprint
from pandas_imgproc.tasks.user_function import user_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.features import FeatureSpec
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Measure(Task):
    """Features of each image.

    Attributes
    ----------
    method : str
        Name of the accessor's method: three share this task.
    names : tuple of str
        Columns of the result, in their order.
    decode_options : DecodeOptions
        Of full size: formats and limits, and options of the decoded image if any feature needs one.
    size : int or None
        Working size: longest edge in pixels; None is the original size.
    features : tuple of FeatureSpec
        Functions that compute the columns; those of the user travel with the task.
    """

    method: str
    names: tuple[str, ...]
    decode_options: codec.DecodeOptions
    size: int | None
    features: tuple[FeatureSpec, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the accessor's method."""
        return self.method

    @property
    def needs_cluster(self) -> bool:
        """Whether a feature of the user's is computed, whose function may end its process."""
        return bool(self.user_functions)

    @property
    def user_functions(self) -> tuple[Callable[..., Any], ...]:
        """Functions of the user's features."""
        return tuple(feature.function for feature in self.features if not feature.builtin)

    @cached_property
    def _computed(self) -> dict[str, FeatureSpec]:
        """Feature of each computed column, in the order of the stored values; `names` may lack some."""
        return {name: feature for feature in self.features for name in feature.names}

    @cached_property
    def _row_dtype(self) -> np.dtype[Any]:
        # One dtype without objects, so that rows can lie in shared memory. Zeros are missing values.
        fields: list[Any] = [(f"value {k}", spec.storage_dtype) for k, spec in enumerate(self._computed.values())]
        return np.dtype([*fields, ("valid", "?", (len(fields),))])

    def allocate(self, n: int) -> Values:
        """Return a structured array of n rows of missing values: a field for each value, and one for their mask."""
        return np.zeros(n, dtype=self._row_dtype)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Compute the features of one image, with one decode at most."""
        inputs = _FeatureInputs(file, self.decode_options, self.size)
        row = out[0]
        valid = row["valid"]
        k = 0
        for feature in self.features:
            value = inputs.get(feature)
            with timed("measure"), nullcontext() if feature.builtin else user_code():
                for item in _unpack(feature, feature.function(value)):
                    if not _is_missing(item):
                        row[k] = _to_storage(item, feature.dtype)
                        valid[k] = True
                    k += 1

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters as JSON-serializable values, with the user's functions."""
        return {
            "method": self.name,
            "names": self.names,
            "recipe": decode_fingerprint(self.decode_options),
            "size": self.size,
            "functions": [function_fingerprint(function) for function in self.user_functions],
        }

    def to_pandas(
        self,
        values: Values,
        status: Values,  # noqa: ARG002  a row without a result holds missing values
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.DataFrame:
        """Return the DataFrame of the columns, in the order of their names."""
        columns, computed = {}, list(self._computed)
        for name in self.names:
            k = computed.index(name)
            columns[name] = _to_column(values[f"value {k}"], values["valid"][:, k], self._computed[name].dtype)
        frame = pd.DataFrame(columns, index=index)
        frame.attrs["failures"] = with_labels(failures, index)
        return frame


class _FeatureInputs:
    """One image as each `InputKind`, computed at most once and only when needed."""

    def __init__(self, file: InputFile, decode_options: codec.DecodeOptions, size: int | None) -> None:
        self._file, self._decode_options, self._size = file, decode_options, size

    def get(self, feature: FeatureSpec) -> Any:
        """Return the input of a feature."""
        return self.planar if feature.builtin and feature.input == "pixels" else getattr(self, feature.input)

    @cached_property
    def _data(self) -> Any:
        return self._file.data()

    @cached_property
    def _image(self) -> Image.Image:
        return codec.load(self._data, self._decode_options)

    @cached_property
    def _working(self) -> Image.Image:
        with timed("resize"):
            return codec.downscale(self._image, self._size)

    @cached_property
    def bytes(self) -> bytes | None:
        data = file_data(self._data)
        return data if isinstance(data, bytes) else None

    @cached_property
    def header(self) -> codec.Header:
        return codec.read_header(self._data, self._decode_options)

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
        """`pixels` with contiguous channels, on which the built-in features are fastest."""
        return np.stack([np.asarray(channel) for channel in self._working.split()]).transpose(1, 2, 0)

    @cached_property
    def grey(self) -> Values:
        return np.asarray(self._working.convert("L"))


def _unpack(feature: FeatureSpec, result: Any) -> Any:
    """Return the values of a feature, one for each of its names."""
    n = len(feature.names)
    values = (result,) if n == 1 else tuple(result)
    if feature.builtin:
        return values
    if len(values) != n:
        raise ValueError(f"it returned {len(values)} values for {n} columns")
    for value in values:
        if np.ndim(value):
            raise ValueError(f"it returned an array of shape {np.shape(value)}, not a number")
    return values


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or bool(value != value)  # NaN and NaT differ from themselves


def _to_storage(value: Any, dtype: str) -> Any:
    if dtype in ("string", "category"):
        return str(value).encode(errors="replace")
    if dtype in ("Int64", "UInt64") and value != int(value):
        raise ValueError(f"it returned {value!r}, which is no whole number, for a column of {dtype}")
    return value


def _to_column(values: Values, valid: Values, dtype: str) -> Any:
    """Return stored values as a pandas column."""
    if dtype == "float64":
        return np.where(valid, values, np.nan)
    if dtype == "datetime64[s]":
        return np.where(valid, values, np.datetime64("NaT", "s"))
    if dtype in ("string", "category"):
        texts = np.full(len(values), None, dtype=object)
        # errors="ignore" drops a character that was truncated at `max_bytes`
        texts[valid] = [text.decode(errors="ignore") for text in values[valid].tolist()]
        return _to_categorical(texts) if dtype == "category" else pd.array(texts, dtype="string")
    array_type = pd.arrays.BooleanArray if dtype == "boolean" else pd.arrays.IntegerArray
    return array_type(values.copy(), ~valid)


def _to_categorical(texts: Values) -> pd.Categorical:
    # Where all rows are missing, pandas would infer another dtype of the categories, and partitions would differ.
    categories = pd.Index(sorted({text for text in texts if text is not None}), dtype="str")
    return pd.Categorical(texts, categories=categories)
