"""Results that stand on disk: what an ``out=`` means, how a job is continued, and how its answer is read again."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from pandas_imgproc.array import ImageArray
from pandas_imgproc.destination import Kept, NpyFile, Retry
from pandas_imgproc.errors import JournalError
from pandas_imgproc.journal import Asked, Journal, LinesInFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.drivers import Call


@dataclass(frozen=True)
class Place:
    """Where a call keeps its answer.

    Attributes
    ----------
    path : str
        Absolute.
    overwrite : bool
        Whether what stands there is thrown away.
    retry : {"passing", "all"}
        Which failed rows are tried again.
    """

    path: str
    overwrite: bool
    retry: Retry

    @property
    def journal(self) -> str:
        """The journal's file."""
        return f"{self.path}.journal"

    @property
    def labels(self) -> str:
        """The file with the frame's index."""
        return f"{self.path}.index"

    def open(self, call: Call, index: pd.Index[Any]) -> Kept:
        """Continue what stands there, or start.

        Raises
        ------
        JournalError
            If it is of another job, damaged, or being written.
        OSError
            If it cannot be written.
        """
        if not self.overwrite and os.path.exists(self.path) and not os.path.exists(self.journal):
            raise JournalError(f"out={self.path!r} is a file without a journal; overwrite=True replaces it")
        asked = Asked.of(call.task, call.source, call.cells, index)
        try:
            lines = LinesInFile(self.journal)
            lines.lock()
            with _closed_on_error(lines):
                if self.overwrite:
                    self._remove(lines)
                kept = NpyFile(call.task, len(call.cells), Journal(lines), self.path)
                kept.begin(asked, call.source, call.cells, self.retry)
                write_index(self.labels, index)
        except OSError as exc:
            raise OSError(exc.errno, f"out={self.path!r} cannot be written: {exc.strerror or exc}") from exc
        return kept

    def _remove(self, lines: LinesInFile) -> None:
        lines.clear()
        for path in (self.path, f"{self.path}.partial", self.labels):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@contextlib.contextmanager
def _closed_on_error(lines: LinesInFile) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lines.close()
        raise


def place(out: str | os.PathLike[str] | None, *, overwrite: bool, retry: Retry) -> Place | None:
    """Return what ``out=`` means; None where it is None.

    Raises
    ------
    TypeError, ValueError
        If it is no path, or does not end in ``.npy``.

    Examples
    --------
    >>> place("train_64.npy", overwrite=False, retry="passing").journal.endswith("train_64.npy.journal")
    True
    """
    if retry not in get_args(Retry):
        raise ValueError(f"retry={retry!r} is not one of {', '.join(map(repr, get_args(Retry)))}")
    if out is None:
        return None
    if not isinstance(out, str | os.PathLike):
        raise TypeError(f"out={out!r} is not a path such as 'train_64.npy'")
    path = os.fspath(out)
    if not path.endswith(".npy"):
        raise ValueError(f"out={path!r} does not end in .npy: give the name of a NumPy file")
    return Place(os.path.abspath(path), overwrite, retry)


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


def read_result(out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> pd.Series[Any]:
    """Open what a call with ``out=`` has written, as a column with its failures.

    Parameters
    ----------
    out : path, or list of paths
        A ``.npy`` file; or several, made of the parts ``df.iloc[k::m]`` of one frame, k from 0 to m - 1: they are put
        back into its order.

    Returns
    -------
    Series
        Named ``image``, with the index of the frame. One file is mapped: nothing is read until it is used. Rows that
        are not done are missing.

    Raises
    ------
    FileNotFoundError
        If there is no such result.
    JournalError
        If its journal is damaged.
    ValueError
        If several results are not the parts of one frame.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> paths = pd.Series(["red.png", "blue.jpg", "gone.png"], index=list("abc"))
    >>> _ = paths.img.load_resized(4, root=getfixture("photos"), out=folder / "x.npy", errors="coerce")
    >>> read_result(folder / "x.npy").img.failures.index.tolist()
    ['c']
    """
    if isinstance(out, str | os.PathLike):
        return _read_one(os.path.abspath(os.fspath(out)))
    return _interleaved([read_result(part) for part in out])


def _read_one(path: str) -> pd.Series[Any]:
    there = Place(path, overwrite=False, retry="passing")
    journal = Journal(LinesInFile(there.journal))
    if journal.asked is None:
        raise FileNotFoundError(f"there is no result at {path!r}: its journal {there.journal!r} is missing")
    block = np.load(path if os.path.exists(path) else f"{path}.partial", mmap_mode="r" if len(journal.done) else None)
    status, failures = journal.answer()
    return pd.Series(
        ImageArray(np.asarray(block), status, failures),
        index=read_index(there.labels, len(status)), name="image", copy=False,
    )  # fmt: skip


def _interleaved(parts: list[pd.Series[Any]]) -> pd.Series[Any]:
    m, n = len(parts), sum(map(len, parts))
    starts = [part.index.start for part in parts if isinstance(part.index, pd.RangeIndex) and part.index.step == m]
    if len(starts) == m:
        parts = sorted(parts, key=lambda part: int(part.index[0]) if len(part) else n)
    fits = [len(part) for part in parts] == [len(range(k, n, m)) for k in range(m)]
    strided = any(isinstance(part.index, pd.RangeIndex) and abs(part.index.step) > 1 for part in parts)
    if strided:
        fits &= len(set(starts)) == m and max(starts) - min(starts) == m - 1
    if not fits or len({part.dtype for part in parts}) != 1:
        raise ValueError(
            f"out={m} results of {[len(part) for part in parts]} rows and of {[str(part.dtype) for part in parts]} are "
            f"not the parts df.iloc[k::{m}] of one frame, k from 0 to {m - 1}"
        )
    order = np.argsort(np.concatenate([np.arange(k, n, m) for k in range(m)]), kind="stable")
    together: pd.Series[Any] = pd.concat(parts).iloc[order]
    return together
