"""Files fetched as they are: the same bytes, once, whole or not at all, from wherever they are."""

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
def names(web):
    web.files.update({f"train/{k % 3}/image {k}%.jpg": image_bytes(k) for k in range(N)})
    return pd.Series([f"{k % 3}/image {k}%.jpg" for k in range(N)], index=np.arange(N) % 7)


def contents(paths):
    return [Path(path).read_bytes() for path in paths]


def test_the_bytes_below_a_folder_and_only_once(web, names, tmp_path):
    paths = names.img.download(tmp_path / "x", root=web.url("train"))
    assert paths.index.equals(names.index)
    assert contents(paths) == [image_bytes(k) for k in range(N)]
    assert paths.iloc[4] == f"{tmp_path}/x/1/image 4%.jpg"
    asked = sum(web.asked.values())
    again = names.img.download(tmp_path / "x", root=web.url("train"))
    assert again.equals(paths)
    # at most a question for the stamp of each, and no file is read again
    assert sum(method == "GET" for method, *_ in web.requests) <= asked


def test_a_file_that_changed_or_went_is_fetched_again(web, names, tmp_path):
    paths = names.img.download(tmp_path, root=web.url("train"))
    web.files["train/0/image 3%.jpg"] = image_bytes(77)
    os.unlink(paths.iloc[5])
    before = web.asked.copy()
    again = names.img.download(tmp_path, root=web.url("train"))
    assert contents(again) == [image_bytes(77 if k == 3 else k) for k in range(N)]
    fetched = {path for method, path, _ in web.requests[sum(before.values()) :] if method == "GET"}
    assert len(fetched) == 2


def test_an_unreliable_server_and_files_that_are_not_there(web, names, tmp_path):
    web.fault = by_seed(1, dict.fromkeys(FAULTS, 0.1), {"train/2/image 5%.jpg": "503"})
    del web.files["train/0/image 9%.jpg"]
    with dask.config.set(scheduler="threads"):
        paths = names.reset_index(drop=True).img.download(tmp_path, root=web.url("train"), errors="coerce")
    assert paths.img.failures["kind"].to_dict() == {5: "remote", 9: "missing"}
    good = paths.dropna()
    assert contents(good) == [image_bytes(k) for k in good.index]
    assert len(list(tmp_path.rglob("*.jpg"))) == N - 2


def test_a_template_and_a_frame(web, names, tmp_path):
    frame = pd.DataFrame({"url": web.url("train/") + names, "label": ["cat", "dog"] * (N // 2)})
    paths = frame.img.download("url", f"{tmp_path}/{{label}}/{{position:03d}}{{suffix}}")
    assert paths.iloc[3] == f"{tmp_path}/dog/003.jpg"
    assert contents(paths) == [image_bytes(k) for k in range(N)]


def test_queries_are_other_files(web, tmp_path):
    web.files["a.jpg"] = image_bytes(1)
    urls = pd.Series([web.url("a.jpg?size=1"), web.url("a.jpg?size=2")])
    with pytest.raises(ValueError, match="would both be written to"):
        urls.img.download(tmp_path)
    assert contents(urls.img.download(f"{tmp_path}/{{position}}.jpg")) == [image_bytes(1)] * 2


def test_what_stands_in_buckets_archives_and_columns(s3, tmp_path):
    fs, options = s3
    fs.pipe_file("bucket/download/a.jpg", image_bytes(1))
    far = pd.Series(["s3://bucket/download/a.jpg"]).img.download(tmp_path / "s3", storage_options=options)
    assert contents(far) == [image_bytes(1)]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/b.jpg", image_bytes(2))
    member = pd.Series(["folder/b.jpg"]).img.download(tmp_path / "zip", root=tmp_path / "x.zip")
    assert member[0] == f"{tmp_path}/zip/folder/b.jpg"
    assert contents(member) == [image_bytes(2)]
    held = pd.Series([image_bytes(3), b"no image"]).img.download(f"{tmp_path}/{{position}}.bin")
    assert contents(held) == [image_bytes(3), b"no image"]


def test_no_secret_is_written(web, names, tmp_path):
    web.files["a.jpg"] = image_bytes(1)
    url = web.url("a.jpg?token=CANARY-query").replace("http://", "http://me:CANARY-user@")
    paths = pd.Series([url]).img.download(tmp_path)
    assert contents(paths) == [image_bytes(1)]
    for path in tmp_path.rglob("*"):
        assert "CANARY" not in str(path)
        assert path.is_dir() or b"CANARY" not in path.read_bytes()


def test_images_in_memory_are_told(tmp_path):
    column = pd.Series([np.zeros((4, 4, 3), "uint8")], dtype="image[uint8, (4, 4, 3)]")
    answer = column.img.download(f"{tmp_path}/{{position}}.png", errors="coerce")
    assert "write it with .img.save" in answer.img.failures["message"].iloc[0]
