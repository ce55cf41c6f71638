"""Access to the dashboard: with the link, with its cookie, without either, and as another account."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import subprocess
import sys
from contextlib import closing
from urllib.parse import parse_qs, quote_plus, urlsplit

import dask
import psutil
import pytest

from pandas_imgproc import cluster
from pandas_imgproc.cluster.validation import configured_dashboard

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "bokeh, x",
}
ROUTES = {
    "/": 301,
    "/status": 200,
    "/status/autoload.js?bokeh-autoload-element=x": 200,
    "/status/ws": 101,
    "/images": 200,
    "/images/ws": 101,
    "/individual-images": 200,
    "/static/js/bokeh.min.js": 200,
    "/statics/css/base.css": 200,
    "/json/counts.json": 200,
    "/info/main/workers.html": 200,
    "/info/main/logs.html": 200,
    "/info/call-stacks/{worker}.html": 200,
    "/individual-plots.json": 200,
    "/individual-workers": 200,
    "/metrics": 200,
    "/health": 200,
    "/eventstream": 101,
    "/sitemap.json": None,  # Dask's handler fails
    "/proxy/8787/127.0.0.1/status": 404,  # workers have no pages of their own
    "/proxy/{port}/127.0.0.1/health": 404,
    "/api/v1/retire_workers": 404,
    "/no/such/page": 404,
    "//status": 404,
}
SOCKETS = ("/status/ws", "/images/ws", "/eventstream")


class Dashboard:
    """HTTP client of the managed cluster's dashboard."""

    def __init__(self, client):
        link = urlsplit(client.dashboard_link)
        self.port = link.port
        self.token = parse_qs(link.query)["token"][0]
        self.worker = quote_plus(next(iter(client.scheduler_info()["workers"])))
        self.cookie = f"pandas-imgproc-dashboard-{self.port}={self.token}"

    def get(self, path, method="GET", **headers):
        """Return status and headers of a response."""
        if path in SOCKETS:
            headers = UPGRADE | headers
        path = path.format(port=self.port, worker=self.worker)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers


@pytest.fixture
def dashboard(managed_cluster):
    return Dashboard(managed_cluster)


@pytest.mark.parametrize("path", ROUTES)
def test_route_needs_the_cookie(dashboard, path):
    expected = ROUTES[path]
    status, _ = dashboard.get(path, Cookie=dashboard.cookie)
    assert status == expected or expected is None
    refused = [
        {},
        {"Cookie": f"{dashboard.cookie.partition('=')[0]}={'A' * len(dashboard.token)}"},
        {"Cookie": dashboard.cookie, "Host": f"rebound.example:{dashboard.port}"},
        {"Cookie": dashboard.cookie, "Origin": "http://127.0.0.1:1"},
    ]
    assert [dashboard.get(path, **headers)[0] for headers in refused] == [403] * len(refused)


def test_no_method_address_or_cookie_gets_past_the_guard(dashboard):
    methods = ("POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH")
    assert {dashboard.get("/json/counts.json", method)[0] for method in methods} == {403}
    wrong = ("token=", "token=x", "token=%ff", f"token={dashboard.token}x", f"token={dashboard.token[:-1]}", "Token=x")
    assert {dashboard.get(f"/status?{query}")[0] for query in wrong} == {403}
    name = dashboard.cookie.partition("=")[0]
    cookies = (f"{name}=", f"{name}", "=;;", f"{name}=\xff", dashboard.cookie.replace(str(dashboard.port), "1"))
    assert {dashboard.get("/status", Cookie=cookie)[0] for cookie in cookies} == {403}
    cookie = {"Cookie": f"a=b; {dashboard.cookie}; c=d"}
    for headers in ({"Origin": "null"}, {"Origin": "https://rebound.example"}, {"Host": "[::1"}, {"Host": ""}):
        assert dashboard.get("/status", **cookie, **headers)[0] == 403
    for host in ("localhost:1", "127.0.0.1", "[::1]:8787"):  # a port that is forwarded to another
        assert dashboard.get("/status", **cookie, Host=host)[0] == 200


@pytest.mark.parametrize(
    ("path", "location", "cookie_path"),
    [
        ("/status?a=1&token={}&b=2", "./status?a=1&b=2", None),  # None: the folder of the page, also behind a proxy
        ("/?token={}", "./", None),
        ("/info/main/workers.html?token={}", "./workers.html", "/"),
        ("//evil.example?token={}", "./evil.example", "/"),
    ],
)
def test_link_becomes_a_cookie(dashboard, path, location, cookie_path):
    status, headers = dashboard.get(path.format(dashboard.token))
    assert (status, headers["Location"], headers["Referrer-Policy"]) == (302, location, "no-referrer")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert cookie == dashboard.cookie
    assert set(attributes) == {"HttpOnly", "SameSite=Lax"} | ({f"Path={cookie_path}"} if cookie_path else set())


