"""State of one call on the page "Images": bounded, for a call of any length and events of any content."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

MAX_FAILURES = 20
"""Failures of a kind that the page lists: the last ones."""

MAX_KINDS = 30
"""Kinds of failures of a call, and stages of a partition, that are counted."""

MAX_WORKERS = 200
"""Workers of a call that are distinguished; others are counted together."""

MAX_PARTITIONS = 300
"""Partitions whose sizes and durations are drawn: the last ones."""

MAX_POINTS = 200
"""Points of the curve of a call: of more, every second one is dropped."""

MAX_THUMBNAILS = 12
"""Thumbnails of a call: the last ones."""

MAX_THUMBNAIL_NBYTES = 30_000
"""Size of a file of 64 x 64 pixels at most."""

MAX_CHARS = 300
"""Limit of a text."""

RECENT_SECONDS = 10.0
"""Seconds of which the rate of a call is that of now."""

CALLER = "this process"
"""Name of the caller, which runs the first rows of a call, and others while a cluster starts."""

OTHER_WORKERS = "other workers"
"""Name of all workers beyond the first `MAX_WORKERS`."""


def as_text(value: Any) -> str:
    """Return a value of a message as text of bounded length."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def as_number(value: Any) -> float:
    """Return a value of a message as a number; 0 for any other."""
    is_number = isinstance(value, int | float) and value == value and abs(value) < 1e18
    return float(value) if is_number else 0.0


def as_counts(value: Any) -> dict[str, float]:
    """Return a mapping of a message as numbers by name."""
    items = list(value.items())[:MAX_KINDS] if isinstance(value, dict) else []
    return {as_text(name): as_number(number) for name, number in items}


@dataclass
class WorkerState:
    """Work of one worker for a call: sums over its partitions."""

    rows: int = 0
    n_failed: int = 0
    n_partitions: int = 0
    wall: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    began_at: float = 0.0
    seen_at: float = 0.0
    n_threads: int = 1
    is_lost: bool = False

    def add(self, event: dict[str, Any], now: float) -> None:
        """Add a partition."""
        wall = as_number(event.get("wall"))
        if not self.n_partitions:
            self.began_at = now - wall
        self.n_threads = max(1, int(as_number(event.get("threads"))))
        self.rows += int(as_number(event.get("rows")))
        self.n_failed += int(sum(as_counts(event.get("failed")).values()))
        self.n_partitions, self.wall, self.seen_at = self.n_partitions + 1, self.wall + wall, now
        for stage, seconds in as_counts(event.get("seconds")).items():
            if stage in self.stages or len(self.stages) < MAX_KINDS:
                self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    def waiting(self, ended_at: float | None) -> float:
        """Return the seconds that its threads have been without a partition, until the end or its last one."""
        until = self.seen_at if ended_at is None or self.is_lost else ended_at
        return max(0.0, (until - self.began_at) * self.n_threads - self.wall)


