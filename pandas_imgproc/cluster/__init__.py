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
    is_own,
    kills_told,
    own_kills_told,
    restored,
    unsaid_dashboard_link,
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
    "is_own",
    "kills_told",
    "own_kills_told",
    "restored",
    "unsaid_dashboard_link",
]
