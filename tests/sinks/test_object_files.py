"""Files written into buckets through the real clients, by servers of S3 and Google Cloud Storage on loopback."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import dask
import fsspec
import pandas as pd
import pytest
from fault_proxy import FaultProxy
from image_factory import image_bytes, row_of
from PIL import Image
from saved_files import before_first

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc import JournalError
from pandas_imgproc.errors import OutputError
from pandas_imgproc.sinks.object_journal import ObjectManifest
from pandas_imgproc.source.local import BLOCK_NBYTES
from pandas_imgproc.source.upload import PART_NBYTES

N = 8
LARGE = random.Random(3).randbytes(PART_NBYTES + 500_000)  # two parts


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for k in range(N):
        (folder / f"{k}.jpg").write_bytes(image_bytes(k))
    (folder / "large.bin").write_bytes(LARGE)
    return folder


only_s3 = pytest.mark.parametrize("bucket", ["s3"], indirect=True)  # where the stores do not differ


class Bucket:
    """Folder of a bucket, behind a proxy."""

    def __init__(self, scheme, fs, options, proxy):
        self.scheme, self.fs, self.options, self.proxy = scheme, fs, options, proxy
        self.folder = f"bucket/{uuid.uuid4().hex}"
        self.url = f"{scheme}://{self.folder}"

    def objects(self):
        """Return the bytes of the objects by name, without the manifest."""
        self.fs.invalidate_cache()
        paths = [path for path in self.fs.find(self.folder) if "/.pandas-imgproc/" not in path]
        return {path.removeprefix(f"{self.folder}/"): self.fs.cat_file(path) for path in paths}


@pytest.fixture(scope="module")
def proxies(s3, gcs):
    with FaultProxy(s3[1]["client_kwargs"]["endpoint_url"]) as of_s3, FaultProxy(gcs[1]["endpoint_url"]) as of_gcs:
        yield {"s3": of_s3, "gs": of_gcs}


@pytest.fixture(params=["s3", "gs"])
def bucket(request, s3, gcs, proxies):
    proxy = proxies[request.param]
    proxy.reset()
    if request.param == "s3":
        client = {**s3[1]["client_kwargs"], "endpoint_url": proxy.url}
        fs, options = s3[0], {**s3[1], "client_kwargs": client}
    else:
        fs, options = gcs[0], {**gcs[1], "endpoint_url": proxy.url}
    with dask.config.set({"pandas-imgproc.retry-wait-initial": 0.0}):
        bucket = Bucket(request.param, fs, options, proxy)
        yield bucket
    fs.invalidate_cache()
    for path in fs.find(bucket.folder):  # moto has a temporary file for a large one
        fs.rm_file(path)
    assert wait_until(lambda: not proxy.in_flight)


def save(bucket, images, n=N, to="{stem}.png", size=8, scheduler="synchronous", **options):
    names = pd.Series([f"{k}.jpg" for k in range(n)], index=[f"row {k}" for k in range(n)])
    with dask.config.set(scheduler=scheduler):
        return names.img.save_resized(
            f"{bucket.url}/{to}", size, root=images, storage_options=bucket.options, **options
        )


def rows_of(bucket, paths):
    column = paths.img.load_resized(8, storage_options=bucket.options)
    return [row_of(image) for image in column.img.to_numpy()]


def every_fifth_fails(method, path, k):
    return 503 if k % 5 == 4 else None


@pytest.mark.parametrize(
    ("bucket", "scheduler"),
    [("s3", "synchronous"), ("gs", "synchronous"), ("s3", "distributed")],
    indirect=["bucket"],
)
def test_images_are_saved_from_unreliable_bucket_and_second_call_writes_none(bucket, images, scheduler, request):
    if scheduler == "distributed":
        request.getfixturevalue("managed_cluster")
    bucket.proxy.fault = every_fifth_fails
    paths = save(bucket, images, scheduler=scheduler)
    assert paths["row 3"] == f"{bucket.url}/3.png"
    assert rows_of(bucket, paths) == list(range(N))
    assert len(bucket.objects()) == N
    bucket.proxy.requests.clear()
    again = save(bucket, images, scheduler=scheduler)
    pd.testing.assert_series_equal(again, paths)
    assert not bucket.proxy.writes()


@only_s3
def test_variants_of_images_and_masks_are_written_below_one_url(bucket, images, tmp_path):
    for k in range(N):
        Image.new("L", (32, 24), k).save(tmp_path / f"{k}.png")
    table = {
        "image_path": [f"{images}/{k}.jpg" for k in range(N)],
        "mask_path": [f"{tmp_path}/{k}.png" for k in range(N)],
    }
    to = {
        "image": f"{bucket.url}/images/{{stem}}_{{variant}}.png",
        "mask": f"{bucket.url}/masks/{{stem}}_{{variant}}.png",
    }

    def write():
        return pd.DataFrame(table).img.augment(
            "image_path", unchanged, n=1, masks="mask_path", to=to, storage_options=bucket.options
        )

    with dask.config.set(scheduler="synchronous"):
        files = write()
        assert files["mask"].tolist() == [f"{bucket.url}/masks/{k}_0.png" for k in range(N)]
        objects = bucket.objects()
        assert len(objects) == 2 * N
        assert Image.open(io.BytesIO(objects["masks/5_0.png"])).getpixel((3, 3)) == 5
        bucket.proxy.requests.clear()
        assert write().equals(files)
        assert not bucket.proxy.writes()
        Image.new("L", (32, 24), 9).save(tmp_path / "5.png")
        write()
        assert len(bucket.proxy.writes("png")) == 2
        to["mask"] = f"{tmp_path}/{{stem}}_{{variant}}.png"
        with pytest.raises(ValueError, match="URLs of one bucket"):
            write()


@only_s3
def test_object_of_another_box_is_not_overwritten(bucket, images):
    frame = pd.DataFrame({"image_path": [f"{images}/0.jpg"], "x": 0, "y": 0, "side": 8})

    def write(side):
        return frame.assign(side=side).img.save_resized(
            "image_path", bucket.url, size=4, box=["x", "y", "side", "side"], storage_options=bucket.options
        )

    with dask.config.set(scheduler="synchronous"):
        assert write(8).equals(write(8))
        with pytest.raises(JournalError):
            write(9)


def unchanged(**sample):
    return sample


@only_s3
def test_uploads_are_in_flight_together(bucket, images):
    save(bucket, images, 1)
    bucket.proxy.requests.clear()

    def fault(method, path, k):
        n = len(bucket.proxy.writes("png"))
        if n == 1:
            bucket.proxy.gate.clear()  # one after the other they would wait for the timeout
        if n == N - 1:
            bucket.proxy.gate.set()

    bucket.proxy.fault = fault
    with dask.config.set({"pandas-imgproc.read-timeout": 20, "pandas-imgproc.retry-attempts": 1}):
        save(bucket, images)
    assert len(bucket.objects()) == N


@pytest.mark.parametrize(("bucket", "max_heads"), [("s3", 256), ("s3", 0), ("gs", 0)], indirect=["bucket"])
def test_missing_and_replaced_objects_are_written_again(bucket, images, max_heads, monkeypatch):
    monkeypatch.setattr("pandas_imgproc.source.writer.MAX_HEADS", max_heads)  # of more objects the folders are listed
    save(bucket, images)
    bucket.fs.rm_file(f"{bucket.folder}/4.png")
    bucket.fs.pipe_file(f"{bucket.folder}/5.png", b"another")
    bucket.proxy.requests.clear()
    paths = save(bucket, images)
    assert len(bucket.proxy.writes("png")) == 2
    assert rows_of(bucket, paths) == list(range(N))


@only_s3
def test_server_that_does_not_report_sizes_is_an_error_with_a_reason(bucket, images):
    save(bucket, images, 3)
    bucket.proxy.fault = lambda method, path, k: 204 if method == "HEAD" else None
    with (
        dask.config.set({"pandas-imgproc.retry-attempts": 1}),
        pytest.raises(OutputError, match="does not report the size of the object"),
    ):
        save(bucket, images, 3)


def test_objects_of_another_task_or_program_are_not_replaced(bucket, images):
    save(bucket, images, 3)
    with pytest.raises(JournalError, match=r"size was \[8, 8\] and is \[9, 9\]"):
        save(bucket, images, 3, size=9)
    bucket.fs.pipe_file(f"{bucket.folder}/3.png", b"another")
    with pytest.raises(JournalError, match="not written by pandas_imgproc"):
        save(bucket, images, 4)
    assert bucket.objects()["3.png"] == b"another"
    save(bucket, images, 4, overwrite=True)
    assert bucket.objects()["3.png"] != b"another"


@only_s3
def test_objects_that_another_program_writes_after_the_manifest_was_read_are_known(bucket, images, monkeypatch):
    before_first(monkeypatch, ObjectManifest, "fetch_signatures", lambda: save(bucket, images, 5))
    save(bucket, images)
    assert len(bucket.proxy.writes("png")) == N


@only_s3
def test_many_calls_leave_few_objects_in_the_manifest(bucket, images, monkeypatch):
    monkeypatch.setattr("pandas_imgproc.sinks.object_journal.MAX_OBJECTS", 4)
    for n in range(1, 8):
        save(bucket, images, n)
    bucket.fs.invalidate_cache()
    assert len(bucket.fs.find(f"{bucket.folder}/.pandas-imgproc")) < 8
    bucket.proxy.requests.clear()
    save(bucket, images, 7)
    assert not [path for path in bucket.proxy.writes() if "pandas-imgproc" not in path]


KILLED = """
import json, os, sys, pandas as pd, dask, pandas_imgproc
url, root, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
names = pd.Series([f"{k}.jpg" for k in range(8)])
with dask.config.set(scheduler="synchronous"):
    names.img.save_resized(f"{url}/{{stem}}.png", 8, root=root, storage_options=options, progress=False)
