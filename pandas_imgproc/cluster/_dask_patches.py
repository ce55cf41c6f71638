"""Patches of Dask for the managed cluster: subclasses with the upstream issue or the behavior that each works around.

Issues are those of github.com/dask/distributed. Import this module late: distributed costs 0.4 seconds.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import multiprocessing.process
import re
import secrets
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import dask
from distributed import Client, LocalCluster, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.objects import SchedulerInfo

from pandas_imgproc.cluster import preload, worker_rpc
from pandas_imgproc.cluster.dashboard import with_token
from pandas_imgproc.cluster.dashboard_guard import DashboardGuard
from pandas_imgproc.cluster.images_page.plugin import ImagesPlugin
from pandas_imgproc.cluster.log_silence import log_silence
from pandas_imgproc.cluster.validation import shows_thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.cluster.tls import TemporaryTLS

ALLOWED_FAILURES = 3
"""Worker deaths after which Dask gives up one of its own tasks: Dask's default."""

ALLOWED_FAILURES_OF_JOBS = 10
"""The same while a job runs: deaths of which its crash ledger knows the row are not among them."""

_NEVER = "365 days"  # Dask refuses an infinite delay

_config_lock = threading.Lock()


class PatchedLocalCluster(LocalCluster):  # type: ignore[misc]
    """Local cluster that never gives up a restarting worker, and that forked children do not close.

    Dask forgets a worker that is not back 15 seconds after its loss, and then hangs (discussed in #3088). At exit Dask
    closes all clusters in `_instances` (#2730), which hangs in a forked child; hence a separate registry. Dask's own
    silence of the log ends with the first of several clusters.

    Parameters
    ----------
    tls : TemporaryTLS
        Key and certificate, released when the cluster is closed or collected.
    dashboard : str
        Access to the dashboard: ``"token"``, ``"open"`` or ``"off"``.
    """

    _instances: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def __init__(self, *, tls: TemporaryTLS, dashboard: str, scheduler_kwargs: dict[str, Any], **kwargs: Any) -> None:
        self.tls = tls
        weakref.finalize(self, tls.close)
        self._dashboard_token = secrets.token_urlsafe(32) if dashboard == "token" else None
        scheduler_kwargs |= {"dashboard_token": self._dashboard_token}
        super().__init__(security=tls.security, scheduler_kwargs=scheduler_kwargs, **kwargs)

    @property
    def dashboard_link(self) -> str:
        return with_token(super().dashboard_link, self._dashboard_token)

    def _repr_html_(self, cluster_status: Any = None) -> str:
        return _replace_links(super()._repr_html_(cluster_status), self.dashboard_link)

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = _PatchedScheduler  # the constructor has no parameter for it
        log_silence.add(self)
        await super()._start()

    async def _close(self) -> None:
        try:
            await super()._close()
        finally:
            self.tls.close()
        log_silence.discard(self)  # not after an error: its workers are still ending, and say so

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # Each cluster has a thread: without the lock one could restore the other's value, which stays.
        with _config_lock, dask.config.set({"distributed.deploy.lost-worker-timeout": _NEVER}):
            super()._update_worker_status(op, msg)
        for nanny in self.workers.values() if op == "remove" else ():
            if nanny.worker_address == msg:
                nanny.on_worker_removed()


class PatchedClient(Client):  # type: ignore[misc]
    """Client whose computations shuffle by plain tasks.

    The peer-to-peer shuffle always writes to the workers' scratch directories (#7572), which would outlive a kill.
    """

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        with super().as_current(), dask.config.set({"dataframe.shuffle.method": "tasks"}):
            yield

    def scheduler_info(self, *args: Any, **kwargs: Any) -> SchedulerInfo:
        info = _SchedulerInfo(super().scheduler_info(*args, **kwargs))
        info.dashboard_link = self.dashboard_link
        return info

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        with self.as_current():
            return super().compute(*args, **kwargs)

    def persist(self, *args: Any, **kwargs: Any) -> Any:
        with self.as_current():
            return super().persist(*args, **kwargs)


