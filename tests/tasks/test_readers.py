"""Readers: files of formats that Pillow does not know, in every method and execution."""

from __future__ import annotations

import struct

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import image_bytes
from PIL import Image

import pandas_imgproc

HEAD = struct.Struct("<6sBHHHB")


def to_file(*frames):
    """Return a file of frames, ndarray of uint8 or uint16, of one shape."""
    shape = (*frames[0].shape, 1)[:3]
    head = HEAD.pack(b"NPRAWX", len(frames), *shape, frames[0].itemsize)
    return head + b"".join(frame.astype(f"<u{frame.itemsize}").tobytes() for frame in frames)


def read(data, frame=0):
    _, n, height, width, channels, itemsize = HEAD.unpack_from(data)
    if not frame < n:
        raise ValueError(f"there are {n} frames")
    pixels = np.frombuffer(data, f"<u{itemsize}", offset=HEAD.size).reshape(n, height, width, channels)
    return pixels[frame] if channels > 1 else pixels[frame, :, :, 0]


def color(level, frame=0):
    pixels = np.full((20, 30, 3), level, np.uint8)
    pixels[4:8, 10:25] = 200 + frame
    return pixels


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """Return a frame of files of the format, of a JPEG file, and of a damaged and a missing one."""
    folder = tmp_path_factory.mktemp("readers")
    for number in range(4):
        (folder / f"{number}.RAWX").write_bytes(to_file(color(number), color(number, 1)))
    (folder / "photo.jpg").write_bytes(image_bytes(5))
    (folder / "damaged.rawx").write_bytes(b"NPRAWX")
    names = ["0.RAWX", "1.RAWX", "photo.jpg", "damaged.rawx", "2.RAWX", "gone.rawx", "3.RAWX"]
    return pd.DataFrame({"path": [str(folder / name) for name in names]}).assign(x=10, y=4, w=15, h=4)


READERS = {".rawx": read}
BOX = ["x", "y", "w", "h"]


@pytest.fixture
def inline():
    with dask.config.set(scheduler="synchronous"):
        yield


def corners(column):
    return [None if image is pd.NA else int(np.asarray(image)[0, 0, 1]) for image in column]


def check_failures(failures):
    assert failures["kind"].tolist() == ["function", "missing"]
    assert "struct.error: unpack_from requires" in failures["message"].iloc[0]
    assert "of test_readers.py" in failures["message"].iloc[0]


def test_reader_is_called_in_every_execution(frame, managed_cluster, inline):
    expected = [0, 1, 8, None, 2, None, 3]
    here = frame.img.load_resized("path", (30, 20), readers=READERS, errors="coerce")
    with dask.config.set(scheduler=None):
        spread = frame.img.load_resized("path", (30, 20), readers=READERS, errors="coerce", npartitions=2)
    ddf = dd.from_pandas(frame, npartitions=2)
    lazy = ddf.img.load_resized("path", (30, 20), readers=READERS, errors="coerce").compute()
    for column in (here, spread, lazy):
        assert corners(column) == expected
    check_failures(here.img.failures)
    check_failures(spread.img.failures)


def test_all_methods_read_files_of_the_format(frame, inline, tmp_path):
    good = frame.iloc[[0, 1, 2, 4]].reset_index(drop=True)
    crops = good.img.load_resized("path", (15, 4), readers=READERS, box=BOX)
    assert corners(crops)[:2] == [200, 200]
    assert good.img.map("path", lambda pixels: pixels.shape[1], readers=READERS).tolist() == [30, 30, 32, 30]
    header = good.img.metadata("path", readers=READERS)
    assert header["width"].tolist() == [30, 30, 32, 30]
    assert header["format"].isna().tolist() == [True, True, False, True]
    assert header["file_size"].iloc[0] == HEAD.size + 2 * 1800
    names = ["brightness", "md5", "width"]
    features = good.img.features("path", names, readers=READERS)
    assert features["md5"].tolist() == good.img.hash("path", "md5").tolist()
    assert features["brightness"].notna().all()
    files = good.img.save_resized("path", f"{tmp_path}/{{index}}.png", size=None, readers=READERS)
    assert np.array_equal(Image.open(files.iloc[1]), color(1))
    assert frame.img.verify("path", readers=READERS)["kind"].astype(object).fillna("").tolist() == [
        "", "", "", "function", "", "missing", "",
    ]  # fmt: skip
    ((_, images),) = good.img.batches("path", (30, 20), readers=READERS)
    assert images[[0, 1, 3], 0, 0, 1].tolist() == [0, 1, 2]
    assert "failed" not in repr(good.img.show("path", readers=READERS))
    assert pandas_imgproc.load_image(good["path"].iloc[1], (30, 20), readers=READERS)[0, 0, 0] == 1
    tiles = good[["path"]].img.tiles("path", 15, readers=READERS)
    assert len(tiles) == 4 + 4 + 6 + 4
    varied = good.img.augment("path", lambda image: image, n=1, size=(30, 20), readers=READERS)
    assert corners(varied["image"])[1] == 1


