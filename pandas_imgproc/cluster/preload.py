"""What a worker process does before its first task; Dask runs a copy of this file, so it imports nothing of ours.

Importing the package here would make every worker pay for pandas before it can report that it is up.
"""

from __future__ import annotations

import shutil
import signal
import sys
from typing import Any


def dask_setup(worker: Any) -> None:
    """Prepare a worker; the name is Dask's.

    Parameters
    ----------
    worker : distributed.Worker
        The worker that is starting, in its own process.
    """
    # Ctrl-C reaches the whole process group: only the caller may decide what becomes of finished work. Where
    # signals can be blocked, the worker was launched with this one blocked already.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remove_scratch_dir(worker)
    worker.of_pandas_imgproc = True  # it may ask the process that has started it
    sys.modules.pop(__name__, None)  # Dask imported it as plain "preload": a user's module may have that name


def remove_scratch_dir(server: Any) -> None:
    """Remove the scratch folder of a scheduler, nanny or worker, and forget it.

    A killed process removes nothing. With spilling off nobody needs the folder once its owner was made, so
    there is none while the cluster works. It leaves `sys.path` too: whoever made a folder of that name later
    could otherwise bring modules in.

    Parameters
    ----------
    server : distributed.Scheduler or distributed.Nanny or distributed.Worker
    """
    base = server._workspace.base_dir
    if server._workdir is not None:
        server._workdir.release()
    shutil.rmtree(base, ignore_errors=True)
    sys.path[:] = [folder for folder in sys.path if not folder.startswith(base)]
