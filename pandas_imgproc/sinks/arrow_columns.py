r"""Columns and index levels as Arrow holds them, and back with their dtype.

Other readers see plain columns. What Arrow has no type for is stored as text: complex numbers, tuples (as JSON), and
texts with lone surrogates (names of files that are not UTF-8), of which the surrogates are escaped as ``\udcff``. A
spec, JSON in the schema's metadata, restores dtype and values.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pandas_imgproc._labels import is_same_label, label_from_json, label_to_json, to_index
from pandas_imgproc._text import shorten
from pandas_imgproc.array import ImageDtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    Spec = dict[str, Any]

_SPEC = b"pandas_imgproc"
_LEVEL = "__index_level_{}__"  # field of a level without a name, by which pandas knows it
MIN_CATEGORIES = 1000  # up to which all categories are stored with each part

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError)


def to_storable(values: pd.Series[Any]) -> tuple[pd.Series[Any], Spec]:
    r"""Return a column that Arrow can hold, and the spec that restores it.

    Examples
    --------
    >>> column, spec = to_storable(pd.Series(["a\udcff", "b"], dtype=object))
    >>> column.tolist(), spec
    (['a\\udcff', 'b'], {'dtype': 'object', 'escaped': [0]})
    >>> from_storable(column, spec).equals(pd.Series(["a\udcff", "b"], dtype=object))
    True
    """
    dtype, spec = values.dtype, _dtype_to_json(values.dtype)
    if isinstance(dtype, ImageDtype):
        return values, {}
    if isinstance(dtype, pd.CategoricalDtype):
        return _storable_categorical(values, spec)
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(np.asarray(values)), spec
    if dtype.kind == "c":
        text = [None if pd.isna(value) and value == value else str(complex(value)) for value in values]
        return pd.Series(text, index=values.index, dtype=object), spec
    if dtype == np.dtype(object) and _holds_tuples(values):
        text = [json.dumps(label_to_json(value)) if isinstance(value, tuple) else None for value in values]
        return pd.Series(text, index=values.index, dtype=object), {**spec, "json": True}
    if isinstance(dtype, pd.StringDtype) or dtype == np.dtype(object):
        return _escape(values, spec)
    return values, spec


def _holds_tuples(values: pd.Series[Any]) -> bool:
    """Return whether all values are tuples, but for missing ones."""
    first = next((value for value in values if value is not None), None)
    return isinstance(first, tuple) and all(isinstance(value, tuple) or value is None for value in values)


def _storable_categorical(values: pd.Series[Any], spec: Spec) -> tuple[pd.Series[Any], Spec]:
    """Return a categorical column, with text for categories that are neither numbers nor texts nor times."""
    categories = values.cat.categories
    texts, spec["categories"] = to_storable(_to_series(categories))
    is_plain = categories.dtype.kind in "biufMm" or _is_text(categories)
    if not is_plain:
        texts = pd.Series([f"{category} ({k})" for k, category in enumerate(categories)], dtype=object)
    # Parquet has the categories of the rows only, in another order. Many more of them than rows are not worth it.
    if not is_plain or len(categories) <= max(MIN_CATEGORIES, 4 * len(values)):
        spec["labels"] = [label_to_json(category) for category in categories]
        spec["stored"] = [label_to_json(text) for text in texts]
    stored: Any = _to_level(texts)
    if not len(stored) and stored.dtype == np.dtype(object):
        stored = stored.astype("string")  # without a type, the column would be one of nulls, and of no categories
    return values.cat.rename_categories(stored), spec


def _is_text(values: pd.Index[Any]) -> bool:
    return isinstance(values.dtype, pd.StringDtype) or pd.api.types.infer_dtype(values, skipna=False) == "string"


def _escape(values: pd.Series[Any], spec: Spec) -> tuple[pd.Series[Any], Spec]:
    try:
        pa.array(values, from_pandas=True)
    except UnicodeEncodeError:
        rows = [k for k, value in enumerate(values) if isinstance(value, str) and _SURROGATE.search(value)]
    except _CONVERSION_ERRORS:  # `to_table` raises them
        return values, spec
    else:
        return values, spec
    values = values.astype(object)
    for k in rows:
        values.iloc[k] = values.iloc[k].replace("\\", "\\\\").encode("utf-8", "backslashreplace").decode()
    return values, {**spec, "escaped": rows}


def _unescape(text: str) -> str:
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


def from_storable(values: pd.Series[Any], spec: Spec) -> pd.Series[Any]:
    """Return the column of which `to_storable` returned the values and the spec."""
    if spec.get("json"):
        values = values.astype(object).map(lambda text: label_from_json(json.loads(text)), na_action="ignore")
        return values.where(values.notna(), None)
    if spec.get("escaped"):
        values = values.astype(object)
        for k in spec["escaped"]:
            values.iloc[k] = _unescape(values.iloc[k])
    return _restore_categorical(values, spec) if "categories" in spec else as_dtype(values, spec)


def _restore_categorical(values: pd.Series[Any], spec: Spec) -> pd.Series[Any]:
    """Return a categorical column with the categories of a spec, in their order."""
    dtype = _dtype_from_json(spec["categories"])
    if "labels" not in spec:
        categories: Any = values.cat.categories
        return values.cat.rename_categories(categories if dtype is None else categories.astype(dtype))
    labels, stored = ([label_from_json(label) for label in spec[name]] for name in ("labels", "stored"))
    codes = pd.Index(stored, dtype=object).get_indexer(values.astype(object))
    categories = to_index(labels, pd.Index([], dtype=object if dtype is None else dtype))
    dtype = pd.CategoricalDtype(categories, ordered=spec["ordered"])
    return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype), index=values.index)


def as_dtype(values: Any, spec: Spec) -> Any:
    """Return a Series or Index in the dtype of a spec, unchanged if that cannot hold it, as missing rows."""
    with contextlib.suppress(*_CONVERSION_ERRORS):
        dtype = _dtype_from_json(spec)
        if dtype is not None and dtype != values.dtype:
            if dtype.kind == "c":
                values = values.astype(object).map(complex, na_action="ignore")
            return values.astype(dtype)
    return values


def _dtype_to_json(dtype: Any) -> Spec:
    if isinstance(dtype, pd.StringDtype):
        return {"dtype": "string", "storage": dtype.storage, "nan": dtype.na_value is not pd.NA}
    if isinstance(dtype, pd.CategoricalDtype):
        return {"dtype": "category", "ordered": bool(dtype.ordered)}
    return {"dtype": "arrow" if isinstance(dtype, pd.ArrowDtype) else str(dtype)}


def _dtype_from_json(spec: Spec) -> Any:
    """Return the dtype of a spec; None if it is another one's."""
    name = spec.get("dtype")
    if name == "string":
        return pd.StringDtype(spec["storage"], na_value=np.nan if spec["nan"] else pd.NA)
    return None if name in (None, "arrow", "category") else pd.api.types.pandas_dtype(name)


