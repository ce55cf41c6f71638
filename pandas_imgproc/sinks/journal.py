"""What was asked at an ``out=``, and which rows of it are done: lines of JSON, appended.

The first line says what was asked; a frame that has grown adds such a line. Each finished partition adds one.
Later lines win. A last line that was torn by a crash is ignored; anything else that is not such a line is refused,
and nothing in it is ever run.
"""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

try:
    import fcntl
except ImportError:  # Windows locks what it writes
    fcntl = None  # type: ignore[assignment]

from pandas_imgproc.errors import FAILURE_KINDS, Failure, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.partition import PartitionResult

FORMAT = 1

Numbers = np.ndarray[Any, np.dtype[Any]]


class JournalStorage(Protocol):
    """Where the lines are kept."""

    name: str

    def lock(self) -> None:
        """Keep other processes from writing."""
        ...

    def clear(self) -> None:
        """Forget all lines."""
        ...

    def read(self) -> bytes:
        """Return all lines, or nothing."""
        ...

    def append(self, line: bytes) -> None:
        """Add a line, and return when it is safely kept."""
        ...

    def close(self) -> None:
        """Let others write."""
        ...


class LocalJournal:
    """Lines in a file of this machine.

    Parameters
    ----------
    path : str
        The file; it need not exist.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._file: IO[bytes] | None = None

    def read(self) -> bytes:
        """Return all lines, or nothing; cuts off what a crash has torn."""
        try:
            with open(self.name, "rb+") as file:
                data = file.read()
                whole = data.rfind(b"\n") + 1
                if whole < len(data):
                    file.truncate(whole)
                return data[:whole]
        except FileNotFoundError:
            return b""

    def lock(self) -> None:
        """Open the file for writing, which one process may do at a time.

        Raises
        ------
        JournalError
            If another process is at it.
        """
        self._file = open(self.name, "ab")  # noqa: SIM115  the lock lasts as long as the file is open
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise JournalError(f"{self.name!r} is being written by another process; wait for it") from None

    def append(self, line: bytes) -> None:
        """Add a line, and return when it is safely on disk."""
        assert self._file is not None
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Forget all lines."""
        assert self._file is not None
        self._file.truncate(0)

    def close(self) -> None:
        """Let others write."""
        if self._file is not None:
            self._file.close()
            self._file = None


class SharedLocalJournal:
    """Lines in a file to which several processes may add: it is theirs for one line at a time.

    Parameters
    ----------
    path : str
        The file; it need not exist.
    """

    def __init__(self, path: str) -> None:
        self.name = path

    def read(self) -> bytes:
        """Return all lines, or nothing; without what a crash has torn."""
        try:
            data = pathlib.Path(self.name).read_bytes()
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]

    def append(self, line: bytes, *, sync: bool = False) -> None:
        """Add a line; with `sync`, return when it is safely on disk."""
        with open(self.name, "ab+", buffering=0) as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            self._cut_off_what_is_torn(file)
            if file.write(line) < len(line):  # the next line to be added cuts it off
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(file.fileno())

    def _cut_off_what_is_torn(self, file: IO[bytes]) -> None:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            file.truncate(len(self.read()))


class ObjectStoreJournal:
    """Lines in a store that cannot append: a file each.

    Parameters
    ----------
    folder : Directory
        The folder; its files are written whole or not at all.
    """

    def __init__(self, folder: Any) -> None:
        self._folder, self.name = folder, folder.url
        self._names = [name for name in folder.names() if name.endswith(".jsonl")]

    def lock(self) -> None:
        """Do nothing: such stores have no locks."""

    def read(self) -> bytes:
        """Return all lines, or nothing."""
        return b"".join(self._folder.read(name) for name in self._names)

    def append(self, line: bytes) -> None:
        """Add a line."""
        self._names.append(f"{len(self._names):08d}.jsonl")
        self._folder.write(self._names[-1], line)

    def clear(self) -> None:
        """Forget all lines."""
        while self._names:
            self._folder.remove(self._names.pop())

    def close(self) -> None:
        """Do nothing: nothing is open."""


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """What a job is: compared before it is continued.

    Attributes
    ----------
    task : dict
        The task as plain values.
    paths, labels : ndarray of uint32, shape (n,)
        A checksum of each row's path and label.
    """

    task: dict[str, Any]
    paths: Numbers
    labels: Numbers

    @classmethod
    def of(cls, task: Any, source: Any, inputs: Sequence[Any], index: pd.Index[Any]) -> JobSpec:
        """Return what a call asks."""
        plain = {**task.fingerprint(), "root": source.redacted_root, "suffix": source.suffix}
        paths = np.fromiter(map(checksum, inputs), dtype=np.uint32, count=len(inputs))
        return cls(json.loads(json.dumps(plain)), paths, _label_sums(index))

    def __len__(self) -> int:
        return len(self.paths)


