"""Serialized partition payloads.

A payload is a self-contained function over pickled bytes, so the scheduler, which unpickles every task, needs neither
this package nor pandas, and logs no paths. A worker without the package reports that in a sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
import socket
import struct
import sys
from pickle import PickleError
from typing import TYPE_CHECKING, Any

import cloudpickle

from pandas_imgproc import codec
from pandas_imgproc._text import INTERRUPTS
from pandas_imgproc._version import __version__
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.errors import with_host
from pandas_imgproc.execution.job import run_and_write
from pandas_imgproc.execution.reporting import PartitionReport, ThumbnailWriter
from pandas_imgproc.execution.secession import worker_secession
from pandas_imgproc.partition import PartitionResult
from pandas_imgproc.source import FailedInput, InputFile, RowInputs, Source, is_encoded, read_in_memory
from pandas_imgproc.source.inputs import describe_input, path_or_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas_imgproc.execution.job import JobState
    from pandas_imgproc.execution.ledger_handle import LedgerHandle
    from pandas_imgproc.execution.task_handle import TaskHandle
    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.sinks import PartitionWriter
    from pandas_imgproc.tasks import Task


_UNPICKLING_ERRORS = (
    ImportError, AttributeError, TypeError, ValueError, LookupError, EOFError, PickleError, struct.error
)  # fmt: skip

_TEXT_TYPES = frozenset({str, type(None)})

_FILE_KINDS = {"missing", "permission", "not_a_file"}


UNREACHABLE = "unreachable"
"""Result of a worker that cannot reach the bytes of the task: they must be sent to it."""

Outcome = PartitionResult | str  # a message if the payload cannot be unpickled, or `UNREACHABLE`


def worker_function(state: JobState, ledger: LedgerHandle, task: TaskHandle) -> Callable[..., Outcome]:
    """Return the function that runs the payloads of a job on a worker, with the parts that all of them share."""
    call = ("" if state.report is None else state.report.id, state.job.task.name)
    return _self_contained(pickle.dumps((state.job.source, ledger, task, state.settings, socket.gethostname(), call)))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickler of a writer, which may hold the task of the call: the worker has that already."""

    def __init__(self, file: io.BytesIO, task: Task) -> None:
        super().__init__(file)
        self._task = task

    def persistent_id(self, value: Any) -> str | None:
        """Return an identifier in place of the task."""
        return "task" if value is self._task else None


class _Unpickler(pickle.Unpickler):
    """Unpickler of a writer."""

    def __init__(self, data: bytes, task: Task) -> None:
        super().__init__(io.BytesIO(data))
        self._task = task

    def persistent_load(self, _: Any) -> Task:
        """Return the task of this process."""
        return self._task


def build_payload(partition: PartitionInput, writer: PartitionWriter, task: Task, *, makes_thumbnail: bool) -> bytes:
    """Return the payload of a partition: positions, then the pickled partition, and its writer.

    `makes_thumbnail`: whether the worker sends the dashboard a thumbnail of one of the images.
    """
    partition = portable_partition(partition)
    with io.BytesIO() as file:
        _Pickler(file, task).dump(writer)
        return pickle.dumps((partition.positions, cloudpickle.dumps(partition), file.getvalue(), makes_thumbnail))


def portable_partition(partition: PartitionInput) -> PartitionInput:
    """Return a partition with inputs that any process can unpickle; one that cannot be read here is a failure."""
    return dataclasses.replace(partition, inputs=_portable_inputs(partition.inputs))


def _portable_inputs(inputs: Sequence[Any]) -> Sequence[Any]:
    """Return inputs that any process can unpickle; one that cannot be read here is a `FailedInput`, as it is inline."""
    if _TEXT_TYPES.issuperset(map(type, inputs)):  # nearly always
        return inputs
    return [_portable_input(value) for value in inputs]


def _portable_input(value: Any) -> Any:
    if isinstance(value, RowInputs):
        return RowInputs(tuple(map(_portable_input, value.values)))
    return _portable(value) if is_encoded(value) else value


def _portable(value: Any) -> Any:
    data = path_or_bytes(value)
    try:
        # With the name that the value has in the table of failures: the copy has another one.
        return {"bytes": read_in_memory(data), "path": value["path"] if data is not value else describe_input(data)}
    except INTERRUPTS:
        raise
    except BaseException as exc:
        return FailedInput(InputFile(value, Source()).path, *codec.classify_error(exc))


