"""Reports to the dashboard's page "Images": of calls, by their caller, and of partitions, by the workers."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import os
import time
import uuid
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc._text import INTERRUPTS, MAX_MESSAGE_CHARS, format_exception, shorten, truncate, truncate_path
from pandas_imgproc.cluster import PageConnection, worker_rpc
from pandas_imgproc.source import InputFile
from pandas_imgproc.source.redaction import redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.execution.job import Job, JobState
    from pandas_imgproc.partition import PartitionInput, PartitionResult
    from pandas_imgproc.sinks import PartitionWriter
    from pandas_imgproc.source import Source

REPORT_SECONDS = 1.0
"""Seconds between two messages of a caller, and between two partitions that make a thumbnail."""

MAX_FAILURES = 20
"""Failures of each kind that a message holds: the last ones."""

MAX_WORKERS = 200
"""Workers of which a message holds the time of transfers."""

THUMBNAIL = codec.DecodeOptions((64, 64), fit="thumbnail", resample="box")
"""Options of a thumbnail from an encoded image."""


class FailureTally:
    """Counter of the failures of a job by kind, with the last ones that were not reported.

    Attributes
    ----------
    counts : Counter of str
    unreported : dict of str to deque of Failure
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.unreported: dict[str, deque[Failure]] = {}

    def add(self, failures: Iterable[Failure]) -> None:
        """Count failures."""
        for failed in failures:
            self.counts[failed["kind"]] += 1
            self.unreported.setdefault(failed["kind"], deque(maxlen=MAX_FAILURES)).append(failed)

    def rows(self, job: Job) -> dict[str, list[list[str]]]:
        """Return label, path and message of the failures that were not reported, by kind."""
        return {
            kind: [[_label(job, row["position"]), _path(row["path"]), _printable(row["message"])] for row in last]
            for kind, last in self.unreported.items()
        }


class CallReport:
    """Report of a job that runs on a client: a message a second, one at the start, and one at the end.

    Parameters
    ----------
    state : JobState
    client : distributed.Client
    """

    def __init__(self, state: JobState, client: Client) -> None:
        self.id = uuid.uuid4().hex[:8]
        self._state, self._connection = state, PageConnection(client)
        self._sent_at = self._thumbnail_at = -math.inf
        # Rows that have run before, in this process.
        self._inline = {"rows": state.n_done, "wall": state.wall, "seconds": dict(state.stage_seconds)}
        self.transfer_seconds: Counter[str] = Counter()  # by address of the worker

    def update(self) -> None:
        """Send a message, if the last one was sent a second ago."""
        now = time.monotonic()
        if now - self._sent_at >= REPORT_SECONDS and self._connection.is_idle:
            self._sent_at = now
            self._connection.send(self._message("running"))

    def end(self, status: str, message: str = "") -> None:
        """Send the last message."""
        self._connection.send_last(lambda: self._message(status, message))

    def take_thumbnail(self) -> bool:
        """Return whether the next partition should make a thumbnail: one a second, while the page is open."""
        now = time.monotonic()
        if not self._connection.thumbnails or now - self._thumbnail_at < REPORT_SECONDS:
            return False
        self._thumbnail_at = now
        return True

    def _message(self, status: str, message: str = "") -> dict[str, Any]:
        state, tally = self._state, self._state.failure_tally
        job = state.job
        content = {
            "call": self.id, "status": status, "method": job.task.name, "column": _printable(job.column),
            "total": state.n_total, "resumed": state.n_finished, "done": state.n_done,
            "elapsed": state.seconds, "failed": dict(tally.counts), "nbytes": state.sink.nbytes,
            "inline": self._inline, "transfer": dict(list(self.transfer_seconds.items())[:MAX_WORKERS]),
        }  # fmt: skip
        if self._connection.details:
            target = _path(_relative(redact_url(job.target)))
            content |= {"target": target, "message": message, "failures": tally.rows(job)}
            tally.unreported.clear()
        return content


@contextlib.contextmanager
def end_reported(state: JobState) -> Iterator[None]:
    """Report the end of a job, with an error or without."""
    try:
        yield
    except BaseException as exc:
        if state.report is not None:
            status = "interrupted" if isinstance(exc, INTERRUPTS) else "failed"
            state.report.end(status, _printable(redact_text(format_exception(exc))))
        raise
    else:
        if state.report is not None:
            state.report.end("stopped" if state.failed_fast else "finished")
    finally:
        state.report = None  # it refers to the state: a cycle would keep the result until Python collects garbage