def test_proxy_is_known_by_the_link_and_its_origin_by_bokeh(dashboard, monkeypatch):
    proxied = {"Cookie": dashboard.cookie, "Host": "hub.example"}
    own = {"Origin": "https://hub.example"}
    assert dashboard.get("/status", **proxied)[0] == 403
    with dask.config.set({"distributed.dashboard.link": "/proxy/{port}/status"}):
        assert dashboard.get("/status", **proxied)[0] == 200
        assert dashboard.get("/status", Host="hub.example")[0] == 403
        assert dashboard.get("/status/ws", **proxied, **own)[0] == 101
        assert dashboard.get("/status/ws", **proxied, Origin="https://other.example")[0] == 403
    rewritten = {"Cookie": dashboard.cookie} | own  # a proxy that names the host behind it
    assert dashboard.get("/status/ws", **rewritten)[0] == 403
    assert dashboard.get("/status/ws", **rewritten, **{"X-Forwarded-Host": "hub.example"})[0] == 101
    monkeypatch.setenv("BOKEH_ALLOW_WS_ORIGIN", "hub.example")
    assert dashboard.get("/status/ws", **rewritten)[0] == 101
    assert dashboard.get("/status/ws", **(rewritten | {"Origin": "https://other.example"}))[0] == 403


def test_token_is_in_no_log_command_line_environment_or_configuration(dashboard, managed_cluster, caplog):
    loggers = [logging.getLogger(x) for x in ("", "tornado", "tornado.access", "tornado.general", "bokeh", "asyncio")]
    with caplog.at_level(logging.DEBUG, "tornado.access"):
        for logger in loggers:
            caplog.set_level(logging.DEBUG, logger.name)
            logger.addHandler(caplog.handler)
        try:
            dashboard.get(f"/status?token={dashboard.token}")
            dashboard.get(f"/nothing?token={dashboard.token}", "POST")
            dashboard.get(f"/status?token={dashboard.token}", Host="rebound.example")
        finally:
            for logger in loggers:
                logger.removeHandler(caplog.handler)
    assert "GET /status (127.0.0.1)" in caplog.text
    logs = [caplog.text, str(managed_cluster.get_scheduler_logs()), str(managed_cluster.get_worker_logs())]
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    seen = [str((p.cmdline(), p.environ())) for p in processes if p.status() != psutil.STATUS_ZOMBIE]
    config = [str(dask.config.config), *managed_cluster.run(lambda: str(dask.config.config)).values()]
    assert [text for text in (*logs, *seen, *config) if dashboard.token in text] == []


def test_html_links_have_the_token_and_no_worker_has_a_link(dashboard, managed_cluster):
    link = managed_cluster.dashboard_link
    for shown in (managed_cluster, managed_cluster.cluster, managed_cluster.scheduler_info()):
        page = shown._repr_html_()
        assert page.count(f'<a href="{link}"') == page.count("<a href=") > 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user")
def test_other_account_sees_no_page_and_no_key(dashboard, managed_cluster):
    code = """
import sys, urllib.request
for address in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(address, timeout=60).status)
    except OSError as error:
        print(error)
"""
    tls = managed_cluster.security.tls_worker_key
    assert tls.startswith(f"/proc/{os.getpid()}/fd/")
    addresses = [f"http://127.0.0.1:{dashboard.port}/{page}" for page in ("status", "info/main/workers.html")]
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    result = subprocess.run(
        [python, "-I", "-c", code, *addresses, f"file://{tls}"], user="nobody", cwd="/", env={}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    *pages, key = result.stdout.splitlines()
    assert pages == ["HTTP Error 403: Forbidden"] * 2
    assert "Permission denied" in key


@pytest.mark.parametrize(
    ("value", "mode"), [(None, "token"), ("token", "token"), ("open", "open"), ("off", "off"), (False, "off")]
)
def test_configured_dashboard_is_a_word(value, mode):
    with dask.config.set({} if value is None else {"pandas-imgproc.dashboard": value}):
        assert configured_dashboard() == mode


@pytest.mark.parametrize("value", ["on", True, None, "Token", 8787])
def test_other_setting_is_an_error_that_closes_no_cluster(managed_cluster, value):
    error = pytest.raises(ValueError, match=r"pandas-imgproc.dashboard=.* is not one of 'token', 'open', 'off'")
    with dask.config.set({"pandas-imgproc.dashboard": value}), error:
        cluster.get_client(n_workers=1)
    assert cluster.get_client() is managed_cluster
