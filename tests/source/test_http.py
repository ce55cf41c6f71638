"""HTTP reads from slow and unreliable servers: every row arrives, or is a failure with a reason."""

from __future__ import annotations

import gzip
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
def names(http_server):
    http_server.files.update({f"{k}.jpg": image_bytes(k) for k in range(N)})
    return pd.Series([f"{k}.jpg" for k in range(N)])


def rows_of(column):
    return [row_of(image) for image in column.img.to_numpy()]


def load(names, **options):
    with dask.config.set(scheduler="synchronous"):
        return names.img.load_resized(8, **options)


def kinds(column):
    return column.img.failures["kind"].to_dict()


def test_urls_and_names_read_the_same_rows(http_server, names):
    assert rows_of(load(names, root=http_server.url())) == list(range(N))
    assert rows_of(load(http_server.url() + names)) == list(range(N))
    assert rows_of(load(pd.Series(range(N)), root=http_server.url(), suffix=".jpg")) == list(range(N))
    assert rows_of(load(http_server.url() + names, root=http_server.url())) == list(range(N))


def test_column_of_mixed_inputs_is_read(http_server, names, tmp_path):
    (tmp_path / "1.jpg").write_bytes(image_bytes(1))
    url = http_server.url
    values = [url("0.jpg"), tmp_path / "1.jpg", image_bytes(2), {"bytes": None, "path": url("3.jpg")},
             {"bytes": image_bytes(4), "path": "x"}, None, url("gone.jpg"), url("7.jpg")]  # fmt: skip
    column = load(pd.Series(values, index=list("abcdefgh")), errors="coerce")
    assert rows_of(column.dropna()) == [0, 1, 2, 3, 4, 7]
    assert kinds(column) == {"g": "missing"}
    assert pd.isna(column["f"])


