"""Address of a dashboard, as a browser reaches it, with its token; the page Images on clusters of the user."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import dask.config

from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

REMOTE_NOTEBOOK_VARS = {
    "COLAB_RELEASE_TAG",
    "COLAB_JUPYTER_IP",
    "KAGGLE_KERNEL_RUN_TYPE",
    "JUPYTERHUB_SERVICE_PREFIX",
    "BINDER_SERVICE_HOST",
    "SAGEMAKER_APP_TYPE",
    "DATABRICKS_RUNTIME_VERSION",
}
"""Environment variables of notebooks whose browser is on another machine than their processes."""

TOKEN = "token"
"""Parameter of the address that holds the token of the managed cluster's dashboard."""

_DIRECT = "{scheme}://{host}:{port}/status"


def has_proxy() -> bool:
    """Return whether the configuration has an address of the dashboard other than Dask's default."""
    return bool(dask.config.get("distributed.dashboard.link", _DIRECT) != _DIRECT)


def with_token(link: str, token: str | None) -> str:
    """Return an address with a token as its parameter; no address has none.

    Examples
    --------
    >>> with_token("/user/ann/proxy/8787/status?theme=dark", "abc")
    '/user/ann/proxy/8787/status?theme=dark&token=abc'
    """
    if not link or token is None:
        return link
    address, mark, fragment = link.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{TOKEN}={token}{mark}{fragment}"


def images_link(link: str) -> str:
    """Return the address of the page Images for that of the dashboard's status page.

    Examples
    --------
    >>> images_link("http://127.0.0.1:8787/status?token=abc")
    'http://127.0.0.1:8787/images?token=abc'
    """
    address, mark, query = link.partition("?")
    return f"{address.removesuffix('/').removesuffix('/status')}/images{mark}{query}"


def dashboard_link(client: Client) -> str | None:
    """Return the address of a client's dashboard, from Dask's template ``distributed.dashboard.link``.

    A proxy needs a template: ``"{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"`` behind jupyter-server-proxy. The
    token of the managed cluster's dashboard is appended to any template. None if
    no dashboard runs, and, without a template, in a notebook of Colab, Kaggle, JupyterHub, Binder, SageMaker or
    Databricks, or one started through SSH.
    """
    if not has_proxy() and _browser_is_remote(os.environ):
        return None
    try:
        return client.dashboard_link or None
    except KeyError:  # the template names a variable that is not set, or no dashboard runs
        return None


def _browser_is_remote(environment: Mapping[str, str]) -> bool:
    if not REMOTE_NOTEBOOK_VARS.isdisjoint(environment):
        return True
    # A notebook that was started through SSH, unless VS Code forwards ports. In a terminal the user knows the machine,
    # and needs the port to forward it.
    forwards = any(name.startswith("VSCODE_") for name in environment)
    return "SSH_CONNECTION" in environment and "ipykernel" in sys.modules and not forwards


def register_dashboard(client: Client, *, details: bool = False) -> None:
    """Add the page Images to the Dask dashboard of a cluster of yours, as the managed cluster has one.

    It shows the calls of all programs that use the cluster, and remains until the scheduler ends.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster. Its scheduler needs Dask and Bokeh, in the versions of this process, but not this
        package.
    details : bool
        Whether the page also shows paths, labels and messages of failed rows, the locations of results, and small
        copies of images, to all who can open the dashboard. By default it shows methods, columns, counts and times.

    Raises
    ------
    TypeError
        If `client` is no client.
    ClusterError
        If it is asynchronous, or the scheduler has no dashboard or cannot be reached.

    Examples
    --------
    >>> client = Client("tcp://10.0.0.5:8786")  # doctest: +SKIP
    >>> pandas_imgproc.register_dashboard(client)  # doctest: +SKIP
    """
    registration = import_atomically("pandas_imgproc.cluster.images_page.registration")
    try:
        registration.register(client, details=bool(details))
    except (OSError, TimeoutError) as exc:
        raise ClusterError(f"the scheduler of client= cannot be reached: {exc}") from exc
