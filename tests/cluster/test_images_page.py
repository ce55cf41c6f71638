"""Page "Images" of the dashboard: its state, and the page in a real browser while calls run."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
from cluster_subprocess import SubprocessCluster
from distributed import Client
from image_factory import row_image
from test_dashboard import Page

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc import ClusterError, cluster
from pandas_imgproc.cluster.dashboard import images_link
from pandas_imgproc.cluster.images_page import call as call_module
from pandas_imgproc.cluster.images_page import tables
from pandas_imgproc.cluster.images_page.names import PLUGIN
from pandas_imgproc.cluster.images_page.plugin import _document
from pandas_imgproc.cluster.images_page.state import MAX_ENDED, PageState
from pandas_imgproc.cluster.validation import shows_thumbnails
from pandas_imgproc.execution import collect_stats
from pandas_imgproc.execution.reporting import make_thumbnail

HOSTILE = "<img src=x onerror=document.title='pwned'>"
SECRET = "https://ann:geheim@127.0.0.1:1/a.jpg?sig=geheim"


def message(call="c", done=0, total=10, **values):
    return {"call": call, "method": "load_resized", "total": total, "done": done, "elapsed": 1.0, **values}


def partition(call="c", worker="tls://a", rows=5, **values):
    seconds = {"read": 0.5, "decode": 1.0}
    return {"call": call, "worker": worker, "rows": rows, "wall": 2.0, "seconds": seconds, **values}


def page_state(client):
    return client.cluster.scheduler.plugins[PLUGIN].state


def last_call(client):
    return page_state(client).calls()[0]


# ---- the state


def test_state_is_bounded_over_a_night_of_calls():
    state, sizes = PageState(details=True, thumbnails=True), []
    for i in range(2000):
        call = f"call{i}"
        for k in range(3):
            failures = {f"kind{j}": [["1", "a.jpg", "m"]] * 30 for j in range(5)}
            failed = {f"kind{j}": k for j in range(5)}
            state.on_caller(message(call, 10 * k, 300, failures=failures, failed=failed), 2000 * i + k)
            thumbnail = {"thumbnail": "x" * 1000, "title": "t" * 1000}
            state.on_partition(partition(call, f"tls://{i}:{k}", **thumbnail), 2000 * i + k)
        if i % 2:
            state.on_caller(message(call, status="finished"), 2000 * i + 40)
        if i in (500, 1999):
            sizes.append(len(cloudpickle.dumps(state)))
    assert sizes[1] < 1.05 * sizes[0]
    assert len(state.ended) == MAX_ENDED
    assert len(state.running) in (49, 50)


def test_one_long_call_is_bounded():
    state = PageState(details=True, thumbnails=True)
    state.on_caller(message(total=10**6), 0)
    for i in range(20_000):
        state.on_partition(partition(worker=f"tls://{i}", seconds={f"stage{i}": 1.0}), i)
        state.on_caller(message(done=10 * i, total=10**6), i)
    call = state.running["c"]
    assert len(call.workers) == call_module.MAX_WORKERS + 1
    assert len(call.points) <= call_module.MAX_POINTS
    assert len(call.partitions) == call_module.MAX_PARTITIONS
    assert call.recent_rate(20_000) == pytest.approx(10, rel=0.2)
    curve = tables.points_table(call)
    assert np.allclose(curve["y"][1:], 10, rtol=0.1)


@pytest.mark.parametrize("value", [None, "x", -1, float("nan"), [], {}, [[1]], {"missing": 3}, b"x", 10**400])
def test_any_value_of_a_message_is_harmless(value):
    names = ("method", "column", "target", "total", "done", "resumed", "failed", "failures", "inline", "transfer",
             "elapsed", "nbytes", "status", "message", "worker", "rows", "wall", "seconds", "threads", "thumbnail",
             "title", "group", "key")  # fmt: skip
    for name in names:
        state = PageState(details=True, thumbnails=True)
        state.on_caller(message(**{**partition(), name: value}), 0)
        state.on_partition(partition(**{name: value}), 1)
        for call in state.calls():
            tables.calls_table([call], 2)
            assert "<" not in tables.headline(call, 2)
            tables.stages_table(call), tables.points_table(call), tables.failures_table(call, None)


def test_event_that_arrives_before_its_caller_counts():
    state = PageState(details=True, thumbnails=True)
    state.on_partition(partition(), 1)
    assert not state.calls()
    state.on_caller(message(), 2)
    assert state.running["c"].workers["tls://a"].rows == 5


def test_worker_and_client_that_are_lost():
    state = PageState(details=True, thumbnails=True)
    state.on_caller(message("c1", client="client-1"), 0)
    state.on_caller(message("c2", client="client-2"), 0)
    state.on_partition(partition("c1"), 0)
    state.on_worker_lost("tls://a", ["load_resized-c1-0-9-1", "load_resized-c1-10-19-2", "other-1"])
    assert (state.running["c1"].n_deaths, state.running["c1"].n_retries) == (1, 2)
    assert state.running["c2"].n_deaths == 0
    assert state.running["c1"].workers["tls://a"].waiting(100) == 0, "a worker that is lost does not wait"
    state.on_client_lost("client-1", 2)
    assert [(call.id, call.status) for call in state.calls()] == [("c2", "running"), ("c1", "interrupted")]


def test_without_details_no_text_of_a_row_is_stored():
    state = PageState(details=False, thumbnails=True)
    values = {"failures": {"missing": [["SECRET"] * 3]}, "target": "SECRET", "message": "SECRET"}
    state.on_caller(message(failed={"missing": 1}, **values), 0)
    state.on_partition(partition(thumbnail="SECRET", title="SECRET", **values), 1)
    state.on_partition(partition("g", group="g", thumbnail="SECRET", **values), 1)
    state.on_caller(message(status="failed", **values), 2)
    assert b"SECRET" not in cloudpickle.dumps(state)


def test_slowest_worker_is_on_top_and_its_stage_is_long():
    state = PageState(details=True, thumbnails=True)
    state.on_caller(message(done=12, inline={"rows": 2, "wall": 0.1, "seconds": {}}), 0)
    state.on_partition(partition(worker="tls://fast"), 2)
    state.on_partition(partition(worker="tls://slow", seconds={"read": 8.0}, wall=9.0), 9)
    names, bars = tables.stages_table(state.running["c"])
    assert names == ["this process", "tls://fast", "tls://slow", tables.ALL]
    assert bars["read"] == [0, 100, 1600, 708.333]
    assert bars["other"][2] == 200


def test_partition_of_a_dask_frame_that_runs_again_counts_once():
    state = PageState(details=True, thumbnails=True)
    for key in ("('a', 0)", "('a', 1)", "('a', 0)"):
        state.on_partition(partition("g", group="a", method="load_resized", key=key, failed={"missing": 1}), 1)
    call = state.running["g"]
    assert (call.n_done, call.n_failed, call.n_partitions) == (10, 2, 3)


def test_thumbnail_of_pixels_and_of_files(tmp_path):
    import base64
    import io

    from PIL import Image

    red = np.zeros((200, 100, 3), dtype=np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "a.png")
    clear = np.zeros((9, 9, 4), dtype=np.uint8)
    for value, size, color in [
        (red, (32, 64), (255, 0, 0)),
        (red[:, :, :1], (32, 64), (255, 255, 255)),
        ((tmp_path / "a.png").read_bytes(), (32, 64), (255, 0, 0)),
        (clear, (9, 9), (255, 255, 255)),
    ]:
        image = Image.open(io.BytesIO(base64.b64decode(make_thumbnail(value))))
        assert (image.size, image.convert("RGB").getpixel((3, 3))) == (size, color)
    assert make_thumbnail(b"no image") is make_thumbnail(3.0) is make_thumbnail(np.zeros(9)) is None


# ---- calls on the managed cluster


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(4):
        row_image(i, (60, 40)).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:-60])
    return folder


@pytest.fixture(autouse=True)
def _one_attempt():
    with dask.config.set({"pandas-imgproc.retry-attempts": 1}):
        yield


def failing_paths(photos, n=40):
    """Return paths with failures of three kinds: hostile labels, a name that is no UTF-8, and a URL with secrets."""
    paths = [str(photos / f"{i % 4}.png") for i in range(n)]
    paths[3], paths[4], paths[5] = str(photos / "broken.png"), str(photos / HOSTILE.replace("/", "")), SECRET
    paths[6] = os.fsdecode(os.fsencode(photos) + b"/n\xff.png")
    index = [f"{HOSTILE} {i}" for i in range(n)]
    index[5] = SECRET
    return pd.Series(paths, index=index, name=HOSTILE, dtype=object)


def test_numbers_are_those_of_the_summary_line(managed_cluster, photos, tmp_path):
    paths = failing_paths(photos)
    with collect_stats() as jobs:
        result = paths.img.load_resized(8, npartitions=5, errors="coerce", progress=False, out=tmp_path / "a.npy")
    (stats,), call = jobs, last_call(managed_cluster)
    assert (call.method, call.column, call.status) == ("load_resized", HOSTILE, "finished")
    assert call.target.endswith("/a.npy")
    assert (call.n_done, call.n_failed, call.total) == (stats.rows, stats.failures, 40)
    assert call.elapsed(0) == stats.seconds
    assert call.failed == result.img.failures["kind"].astype(str).value_counts().to_dict()
    assert sum(worker.rows for worker in call.workers.values()) == 40
    seconds = pd.DataFrame([worker.stages for worker in call.workers.values()]).sum().to_dict()
    assert seconds == pytest.approx(dict(stats.stages))
    assert all(seconds > 0 for seconds in call.transfer.values())
    assert call.transfer
    assert call.transfer.keys() <= call.workers.keys()
    listed = tables.failures_table(call, None)
    assert sorted(listed["path"]) == sorted(p.encode(errors="replace").decode() for p in result.img.failures["path"])
    shown = json.dumps([listed, tables.calls_table([call], 0), tables.headline(call, 0)])
    assert "geheim" not in shown
    assert HOSTILE in shown


def test_resumed_call_counts_the_rest(managed_cluster, photos, tmp_path):
    paths = pd.Series([str(photos / f"{i % 4}.png") for i in range(20)], index=list("abcdefghijklmnopqrst"))
    to = str(tmp_path / "{index}.png")
    paths[:12].img.save_resized(to, size=8, npartitions=2, progress=False)
    paths.img.save_resized(to, size=8, npartitions=2, progress=False)
    call = last_call(managed_cluster)
    assert (call.method, call.total, call.n_done, call.n_skipped) == ("save_resized", 8, 8, 12)


def test_killed_worker_is_counted(managed_cluster, photos):
    paths = pd.Series([str(photos / f"{i % 4}.png") for i in range(8)])

    def kill_once(pixels, marker=str(photos / "killed")):
        with contextlib.suppress(FileExistsError):
            open(marker, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(pixels.mean())

    with collect_stats() as jobs:
        paths.img.map(kill_once, npartitions=2, progress=False)
    call = last_call(managed_cluster)
    assert (call.method, call.n_done, call.n_failed) == ("map", jobs[0].rows, jobs[0].failures) == ("map", 8, 0)
    assert call.n_deaths == 1
    assert call.n_retries >= 1


def test_error_ends_the_call_on_the_page(managed_cluster, photos):
    paths = pd.Series([str(photos / "broken.png")] * 20)
    with pytest.raises(OSError, match="truncated"):
        paths.img.load_resized(8, npartitions=4, errors="raise", progress=False)
    assert last_call(managed_cluster).status == "stopped"


def test_calls_of_dask_frames_appear(managed_cluster, photos):
    import dask.dataframe as dd

    paths = failing_paths(photos, 13).rename("image_path")
    paths = paths.drop(paths.index[6])  # its name cannot be in a Dask frame
    ddf = dd.from_pandas(paths.reset_index(drop=True).to_frame(), npartitions=3)
    with managed_cluster.as_current():
        ddf.img.load_resized("image_path", 8, errors="coerce").compute()
    managed_cluster.cluster.scheduler.plugins[PLUGIN].refresh()
    call = last_call(managed_cluster)
    assert (call.method, call.column, call.is_graph, call.n_done, call.n_failed) == (
        "load_resized", "image_path", True, 12, 3
    )  # fmt: skip
    assert "geheim" not in str(call.failures)
    assert wait_until(lambda: not page_state(managed_cluster).running or _refresh(managed_cluster))


def _refresh(client):
    client.cluster.scheduler.plugins[PLUGIN].refresh()


# ---- the page in a browser

CELLS = """() => { const texts = []; const walk = node => {
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.classList?.contains("slick-cell") || node.classList?.contains("bk-clearfix")) texts.push(node.textContent);
    for (const child of node.children ?? []) walk(child); }; walk(document.body); return texts; }"""


def test_page_shows_calls_failures_and_thumbnails(browser, managed_cluster, photos, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
    page = Page(browser, images_link(cluster.dashboard_link(managed_cluster))).page
    go, paths = tmp_path / "go", failing_paths(photos)

    def wait(pixels):
        while not go.exists():
            time.sleep(0.01)
        return pixels

    def shows(text):
        return wait_until(lambda: text in "|".join(page.evaluate(CELLS)))

    thread = threading.Thread(
        target=lambda: paths.img.map(wait, size=16, npartitions=12, errors="coerce", progress=False)
    )
    thread.start()
    try:
        assert shows("running|map")
        assert shows("0 of 40")
    finally:
        go.touch()
        thread.join()
    assert shows("40 of 40")
    assert shows("finished|map")
    assert shows("4: 2 missing")
    assert shows(f"{HOSTILE} 3")
    assert shows(str(photos / HOSTILE.replace("/", "")))
    assert page.locator("img[src=x]").count() == 0
    assert wait_until(page.locator("img[src^='data:image/png']").count)  # drawn less often than the table
    assert page.title() != "pwned"
    assert page.get_by_text(str(photos / HOSTILE.replace("/", "")), exact=True).count() == 1
    page.get_by_text("truncated", exact=True).first.click()
    assert wait_until(lambda: not page.get_by_text(str(photos / HOSTILE.replace("/", "")), exact=True).count())
    page.close()


def test_page_is_in_the_navigation_and_in_the_list_of_plots(browser, managed_cluster):
    link = cluster.dashboard_link(managed_cluster)
    page = browser.new_page()
    page.set_viewport_size({"width": 1400, "height": 700})  # on a narrow page the navigation is a menu
    page.goto(link)
    page.click("text=Images")
    assert urlsplit(page.url).path == "/images"
    address = link.partition("/status")[0]
    assert page.goto(f"{address}/individual-plots.json").json()["Individual Images"] == "/individual-images"
    assert page.goto(f"{address}/individual-images").ok
    page.close()


class Notebook(http.server.BaseHTTPRequestHandler):
    """Server of a page with the output of a cell."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(pandas_imgproc.dashboard(height=600)._repr_html_().encode())

    def log_message(self, *args):
        pass


