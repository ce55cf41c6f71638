"""A part of a folder of Parquet: the answer of some rows, as pandas and others read it, with the kinds of failure."""

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
"""The column of a part that holds the kind of failure of each row."""

EMPTY_PART = "part-of-no-rows.parquet"
"""The name of the part of a frame without rows: readers find the columns in it."""

_PART = re.compile(r"part-(\d+)-(\d+)\.parquet")
_SERIES = b"pandas_imgproc.series"


def part_filename(rows: range) -> str:
    """Return the name of the part of some rows; in the order of names, parts are in the order of the frame.

    Examples
    --------
    >>> part_filename(range(0, 128))
    'part-000000000-000000127.parquet'
    """
    return f"part-{rows.start:09d}-{rows.stop - 1:09d}.parquet"


def parse_part_names(names: list[str]) -> list[range]:
    """Return the rows of the parts among some names, in the order of the frame.

    Examples
    --------
    >>> parse_part_names(["_journal", "part-000000000-000000127.parquet"])
    [range(0, 128)]
    """
    found = [_PART.fullmatch(name) for name in names]
    return [range(int(match[1]), int(match[2]) + 1) for match in found if match]


def to_part_frame(part: PartitionResult, task: Task, labels: pd.Index[Any]) -> pd.DataFrame:
    """Return a finished partition as the frame that a part holds: the answer, and the kinds of failure."""
    assert part.values is not None
    status = np.where(part.status > 0, -1, part.status).astype(np.int32)  # the kinds stand beside it
    answer = task.to_pandas(part.values, status, (), labels)
    frame = answer.to_frame() if isinstance(answer, pd.Series) else answer
    # Of all parts alike: in another one rows may be missing.
    frame = frame.astype({name: known for name, dtype in frame.dtypes.items() if (known := nullable(dtype))})
    if FAILURE in frame.columns:
        raise ValueError(f"out=: the answer has a column {FAILURE!r}, which parts have already; call it something else")
    kinds = [part.failures[code - 1]["kind"] if code > 0 else None for code in np.repeat(part.status, task.n_outputs)]
    frame = frame.assign(**{FAILURE: pd.array(kinds, dtype="string")})
    frame.attrs = {"is_series": isinstance(answer, pd.Series)}
    return frame


def to_parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return a Parquet file of a frame, which is read with and without this package.

    Without it, images are a column of bytes.
    """
    is_series = frame.attrs.pop("is_series")
    # A column, also for a range: readers of several parts take the range of the first one for that of all.
    table = pa.Table.from_pandas(frame, preserve_index=True)
    known = json.loads(table.schema.metadata[b"pandas"])
    for column in known["columns"]:
        if column["numpy_type"].startswith("image["):
            column["numpy_type"] = "object"  # the name of our dtype means nothing where we are not imported
    more = {b"pandas": json.dumps(known).encode(), _SERIES: json.dumps(is_series).encode()}
    table = table.replace_schema_metadata({**table.schema.metadata, **more})
    sink = pa.BufferOutputStream()
    # Pixels hardly repeat: a dictionary or compression costs time and saves nothing.
    pq.write_table(table, sink, use_dictionary=False, compression="none")
    return bytes(sink.getvalue())


def read_part(data: bytes) -> pd.DataFrame:
    """Return the frame of a part, images as images."""
    table = pq.read_table(pa.BufferReader(data))
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = {"is_series": json.loads(table.schema.metadata[_SERIES])}
    return frame


def read_parts(folder: Directory, done: np.ndarray[Any, np.dtype[np.bool_]]) -> pd.Series[Any] | pd.DataFrame:
    """Return the answer that all parts hold, in the order of the frame; missing where rows are not done.

    Parameters
    ----------
    folder : Directory
    done : ndarray of bool, shape (n,)
        Which rows of the frame are done.

    Raises
    ------
    FileNotFoundError
        If there are no finished parts, or a part of rows that are done is gone.
    """
    rows = [rows for rows in parse_part_names(folder.names()) if done[rows.start : rows.stop].all()]
    if not len(done):
        nothing = read_part(folder.read(EMPTY_PART))
        return nothing.iloc[:, 0] if nothing.attrs["is_series"] else nothing.drop(columns=FAILURE)
    if not rows:
        raise FileNotFoundError(f"there are no finished parts in {folder.url!r}")
    _check_none_is_gone(folder, rows, done)
    frames = [read_part(folder.read(part_filename(part))) for part in rows]
    whole = concat_parts([frame.drop(columns=FAILURE) for frame in frames])
    n_outputs = len(whole) // sum(map(len, rows))
    take = np.full((len(done), n_outputs), -1)
    take[np.concatenate([np.asarray(part) for part in rows])] = np.arange(len(whole)).reshape(-1, n_outputs)
    there = _taken(whole, take.reshape(-1))
    return there.iloc[:, 0] if frames[0].attrs["is_series"] else there


def _check_none_is_gone(folder: Directory, rows: list[range], done: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    gone = done.copy()
    for part in rows:
        gone[part.start : part.stop] = False
    if gone.any():
        raise FileNotFoundError(
            f"the part of row {gone.argmax()} in {folder.url!r} is gone ({gone.sum()} rows by the journal); the same "
            "call again makes it"
        )


def concat_parts(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return frames below each other; categories that differ are united, which `pandas.concat` makes objects of."""
    whole = pd.concat(frames)
    for name, dtype in frames[0].dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            whole[name] = union_categoricals([frame[name] for frame in frames], sort_categories=True)
    return whole


def _taken(frame: pd.DataFrame, take: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return rows of a frame, with missing values and a missing label for -1."""
    if (take == np.arange(len(frame))).all() if len(take) == len(frame) else False:
        return frame
    several = isinstance(frame.index, pd.MultiIndex)
    none = pd.MultiIndex.from_tuples([(None,) * frame.index.nlevels]) if several else pd.Index([None])
    labels = frame.index.append(none).take(take)
    return frame.reset_index(drop=True).reindex(take).set_axis(labels)