def storable_index(index: pd.Index[Any]) -> pd.Index[Any]:
    """Return an index with the labels as they are stored."""
    if isinstance(index, pd.RangeIndex):
        return index
    levels = [_to_level(to_storable(values)[0]) for values in _levels(index)]
    return pd.MultiIndex.from_arrays(levels) if len(levels) > 1 else levels[0]


def _levels(index: pd.Index[Any]) -> list[pd.Series[Any]]:
    """Return the labels of each level, one for each row."""
    unnamed = index.set_names([None] * index.nlevels)  # an integer name would be taken for a position
    return [_to_series(unnamed.get_level_values(k)) for k in range(index.nlevels)]


def _to_series(labels: pd.Index[Any]) -> pd.Series[Any]:
    # `Index.to_series` would infer a dtype for objects, and fail for texts that are not UTF-8.
    return pd.Series(labels.array, dtype=labels.dtype)


def _to_level(values: pd.Series[Any], name: Any = None) -> pd.Index[Any]:
    # With its dtype: pandas would infer another one for a Series of objects.
    return pd.Index(values.array, dtype=values.dtype, name=name, tupleize_cols=False)


def check_index(index: pd.Index[Any]) -> None:
    """Raise a TypeError if the labels or the names of an index would not be read back as they are."""
    table = to_table(pd.DataFrame(index=index))
    for name in index.names:
        other = label_from_json(label_to_json(name))
        if not is_same_label(name, other):
            raise TypeError(f"the name {shorten(name)} would become {shorten(other)}")
    if _may_change(index):
        _, levels, spec = from_table(table)
        _check_labels(index, to_index_of(levels, [spec]))


