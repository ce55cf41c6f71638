"""Reads from buckets through the real clients, from servers of S3 and Google Cloud Storage on loopback."""

from __future__ import annotations

import dask
import pandas as pd
import pytest
from http_server import write_files
from image_factory import image_bytes, row_of

import pandas_imgproc

N = 24
SPECIAL_NAME = "special/a b#?%41+é.jpg"


@pytest.fixture(params=["s3", "gs"])
def bucket(request, s3, gcs):
    """Scheme and storage options of a bucket with N images under ``train``."""
    fs, options = s3 if request.param == "s3" else gcs
    write_files(fs, "bucket/train", [(f"{k}.jpg", image_bytes(k)) for k in range(N)])
    fs.pipe_file(f"bucket/train/{SPECIAL_NAME}", image_bytes(77))
    with dask.config.set({"pandas-imgproc.retry-wait-initial": 0.0}):
        yield request.param, options


def rows_of(column):
    return [row_of(image) for image in column.img.to_numpy()]


def load(names, **options):
    with dask.config.set(scheduler="synchronous"):
        return names.img.load_resized(8, **options)


def test_bucket_names_and_urls_are_read(bucket):
    scheme, options = bucket
    names = pd.Series([f"{k}.jpg" for k in range(N)] + [SPECIAL_NAME, "gone.jpg", "../train/1.jpg"])
    column = load(names, root=f"{scheme}://bucket/train", storage_options=options, errors="coerce")
    assert rows_of(column.dropna()) == [*range(N), 77]
    assert column.img.failures["kind"].to_dict() == {N + 1: "missing", N + 2: "outside_root"}
    urls = f"{scheme}://bucket/train/" + names[:5]
    assert rows_of(load(urls, storage_options={scheme: options})) == list(range(5))


def test_missing_bucket_is_missing(bucket):
    scheme, options = bucket
    column = load(pd.Series([f"{scheme}://no-such-bucket/a.jpg"]), storage_options=options, errors="coerce")
    assert column.img.failures["kind"].tolist() == ["missing"]


def test_workers_read_buckets(bucket, managed_cluster):
    scheme, options = bucket
    names = pd.Series([f"{k}.jpg" for k in range(N)])
    with dask.config.set(scheduler="distributed"):
        column = names.img.load_resized(8, root=f"{scheme}://bucket/train", storage_options=options)
    assert rows_of(column) == list(range(N))


def test_resume_reads_changed_objects_again(bucket, s3, gcs, tmp_path):
    scheme, options = bucket
    names = pd.Series([f"{k}.jpg" for k in range(5)])
    read_options = {"root": f"{scheme}://bucket/train", "storage_options": options, "out": tmp_path / "x.npy"}
    load(names, **read_options)
    fs = (s3 if scheme == "s3" else gcs)[0]
    fs.pipe_file("bucket/train/3.jpg", image_bytes(103))
    assert rows_of(load(names, **read_options)) == [0, 1, 2, 103, 4]


def test_load_image_reads_s3_url(s3):
    fs, options = s3
    fs.pipe_file("bucket/one.jpg", image_bytes(9))
    image = pandas_imgproc.load_image("s3://bucket/one.jpg", size=8, storage_options=options)
    assert row_of(image) == 9


@pytest.mark.parametrize("scheduler", ["synchronous", "distributed"])
def test_parquet_result_in_bucket_resumes(s3, request, scheduler):
    if scheduler == "distributed":
        request.getfixturevalue("managed_cluster")
    fs, options = s3
    write_files(fs, f"bucket/input-{scheduler}", [(f"{k}.jpg", image_bytes(k)) for k in range(N) if k != 5])
    out = f"s3://bucket/{scheduler}.parquet"
    names = pd.Series([f"{k}.jpg" for k in range(N)])

    def load_and_read():
        with dask.config.set(scheduler=scheduler):
            read_options = {
                "root": f"s3://bucket/input-{scheduler}",
                "storage_options": options,
                "out": out,
                "errors": "coerce",
            }
            names.img.load_resized(8, **read_options)
        return pandas_imgproc.read_result(out, storage_options=options)

    column = load_and_read()
    assert rows_of(column.dropna()) == [k for k in range(N) if k != 5]
    assert column.img.failures["kind"].to_dict() == {5: "missing"}
    fs.pipe_file(f"bucket/input-{scheduler}/5.jpg", image_bytes(5))
    assert rows_of(load_and_read()) == list(range(N))
    for path in fs.find(out):
        assert b"CANARY" not in fs.cat_file(path)


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("s3", {"key": "k", "secret": "s", "client_kwargs": {"region_name": "eu-west-1"}}), ("gs", {"token": "anon"})],
)
@pytest.mark.parametrize(("status", "kind", "n_requests"), [("503", "remote", 2), ("403", "permission", 1)])
def test_failing_bucket_is_requested_once_per_attempt(http_server, scheme, options, status, kind, n_requests):
    http_server.fault = lambda path, k: status
    endpoint = http_server.url().rstrip("/")
    options = {**options, "endpoint_url": endpoint}
    with dask.config.set({"pandas-imgproc.retry-attempts": 2}):
        column = load(pd.Series([f"{scheme}://bucket/a.jpg"]), storage_options=options, errors="coerce")
    assert column.img.failures["kind"].tolist() == [kind]
    assert sum(http_server.n_requests_by_path.values()) == n_requests
