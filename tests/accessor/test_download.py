"""Downloads: the same bytes, fetched once, written completely or not at all, from any source."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from http_server import FAULTS, by_seed
from image_factory import image_bytes

import pandas_imgproc  # noqa: F401  registers .img

N = 40


@pytest.fixture
def names(http_server):
    http_server.files.update({f"train/{k % 3}/image {k}%.jpg": image_bytes(k) for k in range(N)})
    return pd.Series([f"{k % 3}/image {k}%.jpg" for k in range(N)], index=np.arange(N) % 7)


def contents(paths):
    return [Path(path).read_bytes() for path in paths]


def test_download_writes_bytes_once(http_server, names, tmp_path):
    paths = names.img.download(tmp_path / "x", root=http_server.url("train"))
    assert paths.index.equals(names.index)
    assert contents(paths) == [image_bytes(k) for k in range(N)]
    assert paths.iloc[4] == f"{tmp_path}/x/1/image 4%.jpg"
    n_requests = sum(http_server.n_requests_by_path.values())
    second = names.img.download(tmp_path / "x", root=http_server.url("train"))
    assert second.equals(paths)
    # at most one HEAD request for each signature, and no file is read again
    assert sum(method == "GET" for method, *_ in http_server.requests) <= n_requests


def test_download_fetches_changed_and_deleted_files_again(http_server, names, tmp_path):
    paths = names.img.download(tmp_path, root=http_server.url("train"))
    http_server.files["train/0/image 3%.jpg"] = image_bytes(77)
    os.unlink(paths.iloc[5])
    before = http_server.n_requests_by_path.copy()
    second = names.img.download(tmp_path, root=http_server.url("train"))
    assert contents(second) == [image_bytes(77 if k == 3 else k) for k in range(N)]
    fetched = {path for method, path, _ in http_server.requests[sum(before.values()) :] if method == "GET"}
    assert len(fetched) == 2


def test_download_from_unreliable_server_loses_no_row(http_server, names, tmp_path):
    http_server.fault = by_seed(1, dict.fromkeys(FAULTS, 0.1), {"train/2/image 5%.jpg": "503"})
    del http_server.files["train/0/image 9%.jpg"]
    with dask.config.set(scheduler="threads"):
        paths = names.reset_index(drop=True).img.download(tmp_path, root=http_server.url("train"), errors="coerce")
    assert paths.img.failures["kind"].to_dict() == {5: "remote", 9: "missing"}
    good = paths.dropna()
    assert contents(good) == [image_bytes(k) for k in good.index]
    assert len(list(tmp_path.rglob("*.jpg"))) == N - 2


def test_download_template_uses_frame_columns(http_server, names, tmp_path):
    frame = pd.DataFrame({"url": http_server.url("train/") + names, "label": ["cat", "dog"] * (N // 2)})
    paths = frame.img.download("url", f"{tmp_path}/{{label}}/{{position:03d}}{{suffix}}")
    assert paths.iloc[3] == f"{tmp_path}/dog/003.jpg"
    assert contents(paths) == [image_bytes(k) for k in range(N)]


@pytest.mark.parametrize("root", ["my%20d", "my d/", "my%20d?token=1"])
def test_names_of_files_below_a_url_are_kept(http_server, tmp_path, root):
    names = ["a.jpg", "#h?.jpg", "s/50%.jpg"]
    http_server.files.update({f"my d/{name}": image_bytes(k) for k, name in enumerate(names)})
    urls = [http_server.url(root).replace("://", "://me:secret@"), http_server.url(root)]
    for url in urls:
        paths = pd.Series(names).img.download(tmp_path / "out", root=url)
        assert paths.tolist() == [f"{tmp_path}/out/{name}" for name in names]
    assert contents(paths) == [image_bytes(k) for k in range(3)]


def test_objects_with_hashes_keep_their_names(s3, tmp_path):
    fs, options = s3
    keys = ["bucket/hashes/a#1.jpg", "bucket/hashes/a#2.jpg", "bucket/hashes/?.jpg"]
    for k, key in enumerate(keys):
        fs.pipe_file(key, image_bytes(k))
    paths = ("s3://" + pd.Series(keys)).img.download(tmp_path, storage_options=options)
    assert contents(paths) == [image_bytes(k) for k in range(3)]
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["?.jpg", "a#1.jpg", "a#2.jpg"]


def test_download_urls_with_other_queries_collide(http_server, tmp_path):
    http_server.files["a.jpg"] = image_bytes(1)
    urls = pd.Series([http_server.url("a.jpg?size=1"), http_server.url("a.jpg?size=2")])
    with pytest.raises(ValueError, match="would both be written to"):
        urls.img.download(tmp_path)
    assert contents(urls.img.download(f"{tmp_path}/{{position}}.jpg")) == [image_bytes(1)] * 2


def test_download_from_buckets_archives_and_bytes(s3, tmp_path):
    fs, options = s3
    fs.pipe_file("bucket/download/a.jpg", image_bytes(1))
    from_s3 = pd.Series(["s3://bucket/download/a.jpg"]).img.download(tmp_path / "s3", storage_options=options)
    assert contents(from_s3) == [image_bytes(1)]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/b.jpg", image_bytes(2))
    member = pd.Series(["folder/b.jpg"]).img.download(tmp_path / "zip", root=tmp_path / "x.zip")
    assert member[0] == f"{tmp_path}/zip/folder/b.jpg"
    assert contents(member) == [image_bytes(2)]
    from_bytes = pd.Series([image_bytes(3), b"no image"]).img.download(f"{tmp_path}/{{position}}.bin")
    assert contents(from_bytes) == [image_bytes(3), b"no image"]


def test_download_writes_no_secret(http_server, names, tmp_path):
    http_server.files["a.jpg"] = image_bytes(1)
    url = http_server.url("a.jpg?token=CANARY-query").replace("http://", "http://me:CANARY-user@")
    paths = pd.Series([url]).img.download(tmp_path)
    assert contents(paths) == [image_bytes(1)]
    for path in tmp_path.rglob("*"):
        assert "CANARY" not in str(path)
        assert path.is_dir() or b"CANARY" not in path.read_bytes()


def test_download_of_pixels_is_failure_with_hint(tmp_path):
    column = pd.Series([np.zeros((4, 4, 3), "uint8")], dtype="image[uint8, (4, 4, 3)]")
    result = column.img.download(f"{tmp_path}/{{position}}.png", errors="coerce")
    assert "write it with .img.save" in result.img.failures["message"].iloc[0]