# ---- on a worker


class PartitionReport:
    """Report of a partition to the dashboard, by the worker that runs it; nothing where no dashboard has the page.

    Parameters
    ----------
    call : str
        Identifier of the call.
    method : str
        Name of the accessor's method.
    """

    def __init__(self, call: str, method: str) -> None:
        self._mode = worker_rpc.report_mode()
        self._event: dict[str, Any] = {"call": call, "method": method, "rows": 0, "wall": 0.0, "bytes": 0}
        self._seconds: Counter[str] = Counter()
        self._tally = FailureTally()

    def add(self, result: PartitionResult) -> None:
        """Add the rows of a result."""
        if self._mode is None:
            return
        self._event["rows"] += len(result.status)
        self._event["wall"] += result.wall
        self._event["bytes"] += result.bytes_read
        self._seconds.update(result.seconds)
        self._tally.add(result.failures)

    def send(self, **values: Any) -> None:
        """Send the event, with more values."""
        if self._mode is not None:
            failed = dict(self._tally.counts)
            worker_rpc.report({**self._event, "seconds": dict(self._seconds), "failed": failed, **values})

    def send_of_graph(self, job: Job) -> None:
        """Send the event of a partition of a Dask frame, whose call has no caller that reports it."""
        if self._mode is None:
            return
        from distributed.utils import key_split_group

        key = worker_rpc.current_worker().get_current_task()
        failures = {"failures": self._tally.rows(job)} if self._mode == "details" else {}
        self.send(group=key_split_group(key), key=str(key), column=_printable(job.column), **failures)


class ThumbnailWriter:
    """Writer of a partition that makes a thumbnail of its last image before the values are written.

    Parameters
    ----------
    writer : PartitionWriter
    partition : PartitionInput
    source : Source
    """

    def __init__(self, writer: PartitionWriter, partition: PartitionInput, source: Source) -> None:
        self._writer, self._partition, self._source = writer, partition, source
        self.values: dict[str, str] = {}  # of the event: the thumbnail, and its title

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the values."""
        rows = np.flatnonzero(part.status == 0)
        if len(rows) and part.values is not None:
            i, n_outputs = int(rows[-1]), len(part.values) // len(part.status)
            data = make_thumbnail(part.values[i * n_outputs])
            if data is not None:
                path = InputFile(self._partition.inputs[i], self._source).path
                self.values = {"thumbnail": data, "title": _path(path)}
        return self._writer(part)


def make_thumbnail(value: Any) -> str | None:
    """Return a PNG file of at most 64 x 64 pixels, in base64, of pixels or of an encoded image; None of others.

    Examples
    --------
    >>> make_thumbnail(np.zeros((200, 100, 3), dtype=np.uint8))[:8]
    'iVBORw0K'
    """
    from PIL import Image

    try:
        if isinstance(value, np.ndarray) and value.ndim in (3, 4) and value.dtype == np.uint8:
            pixels = value if value.ndim == 3 else value[0]
            image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            image.thumbnail((64, 64), Image.Resampling.BOX)
            if image.mode == "RGBA":
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        elif isinstance(value, bytes):
            image = codec.load(value, THUMBNAIL)
        else:
            return None
        with io.BytesIO() as file:
            image.save(file, "PNG")
            return base64.b64encode(file.getvalue()).decode()
    except INTERRUPTS:
        raise
    except Exception:  # values that are no image: the thumbnail is no part of the result
        return None


# ---- texts


def _label(job: Job, position: int) -> str:
    """Return the label of a row; its position if the job knows no index."""
    if job.index is None or position >= len(job.index):
        return str(position)
    label = job.index[position]
    return _printable(redact_url(label if isinstance(label, str) else shorten(label)))


def _path(path: str) -> str:
    return _printable(truncate_path(path, MAX_MESSAGE_CHARS))


def _relative(path: str) -> str:
    """Return a path relative to the current folder, if it is below."""
    with contextlib.suppress(OSError):  # the folder was removed
        return path.removeprefix(os.path.join(os.getcwd(), ""))
    return path


def _printable(text: str) -> str:
    """Return a text that can be sent: names of files may be no UTF-8."""
    return truncate(text.encode(errors="replace").decode())
