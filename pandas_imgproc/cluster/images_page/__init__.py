"""Page "Images" of a Dask dashboard: calls of this package, with their rows, failures, stages and workers.

::

    worker ── one event per partition (`worker.log_event`) ──┐
                                                             v
    caller ── a message a second (`connection`) ──> plugin of the scheduler: `state` ──> `page`, for each open browser
       ^                                                     │
       └── whether the page is open, and shows details ──────┘

`plugin`, `state`, `call`, `page` and `tables` travel to the scheduler of a user's cluster by value: they import only
the standard library, distributed, Bokeh and each other.
"""

from pandas_imgproc.cluster.images_page.connection import PageConnection

__all__ = ["PageConnection"]
