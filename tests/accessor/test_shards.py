"""`save_shards`: images and columns in WebDataset tars and Hugging Face Parquet files, the same for any execution."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from image_factory import encoded, image_bytes, row_of, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc import JournalError, NoReadableImageError, UnreadableImageError
from pandas_imgproc.sinks import shards as shards_module

N = 60
BAD = {7: "truncated", 20: "missing", 21: "missing", 59: "empty"}
MISSING = 33


@pytest.fixture
def frame(tmp_path, monkeypatch):
    """Return a frame of images of several formats, of which some are broken; the working folder is that of the test."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    paths = [f"photos/{k}.{'png' if k % 3 else 'jpg'}" for k in range(N)]
    for k, path in enumerate(paths):
        data = image_bytes(k, "PNG" if k % 3 else "JPEG")
        data = {"truncated": b"\x89PNG\r\n\x1a\n" + bytes(99), "empty": b""}.get(BAD.get(k), data)
        if BAD.get(k) != "missing":
            Path(path).write_bytes(data)
    paths[MISSING] = None
    labels = pd.Categorical([f"class{k % 4}" for k in range(N)], categories=["class3", "class2", "class1", "class0"])
    rows = {"image_path": paths, "label": labels, "price": [k / 4 if k != 5 else None for k in range(N)],
            "when": pd.date_range("2026-01-01", periods=N), "title": ["grün 😀" if k % 2 else None for k in range(N)],
            "tags": [[str(k), "x"] for k in range(N)]}  # fmt: skip
    return pd.DataFrame(rows, index=[f"row {k}" for k in range(N)])


COLUMNS = ["label", "price", "when", "title", "tags"]
GOOD = [k for k in range(N) if k not in BAD and k != MISSING]


def read_tars(paths):
    """Return the image and the columns of each position."""
    rows = {}
    for path in paths:
        with tarfile.open(path) as archive:
            for info in archive:
                key, _, suffix = info.name.partition(".")
                rows.setdefault(int(key), {})[suffix] = archive.extractfile(info).read()
    return rows


def file_bytes(folder="out"):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def shard_paths(result):
    return list(dict.fromkeys(result.dropna()))


def test_webdataset_shards_hold_images_and_columns_in_order(frame):
    with pytest.warns(pandas_imgproc.UnreadableImageWarning, match="4 of 60 images could not be read"):
        result = frame.img.save_shards(
            "image_path", "out/t-{shard:03d}.tar", columns=COLUMNS, size=8, max_bytes="24 kB"
        )
    assert result.index.equals(frame.index)
    assert np.flatnonzero(result.notna()).tolist() == GOOD
    assert dict(zip(result.img.failures["position"], result.img.failures["kind"], strict=True)) == BAD
    paths = shard_paths(result)
    assert len(paths) > 3
    assert paths == [f"out/t-{k:03d}.tar" for k in range(len(paths))]
    assert sorted(os.listdir("out")) == [".t-shard.tar.jsonl", *(Path(path).name for path in paths)]
    assert max(map(os.path.getsize, paths)) <= 24_000
    rows = read_tars(paths)
    assert list(rows) == GOOD
    for k, row in rows.items():
        assert set(row) == {"jpg", "json"}
        assert Image.open(io.BytesIO(row["jpg"])).size == (8, 8)
        assert row_of(np.asarray(Image.open(io.BytesIO(row["jpg"])))) == k
        assert json.loads(row["json"]) == {
            "label": f"class{k % 4}", "price": k / 4 if k != 5 else None, "tags": [str(k), "x"],
            "when": f"{frame['when'].iloc[k].isoformat()}", "title": "grün 😀" if k % 2 else None,
        }  # fmt: skip


def test_without_size_bytes_are_copied_with_the_suffix_of_their_format(frame):
    Path("photos/0.jpg").write_bytes(Path("photos/1.png").read_bytes())  # a PNG file under another name
    result = frame.img.save_shards("image_path", "out/t-{shard}.tar", errors="coerce")
    rows = read_tars(shard_paths(result))
    assert list(rows[0]) == ["png", "json"]
    assert rows[0]["json"] == b"{}"
    for k in GOOD:
        name = "png" if k % 3 or not k else "jpg"
        assert rows[k][name] == Path(frame["image_path"].iloc[k]).read_bytes()


