"""Dask clusters: the user's active client, or one managed local cluster."""

from pandas_imgproc.cluster.dashboard import dashboard_link
from pandas_imgproc.cluster.manager import (
    borrow,
    close,
    crew,
    current,
    describe,
    get_client,
    inside,
    is_managed,
    notify_managed_worker_kills,
    notify_worker_kills,
    pop_dashboard_link,
    restored,
)

__all__ = [
    "borrow",
    "close",
    "crew",
    "current",
    "dashboard_link",
    "describe",
    "get_client",
    "inside",
    "is_managed",
    "notify_managed_worker_kills",
    "notify_worker_kills",
    "pop_dashboard_link",
    "restored",
]
