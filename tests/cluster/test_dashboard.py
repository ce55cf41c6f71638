"""Dashboard link, and the dashboard in a real browser while a job runs."""

from __future__ import annotations

import sys
import threading
import time

import cloudpickle
import dask
import pandas as pd
import pytest
from image_factory import row_image, row_of

from conftest import wait_until
from pandas_imgproc import cluster

# Texts in the tables that Bokeh draws from, and in its menus.
READ = """() => Bokeh.documents.flatMap(page => [...page._all_models.values()]).flatMap(
    model => model.data ? Object.entries(model.data).flatMap(([name, column]) => [name, ...column])
             : model.options ?? []).map(String)"""


class Page:
    """A page of the dashboard."""

    def __init__(self, browser, link):
        self.page = browser.new_page()
        self.page.goto(link)
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length")

    def shows(self, *words):
        """Return whether the page shows all words, now or soon."""
        found = f"words => {{ const seen = new Set(({READ})()); return words.every(word => seen.has(word)); }}"
        # Every look walks through all tables of the page.
        self.page.wait_for_function(found, arg=words, polling=200, timeout=100_000)
        return True


HUB = "JUPYTERHUB_SERVICE_PREFIX"
PROXY = {"distributed.dashboard.link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}


@pytest.mark.parametrize(
    ("environment", "configured", "link"),
    [
        ({}, {}, "http://127.0.0.1:{port}/status?token={token}"),
        ({HUB: "/user/ann/"}, PROXY, "/user/ann/proxy/{port}/status?token={token}"),
        ({HUB: "/user/ann/"}, {}, None),
        ({}, PROXY, None),  # the variable is not set
        ({"COLAB_RELEASE_TAG": "x"}, {}, None),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {}, None),
    ],
)
def test_dashboard_link_is_reachable_or_none(managed_cluster, monkeypatch, environment, configured, link):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    port = managed_cluster.scheduler_info()["services"]["dashboard"]
    token = managed_cluster.cluster._dashboard_token
    with dask.config.set(configured):
        assert cluster.dashboard_link(managed_cluster) == (link and link.format(port=port, token=token))
        monkeypatch.setattr(cluster.manager._managed, "link_shown", False)
        expected = link and link.format(port=port, token=token).replace("/status", "/images")
        assert cluster.pop_dashboard_link(managed_cluster) == expected


def test_dashboard_shows_the_method_and_its_stages(browser, managed_cluster, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for i in range(8):
        row_image(i, (60, 40)).save(tmp_path / f"{i}.png")
    paths = pd.Series([str(tmp_path / f"{i % 8}.png") for i in range(64)])
    go = tmp_path / "go"

    def wait(pixels):
        while not go.exists():
            time.sleep(0.01)
        return row_of(pixels)

    thread = threading.Thread(target=lambda: paths.img.map(wait, npartitions=8, progress=False))
    link = cluster.dashboard_link(managed_cluster)
    paths.img.load_resized(16, npartitions=4, progress=False)
    thread.start()
    try:
        status = Page(browser, link.replace("/status", "/individual-progress"))
        assert status.shows("map"), "the group of the running tasks has the name of the method"
    finally:
        go.touch()
        thread.join()
    fine = Page(browser, link.replace("/status", "/individual-fine-performance-metrics"))
    assert fine.shows("load_resized", "map", "read", "decode", "resize", "function", "bytes", "count", "pandas_imgproc")
    status.page.close()  # which would be drawn during the next tests
    fine.page.close()


def visit_other_site(page, address, body=""):
    """Open a page of a site that has no server."""
    page.route(address, lambda route: route.fulfill(content_type="text/html", body=body))
    page.goto(address)


def test_link_on_a_page_of_another_site_opens_the_dashboard(browser, managed_cluster):
    browser.clear_cookies()
    page, link = browser.new_page(), managed_cluster.dashboard_link
    address, _, token = link.partition("?token=")
    refused = page.goto(address)
    assert refused.status == 403
    assert "pandas_imgproc.get_client().dashboard_link" in refused.text()
    visit_other_site(page, "http://localhost:8888/notebook", f"<a href='{link}'>dashboard</a>")
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.click("a")
    page.wait_for_function("window.Bokeh && Bokeh.documents.length")
    assert page.url == address
    assert page.evaluate("document.cookie") == ""
    assert wait_until(lambda: sockets and page.evaluate(READ))
    assert token not in "".join([*sockets, page.content()])
    assert [(c["httpOnly"], c["sameSite"], c["path"]) for c in browser.cookies(address)] == [(True, "Lax", "/")]
    for path in ("info/main/workers.html", "individual-task-stream", "json/counts.json"):
        assert page.goto(address.replace("status", path)).ok
    page.close()


def test_page_of_another_port_opens_no_socket_of_the_dashboard(browser, managed_cluster):
    page, link = browser.new_page(), managed_cluster.dashboard_link
    page.goto(link)
    opened = """url => new Promise(done => {
        const socket = new WebSocket(url, ["bokeh", "x"]);
        socket.onopen = () => done("open");
        socket.onerror = () => done("error");
    })"""
    url = link.partition("?")[0].replace("http", "ws") + "/ws"
    assert page.evaluate(opened, url) == "open"
    visit_other_site(page, "http://127.0.0.1:8888/")  # same host, hence with the cookie
    assert page.evaluate(opened, url) == "error"
    read = "url => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'error')"
    assert page.evaluate(read, link.replace("status", "json/counts.json").partition("?")[0]) == "error"
    page.close()
