"""HTTP reads from slow and unreliable servers: every row arrives, or is a failure with a reason."""

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


def test_urls_and_names_read_the_same_rows(web, names):
    assert rows_of(load(names, root=web.url())) == list(range(N))
    assert rows_of(load(web.url() + names)) == list(range(N))
    assert rows_of(load(pd.Series(range(N)), root=web.url(), suffix=".jpg")) == list(range(N))
    assert rows_of(load(web.url() + names, root=web.url())) == list(range(N))


def test_column_of_mixed_inputs_is_read(web, names, tmp_path):
    (tmp_path / "1.jpg").write_bytes(image_bytes(1))
    values = [web.url("0.jpg"), tmp_path / "1.jpg", image_bytes(2), {"bytes": None, "path": web.url("3.jpg")},
             {"bytes": image_bytes(4), "path": "x"}, None, web.url("gone.jpg"), web.url("7.jpg")]  # fmt: skip
    column = load(pd.Series(values, index=list("abcdefgh")), errors="coerce")
    assert rows_of(column.dropna()) == [0, 1, 2, 3, 4, 7]
    assert kinds(column) == {"g": "missing"}
    assert pd.isna(column["f"])


@pytest.mark.parametrize("storage", ["pyarrow", "python"])
def test_arrow_column_is_read(web, names, storage):
    if storage == "python":
        column = (web.url() + names).astype("string")
    else:
        pa = pytest.importorskip("pyarrow")
        structs = [{"bytes": image_bytes(k) if k % 2 else None, "path": web.url(f"{k}.jpg")} for k in range(N)]
        column = pd.Series(structs, dtype=pd.ArrowDtype(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
    assert rows_of(load(column)) == list(range(N))


def test_workers_read_urls(web, names, own_cluster):
    web.fault = by_seed(3, dict.fromkeys(FAULTS, 0.1))
    with dask.config.set(scheduler="distributed"):
        column = names.img.load_resized(8, root=web.url())
    assert rows_of(column) == list(range(N))


def test_load_image_reads_url(web, names):
    expected = pandas_imgproc.load_image(image_bytes(5), size=8)
    assert (pandas_imgproc.load_image(web.url("5.jpg"), size=8) == expected).all()


def test_name_with_double_colon_is_not_chained(web):
    web.files["a::b.jpg"] = image_bytes(1)
    options = {"headers": {"X-Test": "1"}}  # other options: this URL creates the file system
    assert rows_of(load(pd.Series(["a::b.jpg"]), root=web.url(), storage_options=options)) == [1]


# ---- prefetching


def test_prefetch_requests_are_concurrent_and_limited(web, names):
    web.together = 11  # sequential requests would never be answered
    with dask.config.set({"pandas-imgproc.max-connections": 20}):
        load(names, root=web.url())
    assert 10 < web.most <= 20


def test_prefetch_is_limited_in_bytes(web):
    web.files.update({f"large/{k}.jpg": image_bytes(k) + bytes(2**20) for k in range(40)})
    web.together = 2
    with dask.config.set({"pandas-imgproc.prefetch-bytes": "8 MB"}):
        column = load(pd.Series([f"{k}.jpg" for k in range(40)]), root=web.url("large"))
    assert rows_of(column) == list(range(40))
    assert 1 < web.most <= 8


def test_failing_call_cancels_requests_in_flight(web, names):
    del web.files["0.jpg"]
    web.fault = lambda path, k: "stall" if int(path[:-4]) >= SAMPLE_ROWS else None
    no_timeout = {"pandas-imgproc.read-timeout": 1000}
    with dask.config.set(no_timeout, scheduler="threads"), pytest.raises(UnreadableImageError, match="404"):
        names.img.load_resized(8, root=web.url(), errors="raise")
    assert wait_until(lambda: not web.under_way)


def test_prefetch_starts_with_first_read(web, names):
    for _i, file in Source(root=web.url()).read(PartitionInput(range(N), list(names))):
        assert file.path.endswith(".jpg")
    assert not web.requests


def test_prefetch_is_cancelled_when_iteration_ends(web, names):
    web.fault = lambda path, k: None if path == "0.jpg" else "stall"
    for _i, file in Source(root=web.url()).read(PartitionInput(range(N), list(names))):
        file.data()
        assert wait_until(lambda: web.under_way > 5)
        break
    assert wait_until(lambda: not web.under_way)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_reads_urls(web, names):
    load(names, root=web.url())
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if rows_of(load(names[:5], root=web.url())) == list(range(5)) else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


# ---- retries


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unreliable_server_loses_no_row(web, seed):
    n = 300
    web.files.update({f"{k}.jpg": image_bytes(k) for k in range(n) if k != 7})
    web.fault = by_seed(seed, {"503": 0.1, "reset": 0.05, "truncated": 0.05}, {"7.jpg": "404", "9.jpg": "503"})
    column = load(pd.Series([f"{k}.jpg" for k in range(n)]), root=web.url(), errors="coerce")
    assert kinds(column) == {7: "missing", 9: "remote"}
    assert rows_of(column.dropna()) == [k for k in range(n) if k not in (7, 9)]
    assert sum(web.asked.values()) <= 1.5 * n


@pytest.mark.parametrize(
    ("status", "kind", "n_requests"),
    [("404", "missing", 1), ("410", "missing", 1), ("403", "permission", 1), ("401", "permission", 1),
     ("400", "remote", 1), ("429", "remote", 3), ("500", "remote", 3), ("503", "remote", 3), ("504", "timeout", 3),
     ("408", "timeout", 3), ("reset", "remote", 3), ("truncated", "remote", 3)],
)  # fmt: skip
def test_only_transient_errors_are_retried(web, names, status, kind, n_requests):
    web.fault = lambda path, k: status
    with dask.config.set({"pandas-imgproc.retry-attempts": 3}):
        column = load(names[:1], root=web.url(), errors="coerce")
    assert kinds(column) == {0: kind}
    # aiohttp itself sends a request once more if a reused connection was closed before a response
    assert n_requests <= web.asked["0.jpg"] <= n_requests * (1 + (status == "reset"))
    assert (status in column.img.failures["message"][0]) == status.isdecimal()


def test_retry_after_header_delays_retry(web, names):
    web.retry_after = "1"
    web.fault = lambda path, k: None if k else "429"
    started = time.perf_counter()
    assert rows_of(load(names[:3], root=web.url())) == [0, 1, 2]
    assert time.perf_counter() - started >= 1.0


def test_stalled_response_times_out(web, names):
    web.fault = lambda path, k: "stall" if path == "1.jpg" else None
    with dask.config.set({"pandas-imgproc.read-timeout": 1.5, "pandas-imgproc.retry-attempts": 2}):
        column = load(names[:3], root=web.url(), errors="coerce")
    assert kinds(column) == {1: "timeout"}
    assert web.asked["1.jpg"] == 2


def test_unreachable_server_is_remote_failure(web):
    unreachable = pd.Series(["http://127.0.0.1:1/a.jpg", "http://nowhere.invalid/a.jpg", web.url("a")])
    column = load(unreachable, errors="coerce")
    assert kinds(column) == {0: "remote", 1: "remote", 2: "missing"}
    assert "refused" in column.img.failures["message"][0]


def test_response_without_image_is_not_retried(web):
    web.files.update({"a.jpg": b"<html>no</html>", "b.jpg": b""})
    column = load(pd.Series(["a.jpg", "b.jpg"]), root=web.url(), errors="coerce")
    assert kinds(column) == {0: "unidentified", 1: "empty"}
    assert web.asked == {"a.jpg": 1, "b.jpg": 1}


def test_user_agent_and_headers_are_sent(web, names):
    with dask.config.set({"pandas-imgproc.user-agent": "me@example.org"}):
        load(names[:1], root=web.url(), storage_options={"headers": {"X-Key": "1"}})
    headers = web.requests[0][2]
    assert (headers["User-Agent"], headers["X-Key"]) == ("me@example.org", "1")


@pytest.mark.parametrize(
    ("name", "value"), [("retry-attempts", 0), ("retry-wait-initial", -1), ("read-timeout", "long")]
)
def test_invalid_read_config_raises(names, name, value):
    with dask.config.set({f"pandas-imgproc.{name}": value}), pytest.raises(ValueError, match=name):
        load(names)


# ---- resumed jobs


def test_resume_reads_changed_files_again(web, names, tmp_path):
    out = tmp_path / "x.npy"
    load(names, root=web.url(), out=out)
    web.requests.clear()
    web.most, web.together = 0, 6  # sequential requests would never be answered
    web.files["5.jpg"] = image_bytes(105)
    del web.files["6.jpg"]
    assert rows_of(load(names, root=web.url(), out=out)) == [105 if k == 5 else k for k in range(N)]
    assert [path for method, path, _ in web.requests if method == "GET"] == ["/5.jpg"]
    assert web.most > 5


def test_resume_retries_transient_failures(web, names, tmp_path):
    web.fault = lambda path, k: "503" if path == "5.jpg" else None
    column = load(names, root=web.url(), out=tmp_path / "x.npy", errors="coerce")
    assert kinds(column) == {5: "remote"}
    web.reset()
    assert rows_of(load(names, root=web.url(), out=tmp_path / "x.npy")) == list(range(N))


# ---- file systems and options


def test_missing_extra_names_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(
        sys.modules["fsspec.registry"]._registry, "s3", raising=False
    )  # other tests have loaded the class
    with pytest.raises(MissingExtraError) as caught:
        pd.Series(["s3://bucket/a.jpg"]).img.load_resized(8)
    assert str(caught.value) == "s3:// needs s3fs: pip install 'pandas-imgproc[s3]'"


def test_unscoped_options_for_two_protocols_raise():
    values = pd.Series(["s3://bucket/a.jpg", "https://host/a.jpg"])
    with pytest.raises(ValueError, match=r"for http or s3: give them by protocol"):
        values.img.load_resized(8, storage_options={"key": "x"})


@pytest.mark.parametrize("wrong", ["anon", ["anon"], {1: 2}])
def test_invalid_storage_options_are_not_shown(wrong):
    with pytest.raises(TypeError, match="storage_options") as caught:
        pd.Series(["a.jpg"]).img.load_resized(8, storage_options=wrong)
    assert "anon" not in str(caught.value)


def test_other_fsspec_protocol_is_read():
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


def test_cancelled_kernel_stops_requests(web, names):
    from pandas_imgproc import codec
    from pandas_imgproc.kernel import run_partition
    from pandas_imgproc.tasks import LoadResized

    web.fault = lambda path, k: "stall" if int(path[:-4]) > 10 else None
    ledger = CrashLedger.in_memory(N)
    ledger.cancel()
    task = LoadResized(codec.decode_options(size=8))
    partition = PartitionInput(range(N), list(names))
    result = run_partition(task, partition, Source(root=web.url()), ledger, codec.PillowSettings.current())
    assert np.flatnonzero(result.status == 0).tolist() == [0]
    assert wait_until(lambda: not web.under_way)