"""


@only_s3
def test_killed_call_loses_no_object(bucket, images):
    save(bucket, images, 2)
    bucket.proxy.requests.clear()
    bucket.proxy.fault = lambda method, path, k: (
        bucket.proxy.gate.clear() if len(bucket.proxy.writes("png")) > 3 else None
    )
    command = [sys.executable, "-c", KILLED, bucket.url, str(images), json.dumps(bucket.options)]
    environment = {**os.environ, "PYTHONPATH": str(Path(pandas_imgproc.__file__).parent.parent)}
    process = subprocess.Popen(command, env=environment)
    assert wait_until(lambda: not bucket.proxy.gate.is_set())
    process.send_signal(signal.SIGKILL)
    process.wait()
    bucket.proxy.reset()
    assert 2 < len(bucket.objects()) < N
    assert rows_of(bucket, save(bucket, images)) == list(range(N))


def test_large_files_are_copied_in_parts(bucket, images, http_server, tmp_path):
    http_server.files["large.bin"] = LARGE
    http_server.fault = lambda path, k: None if k else f"drop {PART_NBYTES + 99_999}"
    bucket.proxy.fault = every_fifth_fails
    options = {bucket.scheme: bucket.options}
    with dask.config.set(scheduler="synchronous"):
        urls = pd.Series([http_server.url("large.bin")])
        paths = urls.img.download(bucket.url, storage_options=options)
        assert paths[0].endswith("/large.bin")
        assert list(bucket.objects().values()) == [LARGE]
        bucket.proxy.requests.clear()
        urls.img.download(bucket.url, storage_options=options)
        assert not bucket.proxy.writes()


@only_s3
def test_upload_copies_files_and_continues(bucket, images):
    names = pd.Series(["large.bin", "3.jpg", "gone.jpg"])
    options = {"root": images, "storage_options": bucket.options, "errors": "coerce"}
    bucket.proxy.fault = every_fifth_fails
    with dask.config.set(scheduler="synchronous"):
        paths = names.img.upload(f"{bucket.url}/raw", **options)
        assert paths[:2].tolist() == [f"{bucket.url}/raw/large.bin", f"{bucket.url}/raw/3.jpg"]
        assert paths.img.failures["kind"].tolist() == ["missing"]
        assert bucket.objects() == {"raw/large.bin": LARGE, "raw/3.jpg": image_bytes(3)}
        for method in (names.img.upload, names.img.download):
            bucket.proxy.requests.clear()
            pd.testing.assert_series_equal(method(f"{bucket.url}/raw", **options), paths)
            assert not bucket.proxy.writes()


@only_s3
def test_uploads_of_files_of_a_block_are_in_flight_together(bucket, tmp_path):
    n = 6
    for k in range(n):
        (tmp_path / f"{k}.bin").write_bytes(LARGE[k : k + BLOCK_NBYTES + 1])

    def fault(method, path, k):
        n_writes = len(bucket.proxy.writes(".bin"))
        if n_writes == 1:
            bucket.proxy.gate.clear()
        if n_writes == n:
            bucket.proxy.gate.set()

    bucket.proxy.fault = fault
    one_attempt = {"pandas-imgproc.read-timeout": 20, "pandas-imgproc.retry-attempts": 1, "scheduler": "synchronous"}
    with dask.config.set(one_attempt):
        pd.Series([f"{k}.bin" for k in range(n)]).img.upload(bucket.url, root=tmp_path, storage_options=bucket.options)
    assert len(bucket.objects()) == n


@pytest.mark.parametrize("to", ["raw", Path("raw"), "file:///raw", None])
def test_upload_needs_a_url(images, to):
    with pytest.raises(ValueError, match="is no URL, such as 'gs://bucket/raw'; download copies to a local folder"):
        pd.Series(["1.jpg"]).img.upload(to, root=images)


@only_s3
@pytest.mark.parametrize("status", [403, 503])
def test_failing_part_leaves_no_object(bucket, http_server, status):
    http_server.files["large.bin"] = LARGE
    bucket.proxy.fault = lambda method, path, k: status if "partNumber=1" in path or "upload_id" in path else None
    urls = pd.Series([http_server.url("large.bin")])
    few_attempts = {"scheduler": "synchronous", "pandas-imgproc.retry-attempts": 2}
    with dask.config.set(few_attempts), pytest.raises(OutputError, match="what was finished is kept") as caught:
        urls.img.download(bucket.url, storage_options={bucket.scheme: bucket.options})
    assert f"large.bin' cannot be written: the server responded with {status}" in str(caught.value)
    assert "CANARY" not in str(caught.value)
    assert not bucket.objects()


@only_s3
def test_refused_write_names_the_object_and_keeps_what_is_finished(bucket, images):
    bucket.proxy.fault = lambda method, path, k: 403 if "7.png" in path and method in ("PUT", "POST") else None
    with pytest.raises(OutputError, match=rf"{bucket.url}/7\.png' cannot be written: .*403"):
        save(bucket, images)
    bucket.proxy.reset()
    save(bucket, images)
    assert len(bucket.proxy.writes(".png")) == 1


def test_missing_bucket_is_asked_for(images, s3):
    with pytest.raises(OutputError, match=r"404 \(Not Found\); is there such a bucket\?"):
        pd.Series(["1.jpg"]).img.upload("s3://none/x", root=images, storage_options=s3[1])


def test_image_column_and_variants_are_saved(bucket, images):
    names = pd.Series([f"{k}.jpg" for k in range(4)], index=list("abcd"))
    with dask.config.set(scheduler="synchronous"):
        column = names.img.load_resized(8, root=images)
        paths = column.img.save(f"{bucket.url}/column", storage_options=bucket.options)
        assert paths["b"] == f"{bucket.url}/column/b.png"
        assert rows_of(bucket, paths) == list(range(4))
        thumbnails = names.img.save_thumbnails(f"{bucket.url}/thumbs", 8, root=images, storage_options=bucket.options)
        assert thumbnails["a"] == f"{bucket.url}/thumbs/0.jpg"
        variants = names.img.augment(
            _unchanged, n=2, size=8, to=f"{bucket.url}/variants/{{stem}}_{{variant}}.png", root=images,
            storage_options=bucket.options,
        )  # fmt: skip
        assert rows_of(bucket, variants) == [0, 0, 1, 1, 2, 2, 3, 3]


def _unchanged(image, rng):
    return image


@only_s3
def test_dask_frame_is_saved(bucket, images):
    import dask.dataframe as dd

    frame = pd.DataFrame({"name": [f"{k}.jpg" for k in range(6)], "label": list("ababab")})
    ddf = dd.from_pandas(frame, npartitions=2)
    with dask.config.set(scheduler="synchronous"):
        paths = ddf.img.save_resized(
            "name", f"{bucket.url}/{{label}}/{{stem}}.png", 8, root=images, storage_options=bucket.options
        ).compute()
    assert paths.tolist() == [f"{bucket.url}/{'ab'[k % 2]}/{k}.png" for k in range(6)]
    assert rows_of(bucket, paths) == list(range(6))


def test_other_file_system_is_written(images):
    memory = fsspec.filesystem("memory")
    names = pd.Series(["1.jpg", "large.bin"])
    try:
        with dask.config.set(scheduler="synchronous"):
            paths = names.img.download("memory://copies", root=images, schemes=["memory"])
        assert [memory.cat_file(path) for path in paths] == [image_bytes(1), LARGE]
    finally:
        memory.rm("/copies", recursive=True)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("https://host/{stem}.png", "https:// is not written; give a folder, s3://… or gs://…"),
        ("memory://x/{stem}.png", r"memory:// is not written; schemes=\['memory'\] allows it"),
        ("s3://{stem}.png", "does not name a bucket"),
        ("s3://bucket/a.png", "names one file"),
    ],
)
def test_url_that_cannot_be_written_is_refused(images, to, message):
    with pytest.raises(ValueError, match=message):
        pd.Series(["1.jpg"]).img.save_resized(to, 8, root=images)


def test_source_in_bucket_is_not_written_over(s3):
    fs, options = s3
    fs.pipe_file("bucket/over/a.jpg", image_bytes(1))
    with pytest.raises(ValueError, match="would be written over 's3://bucket/over/a"):
        pd.Series(["a.jpg"]).img.save_resized("s3://bucket/over", 8, root="s3://bucket/over", storage_options=options)


def test_options_of_two_stores_are_given_by_protocol(images):
    with pytest.raises(ValueError, match="could be for gs or s3"):
        pd.Series(["s3://bucket/a.jpg"]).img.download("gs://bucket/x", storage_options={"anon": True})


def save_shards(images, to, **options):
    names = pd.Series([f"{k}.jpg" for k in range(N)])
    with dask.config.set(scheduler="synchronous"):
        return names.img.save_shards(f"{to}/{{shard:02d}}.tar", size=64, max_bytes=15_000, root=images, **options)


def test_shards_are_packed_into_unreliable_bucket_as_into_a_folder(bucket, images, tmp_path):
    local = save_shards(images, tmp_path)
    bucket.proxy.fault = every_fifth_fails
    shards = save_shards(images, bucket.url, storage_options=bucket.options)
    assert shards.nunique() > 2
    assert shards.str.removeprefix(bucket.url).equals(local.str.removeprefix(str(tmp_path)))
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}
    assert {name: data for name, data in bucket.objects().items() if name.endswith(".tar")} == files
    bucket.fs.rm_file(f"{bucket.folder}/01.tar")
    for lost in (True, False):  # then nothing is to do
        bucket.proxy.requests.clear()
        pd.testing.assert_series_equal(save_shards(images, bucket.url, storage_options=bucket.options), shards)
        assert bool(bucket.proxy.writes()) == lost
        assert not bucket.proxy.writes("00.tar")
    assert bucket.fs.cat_file(f"{bucket.folder}/01.tar") == files["01.tar"]
