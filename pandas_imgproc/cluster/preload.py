"""Preload script of a worker process. Dask runs a copy of this file, so it imports nothing of this package.

With the package every worker would import pandas before it can report that it is up.
"""

from __future__ import annotations

import shutil
import signal
import sys
from typing import TYPE_CHECKING

import dask.config

if TYPE_CHECKING:
    from distributed import Nanny, Scheduler, Worker


def _suppress_http_server() -> None:
    """Let the next worker of this process start no HTTP server: its pages are open to each account of the machine.

    Dask has no option for it. A worker imports its preload scripts before it listens, and starts them later.
    """
    from distributed import Worker

    def start_http_server(worker: Worker, *args: object, **kwargs: object) -> None:  # noqa: ARG001
        del Worker.start_http_server  # the inherited method again, for workers that a task may start in this process

    Worker.start_http_server = start_http_server


def dask_setup(worker: Worker) -> None:
    """Prepare a worker that is starting, in its own process; the name is Dask's."""
    # Ctrl-C reaches the whole process group, but only the caller may decide about finished work. Where signals can be
    # blocked, the worker was started with this one blocked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remove_scratch_dir(worker)
    worker._pandas_imgproc_managed = True  # `worker_rpc` may call the client process
    if dask.config.get("pandas-imgproc.dashboard", "token") not in ("off", False):
        worker._pandas_imgproc_reports = "details"  # for the dashboard's page
    sys.modules.pop(__name__, None)  # Dask imported it as plain "preload": a user's module may have that name


def remove_scratch_dir(server: Scheduler | Nanny | Worker) -> None:
    """Remove the scratch directory of a scheduler, nanny or worker, also from `sys.path`.

    A killed process removes nothing, and without spilling the directory has no use, so none exists while the cluster
    works. In `sys.path` a directory that another user creates under its name could bring modules in.
    """
    base = server._workspace.base_dir
    if server._workdir is not None:
        server._workdir.release()
    shutil.rmtree(base, ignore_errors=True)
    sys.path[:] = [folder for folder in sys.path if not folder.startswith(base)]


if not __package__:  # the copy that Dask imports in the process of a worker
    _suppress_http_server()
