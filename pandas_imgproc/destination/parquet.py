"""A folder of Parquet parts, one per partition, written by the workers: on this machine or wherever fsspec writes."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pandas_imgproc.array import ImageArray
from pandas_imgproc.destination.kept import Kept
from pandas_imgproc.destination.memory import leave, row_bytes
from pandas_imgproc.source import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.destination.memory import Put
    from pandas_imgproc.journal import Asked, Journal
    from pandas_imgproc.rows import Partition
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

_PART = re.compile(r"part-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Folder:
    """A folder of a file system.

    Attributes
    ----------
    url : str
        As fsspec has it; of this machine an absolute path.
    options : Options
        For its file system.
    """

    url: str
    options: Options = field(default_factory=Options, compare=False)
    _opened: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> Any:
        return Folder, (self.url, self.options)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.url

    @property
    def _scheme(self) -> str:
        return self.url.partition("://")[0] if "://" in self.url else "file"

    @property
    def fs(self) -> Any:
        """The file system."""
        if "fs" not in self._opened:
            import fsspec  # costs 0.1 s

            self._opened["fs"], self._opened["path"] = fsspec.core.url_to_fs(self.url, **self.options.of(self._scheme))
        return self._opened["fs"]

    def _path(self, name: str = "") -> str:
        path = self._opened["path"] if self.fs else ""
        return f"{path}/{name}" if name else path

    def make(self) -> None:
        """Make the folder, if it is not there."""
        self.fs.makedirs(self._path(), exist_ok=True)

    def names(self) -> list[str]:
        """Return the names in the folder."""
        self.fs.invalidate_cache()
        there = self.fs.ls(self._path(), detail=False) if self.fs.exists(self._path()) else []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in there)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        data: bytes = self.fs.cat_file(self._path(name))
        return data

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.fs.rm_file(self._path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, and return when it is safely kept.

        Raises
        ------
        OSError
            With path and reason.
        """
        if not self.is_local:
            self.fs.pipe_file(self._path(name), data)
            return
        target, hidden = f"{self.url}/{name}", f"{self.url}/.{name}.{uuid.uuid4().hex}"
        try:
            with open(hidden, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(hidden, target)
        except OSError as exc:
            if os.path.exists(hidden):
                os.unlink(hidden)
            raise OSError(exc.errno, f"out={target!r} cannot be written: {exc.strerror or exc}") from exc


def part_name(rows: range) -> str:
    """Return the name of the part of some rows; in the order of names, parts are in the order of the frame.

    Examples
    --------
    >>> part_name(range(0, 128))
    'part-000000000-000000127.parquet'
    """
    return f"part-{rows.start:09d}-{rows.stop - 1:09d}.parquet"


def parts_in(names: list[str]) -> list[range]:
    """Return the rows of the parts among some names, in the order of the frame.

    Examples
    --------
    >>> parts_in(["_journal", "part-000000000-000000127.parquet"])
    [range(0, 128)]
    """
    found = [_PART.fullmatch(name) for name in names]
    return [range(int(match[1]), int(match[2]) + 1) for match in found if match]


class ParquetParts(Kept):
    """Values in a folder of parts; the answer names the part of each row.

    Parameters
    ----------
    task : Task
        Whose answers they are.
    n : int
        Rows of the frame.
    journal : Journal
        What is done.
    folder : Folder
        Where.
    index : Index
        Of the frame: each part holds its labels.
    """

    def __init__(self, task: Task, n: int, journal: Journal, folder: Folder, index: pd.Index[Any]) -> None:
        super().__init__(task, n, journal)
        self._folder, self._index = folder, index
        self._nbytes = n * task.copies * row_bytes(task)
        self._owner = np.full(n, -1, dtype=np.int64)
        self._parts: dict[int, range] = {}

    def begin(self, asked: Asked, source: Source, cells: Sequence[Any], retry: Any) -> None:
        """Continue what stands there, or start (see `Kept.begin`)."""
        super().begin(asked, source, cells, retry)
        for rows in parts_in(self._folder.names()):
            # A part that a crash has left before it was written down: its rows may be cut otherwise now.
            if rows.stop <= self.n and self.journal.done[rows.start : rows.stop].all():
                self._add(rows)
            else:
                self._folder.remove(part_name(rows))
        self._left |= self._owner < 0

    def _add(self, rows: range) -> None:
        self._owner[rows.start : rows.stop] = rows.start
        self._parts[rows.start] = rows

    def todo(self) -> list[range]:
        """Return the ranges of rows that are not done, cut where parts begin."""
        return [piece for rows in super().todo() for piece in self._pieces(rows)]

    def _pieces(self, rows: range) -> list[range]:
        cuts = np.flatnonzero(np.diff(self._owner[rows.start : rows.stop])) + 1
        edges = [rows.start, *(rows.start + cuts).tolist(), rows.stop]
        return [range(a, b) for a, b in pairwise(edges)]

    def put_on(self, positions: range) -> Put:
        """Return what a worker does with a finished partition: it writes a new part, but never changes one."""
        if self._owner[positions.start] >= 0:
            return leave
        return WritePart(self._folder, self._index[positions.start : positions.stop])

    def collect(self, part: Partition) -> None:
        """Write what came back, and write down that it is done."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        owner = self._parts.get(int(self._owner[rows.start]))
        if owner is not None:
            self._write_again(owner, rows, part)
        else:
            if part.values is not None:
                WritePart(self._folder, self._index[rows.start : rows.stop])(part)
            self._add(rows)
        self.journal.record(part)

    def _write_again(self, owner: range, rows: range, part: Partition) -> None:
        """Put rows that were done again into the part that holds them."""
        assert part.values is not None
        table = pq.read_table(pa.BufferReader(self._folder.read(part_name(owner))))
        images = ImageArray.from_arrow(table["image"])
        block, there, kinds = images.block.copy(), ~images.isna(), table["failure"].to_pylist()
        where = slice(rows.start - owner.start, rows.stop - owner.start)
        block[where], there[where], kinds[where] = part.values, part.status == 0, kinds_of(part)
        labels = self._index[owner.start : owner.stop]
        self._folder.write(part_name(owner), part_bytes(block, there, kinds, labels))

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows."""
        return self._nbytes

    def wrap(self, task: Task, index: pd.Index[Any]) -> pd.Series[Any]:  # noqa: ARG002  the parts hold the answer
        """Return the part that holds each row: Series of str named ``part``."""
        names = np.full(self.n, None, dtype=object)
        for rows in self._parts.values():
            names[rows.start : rows.stop] = f"{self._folder.url}/{part_name(rows)}"
        return pd.Series(names, index=index, name="part", dtype="str")


@dataclass(frozen=True)
class WritePart:
    """Write a finished partition as a part, whole or not at all."""

    folder: Folder
    labels: pd.Index[Any]

    def __call__(self, part: Partition) -> Partition:
        """Write the part and drop its values."""
        assert part.values is not None
        rows = range(part.positions[0], part.positions[-1] + 1)
        self.folder.write(part_name(rows), part_bytes(part.values, part.status == 0, kinds_of(part), self.labels))
        part.values = None
        return part


def kinds_of(part: Partition) -> list[str | None]:
    """Return the kind of failure of each row, None where there is none."""
    return [part.failures[code - 1]["kind"] if code > 0 else None for code in part.status]


def part_bytes(
    block: np.ndarray[Any, Any], there: np.ndarray[Any, Any], kinds: list[str | None], labels: pd.Index[Any]
) -> bytes:
    """Return a Parquet file with the columns ``image`` and ``failure`` and the index.

    It is read with and without this package: without it, ``image`` is a column of bytes.
    """
    status = np.where(there, 0, -1).astype(np.int32)
    frame = pd.DataFrame({"image": ImageArray(block, status), "failure": pd.array(kinds, dtype="string")})
    frame.index = labels
    # A column, also for a range: readers of several parts take the range of the first one for that of all.
    table = pa.Table.from_pandas(frame, preserve_index=True)
    known = json.loads(table.schema.metadata[b"pandas"])
    for column in known["columns"]:
        if column["name"] == "image":
            column["numpy_type"] = "object"  # the name of our dtype means nothing where we are not imported
    table = table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(known).encode()})
    sink = pa.BufferOutputStream()
    # Pixels hardly repeat: a dictionary or compression costs time and saves nothing.
    pq.write_table(table, sink, use_dictionary=False, compression="none")
    return bytes(sink.getvalue())


