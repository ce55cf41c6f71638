"""Compressed tar archives: decompressed once into a bounded file, which the next call and all workers find."""

from __future__ import annotations

import gzip
import logging
import os

import dask
import pandas as pd
import pytest
from archive_factory import make_tar
from image_factory import image_bytes, row_of

from pandas_imgproc import NoReadableImageError, from_glob, load_image
from pandas_imgproc.source import archive as archive_module
from pandas_imgproc.source import decompressed

N = 12
FILES = {f"{'cat' if k % 2 else 'dog'}/{k}.jpg": image_bytes(k) for k in range(N)}
NAMES = {
    "x.tar.gz": "w:gz",
    "x.TGZ": "w:gz",
    "x.tar.bz2": "w:bz2",
    "x.txz": "w:xz",
    "x.tar.zst": "w:zst",
    "x.tar": "w:gz",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive_module._local_archive.cache_clear()
    return tmp_path


@pytest.fixture
def passes(monkeypatch):
    """Return the list of the archives that were decompressed."""
    done, decompress = [], decompressed._decompress
    monkeypatch.setattr(
        decompressed, "_decompress", lambda file, *args: done.append(file.name) or decompress(file, *args)
    )
    return done


def rows_of(column):
    return [row_of(image) for image in column.img.to_numpy()]


@pytest.mark.parametrize("name", NAMES)
def test_compressed_tar_is_decompressed_once_and_announced(folder, passes, caplog, name):
    (folder / name).write_bytes(make_tar(FILES, NAMES[name]))
    names = pd.Series([*FILES])
    assert rows_of(names.img.load_resized(8, root=name)) == list(range(N))
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
    assert "decompressed once" in caplog.text
    archive_module._local_archive.cache_clear()  # as in another process
    df = from_glob(name)
    assert sorted(df["label"]) == ["cat"] * (N // 2) + ["dog"] * (N // 2)
    assert rows_of(df.img.load_resized("image_path", 8)) == [*range(1, N, 2), *range(0, N, 2)]
    assert row_of(load_image(f"{name}/cat/3.jpg", 8)) == 3
    assert len(passes) == 1


def test_changed_archive_is_decompressed_again_and_replaces_the_other(folder, passes):
    path = folder / "x.tar.gz"
    path.write_bytes(make_tar(FILES, "w:gz"))
    (folder / ".x.tar.gz.mine.tar").touch()
    names = pd.Series(["cat/1.jpg"])
    for row in (1, 5):
        path.write_bytes(make_tar({"cat/1.jpg": image_bytes(row)}, "w:gz"))
        os.utime(path, ns=(row, row))
        assert rows_of(names.img.load_resized(8, root=path)) == [row]
    assert len(passes) == 2
    assert len(os.listdir(folder)) == 3  # the archive, its tar, and a file of the user


def test_deleted_tar_is_written_again(folder, passes):
    (folder / "x.tar.gz").write_bytes(make_tar(FILES, "w:gz"))
    for _ in range(2):
        assert rows_of(pd.Series(["cat/1.jpg"]).img.load_resized(8, root="x.tar.gz")) == [1]
        next(folder.glob(".x*")).unlink()
    assert len(passes) == 2


def test_folder_of_the_configuration_holds_the_tar(folder):
    (folder / "cache").mkdir()
    for name in "ab":
        (folder / name).mkdir()
        (folder / name / "x.tar.gz").write_bytes(make_tar({"1.jpg": image_bytes(ord(name))}, "w:gz"))
    with dask.config.set({"pandas-imgproc.archive-cache": "cache"}):
        for name in "ab":
            assert rows_of(pd.Series(["1.jpg"]).img.load_resized(8, root=f"{name}/x.tar.gz")) == [ord(name)]
    assert len(os.listdir("cache")) == 2
    assert os.listdir("a") == os.listdir("b") == ["x.tar.gz"]
    with (
        dask.config.set({"pandas-imgproc.archive-cache": "gone"}),
        pytest.raises(OSError, match=r"cannot be written.*archive-cache"),
    ):
        pd.Series(["1.jpg"]).img.load_resized(8, root="a/x.tar.gz")


def test_full_disk_ends_the_call_and_leaves_nothing(folder, tiny_filesystem):
    path = tiny_filesystem / "x.tar.gz"
    path.write_bytes(make_tar({"1.jpg": bytes(10**8)}, "w:gz"))
    with pytest.raises(OSError, match=r"cannot be written.*No space left.*archive-cache"):
        pd.Series(["1.jpg"]).img.load_resized(8, root=path, errors="coerce")
    assert os.listdir(tiny_filesystem) == ["x.tar.gz"]


@pytest.mark.parametrize(("damage", "kind"), [("bomb", "too_large"), ("cut", "truncated"), ("flipped", "corrupt")])
def test_bomb_and_damaged_archive_are_failures_and_leave_nothing(folder, passes, damage, kind):
    data = make_tar(FILES, "w:gz") if damage != "bomb" else gzip.compress(bytes(3 * 10**6))
    data = {"cut": data[:-300], "flipped": data[:200] + bytes([data[200] ^ 255]) + data[201:]}.get(damage, data)
    (folder / "x.tar.gz").write_bytes(data)
    with dask.config.set({"pandas-imgproc.archive-cache-bytes": "2 MB"}):
        column = pd.Series([*FILES]).img.load_resized(8, root="x.tar.gz", errors="coerce")
        assert set(column.img.failures["kind"]) == {kind}
        with pytest.raises(NoReadableImageError, match="the archive"):
            pd.Series([*FILES]).img.load_resized(8, root="x.tar.gz")
    assert len(passes) <= 4  # not for each row
    assert os.listdir(folder) == ["x.tar.gz"]


def test_bound_of_a_small_archive_is_its_own(monkeypatch):
    assert decompressed.unpacked_bound(1000) == 2**30
    assert decompressed.unpacked_bound(10**9) == 10**11


def test_workers_read_the_tar_of_the_caller(folder, managed_cluster):
    (folder / "x.tar.gz").write_bytes(make_tar(FILES, "w:gz"))
    (folder / "cache").mkdir()
    with dask.config.set({"pandas-imgproc.archive-cache": "cache"}):
        column = pd.Series([*FILES]).img.load_resized(8, root="x.tar.gz", npartitions=4)
    assert rows_of(column) == list(range(N))
    assert len(os.listdir("cache")) == 1
    assert sorted(os.listdir(".")) == ["cache", "x.tar.gz"]
