"""Journal of a result on disk: its job, its finished rows and their failures.

The first line describes the job; a frame that has grown adds another. Each finished partition adds one. Later lines
win. What would put something finished into question, a longer frame or a job that replaces another, is written
together with the first partition that is finished: a job that fails before that leaves the journal as it was.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc.errors import Failure, JournalError
from pandas_imgproc.sinks.arrow_columns import storable_index
from pandas_imgproc.sinks.journal_storage import (
    FORMAT,
    JournalStorage,
    JsonJournal,
    check_failure_kind,
    check_format,
    to_json_line,
)
from pandas_imgproc.source import content_bytes, is_encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class JobContext:
    """Job as a sink knows it: its task, its inputs with the source that reads them, and the index of the frame."""

    task: Task
    index: pd.Index[Any]
    inputs: Sequence[Any]  # None where missing
    source: Source

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.inputs)


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """Identity of a job, compared before the job is continued."""

    task: dict[str, Any]  # its fingerprint, with root and suffix
    paths: Array  # checksums of the inputs: uint32, shape (n,)
    labels: Array  # checksums of the labels: uint32, shape (n,)
    n_outputs: int | None = None  # rows of the result for each row of the frame

    @classmethod
    def from_job(cls, job: JobContext) -> JobSpec:
        """Return the identity of a job."""
        task = {**job.task.fingerprint(), "root": job.source.redacted_root, "suffix": job.source.suffix}
        checksums = _checksums(job.inputs), _label_checksums(job.index)
        return cls(json.loads(json.dumps(task)), *checksums, job.task.n_outputs)

    def __len__(self) -> int:
        return len(self.paths)


def checksum(value: Any) -> int:
    """Return the CRC-32 of an input or a label."""
    if is_encoded(value):
        value = content_bytes(value["bytes"] if isinstance(value, Mapping) else value)
    elif isinstance(value, Mapping):
        value = value.get("path")
    return zlib.crc32(value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass"))


def _checksums(values: Any) -> Array:
    return np.fromiter(map(checksum, values), dtype=np.uint32, count=len(values))


def _label_checksums(index: pd.Index[Any]) -> Array:
    try:
        return pd.util.hash_pandas_object(storable_index(index), index=False).to_numpy().astype(np.uint32)
    except TypeError:  # labels of several types
        return _checksums(index)


class Journal(JsonJournal):
    """Journal of a result: its job, and the state of each row.

    Attributes
    ----------
    spec : JobSpec or None
        The job; None if the journal is empty.
    versions : dict of str to str
        Versions of the libraries that wrote the pixels, when the job was last begun or grew.
    done : ndarray of bool, shape (n,)
        Mask of the finished rows.
    status : ndarray of int32, shape (n,)
        0 a result, -1 missing, 1 a failure.
    failures : dict of int to dict
        The failures by position.
    signatures : ndarray of int64, shape (n, 2)
        Size in bytes and modification time in nanoseconds of each row's source, when it was read; -1 if unknown.
    generation : int
        0 or 1, the other one for a result that replaces another: they have different files until then.
    replaces : bool
        Whether the lines on disk are of another job, which the first finished partition replaces.
    """

    _intact = (
        "the result itself is not touched. Restore the journal from a copy; or, unless this line begins with "
        '{"journal", delete it, and the same call writes its rows again'
    )

    def __init__(self, storage: JournalStorage, *, lenient: bool = False) -> None:
        self.replaces = False
        self._header: dict[str, Any] | None = None  # to be written with the next line
        super().__init__(storage, lenient=lenient)

    def _reset(self) -> None:
        self.spec: JobSpec | None = None
        self.versions: dict[str, str] = {}
        self.generation = 0
        self.failures: dict[int, Failure] = {}
        self.done: Array = np.zeros(0, dtype=bool)
        self.status: Array = np.zeros(0, dtype=np.int32)
        self.signatures: Array = np.zeros((0, 2), dtype=np.int64)

    # ---- reading

    def _replay(self, line: Any) -> None:
        if "journal" in line:
            self._replay_header(line)
        elif "reopened" in line:
            self._reopen([self._check_rows(*rows) for rows in line["reopened"]])
        else:
            self._replay_rows(line)

    def _replay_header(self, line: dict[str, Any]) -> None:
        check_format(line)
        paths, labels = (_decode_array(line[name], np.uint32) for name in ("paths", "labels"))
        if len(paths) != len(labels):
            raise ValueError("paths and labels are not of one length")
        if len(paths) < len(self.done):
            raise ValueError("the frame has become shorter")
        self.generation = int(line.get("generation", 0))
        self._set_spec(JobSpec(dict(line["asked"]), paths, labels, line.get("outputs")), dict(line["versions"]))

    def _set_spec(self, spec: JobSpec, versions: dict[str, str]) -> None:
        self.spec, self.versions = spec, versions
        n = len(spec) - len(self.done)
        self.done = np.concatenate([self.done, np.zeros(n, dtype=bool)])
        self.status = np.concatenate([self.status, np.full(n, -1, dtype=np.int32)])
        self.signatures = np.concatenate([self.signatures, np.full((n, 2), -1, dtype=np.int64)])

    def _replay_rows(self, line: dict[str, Any]) -> None:
        rows = self._check_rows(*line["rows"])
        signatures = _decode_array(line["stamps"], np.int64).reshape(len(rows), 2)
        failures = [_parse_failure(failure, rows) for failure in line["failures"]]
        self._apply(rows, [_check_position(position, rows) for position in line["missing"]], failures, signatures)

    def _check_rows(self, start: int, stop: int) -> range:
        if self.spec is None or not 0 <= start < stop <= len(self.done):
            raise ValueError(f"rows {start} to {stop} are not in the frame")
        return range(start, stop)

    def _reopen(self, runs: list[range]) -> None:
        for rows in runs:
            block = slice(rows.start, rows.stop)
            self.done[block], self.status[block], self.signatures[block] = False, -1, -1
        for position in [position for position in self.failures if not self.done[position]]:
            del self.failures[position]

    def _apply(self, rows: range, missing: list[int], failures: Sequence[Failure], signatures: Array) -> None:
        block = slice(rows.start, rows.stop)
        self.done[block], self.status[block], self.signatures[block] = True, 0, signatures
        self.status[missing] = -1
        for position in [position for position in self.failures if position in rows]:
            del self.failures[position]
        for failure in failures:
            self.failures[failure["position"]] = failure
            self.status[failure["position"]] = 1

    # ---- writing

    def replace(self) -> None:
        """Start anew, as an empty journal of the other generation, whose first line replaces those on disk."""
        generation = self.generation
        self._reset()
        self.replaces, self.generation = True, 1 - generation

    def begin(self, spec: JobSpec, versions: dict[str, str]) -> None:
        """Take over the identity of the job, and write it before the next line, unless the journal holds it already."""
        if self.spec is None or len(self.spec) != len(spec):
            arrays = {"paths": _encode_array(spec.paths), "labels": _encode_array(spec.labels)}
            header = {"asked": spec.task, "versions": versions, **arrays, "outputs": spec.n_outputs}
            anew = {"anew": True} if self.replaces else {}
            self._header = {"journal": FORMAT, **anew, **header, "generation": self.generation}
            self._set_spec(spec, versions)

    def write_header(self) -> None:
        """Write the identity of the job now, unless the journal holds it already."""
        if self._header is not None:
            self._write()

    def record(self, part: PartitionResult) -> None:
        """Write that a partition is done; its values must be durable."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        missing = (rows.start + np.flatnonzero(part.status == -1)).tolist()
        signatures = _encode_array(part.signatures)
        self._write(
            {"rows": [rows.start, rows.stop], "missing": missing, "failures": part.failures, "stamps": signatures}
        )
        self._apply(rows, missing, part.failures, part.signatures)

    def reopen(self, runs: list[range]) -> None:
        """Write that rows are no longer done, before their values are: they are gone, or will be written over."""
        if runs:
            self._storage.append(to_json_line({"reopened": [[rows.start, rows.stop] for rows in runs]}))
            self._reopen(runs)

    @contextlib.contextmanager
    def reopened(self, rows: range) -> Iterator[None]:
        """Reopen rows for a block that writes over their values and records them; if it fails, they are as before."""
        size, block = self._storage.size(), slice(rows.start, rows.stop)
        state = [array[block].copy() for array in (self.done, self.status, self.signatures)]
        failures, header = dict(self.failures), self._header
        try:
            self.reopen([rows])
            yield
        except BaseException:
            self._storage.truncate(size)
            self.done[block], self.status[block], self.signatures[block] = state
            self.failures, self._header = failures, header
            raise

    def _write(self, *lines: dict[str, Any]) -> None:
        headers = [] if self._header is None else [self._header]
        write = self._storage.replace if self.replaces else self._storage.append
        write(b"".join(map(to_json_line, [*headers, *lines])))
        self._header, self.replaces = None, False

    def clear(self) -> None:
        """Delete all lines: nothing was finished."""
        self._storage.clear()

    def close(self) -> None:
        """Release the lock: another process may continue the job."""
        self._storage.close()

    # ---- state

    @property
    def n_values(self) -> int | None:
        """Number of values of all rows, if the journal has recorded it."""
        return None if self.spec is None or self.spec.n_outputs is None else len(self.spec) * self.spec.n_outputs

    @property
    def has_results(self) -> bool:
        """Whether any row has a result."""
        return bool((self.status == 0).any())

    def results(self) -> tuple[Array, tuple[Failure, ...]]:
        """Return the status of each row, as an image column stores it, and the failures."""
        positions = sorted(self.failures)
        status = self.status.copy()
        status[positions] = np.arange(1, len(positions) + 1)
        return status, tuple(self.failures[position] for position in positions)

    def mismatch(self, spec: JobSpec) -> str | None:
        """Return the first difference from another job; None if there is none."""
        if self.spec is None:
            return None
        return first_mismatch(self.spec.task, spec.task) or _first_mismatching_row(self.spec, spec)

    def check(self, spec: JobSpec) -> None:
        """Raise a JournalError if the journal belongs to another job."""
        difference = self.mismatch(spec)
        if difference:
            raise JournalError(
                f"the result at {self._storage.name!r} belongs to another job: {difference}; "
                "choose another out=, or overwrite=True to start anew"
            )