def _check_labels(index: pd.Index[Any], found: pd.Index[Any]) -> None:
    if not found.equals(index):  # nor are they equal to pandas, if their categories are not UTF-8
        for row, (label, other) in enumerate(zip(index, found, strict=True)):
            if not is_same_label(label, other):
                raise TypeError(f"the label {shorten(label)} of row {row} would become {shorten(other)}")


def _may_change(index: pd.Index[Any]) -> bool:
    """Return whether the labels have a dtype whose values are of many types: objects, or those of Arrow."""
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    levels = [level.categories if isinstance(level, pd.CategoricalIndex) else level for level in levels]
    return any(isinstance(level.dtype, pd.ArrowDtype) or level.dtype == object for level in levels)


# ---- tables


def to_table(frame: pd.DataFrame, declared: list[Any] | None = None) -> pa.Table:
    """Return a frame as a table whose fields have unique names, and whose metadata restores index and columns.

    Parameters
    ----------
    frame : DataFrame
        With any index.
    declared : list of dtype, optional
        Dtypes of the columns when no row is missing.

    Raises
    ------
    TypeError
        If Arrow cannot hold a column or the labels of the index.
    """
    index, n = frame.index, frame.shape[1]
    level_names = [_LEVEL.format(k) if name is None else name for k, name in enumerate(index.names)]
    fields = unique_fields([*frame.columns, *level_names])
    columns = [frame.iloc[:, k] for k in range(n)] + _levels(index)
    storable, specs = zip(*(to_storable(column.reset_index(drop=True)) for column in columns), strict=True)
    try:
        table = pa.Table.from_pandas(pd.DataFrame(dict(zip(fields, storable, strict=True))), preserve_index=False)
    except _CONVERSION_ERRORS as exc:
        raise TypeError(str(exc)) from exc
    column_specs, level_specs = list(specs[:n]), list(specs[n:])
    for k, dtype in enumerate(declared or []):
        column_specs[k] = _with_declared(column_specs[k], dtype)
    if isinstance(index, pd.MultiIndex):  # a level keeps its dtype beside missing values
        level_specs = [{**s, **_dtype_to_json(a.dtype)} for s, a in zip(level_specs, index.levels, strict=True)]
    spec: Spec = {"columns": column_specs, "levels": level_specs, "index": _index_to_json(index)}
    spec["names"] = [label_to_json(name) for name in frame.columns]
    return _with_metadata(table, fields[n:], spec)


def _with_declared(spec: Spec, dtype: Any) -> Spec:
    declared = _dtype_to_json(dtype)
    return spec if not spec or spec["dtype"] == declared["dtype"] else {**spec, "declared": declared}


def _index_to_json(index: pd.Index[Any]) -> Spec:
    spec: Spec = {"names": [label_to_json(name) for name in index.names], "multi": isinstance(index, pd.MultiIndex)}
    if isinstance(index, pd.RangeIndex):
        spec["range"] = [index.start, index.stop, index.step]
    if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        spec["freq"] = index.freqstr
    return spec


def unique_fields(names: Iterable[Any]) -> list[str]:
    """Return names as unique texts.

    Examples
    --------
    >>> unique_fields(["a", 1, "1", "a"])
    ['a', '1', '1_1', 'a_1']
    """
    fields: dict[str, None] = {}
    for name in names:
        text = field = str(name).encode("utf-8", "backslashreplace").decode()
        k = 0
        while field in fields:
            k += 1
            field = f"{text}_{k}"
        fields[field] = None
    return list(fields)


def _with_metadata(table: pa.Table, index_fields: list[str], spec: Spec) -> pa.Table:
    """Return a table with the index as pandas finds it, with our own metadata, and images as other readers see them."""
    metadata = json.loads(table.schema.metadata[b"pandas"])
    metadata["index_columns"] = index_fields
    for column in metadata["columns"]:
        # pandas does not know our dtype's name if this package is not imported, and cannot parse some names of its own.
        if column["numpy_type"].startswith("image[") or not _is_dtype_name(column["numpy_type"]):
            column["numpy_type"] = "object"
    updated = {b"pandas": json.dumps(metadata).encode(), _SPEC: json.dumps(spec).encode()}
    return table.replace_schema_metadata({**table.schema.metadata, **updated})


