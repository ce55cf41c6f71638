"""Results that stand on disk: what an ``out=`` means, how a job is continued, and how its answer is read again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import JournalError
from pandas_imgproc.sinks import (
    Directory,
    JournaledSink,
    NpySink,
    ParquetSink,
    Retry,
    check_retry,
    parse_part_names,
    part_filename,
    read_parts,
)
from pandas_imgproc.sinks.journal import (
    JobSpec,
    Journal,
    JournalStorage,
    LocalJournal,
    ObjectStoreJournal,
    first_mismatch,
)
from pandas_imgproc.source import StorageOptions
from pandas_imgproc.tasks import variant_index, with_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas_imgproc.execution import Job
    from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class Place:
    """Where a call keeps its answer.

    Attributes
    ----------
    path : str
        Absolute, or a URL.
    overwrite : bool
        Whether what stands there is thrown away.
    retry : {"transient", "all"}
        Which failed rows are tried again.
    options : StorageOptions
        For the file system of a URL.
    """

    path: str
    overwrite: bool = False
    retry: Retry = "transient"
    options: StorageOptions = field(default_factory=StorageOptions)

    def open(self, call: Job, index: pd.Index[Any]) -> JournaledSink:
        """Continue what stands there, or start.

        Raises
        ------
        JournalError
            If it is of another job, damaged, or being written.
        OSError
            If it cannot be written.
        """
        self.check(call.task)
        _check_labels(self.path, index)
        asked = JobSpec.of(call.task, call.source, call.inputs, index)
        try:
            lines = self.make()
            lines.lock()
            with _closed_on_error(lines):
                if self.overwrite:
                    self._clear(lines)
                journal = Journal(lines)
                if journal.mismatch(asked) and not journal.has_results:
                    # A call that could read nothing: the next one, with the right root=, has nothing to lose.
                    journal = self._clear(lines)
                kept = self.sink(call, journal, index)
                kept.open(asked, call.source, call.inputs, self.retry)
                self.keep_labels(index)
        except OSError as exc:
            raise OSError(exc.errno, f"out={self.path!r} cannot be written: {exc.strerror or exc}") from exc
        return kept

    def _clear(self, lines: JournalStorage) -> Journal:
        lines.clear()
        self.remove()
        return Journal(lines)

    def check(self, task: Task) -> None:
        """Raise a ValueError if the answers of a task cannot be kept here."""

    def lines(self) -> JournalStorage:
        """Return where the journal's lines are."""
        raise NotImplementedError

    def make(self) -> JournalStorage:
        """Make what must be there before the journal."""
        raise NotImplementedError

    def remove(self) -> None:
        """Remove the answer of an earlier job."""
        raise NotImplementedError

    def sink(self, call: Job, journal: Journal, index: pd.Index[Any]) -> JournaledSink:
        """Return the destination of a call."""
        raise NotImplementedError

    def keep_labels(self, index: pd.Index[Any]) -> None:
        """Keep the labels of the frame, where the values do not hold them."""

    def read(self, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
        """Return the answer, with its index; without the reasons of what is missing."""
        raise NotImplementedError


class NpyPlace(Place):
    """A NumPy file, its journal and its index beside it."""

    def check(self, task: Task) -> None:
        """Refuse what is no image."""
        one = task.allocate(0)
        if one.dtype.hasobject or one.ndim < 4:
            raise ValueError(f"out={self.path!r} holds images; this {task.name} gives others: use '….parquet'")

    def lines(self) -> JournalStorage:
        """Return where the journal's lines are."""
        return LocalJournal(f"{self.path}.journal")

    def make(self) -> JournalStorage:
        """Refuse a file that is not ours."""
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; a NumPy file has another name")
        if not self.overwrite and os.path.exists(self.path) and not os.path.exists(f"{self.path}.journal"):
            raise JournalError(f"out={self.path!r} is a file without a journal; overwrite=True replaces it")
        return self.lines()

    def remove(self) -> None:
        """Remove the answer of an earlier job."""
        for path in (self.path, f"{self.path}.partial", f"{self.path}.index"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def sink(self, call: Job, journal: Journal, index: pd.Index[Any]) -> JournaledSink:  # noqa: ARG002  kept beside it
        """Return the destination of a call."""
        return NpySink(call.task, len(call.inputs), journal, self.path)

    def keep_labels(self, index: pd.Index[Any]) -> None:
        """Write the index beside the file."""
        write_index(f"{self.path}.index", index)

    def read(self, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
        """Return a column over a map of the file."""
        path = self.path if os.path.exists(self.path) else f"{self.path}.partial"
        n = len(journal.done)
        try:
            block = np.asarray(np.load(path, mmap_mode="r" if n else None))
        except FileNotFoundError as exc:
            raise FileNotFoundError(f"{self.path!r} is gone, its journal is not; the same call again makes it") from exc
        except (ValueError, EOFError) as exc:
            raise JournalError(f"{path!r} is damaged ({exc}); the same call again makes it") from exc
        n_outputs = len(block) // n if n else 1
        index = read_index(f"{self.path}.index", n)
        status = np.repeat(np.where(journal.status == 0, 0, -1), n_outputs).astype(np.int32)
        images = ImageArray(block, status)
        return pd.Series(
            images, index=variant_index(index, n_outputs) if n_outputs > 1 else index, name="image", copy=False
        )


class ParquetPlace(Place):
    """A folder of Parquet parts, with its journal in it."""

    def lines(self) -> JournalStorage:
        """Return where the journal's lines are."""
        folder = Directory(self.path, self.options)
        if folder.is_local:
            return LocalJournal(f"{self.path}/_journal.jsonl")
        return ObjectStoreJournal(Directory(f"{self.path}/_journal", self.options))

    def make(self) -> JournalStorage:
        """Make the folder; refuse one that is not ours."""
        folder = Directory(self.path, self.options)
        folder.create()
        lines = self.lines()
        if not self.overwrite and not lines.read() and folder.names() not in ([], ["_journal"], ["_journal.jsonl"]):
            raise JournalError(f"out={self.path!r} is a folder without a journal; overwrite=True replaces its parts")
        return lines

    def remove(self) -> None:
        """Remove the parts of an earlier job."""
        folder = Directory(self.path, self.options)
        for rows in parse_part_names(folder.names()):
            folder.remove(part_filename(rows))

    def sink(self, call: Job, journal: Journal, index: pd.Index[Any]) -> JournaledSink:
        """Return the destination of a call."""
        return ParquetSink(call.task, len(call.inputs), journal, Directory(self.path, self.options), index)

    def read(self, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
        """Return the answer that the parts hold, read into memory."""
        return read_parts(Directory(self.path, self.options), journal.done)


@contextlib.contextmanager
def _closed_on_error(lines: JournalStorage) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lines.close()
        raise


def parse_out(
    out: str | os.PathLike[str] | None, *, overwrite: bool, retry: Retry, options: StorageOptions | None = None
) -> Place | None:
    """Return what ``out=`` means; None where it is None.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or does not end in ``.npy`` or ``.parquet``.

    Examples
    --------
    >>> type(parse_out("train_64.npy", overwrite=False, retry="transient")).__name__
    'NpyPlace'
    """
    check_retry(retry)
    if out is None:
        return None
    if not isinstance(out, str | os.PathLike):
        raise TypeError(f"out={out!r} is not a path such as 'train_64.npy'")
    return _kind_of(os.fspath(out))(_absolute(os.fspath(out)), overwrite, retry, options or StorageOptions())


def _kind_of(path: str) -> type[Place]:
    if path.rstrip("/").endswith(".parquet"):
        return ParquetPlace
    if path.endswith(".npy") and "://" not in path:
        return NpyPlace
    raise ValueError(
        f"out={path!r} is neither a NumPy file of this machine ('train_64.npy') nor a folder of Parquet parts, here or "
        "at a URL ('train_64.parquet')"
    )


def _absolute(path: str) -> str:
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def _check_labels(path: str, index: pd.Index[Any]) -> None:
    for k in range(index.nlevels):
        level = index.levels[k] if isinstance(index, pd.MultiIndex) else index
        if level.dtype != object:
            continue
        try:
            pa.array(level, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as exc:
            raise TypeError(
                f"out={path!r} cannot hold the labels of the index, which are of several types ({exc}); "
                "use .reset_index() or .set_axis(index.astype(str))"
            ) from exc


def write_index(path: str, index: pd.Index[Any]) -> None:
    """Write the labels of a frame, whole or not at all."""
    hidden = f"{path}.{os.getpid()}"
    levels = index.to_frame(index=False)
    levels.columns = pd.Index([f"level {k}" for k in range(levels.shape[1])])
    levels.attrs["names"] = [name if name is None else str(name) for name in index.names]
    if isinstance(index, pd.RangeIndex):
        levels = levels.iloc[:0]
        levels.attrs["range"] = [index.start, index.stop, index.step]
    levels.to_parquet(hidden)
    os.replace(hidden, path)


def read_index(path: str, n: int) -> pd.Index[Any]:
    """Return the labels of a frame of n rows; 0 to n - 1 where they are not known."""
    try:
        levels = pd.read_parquet(path)
    except FileNotFoundError:
        return pd.RangeIndex(n)
    names = levels.attrs.get("names", [None] * levels.shape[1])
    if "range" in levels.attrs:
        start, stop, step = levels.attrs["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    if levels.shape[1] > 1:
        return pd.MultiIndex.from_frame(levels, names=names)
    labels: pd.Index[Any] = pd.Index(levels["level 0"]).rename(names[0])
    return labels


def read_result(
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, storage_options: Mapping[str, Any] | None = None
) -> Any:
    """Open what a call with ``out=`` has written, with its failures.

    Parameters
    ----------
    out : path, or list of paths
        A ``.npy`` file or a ``.parquet`` folder; or several, made of the parts ``df.iloc[k::m]`` of one frame, k from
        0 to m - 1: they are put back into its order.
    storage_options : dict, optional
        For the file system of fsspec that reads a URL.

    Returns
    -------
    Series or DataFrame
        What the call without ``out=`` would have given, with the index of the frame. A NumPy file is mmap_array: nothing is
        read until it is used. Rows that are not done are missing.

    Raises
    ------
    FileNotFoundError
        If there is no such result.
    JournalError
        If its journal or its file is damaged.
    TypeError
        If out is neither a path nor a list of them.
    ValueError
        If none is named, one is named twice, or several results are not the parts of one frame.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> paths = pd.Series(["red.png", "blue.jpg", "gone.png"], index=list("abc"))
    >>> _ = paths.img.load_resized(4, root=getfixture("photos"), out=folder / "x.npy", errors="coerce")
    >>> read_result(folder / "x.npy").img.failures.index.tolist()
    ['c']
    """
    if isinstance(out, str | os.PathLike):
        return _read_one(os.fspath(out), StorageOptions(storage_options))[0]
    read = [_read_one(path, StorageOptions(storage_options)) for path in _paths_of(out)]
    for _, _, task in read[1:]:
        difference = first_mismatch(read[0][2], task)
        if difference:
            raise ValueError(f"out={len(read)} results are not the parts of one job: {difference}")
    return _interleaved([answer for answer, _, _ in read], read[0][1])


def _paths_of(out: Any) -> list[str]:
    if not isinstance(out, Iterable):
        raise TypeError(f"out={out!r} is neither a path such as 'train_64.npy' nor a list of them")
    paths = [os.fspath(part) for part in out]
    if not paths:
        raise ValueError(f"out={out!r} names no result")
    twice = [path for k, path in enumerate(paths) if _absolute(path) in map(_absolute, paths[:k])]
    if twice:
        raise ValueError(f"out names {twice[0]!r} twice: these are not the parts of one frame")
    return paths


def _read_one(path: str, options: StorageOptions) -> tuple[pd.Series[Any] | pd.DataFrame, int, dict[str, Any]]:
    """Return a result, how many rows it has for each row of the frame, and the task that made it."""
    there = _kind_of(path)(_absolute(path), options=options)
    journal = Journal(there.lines())
    if journal.spec is None:
        raise FileNotFoundError(f"there is no result at {path!r}: its journal is missing")
    answer = _with_reasons(there.read(journal), journal)
    return answer, len(answer) // len(journal.done) if len(journal.done) else 1, journal.spec.task


def _with_reasons(answer: pd.Series[Any] | pd.DataFrame, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
    """Return an answer that knows why some of it is missing: images know it themselves, others in their ``attrs``."""
    status, failures = journal.results()
    n_outputs = len(answer) // len(status) if len(status) else 1
    if isinstance(answer, pd.Series) and isinstance(answer.array, ImageArray):
        images = ImageArray(answer.array.pixels, np.repeat(status, n_outputs), failures)
        return pd.Series(images, index=answer.index, name=answer.name, copy=False)
    answer.attrs = {"failures": with_labels(failures, answer.index[::n_outputs])}
    return answer


def _interleaved(parts: list[Any], n_outputs: int) -> pd.Series[Any] | pd.DataFrame:
    m, n = len(parts), sum(map(len, parts)) // n_outputs
    starts = [part.index.start for part in parts if isinstance(part.index, pd.RangeIndex) and part.index.step == m]
    if len(starts) == m:
        parts = sorted(parts, key=lambda part: int(part.index[0]) if len(part) else n)
    fits = [len(part) // n_outputs for part in parts] == [len(range(k, n, m)) for k in range(m)]
    strided = any(isinstance(part.index, pd.RangeIndex) and abs(part.index.step) > 1 for part in parts)
    if strided:
        fits &= len(set(starts)) == m and max(starts) - min(starts) == m - 1
    if not fits or len({_kind(part) for part in parts}) != 1:
        raise ValueError(
            f"out={m} results of {[len(part) for part in parts]} rows and of {[_kind(part) for part in parts]} are "
            f"not the parts df.iloc[k::{m}] of one frame, k from 0 to {m - 1}"
        )
    rows = np.argsort(np.concatenate([np.arange(k, n, m) for k in range(m)]), kind="stable")
    order = (rows[:, None] * n_outputs + np.arange(n_outputs)).reshape(-1)
    together: pd.Series[Any] | pd.DataFrame = pd.concat(parts).iloc[order]
    return together


def _kind(answer: pd.Series[Any] | pd.DataFrame) -> str:
    return str(answer.dtype) if isinstance(answer, pd.Series) else str(dict(answer.dtypes))