def _self_contained(shared: bytes) -> Callable[..., Outcome]:
    version = __version__

    def run_on_worker(payload: bytes, task: Any = None) -> PartitionResult | str:
        # Workers may lack this package: no global name may be used here.
        import socket
        import sys

        from distributed import get_worker

        worker = f"worker {get_worker().address} on host {socket.gethostname()!r}"
        try:
            from pandas_imgproc.execution.payload import run_payload
        except ImportError as exc:
            return (
                f"the {worker} cannot import pandas_imgproc: {exc}; install it for the Python that runs the worker, as "
                f"on every worker: {sys.executable} -m pip install pandas-imgproc=={version}"
            )
        return run_payload(payload, shared, version, task)

    run_on_worker.__module__ = "__main__"  # cloudpickle pickles functions of this module by value
    return run_on_worker


def run_payload(payload: bytes, shared: bytes, version: str, scattered: bytes | None = None) -> Outcome:
    """Run a payload on a worker and write the values; return a message if it cannot be unpickled.

    `shared` is pickled, and so is the task, `scattered`, if the caller has sent it as data of Dask; `version` is the
    version of this package in the caller.
    """
    with contextlib.ExitStack() as opened:
        try:
            source, handle, task_handle, settings, caller, call = pickle.loads(shared)
            process_task = task_handle.open(handle.file, scattered)
            if process_task is None:
                return UNREACHABLE
            ledger = opened.enter_context(handle.open())
            positions, partition, writer, makes_thumbnail = pickle.loads(payload)
            ledger.start_attempt(positions)  # before the function and the inputs: to unpickle them may end the process
            task = process_task.build(ledger, task_handle.names)
            partition, writer = pickle.loads(partition), _Unpickler(writer, task).load()
        except _UNPICKLING_ERRORS as exc:
            return unpickling_message(exc, version)
        thumbnail = ThumbnailWriter(writer, partition, source) if makes_thumbnail else None
        secession = opened.enter_context(worker_secession())
        result = run_and_write(task, partition, source, ledger, settings, thumbnail or writer, secession)
    result.function_errors.detach()
    if socket.gethostname() != caller:
        _add_host(result)
    _report_metrics(result)
    report = PartitionReport(*call)
    report.add(result)
    report.send(**(thumbnail.values if thumbnail else {}))
    return result


def unpickling_message(exc: BaseException, version: str) -> str:
    """Return the message for the worker of this thread's task, on which something cannot be unpickled.

    `version` is the version of this package in the caller.
    """
    if isinstance(exc, AttributeError) and "__main__" in str(exc):
        return (
            f"the {_describe_worker()} cannot open what the call needs: {exc}; Python sends it by name, and the script "
            "or notebook does not run in worker processes: create it inside of the function, or in the __init__ of a "
            "class that takes the function's place, or move it into a module"
        )
    differs = f" (pandas-imgproc is {__version__} on it and {version} in the caller)"
    return (
        f"the {_describe_worker()} cannot open what the call needs: {type(exc).__name__}: {exc}"
        f"{differs if __version__ != version else ''}; its Python, "
        f"{sys.executable}, needs the modules that the function uses, in the same versions as in the caller"
    )


def _describe_worker() -> str:
    """Return the name of this thread's worker, or of this process, for messages."""
    worker = worker_rpc.current_worker()
    return f"{'process' if worker is None else f'worker {worker.address}'} on host {socket.gethostname()!r}"


def _add_host(result: PartitionResult) -> None:
    for failed in result.failures:
        if failed["kind"] in _FILE_KINDS and "://" not in failed["path"]:
            failed["message"] = with_host(failed["message"], socket.gethostname())


def _report_metrics(result: PartitionResult) -> None:
    """Report the partition's metrics to the dashboard's page "Fine Performance Metrics"."""
    from distributed.metrics import context_meter

    for stage, seconds in result.seconds.items():
        context_meter.digest_metric(stage, seconds, "seconds")
    context_meter.digest_metric("read", result.bytes_read, "bytes")
    context_meter.digest_metric("failures", len(result.failures), "count")
    context_meter.digest_metric("rows", len(result.status), "count")


def serialize_task(task: Task) -> bytes:
    """Serialize a task; raise a TypeError if it holds a function that cannot be serialized."""
    try:
        return bytes(cloudpickle.dumps(task))
    except (TypeError, AttributeError, ValueError, RuntimeError, RecursionError, PickleError) as exc:
        raise TypeError(
            f"{task.name}: what the function uses cannot be sent to another process: {exc}; open files, locks and "
            "connections must be created inside of the function"
        ) from exc
