"""Log of Dask in the terminal, silent while a managed cluster is open. Import this module late, as `local`."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from typing import Any

from distributed.utils import silence_logging_cmgr


class LogSilence:
    """Silence of Dask's log in the terminal while a cluster is open: the failure of a row reports a worker's death."""

    def __init__(self) -> None:
        self._lock, self._stack = threading.Lock(), contextlib.ExitStack()
        self._clusters: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, cluster: Any) -> None:
        """Begin the silence of a cluster."""
        with self._lock:
            if not self._clusters:
                for root in ("distributed", "bokeh"):
                    self._stack.enter_context(silence_logging_cmgr(logging.CRITICAL, root))
            self._clusters.add(cluster)

    def discard(self, cluster: Any) -> None:
        """End the silence of a cluster, and restore the log after the last one."""
        with self._lock:
            self._clusters.discard(cluster)
            if not self._clusters:
                self._stack.close()


log_silence = LogSilence()