def test_huggingface_shards_have_features_and_row_groups(frame, monkeypatch):
    monkeypatch.setattr("pandas_imgproc.sinks.shard_format._GROUP_ROWS", 5)
    result = frame.img.save_shards(
        "image_path", "out/t-{shard:05d}.parquet", columns=COLUMNS, max_bytes=16_000, errors="coerce"
    )
    paths = shard_paths(result)
    assert len(paths) > 2
    read = pd.concat(map(pd.read_parquet, paths), ignore_index=True)
    assert [row_of(np.asarray(Image.open(io.BytesIO(image["bytes"])))) for image in read["image"]] == GOOD
    assert [image["path"] for image in read["image"]] == [f"{k}.{'png' if k % 3 else 'jpg'}" for k in GOOD]
    assert read["label"].tolist() == [3 - k % 4 for k in GOOD]
    assert read["title"].tolist()[1] == "grün 😀"
    file = pq.ParquetFile(paths[0])
    assert file.metadata.row_group(0).num_rows == 5
    features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"_type": "ClassLabel", "names": ["class3", "class2", "class1", "class0"]}
    assert max(map(os.path.getsize, paths)) <= 16_000


def test_shards_are_the_same_in_every_execution(frame, managed_cluster):
    options = {"columns": COLUMNS, "size": (12, 8), "max_bytes": 24_000, "errors": "coerce"}
    for suffix in ("tar", "parquet"):
        results = [
            frame.img.save_shards("image_path", f"{n or 'inline'}/{{shard:02d}}.{suffix}", npartitions=n, **options)
            for n in (None, 1, 7)
        ]
        for n in (1, 7):
            assert file_bytes(str(n)) == file_bytes("inline")
        assert results[0].str.removeprefix("inline").equals(results[2].str.removeprefix("7"))


def test_results_in_any_order_are_packed_in_theirs(frame, monkeypatch):
    expected = frame.img.save_shards("image_path", "out/{shard}.tar", size=8, max_bytes=24_000, errors="coerce")
    commit, parts = shards_module.ShardSink.commit, []

    def commit_late(self, part):
        parts.append(part)
        if sum(len(part.status) for part in parts) == N:
            for late in reversed(parts):
                commit(self, late)

    monkeypatch.setattr(shards_module.ShardSink, "commit", commit_late)
    monkeypatch.setattr(shards_module, "_FIRST_PARTITION_ROWS", 7)
    monkeypatch.setattr(shards_module, "_MAX_WAITING_NBYTES", 2000)  # most of them in the temporary file
    result = frame.img.save_shards("image_path", "late/{shard}.tar", size=8, max_bytes=24_000, errors="coerce")
    assert len(parts) > 3
    assert file_bytes("late") == file_bytes("out")
    assert result.str.removeprefix("late").equals(expected.str.removeprefix("out"))


# ---- continuation


def save(frame, folder="out", **options):
    options = {"columns": ["label"], "size": 8, "max_bytes": 24_000, "errors": "coerce"} | options
    return frame.img.save_shards("image_path", f"{folder}/{{shard:03d}}.tar", **options)