class CallState:
    """State of one call.

    Parameters
    ----------
    identifier : str
        Identifier of the call in events.
    now : float
        Time at which it became known, on the scheduler's clock.
    """

    def __init__(self, identifier: str, now: float) -> None:
        self.id, self.started_at = identifier, now
        self.ended_at: float | None = None
        self.status, self.message, self.client = "running", "", ""
        self.method = self.column = self.target = ""
        self.is_graph, self.group = False, ""
        self.total, self.n_skipped, self.n_done, self.nbytes = 0, 0, 0, 0
        self.seconds = 0.0  # of the caller, at the end
        self.failed: Counter[str] = Counter()
        self.failures: dict[str, deque[tuple[str, str, str]]] = {}
        self.workers: dict[str, WorkerState] = {}
        self.transfer: dict[str, float] = {}
        self.partitions: deque[tuple[float, float, int, str]] = deque(maxlen=MAX_PARTITIONS)
        self.n_partitions, self.n_deaths, self.n_retries = 0, 0, 0
        self.thumbnails: deque[tuple[str, str]] = deque(maxlen=MAX_THUMBNAILS)
        self.points: list[tuple[float, int]] = [(now, 0)]
        self.recent: deque[tuple[float, int]] = deque([(now, 0)])
        self._point_seconds = 1.0
        self._done_keys: set[int] = set()

    @property
    def n_failed(self) -> int:
        """Number of failed rows."""
        return sum(self.failed.values())

    @property
    def frequent_kinds(self) -> list[tuple[str, int]]:
        """Failure kinds with their numbers of rows, the most frequent first."""
        return sorted(self.failed.items(), key=lambda item: -item[1])

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None

    # ---- messages

    def on_caller(self, message: dict[str, Any], now: float, *, details: bool) -> None:
        """Take over the state that the caller reports."""
        is_first = not self.method
        self.method, self.column = as_text(message.get("method")), as_text(message.get("column"))
        self.client = as_text(message.get("client"))
        self.target = as_text(message.get("target")) if details else ""
        self.total, self.n_skipped = (int(as_number(message.get(name))) for name in ("total", "resumed"))
        self.nbytes = int(as_number(message.get("nbytes")))
        self.failed = Counter({kind: int(n) for kind, n in as_counts(message.get("failed")).items()})
        inline = message.get("inline")
        if isinstance(inline, dict) and as_number(inline.get("rows")):
            # Rows that the caller has run itself: the first ones, and those during the start of a cluster.
            self.workers[CALLER] = WorkerState()
            self.workers[CALLER].add(inline, now)
        self.transfer = {as_text(k): as_number(v) for k, v in _items(message.get("transfer"), MAX_WORKERS)}
        self._add_point(now, int(as_number(message.get("done"))))
        self.seconds = as_number(message.get("elapsed"))
        if is_first:
            self.started_at = now - self.seconds
            self.points[0] = self.recent[0] = (self.started_at, 0)
        self._add_failures(message.get("failures"), details=details)
        if message.get("status") not in (None, "running"):
            self.end(as_text(message["status"]), now, as_text(message.get("message")) if details else "")

    def on_partition(self, event: dict[str, Any], now: float, *, details: bool) -> None:
        """Add a partition that a worker has finished."""
        address = as_text(event.get("worker"))
        if address not in self.workers and len(self.workers) >= MAX_WORKERS:
            address = OTHER_WORKERS
        self.workers.setdefault(address, WorkerState()).add(event, now)
        rows, wall = int(as_number(event.get("rows"))), as_number(event.get("wall"))
        self.n_partitions += 1
        self.partitions.append((now, wall, rows, address))
        if self.is_graph:
            self._add_graph_rows(event, rows, now, details=details)
        data = event.get("thumbnail")
        if details and isinstance(data, str) and len(data) <= MAX_THUMBNAIL_NBYTES:
            self.thumbnails.append((as_text(event.get("title")), data))

    def _add_graph_rows(self, event: dict[str, Any], rows: int, now: float, *, details: bool) -> None:
        """Count the rows of a partition of a Dask frame; one that Dask has run again is the same rows."""
        key = hash(as_text(event.get("key")))
        if key in self._done_keys:
            return
        self._done_keys.add(key)
        self.method, self.column = as_text(event.get("method")), as_text(event.get("column"))
        self.group = as_text(event.get("group"))
        for kind, n in as_counts(event.get("failed")).items():
            self.failed[kind] += int(n)
        self._add_point(now, self.n_done + rows)
        self._add_failures(event.get("failures"), details=details)

    @property
    def n_done_keys(self) -> int:
        """Number of partitions of a Dask frame that are done."""
        return len(self._done_keys)

    def _add_failures(self, value: Any, *, details: bool) -> None:
        if not details or not isinstance(value, dict):
            return
        for kind, rows in list(value.items())[:MAX_KINDS]:
            if len(self.failures) < MAX_KINDS or kind in self.failures:
                last = self.failures.setdefault(as_text(kind), deque(maxlen=MAX_FAILURES))
                last.extend(map(_as_failure, rows if isinstance(rows, list | tuple) else ()))

    def _add_point(self, now: float, n_done: int) -> None:
        self.n_done = n_done
        self.recent.append((now, n_done))
        while len(self.recent) > 2 and self.recent[1][0] < now - RECENT_SECONDS:
            self.recent.popleft()
        if now - self.points[-1][0] >= self._point_seconds or not self.n_done < self.total:
            self.points.append((now, n_done))
        if len(self.points) > MAX_POINTS:
            self.points, self._point_seconds = [self.points[0], *self.points[2::2]], 2 * self._point_seconds

    def end(self, status: str, now: float, message: str = "") -> None:
        """Mark the call as ended; it needs less memory from now on."""
        self.status, self.message, self.ended_at = status, message, self.ended_at or now
        self._done_keys = set()

    # ---- figures

    def elapsed(self, now: float) -> float:
        """Return the seconds since the start, or of the ended call."""
        if self.ended_at is not None and self.seconds:
            return self.seconds
        return max(1e-9, (self.ended_at or now) - self.started_at)

    def rate(self, now: float) -> float:
        """Return the images a second since the start, as the summary line has them."""
        return self.n_done / self.elapsed(now)

    def recent_rate(self, now: float) -> float:
        """Return the images a second of the last `RECENT_SECONDS`."""
        (began_at, n_before), (_, n_done) = self.recent[0], self.recent[-1]
        return (n_done - n_before) / max(1e-9, now - began_at) if self.is_running else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return the predicted seconds of the remaining rows, None if they are not known."""
        if not self.is_running or not self.n_done or not self.total:
            return None
        return max(0, self.total - self.n_done) / self.rate(now)

    def stages_by_worker(self) -> dict[str, tuple[int, dict[str, float]]]:
        """Return the rows of each worker, and its seconds by stage, with those in no stage and those of waiting."""
        result: dict[str, tuple[int, dict[str, float]]] = {}
        for address, worker in self.workers.items():
            stages: dict[str, float] = dict(worker.stages)
            stages["other"] = max(0.0, worker.wall - sum(stages.values()))
            if address != CALLER:
                stages["sending"] = self.transfer.get(address, 0.0)
                stages["waiting"] = worker.waiting(self.ended_at)
            result[address] = (worker.rows, stages)
        return result


def _as_failure(row: Any) -> tuple[str, str, str]:
    """Return label, path and message of a row."""
    label, path, text = (*row, "", "", "")[:3] if isinstance(row, list | tuple) else ("", "", "")
    return as_text(label), as_text(path), as_text(text)


def _items(value: Any, n: int) -> list[tuple[Any, Any]]:
    return list(value.items())[:n] if isinstance(value, dict) else []
