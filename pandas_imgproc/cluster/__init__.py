"""Dask clusters: the user's active client, or one managed local cluster."""

from pandas_imgproc.cluster.dashboard import dashboard_link, register_dashboard
from pandas_imgproc.cluster.images_page import PageConnection
from pandas_imgproc.cluster.manager import (
    ClusterLease,
    close,
    default_client,
    describe,
    existing_client,
    get_client,
    is_managed,
    is_requested,
    leased_cluster,
    nested_context,
    pool_context,
    pop_dashboard_link,
    preserved,
    worker_deaths_observed,
    worker_monitor,
    worker_pids,
)

__all__ = [
    "ClusterLease",
    "PageConnection",
    "close",
    "dashboard_link",
    "default_client",
    "describe",
    "existing_client",
    "get_client",
    "is_managed",
    "is_requested",
    "leased_cluster",
    "nested_context",
    "pool_context",
    "pop_dashboard_link",
    "preserved",
    "register_dashboard",
    "worker_deaths_observed",
    "worker_monitor",
    "worker_pids",
]
