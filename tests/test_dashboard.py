"""The dashboard as a person reads it: in a real browser, while a call runs."""

from __future__ import annotations

import shutil
import sys
import threading
import time

import cloudpickle
import pandas as pd
import pytest
from image_factory import row_image, row_of

from conftest import wait_until
from pandas_imgproc.cluster import dashboard_link

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

# What stands in the tables that Bokeh draws from, and what can be chosen.
READ = """() => Bokeh.documents.flatMap(page => [...page._all_models.values()]).flatMap(
    model => model.data ? Object.entries(model.data).flatMap(([name, column]) => [name, ...column])
             : model.options ?? []).map(String)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; .ci/run installs it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=CHROMIUM, args=QUIET, headless=True
        )
        yield opened
        opened.close()


class Page:
    """A page of the dashboard."""

    def __init__(self, browser, link):
        self.page = browser.new_page()
        self.page.goto(link)
        self.page.wait_for_function("window.Bokeh && Bokeh.documents.length")

    def shows(self, *words):
        """Whether words can be read in the page, now or soon."""
        return wait_until(lambda: set(words) <= set(self.page.evaluate(READ)))


def test_the_method_and_its_stages_can_be_read(browser, own_cluster, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for number in range(8):
        row_image(number, (60, 40)).save(tmp_path / f"{number}.png")
    paths = pd.Series([str(tmp_path / f"{number % 8}.png") for number in range(64)])
    go = tmp_path / "go"

    def told(pixels):
        while not go.exists():
            time.sleep(0.01)
        return row_of(pixels)

    thread = threading.Thread(target=lambda: paths.img.map(told, npartitions=8, progress=False))
    link = dashboard_link(own_cluster)
    paths.img.load_resized(16, npartitions=4, progress=False)
    thread.start()
    try:
        status = Page(browser, link)
        assert status.shows("map"), "the group of the running tasks is called as the method"
    finally:
        go.touch()
        thread.join()
    fine = Page(browser, link.replace("/status", "/individual-fine-performance-metrics"))
    assert fine.shows("load_resized", "map", "read", "decode", "resize", "function", "bytes", "count", "pandas_imgproc")
