"""Access control of the managed cluster's dashboard: a token in the link, afterwards in a cookie.

Import this module late: Tornado and Bokeh are part of distributed's 0.4 seconds.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import dask.config
from tornado.routing import Router
from tornado.web import RequestHandler

from pandas_imgproc.cluster.dashboard import TOKEN, has_proxy

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Dask dashboard: no access</title>
<h1>No access to this Dask dashboard</h1>
<p>{reason}</p>
"""

_NO_TOKEN = """It is open to the user who started the cluster, through a link with a token. In the program that started
it, <code>pandas_imgproc.get_client().dashboard_link</code> is that link. A cluster that is started anew has a new link.
With <code>dask.config.set({"pandas-imgproc.dashboard": "open"})</code> before the start, no token is needed, and each
account of this machine sees the dashboard."""

_OTHER_HOST = """It was requested under a host name that is not that of this machine. If a proxy reaches it, set its
address in Dask's configuration: <code>distributed.dashboard.link</code>."""

_OTHER_ORIGIN = """A page of another site has requested it. If that site is a proxy of this dashboard, name its host in
the environment variable <code>BOKEH_ALLOW_WS_ORIGIN</code>."""


class DashboardGuard(Router):  # type: ignore[misc]
    """Router in front of all routes of an HTTP server, which refuses requests without the token.

    In front of the application and not in its handlers: pages, sockets of pages, static files, unknown paths, and
    routes that are added later are refused alike.

    Parameters
    ----------
    server : tornado.httpserver.HTTPServer
        Server that listens, with its application.
    token : str
        Secret of the link and of the cookie.
    """

    def __init__(self, server: HTTPServer, token: str) -> None:
        self._application: Any = server.request_callback
        self._token = token
        # Browsers share the cookies of a host between its ports.
        self._cookie = f"pandas-imgproc-dashboard-{server.port}"

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return the handler of a request: that of the application, the redirection of the link, or a refusal."""
        in_link = self._is_token(_pop_token(request))
        if not _is_host_known(request):
            return self._refuse(request, _OTHER_HOST)
        if not _is_same_origin(request):
            return self._refuse(request, _OTHER_ORIGIN)
        cookie = request.cookies.get(self._cookie)
        if in_link and request.method == "GET" and "Upgrade" not in request.headers:
            return self._delegate(request, _Login, cookie=(self._cookie, self._token))
        if in_link or self._is_token(cookie and cookie.value):
            delegate: HTTPMessageDelegate | None = self._application.find_handler(request, **kwargs)
            return delegate
        return self._refuse(request, _NO_TOKEN)

    def _is_token(self, given: str | None) -> bool:
        return hmac.compare_digest((given or "").encode(errors="replace"), self._token.encode())

    def _refuse(self, request: HTTPServerRequest, reason: str) -> HTTPMessageDelegate:
        return self._delegate(request, _Refusal, reason=reason)

    def _delegate(self, request: HTTPServerRequest, handler: type, **kwargs: Any) -> HTTPMessageDelegate:
        delegate: HTTPMessageDelegate = self._application.get_handler_delegate(request, handler, kwargs)
        return delegate


class _Login(RequestHandler):  # type: ignore[misc]
    """Handler of the link: moves the token from the address, which history and referrers keep, to a cookie."""

    def initialize(self, cookie: tuple[str, str]) -> None:
        self._name_and_value = cookie

    def prepare(self) -> None:
        folder, _, page = self.request.path.rpartition("/")
        self.set_cookie(
            *self._name_and_value,
            # Without a path, a browser takes the folder: behind a proxy this one dashboard, not all of its host.
            path="/" if folder else None,
            httponly=True,
            # Not "strict": a browser that comes from a notebook would not send the cookie after this redirection.
            samesite="Lax",
            secure=self.request.protocol == "https",
        )
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        # Relative, because a proxy may have another path.
        self.redirect(f"./{page}" + (f"?{self.request.query}" if self.request.query else ""))


class _Refusal(RequestHandler):  # type: ignore[misc]
    """Handler of requests that are refused, of any method."""

    def initialize(self, reason: str) -> None:
        self._text = reason  # Tornado has an attribute `_reason`

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Cache-Control", "no-store")
        self.finish(_PAGE.format(reason=self._text))


def _pop_token(request: HTTPServerRequest) -> str | None:
    """Take the token out of a request, whose address is logged and may be part of a page."""
    parts = request.query.split("&")
    tokens = [part for part in parts if part.startswith(f"{TOKEN}=")]
    if not tokens:
        return None
    request.query = "&".join(part for part in parts if part not in tokens)
    request.uri = request.path + (f"?{request.query}" if request.query else "")
    for arguments in (request.arguments, request.query_arguments):
        arguments.pop(TOKEN, None)
    return unquote(tokens[-1].partition("=")[2])


def _is_host_known(request: HTTPServerRequest) -> bool:
    """Return whether a request names this machine or a proxy, not a site whose name was made to point here."""
    host = request.headers.get("Host", "").lower()
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in _LOOPBACK or has_proxy() or _is_allowed(host)


def _is_same_origin(request: HTTPServerRequest) -> bool:
    """Return whether a request, if a page sent it, is one of a page of this dashboard."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    host = urlsplit(origin).netloc.lower()
    own = {request.headers.get(name, "").lower() for name in ("Host", "X-Forwarded-Host")} - {""}
    return host in own or _is_allowed(host)


def _is_allowed(host: str) -> bool:
    """Return whether a host is named in the configuration of Dask or Bokeh; Dask's default allows every host."""
    from bokeh.server.util import check_allowlist
    from bokeh.settings import settings

    configured = dask.config.get("distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin", [])
    allowed = [*(name for name in configured or [] if name != "*"), *(settings.allowed_ws_origin() or [])]
    return bool(host) and bool(check_allowlist(host, allowed))
