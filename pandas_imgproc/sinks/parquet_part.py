"""Parquet parts: the results of a partition with the kinds of failure, as pandas and other readers load them."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pandas_imgproc.array import ImageArray, ImageArrowType
from pandas_imgproc.array.arrow import from_arrow
from pandas_imgproc.sinks.arrow_columns import columns_spec, from_table, to_declared, to_index_of, to_table
from pandas_imgproc.tasks.result_columns import nullable

if TYPE_CHECKING:
    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.directory import Directory
    from pandas_imgproc.tasks import Task

FAILURE = "failure"
"""Column of a part with the kind of failure of each row."""

EMPTY_PART = "part-of-no-rows.parquet"
"""Name of the part of a frame without rows, from which readers take the columns."""

Mask = np.ndarray[Any, np.dtype[np.bool_]]

_PART = re.compile(r"part-(\d+)-(\d+)(\.1)?\.parquet")
_SERIES, _OPEN = b"pandas_imgproc.series", b"pandas_imgproc.open"


def part_filename(rows: range, generation: int = 0) -> str:
    """Return the name of the part of a range of rows; sorted by name, parts are in the order of the frame.

    Examples
    --------
    >>> part_filename(range(0, 128)), part_filename(range(0, 128), generation=1)
    ('part-000000000-000000127.parquet', 'part-000000000-000000127.1.parquet')
    """
    return f"part-{rows.start:09d}-{rows.stop - 1:09d}{'.1' if generation else ''}.parquet"


def parse_part_names(names: list[str], generation: int = 0) -> list[range]:
    """Return the ranges of rows of the parts of a generation in a list of names, in the order of the names.

    Examples
    --------
    >>> parse_part_names(["_journal", "part-000000000-000000127.parquet", "part-000000000-000000099.1.parquet"])
    [range(0, 128)]
    """
    matches = filter(None, map(_PART.fullmatch, names))
    return [range(int(match[1]), int(match[2]) + 1) for match in matches if bool(match[3]) == bool(generation)]


class Part(NamedTuple):
    """Contents of a part: its columns, the levels of its index as columns, and the spec that restores both."""

    columns: pd.DataFrame
    levels: pd.DataFrame
    spec: dict[str, Any]
    is_series: bool
    is_open: bool = False  # no row has a result, and other parts may have other columns


def to_part_frame(part: PartitionResult, task: Task, labels: pd.Index[Any]) -> pd.DataFrame:
    """Return the frame of a part: the results of a finished partition, and the kinds of failure."""
    assert part.values is not None
    status = np.where(part.status > 0, -1, part.status).astype(np.int32)  # the kinds have a column of their own
    result = task.to_pandas(part.values, status, (), labels)
    frame = result.to_frame() if isinstance(result, pd.Series) else result
    # The same dtypes in all parts: in another one rows may be missing.
    wider = {name: dtype for name, old in frame.dtypes.items() if (dtype := nullable(old))}
    frame = frame.astype(wider) if wider else frame
    if FAILURE in frame.columns:
        raise ValueError(f"out=: the result has a column {FAILURE!r}, which parts have already; call it something else")
    kinds = [part.failures[code - 1]["kind"] if code > 0 else None for code in np.repeat(part.status, task.n_outputs)]
    frame = frame.assign(**{FAILURE: pd.array(kinds, dtype="string")})
    frame.attrs = {
        "is_series": isinstance(result, pd.Series),
        "is_open": task.has_open_form and not (part.status == 0).any(),
        "declared": _declared_dtypes(task, labels, frame.shape[1] - 1),
    }
    return frame


def _declared_dtypes(task: Task, labels: pd.Index[Any], n: int) -> list[Any]:
    """Return the dtypes of the n columns of a result in which no row is missing."""
    dtype = getattr(task, "dtype", None)
    if task.has_open_form and dtype is not None:
        return [dtype] * n
    empty = task.to_pandas(task.allocate(0), np.empty(0, dtype=np.int32), (), labels[:0])
    return [empty.dtype] if isinstance(empty, pd.Series) else empty.dtypes.tolist()


def to_part_table(frame: pd.DataFrame) -> pa.Table:
    """Return the frame of a part as a table; readers without this package see images as bytes.

    Raises
    ------
    TypeError
        If Parquet cannot hold a column.
    """
    is_series, is_open, declared = (frame.attrs[name] for name in ("is_series", "is_open", "declared"))
    frame = frame.copy(deep=False)
    frame.attrs = {}  # pandas copies it deeply with each column
    # The index is a column, also a range: readers of several parts take the range of the first one for that of all.
    table = to_table(frame, declared)
    metadata = {_SERIES: json.dumps(is_series).encode(), _OPEN: json.dumps(bool(is_open)).encode()}
    return table.replace_schema_metadata({**table.schema.metadata, **metadata})


def to_parquet_bytes(table: pa.Table) -> bytes:
    """Return the table of a part as a Parquet file."""
    stream = pa.BufferOutputStream()
    # Pixels hardly repeat: a dictionary or compression costs time and saves nothing. The smallest image is of no use.
    ordered = [field.name for field in table.schema if not isinstance(field.type, ImageArrowType)]
    pq.write_table(table, stream, use_dictionary=False, compression="none", write_statistics=ordered or False)
    return bytes(stream.getvalue())


def read_table(data: bytes) -> pa.Table:
    """Return the table of a part."""
    # Not `pyarrow.parquet.read_table`, which first makes a data set of the file.
    # Without threads: in memory there is nothing to wait for, and to wake them takes longer than to read.
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def to_part(table: pa.Table) -> Part:
    """Return the contents of a part, with columns of images."""
    metadata = table.schema.metadata
    return Part(*from_table(table), json.loads(metadata[_SERIES]), json.loads(metadata.get(_OPEN, b"false")))


def replace_rows(old: pa.Table, new: pa.Table, rows: np.ndarray[Any, Any]) -> pa.Table | None:
    """Return a part of which some rows are those of another; None if their columns are not stored alike.

    They are not if one has other categories, or texts that are escaped, or no value at all in a column of objects.
    """
    specs, other_specs = (columns_spec(table) for table in (old, new))
    columns = old.column_names[: len(specs)]
    old_columns, new_columns = old.select(columns), new.select(new.column_names[: len(other_specs)])
    if specs != other_specs or any("escaped" in spec for spec in specs):
        return None
    if not old_columns.schema.equals(new_columns.schema):
        return None
    indexer = np.arange(len(old))
    indexer[rows] = len(old) + np.arange(len(new))
    taken = pa.concat_tables([old_columns, new_columns]).take(pa.array(indexer))
    for k, name in enumerate(columns):
        old = old.set_column(k, old.schema.field(name), taken.column(k))
    return old


def read_parts(folder: Directory, done: Mask, generation: int = 0) -> pd.Series[Any] | pd.DataFrame:
    """Return the result of all parts in the order of the frame, missing where rows are unfinished.

    Parameters
    ----------
    folder : Directory
        Folder of the parts.
    done : ndarray of bool, shape (n,)
        Mask of the finished rows.
    generation : int
        The parts' generation: while a result is replaced, the parts of both are in the folder.

    Raises
    ------
    FileNotFoundError
        If there are no finished parts, or the part of a finished row is gone.
    """
    if not len(done):
        return _to_result([_without_failures(read_table(folder.read(EMPTY_PART)))], np.empty(0, dtype=np.intp), {})
    found = parse_part_names(folder.names(), generation)
    rows_of = [rows for rows in found if rows.stop <= len(done) and done[rows.start : rows.stop].all()]
    if not rows_of:
        raise FileNotFoundError(f"there are no finished parts in {folder.url!r}")
    _check_all_present(folder, rows_of, done)
    parts: list[Part] = []
    images: dict[int, _ImageBlock] = {}
    for rows in rows_of:
        table = read_table(folder.read(part_filename(rows, generation)))
        n_outputs = len(table) // len(rows)
        table = _move_images(table, images, rows.start * n_outputs, len(done) * n_outputs)
        parts.append(_without_failures(table))
    indexer = np.full((len(done), n_outputs), -1)
    positions = np.concatenate([np.asarray(rows) for rows in rows_of])
    indexer[positions] = np.arange(len(positions) * n_outputs).reshape(-1, n_outputs)
    return _to_result(parts, indexer.reshape(-1), images)


class _ImageBlock:
    """Images of a column of all parts, in one block: they are copied once, part by part."""

    def __init__(self, n: int, image_type: ImageArrowType) -> None:
        self.pixels = np.zeros((n, *image_type.shape), dtype=image_type.subtype)
        self.status = np.full(n, -1, dtype=np.int32)

    def write(self, start: int, column: pa.ChunkedArray) -> None:
        """Write the images of a part, of which the first one has a position."""
        rows = slice(start, start + len(column))
        self.pixels[rows], missing = from_arrow(column)
        self.status[rows] = np.where(missing, -1, 0)


def _move_images(table: pa.Table, images: dict[int, _ImageBlock], start: int, n: int) -> pa.Table:
    """Return a table with columns of nulls in place of its images, which are written into blocks of n rows."""
    for k in range(len(columns_spec(table))):
        column, name = table.column(k), table.column_names[k]
        if isinstance(column.type, ImageArrowType):
            if k not in images:
                images[k] = _ImageBlock(n, column.type)
            images[k].write(start, column)
            table = table.set_column(k, name, pa.nulls(len(table), pa.int8()))
    return table


def _without_failures(table: pa.Table) -> Part:
    part = to_part(table)
    return part._replace(columns=part.columns.drop(columns=FAILURE))


def _to_result(
    parts: list[Part], indexer: np.ndarray[Any, Any], images: dict[int, _ImageBlock]
) -> pd.Series[Any] | pd.DataFrame:
    """Return the rows of some parts by position, with missing values and a missing label for -1."""
    main = next((part for part in parts if not part.is_open), parts[0])
    specs = [part.spec for part in parts]
    columns = _take(concat_parts([like_main(part, main).columns for part in parts]), indexer)
    for k, block in images.items():
        columns.isetitem(k, ImageArray(block.pixels, block.status))
    result = to_declared(columns, main.spec)
    result.index = to_index_of(_take(concat_parts([part.levels for part in parts]), indexer), specs)
    return result.iloc[:, 0] if main.is_series else result


def like_main(part: Part, main: Part) -> Part:
    """Return a part of open form with the columns of another, all missing but the failures; any other as it is."""
    if not part.is_open or part is main:
        return part
    columns = main.columns.iloc[:0].reindex(range(len(part.columns)))
    if FAILURE in part.columns:
        columns[FAILURE] = part.columns[FAILURE]
    return part._replace(columns=columns, is_series=main.is_series)


def _check_all_present(folder: Directory, parts: list[range], done: Mask) -> None:
    gone = done.copy()
    for rows in parts:
        gone[rows.start : rows.stop] = False
    if gone.any():
        raise FileNotFoundError(
            f"the part of row {gone.argmax()} in {folder.url!r} is gone ({gone.sum()} rows by the journal); the same "
            "call again writes it"
        )


def concat_parts(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several frames, with the union of their categories, which `pandas.concat` makes objects of."""
    frames = [frame.copy(deep=False) for frame in frames if len(frame)] or frames[:1]
    dtypes: dict[Any, pd.CategoricalDtype] = {}
    for name in frames[0]:
        columns = [frame[name] for frame in frames]
        if any(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            columns = [column.astype("category") for column in columns]
            dtypes[name] = _union_dtype(columns)
            # As numbers: pandas compares dtypes by a hash, which categories that are not UTF-8 do not have.
            for frame, column in zip(frames, columns, strict=True):
                frame[name] = _codes(column, dtypes[name])
    joined = pd.concat(frames, ignore_index=True)
    for name, dtype in dtypes.items():
        joined[name] = pd.Series(pd.Categorical.from_codes(joined[name].to_numpy(), dtype=dtype))
    return joined


def _codes(column: pd.Series[Any], dtype: pd.CategoricalDtype) -> np.ndarray[Any, Any]:
    """Return the positions of the values of a categorical column in the categories of another dtype, -1 if missing."""
    positions = dtype.categories.get_indexer_for(column.cat.categories)
    return np.append(positions, -1)[column.cat.codes.to_numpy()]


def _union_dtype(columns: list[pd.Series[Any]]) -> pd.CategoricalDtype:
    """Return the dtype of several categorical columns. Empty categories have no dtype, and take that of others."""
    dtypes: list[Any] = [column.dtype for column in columns]
    largest: pd.CategoricalDtype = max(dtypes, key=lambda dtype: len(dtype.categories))
    if all(column.cat.categories.isin(largest.categories).all() for column in columns):
        return largest  # in the order of a declared dtype, or of a frame's index
    first, *others = (dtype.categories for dtype in dtypes if len(dtype.categories))
    union = first.append(others).unique()
    with contextlib.suppress(TypeError):  # categories of several types have no order
        union = union.sort_values()
    return pd.CategoricalDtype(union)


def _take(frame: pd.DataFrame, indexer: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return rows of a frame by position, missing for -1."""
    return frame if np.array_equal(indexer, np.arange(len(frame))) else frame.reindex(indexer).reset_index(drop=True)
