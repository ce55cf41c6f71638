"""What travels to a worker, and what is done with it there.

Dask's scheduler unpickles each task before it hands it on. What it gets is one function that holds bytes and is sent
by value: it needs neither this package nor pandas for that, a worker without them can say so in a sentence, and
neither's log shows what stands in a path.
"""

from __future__ import annotations

import pickle
import socket
import struct
import sys
from pickle import PickleError
from typing import TYPE_CHECKING

import cloudpickle

from pandas_imgproc.errors import with_host
from pandas_imgproc.execution.job import run_and_write

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.execution.crash_ledger import LedgerHandle
    from pandas_imgproc.execution.job import JobState
    from pandas_imgproc.partition import PartitionInput, PartitionResult
    from pandas_imgproc.sinks import PartitionWriter
    from pandas_imgproc.tasks import Task

_UNPICKLING_ERRORS = (
    ImportError, AttributeError, TypeError, ValueError, LookupError, EOFError, PickleError, struct.error
)  # fmt: skip

_FILE_KINDS = {"missing", "permission", "not_a_file"}


class PayloadFactory:
    """The partitions of a call, ready to be sent.

    Parameters
    ----------
    state : JobState
        The call. What all partitions share is packed once.
    ledger : LedgerHandle
        Where its note is.

    Raises
    ------
    TypeError
        If its task holds a function that cannot be sent.
    """

    def __init__(self, state: JobState, ledger: LedgerHandle) -> None:
        call = state.job
        shared = (call.source, ledger, state.settings, socket.gethostname())
        self._shared = serialize_task(call.task), pickle.dumps(shared)

    def build(self, rows: PartitionInput, put: PartitionWriter) -> Callable[[], PartitionResult | str]:
        """Return the function that does some rows."""
        return _self_contained((*self._shared, cloudpickle.dumps((rows, put))))  # the parts of a folder hold the task


def _self_contained(parcel: tuple[bytes, bytes, bytes]) -> Callable[[], PartitionResult | str]:
    from pandas_imgproc._version import __version__ as version

    def run_on_worker() -> PartitionResult | str:
        # It comes to workers that may have nothing of ours: no name from outside of it may be used here.
        import socket
        import sys

        from distributed import get_worker

        where = f"worker {get_worker().address} on host {socket.gethostname()!r}"
        try:
            from pandas_imgproc.execution.payload import run_payload
        except ImportError as exc:
            return (
                f"the {where} cannot import pandas_imgproc: {exc}; install it for the Python that runs the worker, as "
                f"on every worker: {sys.executable} -m pip install pandas-imgproc=={version}"
            )
        return run_payload(parcel, where, version)

    run_on_worker.__module__ = "__main__"  # such functions travel by value
    return run_on_worker


def run_payload(parcel: tuple[bytes, bytes, bytes], where: str, version: str) -> PartitionResult | str:
    """Do, on a worker, what a parcel asks, and put the values where they belong.

    Parameters
    ----------
    parcel : tuple of bytes
        The task, what else the call's partitions share, and the rows.
    where : str
        The worker.
    version : str
        Of the package that packed it.

    Returns
    -------
    PartitionResult or str
        A sentence where it cannot be opened.
    """
    from pandas_imgproc._version import __version__ as here

    try:
        task, (source, ledger, settings, caller), (rows, put) = map(pickle.loads, parcel)
    except _UNPICKLING_ERRORS as exc:
        differs = "" if here == version else f" (pandas-imgproc is {here} there and {version} here)"
        return (
            f"the {where} cannot open what the call needs: {type(exc).__name__}: {exc}{differs}; its Python, "
            f"{sys.executable}, needs the modules that the function uses, in the same versions as here"
        )
    with ledger.open() as marks:
        part = run_and_write(task, rows, source, marks, settings, put)
    if socket.gethostname() != caller:
        _add_host(part)
    _report_metrics(part)
    return part


def _add_host(part: PartitionResult) -> None:
    for failed in part.failures:
        if failed["kind"] in _FILE_KINDS and "://" not in failed["path"]:
            failed["message"] = with_host(failed["message"], socket.gethostname())


def _report_metrics(part: PartitionResult) -> None:
    """Tell the dashboard's page "Fine Performance Metrics" what the rows took."""
    from distributed.metrics import context_meter

    for timed, seconds in part.seconds.items():
        context_meter.digest_metric(timed, seconds, "seconds")
    context_meter.digest_metric("read", part.bytes_read, "bytes")
    context_meter.digest_metric("failures", len(part.failures), "count")
    context_meter.digest_metric("rows", len(part.status), "count")


def serialize_task(task: Task) -> bytes:
    """Return a task as bytes, made once for all partitions.

    Raises
    ------
    TypeError
        If it holds a function that cannot be sent.
    """
    try:
        return bytes(cloudpickle.dumps(task))
    except (TypeError, AttributeError, ValueError, RuntimeError, RecursionError, PickleError) as exc:
        raise TypeError(
            f"{task.name}: what the function uses cannot be sent to another process: {exc}; open files, locks and "
            "connections must be made inside of the function"
        ) from exc