def read_parts(folder: Folder, done: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Any, pd.Index[Any]]:
    """Return the block and the labels of all parts; black pictures and missing labels for rows that are not done.

    Returns
    -------
    block : ndarray, shape (n, height, width, channels)
    labels : Index
    """
    frames = []
    for rows in parts_in(folder.names()):
        if done[rows.start : rows.stop].all():
            table = pq.read_table(pa.BufferReader(folder.read(part_name(rows))))
            labels = table.drop_columns(["image", "failure"]).to_pandas().index
            images = pd.Series(ImageArray.from_arrow(table["image"]), index=labels)
            frames.append((rows, images))
    if not frames:
        raise FileNotFoundError(f"there are no finished parts in {folder.url!r}")
    where = np.concatenate([np.asarray(rows) for rows, _ in frames])
    whole = pd.concat([images for _, images in frames])
    block = np.zeros((len(done), *whole.array.block.shape[1:]), dtype=whole.array.block.dtype)
    block[where] = whole.array.block
    if len(where) == len(done):
        return block, whole.index
    take = np.full(len(done), len(where))
    take[where] = np.arange(len(where))
    several = isinstance(whole.index, pd.MultiIndex)
    none = pd.MultiIndex.from_tuples([(None,) * whole.index.nlevels]) if several else pd.Index([None])
    return block, whole.index.append(none).take(take)
