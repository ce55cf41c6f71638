"""Parquet parts: the results of a partition with the kinds of failure, as pandas and other readers load them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

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
_SERIES = b"pandas_imgproc.series"


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


def to_part_frame(part: PartitionResult, task: Task, labels: pd.Index[Any]) -> pd.DataFrame:
    """Return the frame of a part: the results of a finished partition, and the kinds of failure."""
    assert part.values is not None
    status = np.where(part.status > 0, -1, part.status).astype(np.int32)  # the kinds have a column of their own
    result = task.to_pandas(part.values, status, (), labels)
    frame = result.to_frame() if isinstance(result, pd.Series) else result
    # The same dtypes in all parts: in another one rows may be missing.
    frame = frame.astype({name: wider for name, dtype in frame.dtypes.items() if (wider := nullable(dtype))})
    if FAILURE in frame.columns:
        raise ValueError(f"out=: the result has a column {FAILURE!r}, which parts have already; call it something else")
    kinds = [part.failures[code - 1]["kind"] if code > 0 else None for code in np.repeat(part.status, task.n_outputs)]
    frame = frame.assign(**{FAILURE: pd.array(kinds, dtype="string")})
    frame.attrs = {"is_series": isinstance(result, pd.Series)}
    return frame


def to_parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as a Parquet file; readers without this package see images as bytes."""
    is_series = frame.attrs.pop("is_series")
    # The index is a column, also a range: readers of several parts take the range of the first one for that of all.
    table = pa.Table.from_pandas(frame, preserve_index=True)
    metadata = json.loads(table.schema.metadata[b"pandas"])
    for column in metadata["columns"]:
        if column["numpy_type"].startswith("image["):
            column["numpy_type"] = "object"  # pandas does not know our dtype's name if this package is not imported
    updated = {b"pandas": json.dumps(metadata).encode(), _SERIES: json.dumps(is_series).encode()}
    table = table.replace_schema_metadata({**table.schema.metadata, **updated})
    stream = pa.BufferOutputStream()
    # Pixels hardly repeat: a dictionary or compression costs time and saves nothing.
    pq.write_table(table, stream, use_dictionary=False, compression="none")
    return bytes(stream.getvalue())


def read_part(data: bytes) -> pd.DataFrame:
    """Return the frame of a part, with columns of images."""
    table = pq.read_table(pa.BufferReader(data))
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = {"is_series": json.loads(table.schema.metadata[_SERIES])}
    return frame


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
        empty = read_part(folder.read(EMPTY_PART))
        return empty.iloc[:, 0] if empty.attrs["is_series"] else empty.drop(columns=FAILURE)
    found = parse_part_names(folder.names(), generation)
    parts = [rows for rows in found if rows.stop <= len(done) and done[rows.start : rows.stop].all()]
    if not parts:
        raise FileNotFoundError(f"there are no finished parts in {folder.url!r}")
    _check_all_present(folder, parts, done)
    frames = [read_part(folder.read(part_filename(rows, generation))) for rows in parts]
    joined = concat_parts([frame.drop(columns=FAILURE) for frame in frames])
    n_outputs = len(joined) // sum(map(len, parts))
    indexer = np.full((len(done), n_outputs), -1)
    indexer[np.concatenate([np.asarray(rows) for rows in parts])] = np.arange(len(joined)).reshape(-1, n_outputs)
    result = _take_with_missing(joined, indexer.reshape(-1))
    return result.iloc[:, 0] if frames[0].attrs["is_series"] else result


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
    for name in frames[0]:
        columns = [frame[name] for frame in frames]
        if any(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            dtype = _union_dtype([column.astype("category") for column in columns])
            for frame, column in zip(frames, columns, strict=True):
                frame[name] = column.astype(dtype)
    return pd.concat(frames)


def _union_dtype(columns: list[pd.Series[Any]]) -> pd.CategoricalDtype:
    """Return the dtype of several categorical columns. Empty categories have no dtype, and take that of others."""
    found = [column.cat.categories for column in columns]
    shared = next((categories for categories in found if len(categories)), found[0])
    columns = [c if len(c.cat.categories) else c.cat.set_categories(shared) for c in columns]
    return union_categoricals(columns, sort_categories=True).dtype


def _take_with_missing(frame: pd.DataFrame, indexer: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return rows of a frame by position, with missing values and a missing label for -1."""
    if np.array_equal(indexer, np.arange(len(frame))):
        return frame
    is_multi = isinstance(frame.index, pd.MultiIndex)
    missing = pd.MultiIndex.from_tuples([(None,) * frame.index.nlevels]) if is_multi else pd.Index([None])
    labels = frame.index.append(missing).take(indexer)
    return frame.reset_index(drop=True).reindex(indexer).set_axis(labels)
