"""Redirects of web servers: each hop below the root, and none with headers of the caller to another origin."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pandas_imgproc._text import shorten
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.paths import safe_join
from pandas_imgproc.source.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_VERBS = frozenset({"request", "get", "head", "options", "post", "put", "patch", "delete"})
_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RefusedRedirectError(Exception):
    """Redirect that was not followed; the cause is the reason. No OSError, which aiohttp takes for a lost connection.

    Parameters
    ----------
    reason : UnreadableImageError
    """

    def __init__(self, reason: UnreadableImageError) -> None:
        super().__init__(reason)
        self.__cause__ = reason


class AllowedHost(NamedTuple):
    """Host of ``redirect_hosts=``; None allows any scheme or port."""

    host: str
    scheme: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class RedirectPolicy:
    """Policy of the redirects of one source.

    Attributes
    ----------
    root : str or None
        URL of the folder or archive below which each hop stays; None if there is no root on a web server.
    hosts : frozenset of AllowedHost, or None
        Hosts that are allowed besides; None without ``redirect_hosts=``, when a source without a root allows any host.
    """

    root: str | None = field(default=None, repr=False)  # it may hold a password
    hosts: frozenset[AllowedHost] | None = None

    def check(self, url: Any, start: Any) -> None:
        """Raise a RefusedRedirectError if a redirect from the URL `start` to `url` is not allowed."""
        if (self.root is None and self.hosts is None) or self._allows_host(url):
            return
        is_allowed = _origin(url) == _origin(start) if self.root is None else _is_below(url, self.root)
        if not is_allowed:
            host = shorten(url.host_port_subcomponent)
            raise self._refusal(f" to {host}; redirect_hosts=[{host}] allows it")

    def check_location(self, location: str) -> None:
        """Raise a RefusedRedirectError if the target of a redirect is no URL of a web server."""
        scheme = _SCHEME.match(location)
        if scheme is not None and scheme[1].lower() not in _DEFAULT_PORTS:
            raise self._refusal(f" to a URL of {scheme[1]:.20}:, which is not read from a web server")
        if self != FOLLOW_ALL and not _is_web_url(location):  # else aiohttp raises
            raise self._refusal(" to what cannot be a URL")

    def _refusal(self, reason: str) -> RefusedRedirectError:
        if self == FOLLOW_ALL:
            return RefusedRedirectError(UnreadableImageError("remote", f"a redirect leads{reason}"))
        limit = "the hosts of redirect_hosts=" if self.root is None else f"root={redact_url(self.root)!r}"
        return RefusedRedirectError(UnreadableImageError("outside_root", f"a redirect leads out of {limit}{reason}"))

    def _allows_host(self, url: Any) -> bool:
        host = normalize_host(url.raw_host or "")
        return any(
            allowed.host == host and allowed.scheme in (None, url.scheme) and allowed.port in (None, url.port)
            for allowed in self.hosts or ()
        )


FOLLOW_ALL = RedirectPolicy()
"""Policy of a source without a root."""


def parse_host(text: str) -> AllowedHost:
    """Return the host that a text names, or raise a ValueError.

    Examples
    --------
    >>> parse_host("https://CDN.example.org")
    AllowedHost(host='cdn.example.org', scheme='https', port=443)
    >>> parse_host("[::1]:8080")
    AllowedHost(host='::1', scheme=None, port=8080)
    """
    is_ipv6 = text.count(":") > 1 and "[" not in text and "://" not in text
    parts = urlsplit(text if "://" in text else f"//{f'[{text}]' if is_ipv6 else text}")
    host = normalize_host(parts.hostname or "")
    is_host = bool(host) and not any(character in host for character in "*/\\@%?# ") and "@" not in parts.netloc
    if not is_host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("it is no host")
    if not parts.scheme:
        return AllowedHost(host, None, parts.port)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("its scheme is neither http nor https")
    return AllowedHost(host, parts.scheme, parts.port or _DEFAULT_PORTS[parts.scheme])


def normalize_host(host: str) -> str:
    """Return a host as servers and redirects name it: in lower case, in IDNA, an IPv6 address in its shortest form.

    Examples
    --------
    >>> normalize_host("BÜCHER.example"), normalize_host("[0:0:0:0:0:0:0:1]")
    ('xn--bcher-kva.example', '::1')
    """
    host = host.strip("[]").lower()
    if ":" in host:
        return str(ipaddress.ip_address(host))
    return host if host.isascii() else host.encode("idna").decode()


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, normalize_host(url.raw_host or ""), url.port


def _is_web_url(location: str) -> bool:
    """Return whether the target of a redirect is a relative URL, or one with a host."""
    import yarl

    try:
        url = yarl.URL(location)
        return not url.scheme or bool(url.origin())
    except ValueError:
        return False


def _is_below(url: Any, root: str) -> bool:
    """Return whether a URL is that of a root or of a file below it, also for a server that decodes its path."""
    import yarl

    base = yarl.URL(root)
    url = yarl.URL(str(url))  # with the characters encoded that are in the root, and no others
    folder = base.raw_path.rstrip("/")
    if _origin(url) != _origin(base):
        return False
    if url.raw_path.rstrip("/") == folder:  # an archive
        return True
    if not url.raw_path.startswith(f"{folder}/"):
        return False
    try:
        safe_join(url.raw_path[len(folder) + 1 :], root)
    except UnreadableImageError:
        return False
    return True


# ---- sessions


def guarded_options(family: str, options: Mapping[str, Any], policy: RedirectPolicy, user_agent: str) -> dict[str, Any]:
    """Return the options of a file system of fsspec with a session that is guarded, if it is one of aiohttp.

    The sessions of gcsfs have no option; see `guard_sessions`.
    """
    guard = functools.partial(GuardedSession, policy=policy, user_agent=user_agent)
    if family == "http":
        return {**options, "get_client": _guarded_client(options.get("get_client"), guard)}
    if family == "s3":
        config = options.get("config_kwargs") or {}
        session_class = _guarded_s3_session(config.get("http_session_cls"), guard)
        return {**options, "config_kwargs": {**config, "http_session_cls": session_class}}
    return dict(options)


def _guarded_client(get_client: Callable[..., Awaitable[Any]] | None, guard: Callable[[Any], GuardedSession]) -> Any:
    async def get_guarded_client(**options: Any) -> GuardedSession:
        from fsspec.implementations.http import get_client as default_get_client

        return guard(await (get_client or default_get_client)(**options))

    return get_guarded_client


def _guarded_s3_session(session_class: Any, guard: Callable[[Any], GuardedSession]) -> Any:
    """Return a class of sessions for aiobotocore: it follows redirects, unlike botocore, and with a session token."""
    from aiobotocore.httpsession import AIOHTTPSession

    base: Any = session_class or AIOHTTPSession
    if not issubclass(base, AIOHTTPSession):  # httpx follows no redirect
        return base

    class GuardedS3Session(base):  # type: ignore[misc]
        async def _get_session(self, *args: Any) -> GuardedSession:
            return guard(await super()._get_session(*args))

    return GuardedS3Session


def guard_sessions(fs: Any, user_agent: str) -> None:
    """Guard the sessions that a file system of gcsfs creates."""
    set_session = fs._set_session

    async def set_guarded_session() -> Any:
        session = await set_session()
        if not isinstance(session, GuardedSession):
            fs._session = session = GuardedSession(session, FOLLOW_ALL, user_agent)
        return session

    fs._set_session = set_guarded_session


class GuardedSession:
    """Session of aiohttp whose requests follow redirects as a policy allows, and keep the caller's headers at home.

    A redirect to another origin (scheme, host and port) carries none of the headers, cookies and credentials of the
    request: aiohttp itself withholds only ``Authorization`` and ``Cookie``, and not those of its session.
    """

    def __init__(self, session: Any, policy: RedirectPolicy, user_agent: str) -> None:
        self._session, self._policy, self._user_agent = session, policy, user_agent

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._session, name)
        return functools.partial(self._send, value) if name in _VERBS else value

    def _send(self, send: Callable[..., Any], *args: Any, **options: Any) -> Any:
        url = options["url"] if "url" in options else args[-1]
        middlewares = options.pop("middlewares", None)
        if middlewares is None:  # those of a request replace those of its session
            middlewares = getattr(self._session, "_middlewares", ())
        # The last one sees the requests as they are sent, with the headers that the others add.
        return send(*args, **options, middlewares=(*middlewares, self._guard(url)))

    def _guard(self, url: Any) -> Callable[..., Awaitable[Any]]:
        """Return the middleware of one request, which aiohttp calls for each hop."""
        import yarl

        start = yarl.URL(url)

        async def guard(request: Any, handler: Callable[..., Awaitable[Any]]) -> Any:
            if (_origin(request.url), request.url.raw_path) != (_origin(start), start.raw_path):
                self._policy.check(request.url, start)
            if _origin(request.url) != _origin(start):
                headers = self._foreign_headers(request.url, request.headers)
                request.headers.clear()
                request.headers.update(headers)
            response = await handler(request)
            if response.status in _FOLLOWED:
                try:
                    self._policy.check_location(response.headers.get("Location") or response.headers.get("URI") or "")
                except RefusedRedirectError:
                    response.close()
                    raise
            return response

        return guard

    def _foreign_headers(self, url: Any, headers: Mapping[str, str]) -> dict[str, str]:
        # Written anew: those of the caller may replace any of them, "Host" and "User-Agent" too.
        new = {"Host": url.host_port_subcomponent, "Accept": "*/*", "Accept-Encoding": "identity"}
        new["User-Agent"] = self._user_agent
        return {**new, "Range": headers["Range"]} if "Range" in headers else new