def checksum(cell: Any) -> int:
    """Return a number that tells what stands in a column from anything else."""
    if isinstance(cell, Mapping):
        cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
    if hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic):
        cell = np.asarray(cell).tobytes()
    return zlib.crc32(cell if isinstance(cell, bytes) else str(cell).encode(errors="surrogatepass"))


def _label_sums(index: pd.Index[Any]) -> Numbers:
    try:
        return pd.util.hash_pandas_object(index, index=False).to_numpy().astype(np.uint32)
    except TypeError:  # labels of several kinds
        return np.fromiter(map(checksum, index), dtype=np.uint32, count=len(index))


class Journal:
    """The rows of a job, and what has become of them.

    Parameters
    ----------
    lines : JournalStorage
        Where they are kept.

    Attributes
    ----------
    spec : JobSpec or None
        What was asked; None where nothing was.
    versions : dict of str to str
        What made the pixels, when the job was last begun or grew.
    done : ndarray of bool, shape (n,)
        Which rows are done.
    status : ndarray of int32, shape (n,)
        0 an answer, -1 missing, 1 a failure.
    failures : dict of int to dict
        The failures by position.
    signatures : ndarray of int64, shape (n, 2)
        Size and time of modification of each row's source, when it was read.
    """

    def __init__(self, lines: JournalStorage) -> None:
        self._lines = lines
        self.spec: JobSpec | None = None
        self.versions: dict[str, str] = {}
        self.failures: dict[int, Failure] = {}
        self.done: Numbers = np.zeros(0, dtype=bool)
        self.status: Numbers = np.zeros(0, dtype=np.int32)
        self.signatures: Numbers = np.zeros((0, 2), dtype=np.int64)
        for number, line in enumerate(lines.read().splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
                raise JournalError(
                    f"line {number} of the journal {lines.name!r} is damaged ({exc}); overwrite=True starts anew"
                ) from exc

    def _resize(self, n: int) -> None:
        more = n - len(self.done)
        self.done = np.concatenate([self.done, np.zeros(more, dtype=bool)])
        self.status = np.concatenate([self.status, np.full(more, -1, dtype=np.int32)])
        self.signatures = np.concatenate([self.signatures, np.full((more, 2), -1, dtype=np.int64)])

    # ---- lines, as they are read

    def _take(self, line: Any) -> None:
        if "journal" in line:
            self._take_asked(line)
        else:
            self._take_done(line)

    def _take_asked(self, line: dict[str, Any]) -> None:
        if line["journal"] != FORMAT:
            raise ValueError(f"it is of format {line['journal']!r}, this version reads {FORMAT}")
        asked = JobSpec(dict(line["asked"]), _numbers(line["paths"], np.uint32), _numbers(line["labels"], np.uint32))
        if len(asked.paths) != len(asked.labels):
            raise ValueError("paths and labels are not of one length")
        if self.spec is not None and len(asked) < len(self.spec):
            raise ValueError("the frame has become shorter")
        self._resize(len(asked))
        self.spec, self.versions = asked, dict(line["versions"])

    def _take_done(self, line: dict[str, Any]) -> None:
        start, stop = line["rows"]
        if self.spec is None or not 0 <= start < stop <= len(self.done):
            raise ValueError(f"rows {start} to {stop} are not in the frame")
        signatures = _numbers(line["stamps"], np.int64).reshape(stop - start, 2)
        failures = [_failure(failed, start, stop) for failed in line["failures"]]
        missing = [_within(position, start, stop) for position in line["missing"]]
        self._set(range(start, stop), missing, failures, signatures)

    def _set(self, rows: range, missing: Sequence[int], failures: Sequence[Failure], signatures: Numbers) -> None:
        where = slice(rows.start, rows.stop)
        self.done[where], self.status[where], self.signatures[where] = True, 0, signatures
        self.status[list(missing)] = -1
        for position in [position for position in self.failures if position in rows]:
            del self.failures[position]
        for failed in failures:
            self.failures[failed["position"]] = failed
            self.status[failed["position"]] = 1

    # ---- lines, as they are written

    def write_header(self, asked: JobSpec, versions: dict[str, str]) -> None:
        """Write what is asked, unless it stands there already."""
        if self.spec is None or len(self.spec) != len(asked):
            paths, labels = _text(asked.paths), _text(asked.labels)
            self._write(
                {"journal": FORMAT, "asked": asked.task, "versions": versions, "paths": paths, "labels": labels}
            )
            self._resize(len(asked))
            self.spec, self.versions = asked, versions

    def record(self, part: PartitionResult) -> None:
        """Write that a partition is done; its data must be safely kept."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        missing = [rows.start + int(number) for number in np.flatnonzero(part.status == -1)]
        signatures = _text(part.signatures)
        self._write(
            {"rows": [rows.start, rows.stop], "missing": missing, "failures": part.failures, "stamps": signatures}
        )
        self._set(rows, missing, part.failures, part.signatures)

    def close(self) -> None:
        """Let others continue the job."""
        self._lines.close()

    def results(self) -> tuple[Numbers, tuple[Failure, ...]]:
        """Return the status of each row, as an image column keeps it, and the failures."""
        positions = sorted(self.failures)
        status = self.status.copy()
        status[positions] = np.arange(1, len(positions) + 1)
        return status, tuple(self.failures[position] for position in positions)

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    # ---- questions

    @property
    def has_results(self) -> bool:
        """Whether any row has got an answer."""
        return bool((self.status == 0).any())

    def mismatch(self, asked: JobSpec) -> str | None:
        """Return the first thing in which another job differs; None where it is the same."""
        if self.spec is None:
            return None
        return first_mismatch(self.spec.task, asked.task) or self._first_row(asked)

    def check(self, asked: JobSpec) -> None:
        """Raise a JournalError if what is asked is another job."""
        difference = self.mismatch(asked)
        if difference:
            raise JournalError(
                f"what stands at {self._lines.name!r} is of another job: {difference}; "
                "choose another out=, or overwrite=True to start anew"
            )

    def _first_row(self, asked: JobSpec) -> str | None:
        old = self.spec
        assert old is not None
        if len(asked) < len(old):
            return f"it has {len(old):,} rows, the frame has {len(asked):,}"
        for what in ("paths", "labels"):
            before, now = getattr(old, what), getattr(asked, what)[: len(old)]
            if (before != now).any():
                return f"row {int(np.flatnonzero(before != now)[0])} has another {what[:-1]}"
        return None


def first_mismatch(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Return the sentence that names the first value in which two tasks differ, None where they are the same.

    Examples
    --------
    >>> first_mismatch({"decode_options": {"size": [64, 64]}}, {"decode_options": {"size": [32, 32]}})
    'size was [64, 64] and is [32, 32]'
    """
    for name in dict.fromkeys([*before, *now]):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = first_mismatch(a, b)
            if inner:
                return inner
        elif a != b:
            return f"{name} was {a!r} and is {b!r}"
    return None


def _numbers(text: str, dtype: Any) -> Numbers:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _text(numbers: Numbers) -> str:
    return base64.b64encode(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()).decode()


def _within(position: Any, start: int, stop: int) -> int:
    if not isinstance(position, int) or not start <= position < stop:
        raise ValueError(f"row {position!r} is not one of {start} to {stop}")
    return position


def _failure(failed: dict[str, Any], start: int, stop: int) -> Failure:
    if failed["kind"] not in FAILURE_KINDS:
        raise ValueError(f"{failed['kind']!r} is no kind of failure")
    return {
        "position": _within(failed["position"], start, stop),
        "path": str(failed["path"]),
        "kind": failed["kind"],
        "message": str(failed["message"]),
    }
