"""Scheduler plugin of the page "Images": receives the events of calls, and adds the page to the dashboard."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pandas_imgproc.cluster.images_page.names import PAGE_TOPIC, PLUGIN, TOPIC
from pandas_imgproc.cluster.images_page.page import images_doc
from pandas_imgproc.cluster.images_page.state import PageState

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

    from pandas_imgproc.cluster.images_page.call import CallState

logger = logging.getLogger("distributed.pandas_imgproc")

UNFINISHED = ("waiting", "processing", "queued", "no-worker")
"""States of Dask tasks that are to be run."""


class ImagesPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Scheduler plugin with the state of the page, and the page itself.

    Parameters
    ----------
    details : bool
        Whether the page shows paths, messages, labels, targets and thumbnails.
    thumbnails : bool
        Whether it shows thumbnails.
    """

    name = PLUGIN

    def __init__(self, *, details: bool, thumbnails: bool) -> None:
        self.state = PageState(details=details, thumbnails=thumbnails)
        self.n_viewers, self._has_page = 0, False

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page to the dashboard of a scheduler; the name is Dask's."""
        self._scheduler = scheduler
        scheduler.handlers[PLUGIN] = self.on_caller
        previous = scheduler.plugins.get(PLUGIN, self)
        if previous is not self:
            # Its page shows the state of this one from now on; Dask warns of a plugin that is replaced.
            self.n_viewers, self._has_page = previous.n_viewers, previous._has_page
            scheduler.remove_plugin(PLUGIN)
        try:
            if not self._has_page:
                add_page(scheduler)
        except Exception:  # no dashboard, or private names have changed: the cluster works without a page
            logger.warning("The page Images cannot be added to the dashboard", exc_info=True)
            return
        self._has_page = True
        scheduler.log_event(PAGE_TOPIC, {"action": "added"})

    def on_caller(self, message: dict[str, Any]) -> dict[str, bool]:
        """Take over a message of a caller, and return the details that the page shows now."""
        self.state.on_caller(message, time.time())
        return {"details": self.state.details, "thumbnails": self.state.thumbnails and self.n_viewers > 0}

    def log_event(self, topic: str, msg: Any) -> None:
        """Take over the event of a partition, and the loss of a worker; the name is Dask's."""
        if topic == TOPIC:
            self.state.on_partition(msg, time.time())
        elif topic == "all" and msg.get("action") == "remove-worker" and not msg.get("expected", False):
            keys = [*msg.get("processing-tasks", ()), *msg.get("lost-computed-tasks", ())]
            self.state.on_worker_lost(str(msg.get("worker")), [str(key) for key in keys])

    def remove_client(self, scheduler: Scheduler, client: str) -> None:  # noqa: ARG002  the names are Dask's
        """End the calls of a client that is gone."""
        self.state.on_client_lost(client, time.time())

    def refresh(self) -> None:
        """End the calls of Dask frames whose tasks are done: no caller reports that."""
        for call in [call for call in self.state.running.values() if call.is_graph]:
            group = self._scheduler.task_groups.get(call.group)
            if group is None:
                self.state.end(call, "finished", call.recent[-1][0])
            else:
                self._refresh_graph(call, group)

    def _refresh_graph(self, call: CallState, group: Any) -> None:
        n_tasks = sum(group.states.values())
        # Lengths of the partitions to come are not known: as the ones that are done, on average.
        call.total = round(call.n_done / max(1, call.n_done_keys) * max(n_tasks, call.n_done_keys))
        if not any(group.states[state] for state in UNFINISHED):
            self.state.end(call, "failed" if group.states["erred"] else "finished", call.recent[-1][0])


class ReportingPlugin(WorkerPlugin):  # type: ignore[misc]
    """Worker plugin that lets partitions report their events: ``"counts"``, or with ``"details"``."""

    name = f"{PLUGIN}_worker"

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def setup(self, worker: Worker) -> None:
        """Mark a worker; the name is Dask's."""
        worker._pandas_imgproc_reports = self._mode


def add_page(scheduler: Scheduler) -> None:
    """Add the page to the HTTP server of a scheduler, and to the navigation of all pages.

    An application of its own beside that of Dask, as Jupyter's, because Bokeh's cannot be extended.
    """
    from bokeh.server.tornado import BokehTornado
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    applications = scheduler.http_application.applications
    dask_pages = next(app for app in applications if isinstance(app, BokehTornado))
    variables = template_variables(scheduler)
    documents = {
        "/images": functools.partial(_document, has_navigation=True),
        "/individual-images": functools.partial(_document, has_navigation=False),
    }
    prefix = dask_pages.prefix
    application = BokehApplication(documents, scheduler, prefix=prefix, template_variables=variables)
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()
    # Private to Dask and Bokeh: without them the page has its address, but no link.
    pages = variables.get("pages")
    if isinstance(pages, list) and "images" not in pages:
        pages.insert(1, "images")
    listed = getattr(dask_pages, "_applications", None)
    if isinstance(listed, dict):  # for the list of pages that JupyterLab's extension reads
        listed["/individual-images"] = application.applications["/individual-images"]


def _document(scheduler: Scheduler, extra: dict[str, Any], doc: Any, *, has_navigation: bool) -> None:
    """Fill a document of Bokeh, for one browser that opens the page."""

    def on_session_destroyed(session_context: Any) -> None:  # noqa: ARG001  Bokeh checks the name
        _count_viewers(scheduler, -1)

    _count_viewers(scheduler, 1)
    doc.on_session_destroyed(on_session_destroyed)
    images_doc(lambda: _current_state(scheduler), extra if has_navigation else None, doc)


def _count_viewers(scheduler: Scheduler, n: int) -> None:
    plugin = scheduler.plugins.get(PLUGIN)
    if plugin is not None:
        plugin.n_viewers = max(0, plugin.n_viewers + n)


def _current_state(scheduler: Scheduler) -> PageState:
    """Return the state that the page shows; nothing after the plugin was removed."""
    plugin = scheduler.plugins.get(PLUGIN)
    if plugin is None:
        return PageState(details=False, thumbnails=False)
    plugin.refresh()
    state: PageState = plugin.state
    return state