@pytest.mark.parametrize("storage", ["pyarrow", "python"])
def test_arrow_column_is_read(http_server, names, storage):
    if storage == "python":
        column = (http_server.url() + names).astype("string")
    else:
        pa = pytest.importorskip("pyarrow")
        structs = [{"bytes": image_bytes(k) if k % 2 else None, "path": http_server.url(f"{k}.jpg")} for k in range(N)]
        column = pd.Series(structs, dtype=pd.ArrowDtype(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
    assert rows_of(load(column)) == list(range(N))


def test_workers_read_urls(http_server, names, managed_cluster):
    http_server.fault = by_seed(3, dict.fromkeys(FAULTS, 0.1))
    with dask.config.set(scheduler="distributed"):
        column = names.img.load_resized(8, root=http_server.url())
    assert rows_of(column) == list(range(N))


def test_load_image_reads_url(http_server, names):
    expected = pandas_imgproc.load_image(image_bytes(5), size=8)
    assert (pandas_imgproc.load_image(http_server.url("5.jpg"), size=8) == expected).all()


def test_name_with_double_colon_is_not_chained(http_server):
    http_server.files["a::b.jpg"] = image_bytes(1)
    options = {"headers": {"X-Test": "1"}}  # other options: this URL creates the file system
    assert rows_of(load(pd.Series(["a::b.jpg"]), root=http_server.url(), storage_options=options)) == [1]


# ---- prefetching


def test_prefetch_requests_are_concurrent_and_limited(http_server, names):
    http_server.min_in_flight = 11  # sequential requests would get no response
    with dask.config.set({"pandas-imgproc.max-connections": 20}):
        load(names, root=http_server.url())
    assert 10 < http_server.max_in_flight <= 20


def test_prefetch_is_limited_in_bytes(http_server):
    http_server.files.update({f"large/{k}.jpg": image_bytes(k) + bytes(2**20) for k in range(40)})
    http_server.min_in_flight = 2
    with dask.config.set({"pandas-imgproc.prefetch-bytes": "8 MB"}):
        column = load(pd.Series([f"{k}.jpg" for k in range(40)]), root=http_server.url("large"))
    assert rows_of(column) == list(range(40))
    assert 1 < http_server.max_in_flight <= 8


def test_failing_call_cancels_requests_in_flight(http_server, names):
    del http_server.files["0.jpg"]
    http_server.fault = lambda path, k: "stall" if int(path[:-4]) >= SAMPLE_ROWS else None
    # Connections for all files: on a busy machine, stalled ones may be requested before the one that fails.
    no_timeout = {"pandas-imgproc.read-timeout": 1000, "pandas-imgproc.max-connections": N}
    with dask.config.set(no_timeout, scheduler="threads"), pytest.raises(UnreadableImageError, match="404"):
        names.img.load_resized(8, root=http_server.url(), errors="raise")
    assert wait_until(lambda: not http_server.in_flight)


def test_prefetch_starts_with_first_read(http_server, names):
    for _i, file in Source(root=http_server.url()).read(PartitionInput(range(N), list(names))):
        assert file.path.endswith(".jpg")
    assert not http_server.requests


def test_prefetch_is_cancelled_when_iteration_ends(http_server, names):
    http_server.fault = lambda path, k: None if path == "0.jpg" else "stall"
    for _i, file in Source(root=http_server.url()).read(PartitionInput(range(N), list(names))):
        file.data()
        assert wait_until(lambda: http_server.in_flight > 5)
        break
    assert wait_until(lambda: not http_server.in_flight)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_reads_urls(http_server, names):
    load(names, root=http_server.url())
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if rows_of(load(names[:5], root=http_server.url())) == list(range(5)) else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


# ---- retries


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unreliable_server_loses_no_row(http_server, seed):
    n = 300
    http_server.files.update({f"{k}.jpg": image_bytes(k) for k in range(n) if k != 7})
    http_server.fault = by_seed(seed, {"503": 0.1, "reset": 0.05, "truncated": 0.05}, {"7.jpg": "404", "9.jpg": "503"})
    column = load(pd.Series([f"{k}.jpg" for k in range(n)]), root=http_server.url(), errors="coerce")
    assert kinds(column) == {7: "missing", 9: "remote"}
    assert rows_of(column.dropna()) == [k for k in range(n) if k not in (7, 9)]
    assert sum(http_server.n_requests_by_path.values()) <= 1.5 * n


@pytest.mark.parametrize(
    ("status", "kind", "n_requests"),
    [("404", "missing", 1), ("410", "missing", 1), ("403", "permission", 1), ("401", "permission", 1),
     ("400", "remote", 1), ("429", "remote", 3), ("500", "remote", 3), ("503", "remote", 3), ("504", "timeout", 3),
     ("408", "timeout", 3), ("reset", "remote", 3), ("truncated", "remote", 3)],
)  # fmt: skip
def test_only_transient_errors_are_retried(http_server, names, status, kind, n_requests):
    http_server.fault = lambda path, k: status
    with dask.config.set({"pandas-imgproc.retry-attempts": 3}):
        column = load(names[:1], root=http_server.url(), errors="coerce")
    assert kinds(column) == {0: kind}
    # aiohttp itself sends a request once more if a reused connection was closed before a response
    assert n_requests <= http_server.n_requests_by_path["0.jpg"] <= n_requests * (1 + (status == "reset"))
    assert (status in column.img.failures["message"][0]) == status.isdecimal()


def test_retry_after_header_delays_retry(http_server, names):
    http_server.retry_after = "1"
    http_server.fault = lambda path, k: None if k else "429"
    started = time.perf_counter()
    assert rows_of(load(names[:3], root=http_server.url())) == [0, 1, 2]
    assert time.perf_counter() - started >= 1.0


def test_stalled_response_times_out(http_server, names):
    http_server.fault = lambda path, k: "stall" if path == "1.jpg" else None
    with dask.config.set({"pandas-imgproc.read-timeout": 1.5, "pandas-imgproc.retry-attempts": 2}):
        column = load(names[:3], root=http_server.url(), errors="coerce")
    assert kinds(column) == {1: "timeout"}
    assert "no byte in 1.5 seconds (pandas-imgproc.read-timeout)" in column.img.failures["message"][1]
    assert http_server.n_requests_by_path["1.jpg"] == 2


def test_timeout_counts_from_last_byte(http_server):
    http_server.files["a.jpg"] = image_bytes(5) + bytes(6000)
    http_server.pace = (len(http_server.files["a.jpg"]) // 6, 0.3)  # six times the timeout in all
    with dask.config.set({"pandas-imgproc.read-timeout": 1.2, "pandas-imgproc.retry-attempts": 1}):
        assert rows_of(load(pd.Series([http_server.url("a.jpg")]))) == [5]


def test_dripping_response_times_out(http_server, names):
    http_server.pace = (1, 0.1)
    quick = {"pandas-imgproc.read-timeout": 0.7, "pandas-imgproc.low-speed-limit": 100}
    with dask.config.set(quick | {"pandas-imgproc.retry-attempts": 2}):
        column = load(names[:1], root=http_server.url(), errors="coerce")
    assert kinds(column) == {0: "timeout"}
    message = column.img.failures["message"][0]
    assert "fewer than pandas-imgproc.low-speed-limit=100" in message
    assert message.endswith("each of 2 times")
    assert http_server.n_requests_by_path["0.jpg"] == 2


def test_unreachable_server_is_remote_failure(http_server):
    unreachable = pd.Series(["http://127.0.0.1:1/a.jpg", "http://nowhere.invalid/a.jpg", http_server.url("a")])
    column = load(unreachable, errors="coerce")
    assert kinds(column) == {0: "remote", 1: "remote", 2: "missing"}
    assert "refused" in column.img.failures["message"][0]


def test_response_without_image_is_not_retried(http_server):
    http_server.files.update({"a.jpg": b"<html>no</html>", "b.jpg": b""})
    column = load(pd.Series(["a.jpg", "b.jpg"]), root=http_server.url(), errors="coerce")
    assert kinds(column) == {0: "unidentified", 1: "empty"}
    assert http_server.n_requests_by_path == {"a.jpg": 1, "b.jpg": 1}


def test_compressed_response_that_ends_early_is_failure(http_server):
    http_server.headers["Content-Encoding"] = "gzip"
    http_server.files.update({"0.jpg": gzip.compress(image_bytes(0)), "1.jpg": gzip.compress(image_bytes(1))[:-9]})
    column = load(pd.Series(["0.jpg", "1.jpg"]), root=http_server.url(), errors="coerce")
    assert column.img.failures["message"].tolist() == ["the response ended too early, each of 5 times"]
    assert rows_of(column.dropna()) == [0]


def test_user_agent_and_headers_are_sent(http_server, names):
    with dask.config.set({"pandas-imgproc.user-agent": "me@example.org"}):
        load(names[:1], root=http_server.url(), storage_options={"headers": {"X-Key": "1"}})
    headers = http_server.requests[0][2]
    assert (headers["User-Agent"], headers["X-Key"]) == ("me@example.org", "1")


@pytest.mark.parametrize(
    ("name", "value"), [("retry-attempts", 0), ("retry-wait-initial", -1), ("read-timeout", "long")]
)
def test_invalid_read_config_raises(names, name, value):
    with dask.config.set({f"pandas-imgproc.{name}": value}), pytest.raises(ValueError, match=name):
        load(names)


# ---- resumed jobs


def test_resume_reads_changed_files_again(http_server, names, tmp_path):
    out = tmp_path / "x.npy"
    load(names, root=http_server.url(), out=out)
    http_server.requests.clear()
    http_server.max_in_flight, http_server.min_in_flight = 0, 6  # sequential requests would get no response
    http_server.files["5.jpg"] = image_bytes(105)
    del http_server.files["6.jpg"]
    assert rows_of(load(names, root=http_server.url(), out=out)) == [105 if k == 5 else k for k in range(N)]
    assert [path for method, path, _ in http_server.requests if method == "GET"] == ["/5.jpg"]
    assert http_server.max_in_flight > 5


def test_resume_retries_transient_failures(http_server, names, tmp_path):
    http_server.fault = lambda path, k: "503" if path == "5.jpg" else None
    column = load(names, root=http_server.url(), out=tmp_path / "x.npy", errors="coerce")
    assert kinds(column) == {5: "remote"}
    http_server.reset()
    assert rows_of(load(names, root=http_server.url(), out=tmp_path / "x.npy")) == list(range(N))


# ---- file systems and options


def test_missing_extra_names_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(
        sys.modules["fsspec.registry"]._registry, "s3", raising=False
    )  # other tests have loaded the class
    with pytest.raises(MissingExtraError) as caught:
        pd.Series(["s3://bucket/a.jpg"]).img.load_resized(8)
    assert str(caught.value) == "s3:// needs s3fs: pip install 'pandas-imgproc[s3]'"


@pytest.mark.parametrize("url", ["https://host/a.jpg", "simplecache::https://host/a.jpg", "s3://bucket/a.jpg"])
def test_aiohttp_without_middleware_is_not_used(monkeypatch, url):
    monkeypatch.delattr("aiohttp.ClientMiddlewareType")
    with pytest.raises(MissingExtraError, match=r"aiohttp 3\.12, and .* is installed: pip install --upgrade"):
        pd.Series([url]).img.load_resized(8, schemes=["simplecache"])


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


def test_cancelled_kernel_stops_requests(http_server, names):
    from pandas_imgproc import codec
    from pandas_imgproc.kernel import run_partition
    from pandas_imgproc.tasks import LoadResized

    http_server.fault = lambda path, k: "stall" if int(path[:-4]) > 10 else None
    ledger = CrashLedger.in_memory(N)
    ledger.cancel()
    task = LoadResized(codec.decode_options(size=8))
    partition = PartitionInput(range(N), list(names))
    result = run_partition(task, partition, Source(root=http_server.url()), ledger, codec.PillowSettings.current())
    assert np.flatnonzero(result.status == 0).tolist() == [0]
    assert wait_until(lambda: not http_server.in_flight)
