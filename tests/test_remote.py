"""Images behind a web server, slow and unreliable: every row arrives, or is to_image_error."""

from __future__ import annotations

import os
import sys
import time

import dask
import fsspec
import numpy as np
import pandas as pd
import pytest
from http_server import FAULTS, by_seed
from image_factory import image_bytes, row_of

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc.errors import MissingExtraError, UnreadableImageError
from pandas_imgproc.execution import SAMPLE_ROWS
from pandas_imgproc.execution.crash_ledger import CrashLedger
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import Source

N = 60


@pytest.fixture
def names(web):
    web.files.update({f"{k}.jpg": image_bytes(k) for k in range(N)})
    return pd.Series([f"{k}.jpg" for k in range(N)])


def rows_of(column):
    return [row_of(image) for image in column.img.to_numpy()]


def load(names, **options):
    with dask.config.set(scheduler="synchronous"):
        return names.img.load_resized(8, **options)


def kinds(column):
    return column.img.failures["kind"].to_dict()


def test_urls_and_names_below_a_root(web, names):
    assert rows_of(load(names, root=web.url())) == list(range(N))
    assert rows_of(load(web.url() + names)) == list(range(N))
    assert rows_of(load(pd.Series(range(N)), root=web.url(), suffix=".jpg")) == list(range(N))
    assert rows_of(load(web.url() + names, root=web.url())) == list(range(N))


def test_one_frame_may_mix_all_kinds(web, names, tmp_path):
    (tmp_path / "1.jpg").write_bytes(image_bytes(1))
    cells = [web.url("0.jpg"), tmp_path / "1.jpg", image_bytes(2), {"bytes": None, "path": web.url("3.jpg")},
             {"bytes": image_bytes(4), "path": "x"}, None, web.url("gone.jpg"), web.url("7.jpg")]  # fmt: skip
    column = load(pd.Series(cells, index=list("abcdefgh")), errors="coerce")
    assert rows_of(column.dropna()) == [0, 1, 2, 3, 4, 7]
    assert kinds(column) == {"g": "missing"}
    assert pd.isna(column["f"])