def test_signature_finds_files_of_any_name_and_first_key_wins(frame, inline):
    data = to_file(color(7))
    column = pd.Series([data, b"xx" + data])
    other = {(2, b"NPRAWX"): lambda _: color(9), (0, b"NPRAWX"): read, (0, b"NP"): len}
    assert corners(column.img.load_resized((30, 20), readers=other)) == [7, 9]
    assert corners(frame["path"].iloc[2:3].img.load_resized((30, 20), readers={".jpg": lambda _: color(3)})) == [3]


def test_frame_is_given_to_a_function_that_takes_it(frame, inline):
    paths = frame["path"].iloc[[0, 0, 0]]
    column = paths.img.map(lambda pixels: int(pixels[5, 12, 0]), readers=READERS, frame=[1, 0, 5], errors="coerce")
    assert column.tolist()[:2] == [201, 200]
    assert column.img.failures["message"].iloc[0].startswith("ValueError: there are 2 frames")
    plain = paths.img.load_resized(8, readers={".rawx": lambda data: read(data)}, frame=[0, 1, 0], errors="coerce")
    assert plain.img.failures["kind"].tolist() == ["region"]


def test_file_of_several_rows_is_read_by_its_function_once_a_frame(frame, inline):
    calls = []

    def counted(data, frame):
        calls.append(frame)
        return read(data, frame)

    table = pd.DataFrame({"path": [frame["path"][0]] * 12, "page": [0, 1] * 6}).assign(x=range(12), y=0, w=9, h=9)
    table.img.features("path", ["width", "brightness"], readers={".rawx": counted}, box=BOX, frame="page")
    assert len(calls) <= 4  # header of the first frame, and two frames


def test_sixteen_bits_are_scaled(inline):
    gray = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    colors = np.repeat(gray[:, :, None], 3, axis=2)
    column = pd.Series([to_file(gray), to_file(colors)])
    expected = np.round(gray / 257)
    for options in ({}, {"mode": "L"}):
        pixels = column.img.load_resized((30, 20), readers={(0, b"NP"): read}, **options).img.to_numpy()
        assert np.abs(pixels[:, :, :, 0] - expected).max() <= 1
    clipped = column.img.load_resized((30, 20), readers={(0, b"NP"): read}, scale_depth=False).img.to_numpy()
    assert (clipped[:, :, :, 0] == np.minimum(gray, 255)).all()


@pytest.mark.parametrize("value", [np.zeros((4, 4)), np.zeros((4, 4, 5), "u1"), np.zeros((0, 4), "u1"), None, "text"])
def test_result_that_is_no_image_is_a_failure(value, inline):
    column = pd.Series([b"NPRAWX", image_bytes(3)])
    images = column.img.load_resized(8, readers={(0, b"NP"): lambda _: value}, errors="coerce")
    assert images.isna().tolist() == [True, False]
    assert "a function of readers= returned" in images.img.failures["message"].iloc[0]
    assert images.img.failures["kind"].tolist() == ["function"]


def test_resumed_job_knows_the_function(frame, inline, tmp_path):
    good, out = frame.iloc[:3], tmp_path / "x.npy"
    good.img.load_resized("path", 8, readers=READERS, out=out)
    good.img.load_resized("path", 8, readers=READERS, out=out)
    with pytest.raises(pandas_imgproc.JournalError, match="readers was"):
        good.img.load_resized("path", 8, readers={".rawx": lambda data: read(data) + 1}, out=out)
    plain = tmp_path / "plain.npy"
    frame.iloc[2:3].img.load_resized("path", 8, out=plain)
    assert "readers" not in (tmp_path / "plain.npy.journal").read_text()


@pytest.mark.parametrize(
    ("readers", "error", "message"),
    [
        (read, TypeError, "readers must be a dict of functions"),
        ({"dcm": read}, ValueError, "got the key 'dcm'"),
        ({(0, b""): read}, ValueError, "got the key"),
        ({(b"DICM", 128): read}, ValueError, "got the key"),
        ({".dcm": "read"}, TypeError, "'read' is no function of the bytes"),
        ({".dcm": np.ndarray}, TypeError, "is no function of the bytes"),
    ],
)
def test_wrong_readers_raise(readers, error, message):
    with pytest.raises(error, match=message):
        pd.Series(["a.dcm"]).img.load_resized(8, readers=readers)


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (bytes(128) + b"DICM" + bytes(20), ".dcm"),
        (b"%PDF-1.7\n1 0 obj", ".pdf"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), ".h5"),
        (b"\0\0\0\x18ftypcrx " + bytes(90), ".cr3"),
    ],
)
def test_message_for_such_a_format_names_readers(data, suffix, inline):
    failures = pd.Series([data]).img.load_resized(8, errors="coerce").img.failures
    assert failures["kind"].tolist() == ["unidentified"]
    assert failures["message"].iloc[0].endswith(f"; readers={{'{suffix}': function}} reads it with a function of yours")
