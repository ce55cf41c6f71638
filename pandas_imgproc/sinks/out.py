"""Parsing of ``out=``, and reading of the results on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc._file_uri import to_user_path
from pandas_imgproc.array import ImageArray
from pandas_imgproc.sinks.job_spec import first_mismatch
from pandas_imgproc.sinks.journal import Journal
from pandas_imgproc.sinks.journaled import ResultStore, check_retry
from pandas_imgproc.sinks.npy import NpySink
from pandas_imgproc.sinks.parquet import ParquetSink
from pandas_imgproc.source import StorageOptions
from pandas_imgproc.tasks import with_labels
from pandas_imgproc.tasks.result_columns import nullable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_imgproc.sinks.journaled import JournaledSink, Retry


_READ_ATTEMPTS = 5
"""Times that a result is read before an error is believed, because a running job may replace it."""


def parse_out(
    out: str | os.PathLike[str] | None, *, overwrite: bool, retry: Retry, options: StorageOptions | None = None
) -> ResultStore | None:
    """Return the location of a result; None if `out` is None.

    Raises
    ------
    TypeError, ValueError
        If it is not a path, or does not end in ``.npy`` or ``.parquet``.

    Examples
    --------
    >>> parse_out("train_64.npy", overwrite=False, retry="transient").sink_class.__name__
    'NpySink'
    """
    check_retry(retry)
    if out is None:
        return None
    if not isinstance(out, str | os.PathLike):
        raise TypeError(f"out={out!r} is not a path such as 'train_64.npy'")
    path = to_user_path(out)
    return ResultStore(_sink_class(path), _absolute(path), overwrite, retry, options or StorageOptions())


def _sink_class(path: str) -> type[JournaledSink]:
    if path.rstrip("/").endswith(".parquet"):
        return ParquetSink
    if path.endswith(".npy") and "://" not in path:
        return NpySink
    raise ValueError(
        f"out={path!r} is neither a local NumPy file ('train_64.npy') nor a folder of Parquet parts, local or at a URL "
        "('train_64.parquet')"
    )


def _absolute(path: str) -> str:
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def read_result(
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, storage_options: Mapping[str, Any] | None = None
) -> Any:
    """Open a result that a call with ``out=`` has written, with its failures.

    Parameters
    ----------
    out : path, or list of paths
        A ``.npy`` file or a ``.parquet`` folder. Or several, written from the parts ``df.iloc[k::m]`` of one frame, k
        from 0 to m - 1: they are merged in the order of the frame.
    storage_options : dict, optional
        Options of the fsspec file system that reads a URL.

    Returns
    -------
    Series or DataFrame
        The result of the same call without ``out=``, with the index of the frame. A NumPy file is memory-mapped:
        nothing is read until it is used. Unfinished rows are missing.

    Raises
    ------
    FileNotFoundError
        If there is no such result.
    JournalError
        If its journal or its file is damaged.
    TypeError
        If `out` is neither a path nor a list of paths.
    ValueError
        If the list is empty, names a path twice, or its results are not the parts of one frame.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
    >>> paths = pd.Series(["red.png", "blue.jpg", "gone.png"], index=list("abc"))
    >>> _ = paths.img.load_resized(4, out="x.npy", errors="coerce")
    >>> read_result("x.npy").img.failures.index.tolist()
    ['c']
    """
    options = StorageOptions(storage_options)
    if isinstance(out, str | os.PathLike):
        return _read_store(to_user_path(out), options)[0]
    results, n_outputs, tasks = zip(*(_read_store(path, options) for path in _check_paths(out)), strict=True)
    for task in tasks[1:]:
        difference = first_mismatch(tasks[0], task)
        if difference:
            raise ValueError(f"out={len(results)} results are not the parts of one job: {difference}")
    return _merge_strided(list(results), n_outputs[0])


def _check_paths(out: Any) -> list[str]:
    if not isinstance(out, Iterable):
        raise TypeError(f"out={out!r} is neither a path such as 'train_64.npy' nor a list of them")
    paths = list(map(to_user_path, out))
    if not paths:
        raise ValueError(f"out={out!r} names no result")
    duplicates = [path for k, path in enumerate(paths) if _absolute(path) in map(_absolute, paths[:k])]
    if duplicates:
        raise ValueError(f"out names {duplicates[0]!r} twice: these are not the parts of one frame")
    return paths


def _read_store(path: str, options: StorageOptions) -> tuple[pd.Series[Any] | pd.DataFrame, int, dict[str, Any]]:
    """Return a result, its number of rows for each row of the frame, and the fingerprint of its task."""
    store = ResultStore(_sink_class(path), _absolute(path), options=options)
    result, journal = _read_consistently(store)
    assert journal.spec is not None
    n_outputs = len(result) // len(journal.done) if len(journal.done) else 1
    return _attach_failures(result, journal, n_outputs), n_outputs, journal.spec.task


def _read_consistently(store: ResultStore) -> tuple[pd.Series[Any] | pd.DataFrame, Journal]:
    """Return a result and its journal, also while the job runs, gets its name or is replaced."""
    storage = store.sink_class.journal_storage(store)
    for attempts in range(_READ_ATTEMPTS, 0, -1):
        journal = Journal(storage)
        try:
            if journal.spec is None:
                raise FileNotFoundError(f"there is no result at {store.path!r}: its journal is missing")
            result = store.sink_class.read(store, journal)
        except (OSError, ValueError):  # a file that was renamed or replaced between the two
            if attempts == 1 or journal.is_current():
                raise
        else:
            if attempts == 1 or journal.is_current(grown=True):
                break
    return result, journal


def _attach_failures(
    result: pd.Series[Any] | pd.DataFrame, journal: Journal, n_outputs: int
) -> pd.Series[Any] | pd.DataFrame:
    """Return a result with its failures: in the array of images, or else in ``attrs``."""
    status, failures = journal.results()
    if isinstance(result, pd.Series) and isinstance(result.array, ImageArray):
        status = np.repeat(status, n_outputs)
        status[(status == 0) & result.array.isna()] = -1  # a part that was replaced after the journal was read
        images = ImageArray(result.array.pixels, status, failures)
        return pd.Series(images, index=result.index, name=result.name, copy=False)
    result.attrs = {"failures": with_labels(failures, result.index, n_outputs)}
    return result


def _merge_strided(parts: list[Any], n_outputs: int) -> pd.Series[Any] | pd.DataFrame:
    """Return the results of ``df.iloc[k::m]`` in the order of the frame, whichever order they are listed in."""
    m, n = len(parts), sum(map(len, parts)) // n_outputs
    starts = [part.index.start for part in parts if isinstance(part.index, pd.RangeIndex) and part.index.step == m]
    if len(starts) == m:
        parts = sorted(parts, key=lambda part: int(part.index[0]) if len(part) else n)
    fits = [len(part) // n_outputs for part in parts] == [len(range(k, n, m)) for k in range(m)]
    strided = any(isinstance(part.index, pd.RangeIndex) and abs(part.index.step) > 1 for part in parts)
    if strided:
        fits &= len(set(starts)) == m and max(starts) - min(starts) == m - 1
    if not fits or len(set(map(_schema, parts))) != 1:
        raise ValueError(
            f"out={m} results of {[len(part) for part in parts]} rows and of {list(map(_schema, parts))} are "
            f"not the parts df.iloc[k::{m}] of one frame, k from 0 to {m - 1}"
        )
    rows = np.argsort(np.concatenate([np.arange(k, n, m) for k in range(m)]), kind="stable")
    order = (rows[:, None] * n_outputs + np.arange(n_outputs)).reshape(-1)
    merged: pd.Series[Any] | pd.DataFrame = pd.concat(parts).iloc[order]
    failed = [
        {**f, "position": f["position"] * m + k} for k, a in enumerate(parts) for f in a.attrs.get("failures", ())
    ]
    if failed:  # pandas drops the attrs of parts that differ
        merged.attrs["failures"] = tuple(sorted(failed, key=lambda item: item["position"]))
    return merged


def _schema(result: pd.Series[Any] | pd.DataFrame) -> str:
    """Return the dtypes, as if rows were missing: in other parts they may be."""
    dtypes = {None: result.dtype} if isinstance(result, pd.Series) else dict(result.dtypes)
    return str({name: str(nullable(dtype) or dtype) for name, dtype in dtypes.items()})