def _is_attached(locator):
    from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

    try:
        locator.wait_for(state="attached")
    except PlaywrightTimeoutError:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_notebook_shows_the_page_inline(browser, managed_cluster, host):
    browser.clear_cookies()
    page, shown = browser.new_page(), pandas_imgproc.dashboard()
    assert repr(shown) == shown.link == images_link(managed_cluster.dashboard_link)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://{host}:{server.server_port}/notebook")
        table = page.frame_locator("iframe").locator(".slick-header-column").first
        if not _is_attached(table):
            page.reload()  # a frame stayed empty, once in some dozens of runs; why is not known
            assert _is_attached(table)
        assert page.locator("iframe").evaluate("frame => frame.clientHeight") == 600
        assert page.get_by_text("Open the page in a tab").get_attribute("href") == shown.link
        page.close()
        server.shutdown()


def test_page_that_cannot_be_shown_inline_is_an_error(managed_cluster, monkeypatch, tmp_path):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    with pytest.raises(ClusterError, match=r"browser is on another machine: set .*distributed\.dashboard\.link"):
        pandas_imgproc.dashboard()
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    with pytest.raises(TypeError, match="height='tall'"):
        pandas_imgproc.dashboard("tall")
    options = {"processes": False, "n_workers": 1, "local_directory": tmp_path}
    with Client(dashboard_address="127.0.0.1:0", **options) as client:
        with pytest.raises(ClusterError, match=r"no page Images: pandas_imgproc\.register_dashboard\(client\)"):
            pandas_imgproc.dashboard()
        pandas_imgproc.register_dashboard(client)
        assert pandas_imgproc.dashboard().link == client.dashboard_link.replace("/status", "/images")