SCRIPT = """
import os, signal, sys
import pandas as pd, pandas_imgproc
from pandas_imgproc.sinks.shards import _OpenShard
from pandas_imgproc.sinks.shard_journal import ShardJournal
frame = pd.read_pickle("frame.pkl")
saved, save = 0, _OpenShard.save
def save_and_die(self):
    global saved
    if saved == 2 and sys.argv[1] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    size = save(self)
    saved += 1
    if saved == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return size
_OpenShard.save = save_and_die
options = {"columns": ["label"], "size": 8, "max_bytes": 24_000, "errors": "coerce"}
frame.img.save_shards("image_path", "killed/{shard:03d}.tar", **options)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_job_continues_with_its_first_unfinished_shard(frame, moment):
    expected = save(frame)
    frame.to_pickle("frame.pkl")
    environment = {**os.environ, "PYTHONPATH": str(Path(pandas_imgproc.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, moment]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert len(file_bytes("killed")) == {"before": 2, "after": 3}[moment]
    before = {name: os.stat(f"killed/{name}").st_mtime_ns for name in ("000.tar", "001.tar")}
    result = save(frame, "killed")
    assert file_bytes("killed") == file_bytes("out")
    assert result.str.removeprefix("killed").equals(expected.str.removeprefix("out"))
    assert result.img.failures.equals(expected.img.failures)
    assert {name: os.stat(f"killed/{name}").st_mtime_ns for name in before} == before


def test_finished_job_reads_no_image_again(frame, monkeypatch):
    expected = save(frame)
    Path("photos").rename("gone")
    again = save(frame)
    assert again.equals(expected)
    assert again.img.failures.equals(expected.img.failures)


@pytest.mark.parametrize("shard", [0, 1, -1])
def test_deleted_shard_is_written_again_with_the_same_rows(frame, shard):
    expected = save(frame)
    before = file_bytes()
    name = sorted(before)[shard]
    mtimes = {other: os.stat(f"out/{other}").st_mtime_ns for other in before if other != name}
    for damage in (os.unlink, lambda path: Path(path).write_bytes(b"cut")):
        damage(f"out/{name}")
        assert save(frame).equals(expected)
        assert file_bytes() == before
        assert {other: os.stat(f"out/{other}").st_mtime_ns for other in mtimes} == mtimes


def test_longer_frame_continues_with_new_shards(frame):
    save(frame.iloc[:30])
    first = file_bytes()
    result = save(frame)
    assert first.items() < file_bytes().items()
    assert list(read_tars(shard_paths(result))) == GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: (frame, {"size": 9}), r"size was \[8, 8\] and is \[9, 9\]"),
        (lambda frame: (frame, {"max_bytes": 25_000}), "max_bytes was 24000 and is 25000"),
        (lambda frame: (frame, {"columns": ["label", "price"]}), "columns was"),
        (lambda frame: (frame[::-1], {}), "rows 0 to .* had other images or columns"),
        (lambda frame: (frame.assign(label="other"), {}), "had other images or columns"),
        (lambda frame: (frame[:20], {}), "the frame has 20"),
    ],
)
def test_shards_of_another_job_are_refused_without_overwrite(frame, change, message):
    save(frame)
    before = file_bytes()
    other, options = change(frame)
    with pytest.raises(JournalError, match=message):
        save(other, **options)
    assert file_bytes() == before
    save(other, overwrite=True, **options)
    expected = save(other, "fresh", **options)
    assert file_bytes() == file_bytes("fresh")  # none of the old ones is left
    assert save(other, **options).str.removeprefix("out").equals(expected.str.removeprefix("fresh"))


def test_foreign_file_is_never_replaced_without_overwrite(frame):
    Path("out").mkdir()
    Path("out/009.tar").write_bytes(b"mine")
    Path("out/9.tar").write_bytes(b"no shard")
    with pytest.raises(JournalError, match=r"'009.tar' exists in .*not written by this job"):
        save(frame)
    assert file_bytes() == {"009.tar": b"mine", "9.tar": b"no shard"}


def test_job_without_an_image_leaves_nothing_in_the_way(frame):
    with pytest.raises(NoReadableImageError):
        save(frame, root="gone", errors="warn")
    assert file_bytes() == {}
    assert list(read_tars(shard_paths(save(frame)))) == GOOD


def test_errors_raise_stops_at_the_first_failure(frame):
    with pytest.raises(UnreadableImageError, match="row 7"):
        save(frame, errors="raise")
    assert list(read_tars(shard_paths(save(frame)))) == GOOD


def test_full_disk_keeps_finished_shards_and_the_call_continues(frame, tiny_filesystem):
    for suffix in ("tar", "parquet"):
        to = f"{tiny_filesystem}/{{shard}}.{suffix}"
        big = [encoded(scene(500, 400, seed), "PNG") for seed in range(3)]
        images = pd.DataFrame({"image": [big[k % 3] for k in range(30)]})
        with pytest.raises(OSError, match=r"cannot be written: No space left.*finished shards stay"):
            images.img.save_shards("image", to, max_bytes=900_000)
        left = sorted(name for name in os.listdir(tiny_filesystem) if not name.startswith("."))
        assert left
        assert all(os.path.getsize(tiny_filesystem / name) for name in left)
        for path in tiny_filesystem.iterdir():
            path.unlink()


# ---- columns of images, Dask frames; `tests/sinks/test_object_files.py` has those in buckets


def test_images_in_memory_are_png(frame):
    column = frame["image_path"].img.load_resized(8, errors="coerce")
    result = column.img.save_shards("out/{shard}.tar", errors="coerce")
    rows = read_tars(shard_paths(result))
    assert list(rows) == GOOD
    pixels = column.img.to_numpy(na_value=0)
    for k in GOOD:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(rows[k]["png"]))), pixels[k])
    assert dict(zip(result.img.failures["position"], result.img.failures["kind"], strict=True)) == BAD


def test_encoded_images_and_structs_are_packed(frame):
    data = [{"bytes": image_bytes(k), "path": f"x/{k}.jpeg"} for k in range(3)]
    result = pd.Series(data).img.save_shards("out/{shard}.parquet")
    assert [image["path"] for image in pd.read_parquet(result[0])["image"]] == ["0.jpg", "1.jpg", "2.jpg"]
    result = pd.Series([image_bytes(k) for k in range(2)]).img.save_shards("bytes/{shard}.parquet")
    assert [image["path"] for image in pd.read_parquet(result[0])["image"]] == ["000000000.jpg", "000000001.jpg"]


def test_masks_keep_their_numbers(tmp_path):
    mask = Image.fromarray(np.array([[3, 9], [0, 3]], dtype=np.uint8))
    column = pd.Series([encoded(mask, "PNG")])
    result = column.img.save_shards(f"{tmp_path}/{{shard}}.tar", size=2, mode="P")
    assert np.asarray(Image.open(io.BytesIO(read_tars(result)[0]["png"]))).tolist() == [[3, 9], [0, 3]]


def test_boxes_of_the_rows_are_packed(tmp_path):
    image = Image.new("RGB", (32, 24), "red")
    image.paste("blue", (16, 0, 32, 24))
    frame = pd.DataFrame({"image": [encoded(image, "PNG")] * 2, "box": [(0, 0, 8, 8), (20, 0, 8, 4)]})
    result = frame.img.save_shards("image", f"{tmp_path}/{{shard}}.tar", box="box", image_format="PNG")
    rows = [Image.open(io.BytesIO(row["png"])) for row in read_tars(result.unique()).values()]
    assert [(row.size, row.getpixel((0, 0))) for row in rows] == [((8, 8), (255, 0, 0)), ((8, 4), (0, 0, 255))]
    other = frame.assign(box=frame["box"][::-1].to_numpy())
    with pytest.raises(JournalError, match="had other images"):
        other.img.save_shards("image", f"{tmp_path}/{{shard}}.tar", box="box", image_format="PNG")


def test_dask_frame_is_packed_as_the_frame_that_it_computes_to(frame):
    save(frame.drop(columns="tags"))
    with dask.config.set(scheduler="synchronous"):
        save(dd.from_pandas(frame.drop(columns="tags"), npartitions=3, sort=False), "dask")
    assert file_bytes("dask") == file_bytes("out")


def test_empty_frame_gives_no_shard(tmp_path):
    result = pd.Series([], dtype="str").img.save_shards(f"{tmp_path}/out/{{shard}}.tar")
    assert (len(result), file_bytes(tmp_path / "out")) == (0, {})


# ---- arguments


@pytest.mark.parametrize(
    ("to", "options", "error", "message"),
    [
        ("out/t.tar", {}, ValueError, "does not number the shards"),
        ("{shard}/t.tar", {}, ValueError, "does not number the shards"),
        ("{label}/{shard}.tar", {}, ValueError, "does not number the shards"),
        ("out/{shard:x}.tar", {}, ValueError, "does not number the shards"),
        ("out/{shard}.zip", {}, ValueError, "ends neither in"),
        (7, {}, TypeError, "to=7"),
        ("out/{shard}.tar", {"format": "huggingface"}, ValueError, "format='huggingface' writes .parquet files"),
        ("out/{shard}.tar", {"format": "tfrecord"}, ValueError, "format='tfrecord'"),
        ("out/{shard}.tar", {"max_bytes": "big"}, ValueError, "max_bytes='big'"),
        ("out/{shard}.tar", {"columns": "label"}, TypeError, "columns='label'"),
        ("out/{shard}.tar", {"columns": ["lable"]}, KeyError, "did you mean 'label'"),
        ("out/{shard}.tar", {"columns": ["label", "label"]}, ValueError, "'label' twice"),
        ("out/{shard}.tar", {"columns": ["thing"]}, TypeError, "JSON cannot hold.*row 0"),
        ("out/{shard}.tar", {"columns": ["ratio"]}, TypeError, "'ratio', and JSON cannot hold inf in row 1"),
        ("out/{shard}.tar", {"columns": ["bounds"]}, TypeError, "'bounds', and JSON cannot hold .* in row 0"),
        ("out/{shard}.parquet", {"columns": ["thing"]}, TypeError, "'thing', which Parquet cannot hold"),
        ("out/{shard}.tar", {"image_format": "JPEG", "mode": "RGBA", "size": 8}, ValueError, "JPEG files cannot hold"),
        ("out/{shard}.tar", {"overwrite": 1}, TypeError, "overwrite=1"),
    ],
)
def test_wrong_argument_is_refused_before_anything_is_written(frame, to, options, error, message):
    frame["thing"], frame["ratio"] = [object() for _ in range(N)], [0.5, float("inf")] * (N // 2)
    frame["bounds"] = [[0.5, float("inf")]] * N
    with pytest.raises(error, match=message):
        frame.img.save_shards("image_path", to, **options)
    assert os.listdir(".") == ["photos"]
    if to == "out/{shard}.tar" and "columns" in options:
        with pytest.raises((ValueError, TypeError), match="columns="):
            frame["image_path"].img.save_shards(to, columns=["label"])