class _SchedulerInfo(SchedulerInfo):  # type: ignore[misc]
    """Information on a scheduler and its workers, whose HTML links the dashboard with its token."""

    dashboard_link = ""

    def _repr_html_(self) -> str:
        return _replace_links(super()._repr_html_(), self.dashboard_link)


class _PatchedScheduler(Scheduler):  # type: ignore[misc]
    """Scheduler without a scratch directory (#1540), which serves `worker_rpc` and counts deaths by their cause.

    Dask counts a worker's death against all tasks that were assigned to it, not only the running one (#5234). Its
    HTTP server has no access control, and listens without a dashboard too.
    """

    def __init__(self, dashboard_token: str | None, **kwargs: Any) -> None:
        self._dashboard_token = dashboard_token
        super().__init__(**kwargs)
        preload.remove_scratch_dir(self)
        self.handlers.update(worker_rpc.handlers)
        self.add_plugin(_TaskEventPlugin(self), name="pandas_imgproc")
        if kwargs.get("dashboard_address") is not None:
            thumbnails = shows_thumbnails(is_private=dashboard_token is not None)
            self.add_plugin(ImagesPlugin(details=True, thumbnails=thumbnails))

    async def remove_worker(self, address: str, *args: Any, **kwargs: Any) -> Any:
        worker = self.workers.get(address)
        self.allowed_failures = ALLOWED_FAILURES
        if worker is not None and worker.nbytes > worker.memory_limit / 2 > 0:
            self.allowed_failures = 0  # it died of the results in its memory: so would all that run its tasks next
        elif worker is not None and worker_rpc.death_observers:
            self.allowed_failures = ALLOWED_FAILURES_OF_JOBS
            is_explained = [observer.explains_death(worker.pid) for observer in list(worker_rpc.death_observers)]
            for task in worker.processing if any(is_explained) else ():
                task.suspicious -= 1  # a crash ledger counts this death
        return await super().remove_worker(address, *args, **kwargs)

    def start_http_server(self, routes: Any, dashboard_address: Any, *args: Any, **kwargs: Any) -> None:
        if dashboard_address is None:
            return
        # The port was taken after the check: Dask takes another, and the link of the dashboard has its number.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port 8787 is already in use")
            super().start_http_server(routes, dashboard_address, *args, **kwargs)
        if self._dashboard_token is not None:
            # It listens, but this thread has not accepted a connection yet.
            self.http_server.request_callback = DashboardGuard(self.http_server, self._dashboard_token)


class _TaskEventPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Scheduler plugin that passes transitions of tasks on to the callbacks of `worker_rpc`."""

    _event_handlers: ClassVar[dict[str, list[Callable[[str], None]]]] = {
        "memory": worker_rpc.on_task_done,
        "erred": worker_rpc.on_task_released,
        "forgotten": worker_rpc.on_task_released,
    }

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        for notify in self._event_handlers.get(finish, ()):
            notify(str(key))

    async def close(self) -> None:
        for key, notify in itertools.product(list(self._scheduler.tasks), worker_rpc.on_task_released):
            notify(str(key))


def detach_in_child() -> None:
    """Detach a forked child from its parent's worker processes.

    At exit `multiprocessing` would end all daemonic children that it knows, and these are the parent's.
    """
    children: set[Any] = multiprocessing.process._children  # type: ignore[attr-defined]
    for cluster in list(PatchedLocalCluster._instances):
        for nanny in list(cluster._created):
            running = nanny.process and nanny.process.process
            if running:
                running._proc_finalizer.detach()
                children.discard(running._process)


def _replace_links(page: str, link: str) -> str:
    """Replace the links to the dashboard in Dask's HTML; a worker has no pages of its own, and Dask links "None"."""
    anchor = f'<strong>Dashboard:</strong> <a href="{html.escape(link)}" target="_blank">{html.escape(link)}</a>'
    pattern = r"<strong>Dashboard:(\s*)</strong>\s*<a href=[^>]*>[^<]*</a>"
    return re.sub(pattern, lambda found: "" if found[1] or not link else anchor, page)
