"""Page "Images" of the dashboard inside of a notebook."""

from __future__ import annotations

import html
import uuid
from typing import TYPE_CHECKING

from pandas_imgproc._validation import check_int
from pandas_imgproc.cluster.dashboard import dashboard_link, images_link
from pandas_imgproc.cluster.images_page.names import PAGE_TOPIC
from pandas_imgproc.cluster.manager import get_client, is_managed
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

_MARKUP = """<iframe id="{identifier}" src="{frame}" title="Dask dashboard: Images" width="100%" height="{height}"
style="border: 1px solid #ddd"></iframe>
<script>(() => {{
    // A browser sends no cookie from localhost to 127.0.0.1, although both are this machine.
    const frame = document.getElementById("{identifier}"), names = ["localhost", "127.0.0.1"];
    const url = new URL(frame.src, location.href);
    if (url.hostname !== location.hostname && names.includes(url.hostname) && names.includes(location.hostname)) {{
        url.hostname = location.hostname;
        frame.src = url.href;
    }}
}})()</script>
<div><a href="{link}" target="_blank">Open the page in a tab</a></div>"""


class DashboardPage:
    """Page "Images", which a notebook shows inline; as text its address.

    Parameters
    ----------
    link : str
    height : int
        Height of the page in pixels.
    """

    def __init__(self, link: str, height: int) -> None:
        self.link, self.height = link, height

    def __repr__(self) -> str:
        return self.link

    def _repr_html_(self) -> str:
        identifier = f"pandas-imgproc-{uuid.uuid4().hex[:8]}"
        link = html.escape(self.link, quote=True)
        # The same without the navigation of Dask.
        frame = "/individual-images".join(link.rsplit("/images", 1))
        return _MARKUP.format(identifier=identifier, frame=frame, link=link, height=self.height)


def dashboard(height: int = 900) -> DashboardPage:
    """Show the page "Images" of the Dask dashboard inline, as the last line of a notebook cell.

    It shows the calls on your active client, or on the managed cluster, which is started if it does not run. Calls in
    later cells appear while they run.

    Parameters
    ----------
    height : int
        Height of the page in pixels.

    Returns
    -------
    DashboardPage
        Object that a notebook displays; its attribute ``link`` is the address.

    Raises
    ------
    ClusterError
        If the cluster has no dashboard, or a dashboard without this page, or its address is not known here.

    Examples
    --------
    >>> dashboard().link  # doctest: +SKIP
    'http://127.0.0.1:8787/images?token=…'
    """
    height = check_int("height", height)
    client = get_client()
    return DashboardPage(_find_page(client), height)


def _find_page(client: Client) -> str:
    """Return the address of the page for this user's browser."""
    if not client.dashboard_link:
        hint = ": pandas-imgproc.dashboard is 'off'" if is_managed(client) else ""
        raise ClusterError(f"the cluster has no dashboard{hint}")
    if not client.get_events(PAGE_TOPIC):
        raise ClusterError("the dashboard of the cluster has no page Images: pandas_imgproc.register_dashboard(client)")
    link = dashboard_link(client)
    if link is None:
        raise ClusterError(
            "the address of the dashboard is not known in this notebook, whose browser is on another machine: set the "
            "pattern of its addresses, as in dask.config.set({'distributed.dashboard.link': "
            "'{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status'})"
        )
    return images_link(link)
