"""Journal of a result on disk: its job, its finished rows and their failures.

The first line describes the job; a frame that has grown adds another. Each finished partition adds one. Later lines
win; a job that is resumed replaces many lines by few that say the same. What would put something finished into
question, a longer frame or a job that replaces another, is written together with the first partition that is finished:
a job that fails before that leaves the journal as it was.
"""

from __future__ import annotations

import base64
import contextlib
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import Failure, JournalError
from pandas_imgproc.partition import as_position_array, runs, to_positions
from pandas_imgproc.sinks.job_spec import JobSpec, first_mismatch, first_mismatching_row
from pandas_imgproc.sinks.journal_storage import (
    FORMAT,
    JournalStorage,
    JsonJournal,
    check_failure_kind,
    check_format,
    to_json_line,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from pandas_imgproc.partition import PartitionResult

Array = np.ndarray[Any, np.dtype[Any]]

_COMPACT_ROWS = 2**16
"""Rows of a line of a journal that is compacted: their signatures have a megabyte."""


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

    _storage: JournalStorage

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
        self._n_lines = 0  # that were read
        self._header_on_disk: tuple[JobSpec, dict[str, str]] | None = None

    # ---- reading

    def _replay(self, line: Any) -> None:
        self._n_lines += 1
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
        spec, versions = JobSpec(dict(line["asked"]), paths, labels, line.get("outputs")), dict(line["versions"])
        self._set_spec(spec, versions)
        self._header_on_disk = spec, versions

    def _set_spec(self, spec: JobSpec, versions: dict[str, str]) -> None:
        self.spec, self.versions = spec, versions
        n = len(spec) - len(self.done)
        self.done = np.concatenate([self.done, np.zeros(n, dtype=bool)])
        self.status = np.concatenate([self.status, np.full(n, -1, dtype=np.int32)])
        self.signatures = np.concatenate([self.signatures, np.full((n, 2), -1, dtype=np.int64)])

    def _replay_rows(self, line: dict[str, Any]) -> None:
        positions = self._parse_rows(line["rows"])
        signatures = _decode_array(line["stamps"], np.int64).reshape(len(positions), 2)
        rows = positions if isinstance(positions, range) else frozenset(positions)
        failures = [_parse_failure(failure, rows) for failure in line["failures"]]
        self._apply(positions, [_check_position(position, rows) for position in line["missing"]], failures, signatures)

    def _parse_rows(self, rows: list[Any]) -> Sequence[int]:
        """Return the positions of a line: of one run of rows, or of a list of ascending ones."""
        if not isinstance(rows[0], list):
            return self._check_rows(*rows)
        found = [self._check_rows(*run) for run in rows]
        if any(a.stop > b.start for a, b in pairwise(found)):
            raise ValueError("rows are not in ascending order")
        return list(chain.from_iterable(found))

    def _check_rows(self, start: int, stop: int) -> range:
        if self.spec is None or not 0 <= start < stop <= len(self.done):
            raise ValueError(f"rows {start} to {stop} are not in the frame")
        return range(start, stop)

    def _reopen(self, blocks: list[range]) -> None:
        for rows in blocks:
            block = slice(rows.start, rows.stop)
            self._remove_failures(as_position_array(rows))
            self.done[block], self.status[block], self.signatures[block] = False, -1, -1

    def _remove_failures(self, rows: Array) -> None:
        for position in rows[self.status[rows] == 1].tolist():
            del self.failures[position]

    def _apply(
        self, positions: Sequence[int], missing: list[int], failures: Sequence[Failure], signatures: Array
    ) -> None:
        rows = as_position_array(positions)
        self._remove_failures(rows)
        self.done[rows], self.status[rows], self.signatures[rows] = True, 0, signatures
        self.status[missing] = -1
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
            self._header = self._header_line(spec, versions, anew=self.replaces)
            self._set_spec(spec, versions)

    def _header_line(self, spec: JobSpec, versions: dict[str, str], *, anew: bool) -> dict[str, Any]:
        arrays = {"paths": _encode_array(spec.paths), "labels": _encode_array(spec.labels)}
        header = {"asked": spec.task, "versions": versions, **arrays, "outputs": spec.n_outputs}
        return {"journal": FORMAT, **({"anew": True} if anew else {}), **header, "generation": self.generation}

    def write_header(self) -> None:
        """Write the identity of the job now, unless the journal holds it already."""
        if self._header is not None:
            self._write()

    def news(self, part: PartitionResult) -> PartitionResult:
        """Return the rows of a partition of which the journal does not say the same: not a failure as before."""
        rows = as_position_array(part.positions)
        is_news = np.ones(len(rows), dtype=bool)
        for i in np.flatnonzero((part.status > 0) & (self.status[rows] == 1)).tolist():
            is_same = self.failures[int(rows[i])] == part.failures[part.status[i] - 1]
            is_news[i] = not (is_same and (self.signatures[rows[i]] == part.signatures[i]).all())
        return part if is_news.all() else part.select(is_news)

    def record(self, part: PartitionResult) -> None:
        """Write that a partition is done; its values must be durable."""
        missing = as_position_array(part.positions)[part.status == -1].tolist()
        self._write(_rows_line(part.positions, missing, part.failures, part.signatures))
        self._apply(part.positions, missing, part.failures, part.signatures)

    def compact(self) -> None:
        """Replace the lines by few that say the same, at once, if half of them can be saved.

        A journal that cannot be replaced stays as it is.
        """
        if self._header_on_disk is None:
            return
        n, size = len(self._header_on_disk[0]), _COMPACT_ROWS  # without the new rows of a frame that has grown
        chunks = [start for start in range(0, n, size) if self.done[start : start + size].any()]
        if self._n_lines < 2 * (1 + len(chunks)):
            return
        lines = [self._header_line(*self._header_on_disk, anew=True)]
        lines += [self._compact_line(start, min(start + size, n)) for start in chunks]
        with contextlib.suppress(OSError):  # a disk that is full
            self._storage.replace(b"".join(map(to_json_line, lines)))
            self._n_lines = len(lines)

    def _compact_line(self, start: int, stop: int) -> dict[str, Any]:
        rows = start + np.flatnonzero(self.done[start:stop])
        failed, missing = (rows[self.status[rows] == code].tolist() for code in (1, -1))
        failures = [self.failures[position] for position in failed]
        return _rows_line(to_positions(rows), missing, failures, self.signatures[rows])

    def reopen(self, blocks: list[range]) -> None:
        """Write that rows are no longer done, before their values are: they are gone, or will be written over."""
        if blocks:
            self._storage.append(to_json_line({"reopened": [[rows.start, rows.stop] for rows in blocks]}))
            self._reopen(blocks)

    @contextlib.contextmanager
    def reopened(self, positions: Sequence[int]) -> Iterator[None]:
        """Reopen rows for a block that writes over their values and records them; if it fails, they are as before."""
        size, rows, header = self._storage.size(), as_position_array(positions), self._header
        state = [array[rows] for array in (self.done, self.status, self.signatures)]
        failures = {position: self.failures[position] for position in rows[self.status[rows] == 1].tolist()}
        try:
            self.reopen(runs(positions))
            yield
        except BaseException:
            self._storage.truncate(size)
            self._remove_failures(rows)
            self.done[rows], self.status[rows], self.signatures[rows] = state
            self.failures.update(failures)
            self._header = header
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
        return first_mismatch(self.spec.task, spec.task) or first_mismatching_row(self.spec, spec)

    def check(self, spec: JobSpec) -> None:
        """Raise a JournalError if the journal belongs to another job."""
        difference = self.mismatch(spec)
        if difference:
            raise JournalError(
                f"the result at {self._storage.name!r} belongs to another job: {difference}; "
                "choose another out=, or overwrite=True to start anew"
            )


def _rows_line(
    positions: Sequence[int], missing: list[int], failures: Sequence[Failure], signatures: Array
) -> dict[str, Any]:
    spans = [[rows.start, rows.stop] for rows in runs(positions)]
    rows = spans[0] if len(spans) == 1 else spans
    return {"rows": rows, "missing": missing, "failures": failures, "stamps": _encode_array(signatures)}


def _decode_array(text: str, dtype: Any) -> Array:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _encode_array(array: Array) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _check_position(position: Any, rows: Container[int]) -> int:
    if not isinstance(position, int) or position not in rows:
        raise ValueError(f"row {position!r} is not one of the rows of its line")
    return position


def _parse_failure(failure: dict[str, Any], rows: Container[int]) -> Failure:
    return {
        "position": _check_position(failure["position"], rows),
        "path": str(failure["path"]),
        "kind": check_failure_kind(failure["kind"]),
        "message": str(failure["message"]),
    }