def _first_mismatching_row(old: JobSpec, new: JobSpec) -> str | None:
    if len(new) < len(old):
        return f"it has {len(old):,} rows, the frame has {len(new):,}"
    for name in ("paths", "labels"):
        differs = np.flatnonzero(getattr(old, name) != getattr(new, name)[: len(old)])
        if len(differs):
            return f"row {differs[0]} has another {name[:-1]}"
    return None


def first_mismatch(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Return a text that names the first value in which two fingerprints differ; None if they are equal.

    Examples
    --------
    >>> first_mismatch({"decode_options": {"size": [64, 64]}}, {"decode_options": {"size": [32, 32]}})
    'size was [64, 64] and is [32, 32]'
    """
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            nested = first_mismatch(a, b)
            if nested:
                return nested
        elif a != b:
            return f"{name} was {a!r} and is {b!r}"
    return None


def _decode_array(text: str, dtype: Any) -> Array:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _encode_array(array: Array) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _check_position(position: Any, rows: range) -> int:
    if not isinstance(position, int) or position not in rows:
        raise ValueError(f"row {position!r} is not one of {rows.start} to {rows.stop}")
    return position


def _parse_failure(failure: dict[str, Any], rows: range) -> Failure:
    return {
        "position": _check_position(failure["position"], rows),
        "path": str(failure["path"]),
        "kind": check_failure_kind(failure["kind"]),
        "message": str(failure["message"]),
    }
