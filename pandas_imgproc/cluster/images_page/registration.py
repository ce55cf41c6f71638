"""Registration of the page "Images" on a cluster of the user, whose scheduler may lack this package."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import cloudpickle
import distributed
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pandas_imgproc._text import shorten
from pandas_imgproc.cluster.images_page.names import PAGE_TOPIC
from pandas_imgproc.cluster.images_page.plugin import ImagesPlugin, ReportingPlugin
from pandas_imgproc.errors import ClusterError

_PACKAGE = "pandas_imgproc.cluster.images_page"

_lock = threading.Lock()


def register(client: distributed.Client, *, details: bool) -> None:
    """Register the plugins of the page on a cluster of the user; raise a TypeError if `client` is no client."""
    if not isinstance(client, distributed.Client):
        raise TypeError(f"client={shorten(client)} is no distributed.Client, such as Client('tcp://10.0.0.5:8786')")
    if client.asynchronous:
        raise ClusterError("client= is asynchronous and cannot be waited for; open it without asynchronous=True")
    client.register_plugin(_SchedulerPluginByValue(ImagesPlugin(details=details, thumbnails=details)))
    if not client.get_events(PAGE_TOPIC):
        raise ClusterError("the scheduler of client= has no dashboard, or lacks Bokeh; its log has the reason")
    client.register_plugin(_WorkerPluginByValue(ReportingPlugin("details" if details else "counts")))


def dumps_by_value(value: Any) -> bytes:
    """Serialize a value with the code of this subpackage, for a process without the package."""
    with _lock:
        cloudpickle.register_pickle_by_value(sys.modules[_PACKAGE])
        try:
            return bytes(cloudpickle.dumps(value))
        finally:
            cloudpickle.unregister_pickle_by_value(sys.modules[_PACKAGE])


class _SchedulerPluginByValue(SchedulerPlugin):  # type: ignore[misc]
    """Scheduler plugin that arrives as another one."""

    def __init__(self, plugin: SchedulerPlugin) -> None:
        self.name, self._pickled = plugin.name, dumps_by_value(plugin)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)


class _WorkerPluginByValue(WorkerPlugin):  # type: ignore[misc]
    """Worker plugin that arrives as another one."""

    def __init__(self, plugin: WorkerPlugin) -> None:
        self.name, self._pickled = plugin.name, dumps_by_value(plugin)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)