def test_cluster_without_a_dashboard_has_no_page(photos, tmp_path):
    paths, own = pd.Series([str(photos / "0.png")] * 8), SubprocessCluster(tmp_path)
    own.worker()
    try:
        with own.client() as client:
            for _ in range(2):
                with pytest.raises(ClusterError, match="no dashboard, or lacks Bokeh"):
                    pandas_imgproc.register_dashboard(client)
            assert paths.img.load_resized(8, npartitions=2, progress=False).notna().all()
    finally:
        own.close()


def test_closed_page_has_no_viewer(managed_cluster):
    from bokeh.document import Document

    scheduler, doc = managed_cluster.cluster.scheduler, Document()
    before = scheduler.plugins[PLUGIN].n_viewers
    _document(scheduler, {}, doc, has_navigation=False)
    assert scheduler.plugins[PLUGIN].n_viewers == before + 1
    for callback in doc.session_destroyed_callbacks:  # Bokeh calls them 15 seconds after a page is closed
        callback(None)
    assert scheduler.plugins[PLUGIN].n_viewers == before


@pytest.mark.parametrize(
    ("configured", "is_private", "shown"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_thumbnails_are_off_by_configuration_and_where_others_see_the_page(configured, is_private, shown):
    with dask.config.set({"pandas-imgproc.dashboard-thumbnails": configured}):
        assert shows_thumbnails(is_private=is_private) is shown


# ---- a cluster of the user


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory):
    """A scheduler without this package and pandas, and a worker."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "sitecustomize.py").write_text(
        "import sys\nsys.modules['pandas_imgproc'] = sys.modules['pandas'] = None\n"
    )
    cluster = SubprocessCluster(folder, dashboard=True, PYTHONPATH=str(folder))
    try:
        cluster.worker()
        with cluster.client(set_as_default=False) as client:
            client.wait_for_workers(1)
            yield client
    finally:
        cluster.close()


def state_of(client):
    """Return details of the newest call, and all that the plugin of the scheduler stores."""

    def read(dask_scheduler, name=PLUGIN):
        import cloudpickle

        plugin = dask_scheduler.plugins[name]
        plugin.refresh()
        call = plugin.state.calls()[0]
        return (call.method, call.n_done, call.n_failed, call.status, len(call.workers)), cloudpickle.dumps(
            plugin.state
        )

    return client.run_on_scheduler(read)


def test_own_cluster_shows_counts_and_with_a_second_switch_details(browser, own_cluster, photos):
    paths = failing_paths(photos)
    with own_cluster.as_current():
        paths.img.load_resized(8, npartitions=4, errors="coerce", progress=False)
        assert not own_cluster.get_events("pandas-imgproc"), "events of a cluster without the page"
        pandas_imgproc.register_dashboard(own_cluster)
        paths.img.load_resized(8, npartitions=4, errors="coerce", progress=False)
        call, stored = state_of(own_cluster)
        assert call == ("load_resized", 40, 4, "finished", 1)
        details = [str(photos).encode(), b"ends too early", HOSTILE.encode() + b" 3"]
        assert not [text for text in details if text in stored]
        page = Page(browser, own_cluster.dashboard_link.replace("/status", "/images")).page
        assert wait_until(lambda: "40 of 40" in "|".join(page.evaluate(CELLS)))
        pandas_imgproc.register_dashboard(own_cluster, details=True)
        paths.img.load_resized(8, npartitions=4, errors="coerce", progress=False)
        _, stored = state_of(own_cluster)
        assert [text for text in details if text in stored] == details
        assert b"geheim" not in stored
        assert wait_until(lambda: str(photos / "broken.png") in page.evaluate(CELLS))
        page.close()


def test_dask_frame_on_an_own_cluster(photos, tmp_path):
    import dask.dataframe as dd

    paths = failing_paths(photos)
    ddf = dd.from_pandas(paths.drop(paths.index[6]).reset_index(drop=True).rename("p").to_frame(), npartitions=2)
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "local_directory": tmp_path}
    with Client(dashboard_address="127.0.0.1:0", **options) as client:
        for details in (False, True):
            pandas_imgproc.register_dashboard(client, details=details)
            ddf.img.load_resized("p", 8 + details, errors="coerce").compute()
            call, stored = state_of(client)
            assert call == ("load_resized", 39, 3, "finished", 1)
            assert (str(photos).encode() in stored) is details
            assert b"geheim" not in stored


def test_page_cannot_be_registered_without_a_client():
    with pytest.raises(TypeError, match=r"client='tcp' is no distributed\.Client"):
        pandas_imgproc.register_dashboard("tcp")