@pytest.mark.parametrize("backed", ["pyarrow", "python"])
def test_columns_of_arrow(web, names, backed):
    if backed == "python":
        column = (web.url() + names).astype("string")
    else:
        pa = pytest.importorskip("pyarrow")
        structs = [{"bytes": image_bytes(k) if k % 2 else None, "path": web.url(f"{k}.jpg")} for k in range(N)]
        column = pd.Series(structs, dtype=pd.ArrowDtype(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
    assert rows_of(load(column)) == list(range(N))


def test_a_cluster_gives_the_same(web, names, own_cluster):
    web.fault = by_seed(3, dict.fromkeys(FAULTS, 0.1))
    with dask.config.set(scheduler="distributed"):
        column = names.img.load_resized(8, root=web.url())
    assert rows_of(column) == list(range(N))


def test_an_image_of_a_service(web, names):
    expected = pandas_imgproc.load_image(image_bytes(5), size=8)
    assert (pandas_imgproc.load_image(web.url("5.jpg"), size=8) == expected).all()


# ---- reading ahead


def test_requests_are_under_way_together_and_bounded(web, names):
    web.together = 11  # by ones they would never be answered
    with dask.config.set({"pandas-imgproc.max-connections": 20}):
        load(names, root=web.url())
    assert 10 < web.most <= 20


def test_what_is_read_ahead_is_bounded_in_bytes(web):
    web.files.update({f"large/{k}.jpg": image_bytes(k) + bytes(2**20) for k in range(40)})
    web.together = 2
    with dask.config.set({"pandas-imgproc.prefetch-bytes": "8 MB"}):
        column = load(pd.Series([f"{k}.jpg" for k in range(40)]), root=web.url("large"))
    assert rows_of(column) == list(range(40))
    assert 1 < web.most <= 8


def test_a_call_that_stops_waits_for_nobody_and_leaves_nothing_under_way(web, names):
    del web.files["0.jpg"]
    web.fault = lambda path, k: "stall" if int(path[:-4]) >= SAMPLE_ROWS else None
    never = {"pandas-imgproc.read-timeout": 1000}
    with dask.config.set(never, scheduler="threads"), pytest.raises(UnreadableImageError, match="404"):
        names.img.load_resized(8, root=web.url(), errors="raise")
    assert wait_until(lambda: not web.under_way)


def test_nothing_is_asked_for_rows_that_nobody_reads(web, names):
    for _number, file in Source(root=web.url()).read(PartitionInput(range(N), list(names))):
        assert file.path.endswith(".jpg")
    assert not web.requests


def test_breaking_off_cancels_what_was_read_ahead(web, names):
    web.fault = lambda path, k: None if path == "0.jpg" else "stall"
    for _number, file in Source(root=web.url()).read(PartitionInput(range(N), list(names))):
        file.data()
        assert wait_until(lambda: web.under_way > 5)
        break
    assert wait_until(lambda: not web.under_way)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_too(web, names):
    load(names, root=web.url())
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if rows_of(load(names[:5], root=web.url())) == list(range(5)) else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


# ---- patience


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unreliable_server_costs_no_row(web, seed):
    n = 300
    web.files.update({f"{k}.jpg": image_bytes(k) for k in range(n) if k != 7})
    web.fault = by_seed(seed, {"503": 0.1, "reset": 0.05, "truncated": 0.05}, {"7.jpg": "404", "9.jpg": "503"})
    column = load(pd.Series([f"{k}.jpg" for k in range(n)]), root=web.url(), errors="coerce")
    assert kinds(column) == {7: "missing", 9: "remote"}
    assert rows_of(column.dropna()) == [k for k in range(n) if k not in (7, 9)]
    assert sum(web.asked.values()) <= 1.5 * n


@pytest.mark.parametrize(
    ("status", "kind", "times"),
    [("404", "missing", 1), ("410", "missing", 1), ("403", "permission", 1), ("401", "permission", 1),
     ("400", "remote", 1), ("429", "remote", 3), ("500", "remote", 3), ("503", "remote", 3), ("504", "timeout", 3),
     ("408", "timeout", 3), ("reset", "remote", 3), ("truncated", "remote", 3)],
)  # fmt: skip
def test_only_what_can_pass_is_tried_again(web, names, status, kind, times):
    web.fault = lambda path, k: status
    with dask.config.set({"pandas-imgproc.retry-attempts": 3}):
        column = load(names[:1], root=web.url(), errors="coerce")
    assert kinds(column) == {0: kind}
    # aiohttp asks again by itself, once, where a kept connection was closed before it answered
    assert times <= web.asked["0.jpg"] <= times * (1 + (status == "reset"))
    assert (status in column.img.failures["message"][0]) == status.isdecimal()


def test_a_server_that_says_when_is_waited_for(web, names):
    web.retry_after = "1"
    web.fault = lambda path, k: None if k else "429"
    started = time.perf_counter()
    assert rows_of(load(names[:3], root=web.url())) == [0, 1, 2]
    assert time.perf_counter() - started >= 1.0


def test_a_stall_is_a_timeout(web, names):
    web.fault = lambda path, k: "stall" if path == "1.jpg" else None
    with dask.config.set({"pandas-imgproc.read-timeout": 1.5, "pandas-imgproc.retry-attempts": 2}):
        column = load(names[:3], root=web.url(), errors="coerce")
    assert kinds(column) == {1: "timeout"}
    assert web.asked["1.jpg"] == 2


def test_a_server_that_is_not_there(web):
    gone = pd.Series(["http://127.0.0.1:1/a.jpg", "http://nowhere.invalid/a.jpg", web.url("a")])
    column = load(gone, errors="coerce")
    assert kinds(column) == {0: "remote", 1: "remote", 2: "missing"}
    assert "refused" in column.img.failures["message"][0]


def test_what_is_no_image_is_asked_for_once(web):
    web.files.update({"a.jpg": b"<html>no</html>", "b.jpg": b""})
    column = load(pd.Series(["a.jpg", "b.jpg"]), root=web.url(), errors="coerce")
    assert kinds(column) == {0: "unidentified", 1: "empty"}
    assert web.asked == {"a.jpg": 1, "b.jpg": 1}


def test_the_user_agent_and_headers_are_sent(web, names):
    with dask.config.set({"pandas-imgproc.user-agent": "me@example.org"}):
        load(names[:1], root=web.url(), storage_options={"headers": {"X-Key": "1"}})
    headers = web.requests[0][2]
    assert (headers["User-Agent"], headers["X-Key"]) == ("me@example.org", "1")


@pytest.mark.parametrize(
    ("name", "value"), [("retry-attempts", 0), ("retry-wait-initial", -1), ("read-timeout", "long")]
)
def test_a_wrong_configuration_is_named(names, name, value):
    with dask.config.set({f"pandas-imgproc.{name}": value}), pytest.raises(ValueError, match=name):
        load(names)


# ---- a job that continues


def test_files_that_have_changed_are_made_again(web, names, tmp_path):
    out = tmp_path / "x.npy"
    load(names, root=web.url(), out=out)
    web.requests.clear()
    web.most, web.together = 0, 6  # by ones they would never be answered
    web.files["5.jpg"] = image_bytes(105)
    del web.files["6.jpg"]
    assert rows_of(load(names, root=web.url(), out=out)) == [105 if k == 5 else k for k in range(N)]
    assert [path for method, path, _ in web.requests if method == "GET"] == ["/5.jpg"]
    assert web.most > 5, "asked one by one"


def test_rows_that_failed_in_passing_are_tried_again(web, names, tmp_path):
    web.fault = lambda path, k: "503" if path == "5.jpg" else None
    column = load(names, root=web.url(), out=tmp_path / "x.npy", errors="coerce")
    assert kinds(column) == {5: "remote"}
    web.reset()
    assert rows_of(load(names, root=web.url(), out=tmp_path / "x.npy")) == list(range(N))


# ---- what must be there


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # what other tests have used
    with pytest.raises(MissingExtraError) as caught:
        pd.Series(["s3://bucket/a.jpg"]).img.load_resized(8)
    assert str(caught.value) == "s3:// needs s3fs: pip install 'pandas-imgproc[s3]'"


def test_options_for_one_of_several_schemes_are_refused():
    cells = pd.Series(["s3://bucket/a.jpg", "https://host/a.jpg"])
    with pytest.raises(ValueError, match=r"for http or s3: give them by protocol"):
        cells.img.load_resized(8, storage_options={"key": "x"})


@pytest.mark.parametrize("wrong", ["anon", ["anon"], {1: 2}])
def test_wrong_options_are_not_shown(wrong):
    with pytest.raises(TypeError, match="storage_options") as caught:
        pd.Series(["a.jpg"]).img.load_resized(8, storage_options=wrong)
    assert "anon" not in str(caught.value)


def test_a_file_system_of_another_kind():
    memory = fsspec.filesystem("memory")
    for k in range(10):
        memory.pipe_file(f"/photos/{k}.jpg", image_bytes(k))
    try:
        names = pd.Series([f"{k}.jpg" for k in range(11)])
        column = load(names, root="memory://photos", schemes=["memory"], errors="coerce")
        assert rows_of(column.dropna()) == list(range(10))
        assert kinds(column) == {10: "missing"}
        with pytest.raises(ValueError, match=r"schemes=\['memory'\]"):
            load(names, root="memory://photos")
    finally:
        memory.rm("/photos", recursive=True)


def test_the_kernel_stops_where_it_is_asked_to(web, names):
    from pandas_imgproc import codec
    from pandas_imgproc.kernel import run_partition
    from pandas_imgproc.tasks import LoadResized

    web.fault = lambda path, k: "stall" if int(path[:-4]) > 10 else None
    ledger = CrashLedger.in_memory(N)
    ledger.cancel()
    task = LoadResized(codec.decode_options(size=8))
    rows = PartitionInput(range(N), list(names))
    part = run_partition(task, rows, Source(root=web.url()), ledger, codec.PillowSettings.current())
    assert np.flatnonzero(part.status == 0).tolist() == [0]
    assert wait_until(lambda: not web.under_way)