def _is_dtype_name(name: str) -> bool:
    try:
        pd.api.types.pandas_dtype(name)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True


def columns_spec(table: pa.Table) -> list[Spec]:
    """Return the specs of the columns of a table, without the levels of its index, which are behind them."""
    columns: list[Spec] = json.loads(table.schema.metadata[_SPEC])["columns"]
    return columns


def from_table(table: pa.Table) -> tuple[pd.DataFrame, pd.DataFrame, Spec]:
    """Return the columns of a table, the levels of its index as columns, and the spec for `to_index_of`."""
    metadata, spec = json.loads(table.schema.metadata[b"pandas"]), json.loads(table.schema.metadata[_SPEC])
    metadata["index_columns"] = []
    table = table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(metadata).encode()})
    frame, specs = table.to_pandas(), [*spec["columns"], *spec["levels"]]
    series = [_restore(frame.iloc[:, k], table.column(k), column) for k, column in enumerate(specs)]
    n = len(spec["columns"])
    columns = pd.concat([pd.DataFrame(index=frame.index), *series[:n]], axis=1)
    columns.columns = [label_from_json(name) for name in spec["names"]]
    return columns, pd.DataFrame(dict(enumerate(series[n:])), index=frame.index), spec


def _restore(values: pd.Series[Any], stored: pa.ChunkedArray, spec: Spec) -> pd.Series[Any]:
    if spec.get("dtype") == "arrow":
        return pd.Series(pd.arrays.ArrowExtensionArray(stored), index=values.index)
    if spec.get("dtype") == "object" and not pa.types.is_temporal(stored.type):  # integers stay so beside None
        values = pd.Series(stored.to_pylist(), index=values.index, dtype=object)
    return from_storable(values, spec)


def to_declared(frame: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """Return a frame in which columns without a missing row have their declared dtypes."""
    columns = [frame.iloc[:, k] for k in range(frame.shape[1])]
    for k, column_spec in enumerate(spec["columns"][: len(columns)]):
        if "declared" in column_spec and not columns[k].isna().any():
            columns[k] = as_dtype(columns[k], column_spec["declared"])
    result = pd.concat([pd.DataFrame(index=frame.index), *columns], axis=1)
    result.columns = frame.columns
    return result


def to_index_of(levels: pd.DataFrame, specs: list[Spec]) -> pd.Index[Any]:
    """Return the index of the rows of one or several tables.

    Parameters
    ----------
    levels : DataFrame
        Levels of the index as columns.
    specs : list of dict
        Spec of each table.
    """
    spec = specs[0]["index"]
    names = [label_from_json(name) for name in spec["names"]]
    if spec["multi"]:
        index = pd.MultiIndex.from_arrays([_to_level(levels[k]) for k in levels])
        index = index.set_levels([as_dtype(a, s) for a, s in zip(index.levels, specs[0]["levels"], strict=True)])
        return index.set_names(names)  # last: pd.NA is neither true nor false, and `set_levels` looks
    labels = _as_range(_to_level(levels[0], names[0]), [other["index"] for other in specs])
    return _with_freq(labels, spec)


def _as_range(labels: pd.Index[Any], specs: list[Spec]) -> pd.Index[Any]:
    """Return labels as a RangeIndex, if they are those of consecutive ranges, or of one without its labels."""
    if not all("range" in spec for spec in specs):
        return labels
    start, stop, step = specs[0]["range"]
    if not len(labels):
        return pd.RangeIndex(start, stop, step, name=labels.name)
    joined = pd.RangeIndex(start, start + step * len(labels), step, name=labels.name)
    return joined if joined.equals(labels) else labels


def _with_freq(labels: pd.Index[Any], spec: Spec) -> pd.Index[Any]:
    if spec.get("freq") and isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
        with contextlib.suppress(ValueError):  # a frequency that its name does not define, or rows between are missing
            labels.freq = spec["freq"]  # type: ignore[misc]  # as pandas' stubs have it
    return labels
