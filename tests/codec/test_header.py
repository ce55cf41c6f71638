"""Header and `.img.metadata()`: equal to the decoded image, read without decoding."""

from __future__ import annotations

import io
import struct
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from image_factory import chunk, encoded, every_image, not_images, oriented, scene
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from pandas_imgproc import codec
from pandas_imgproc.features import HEADER_FEATURES

DTYPES = {
    **dict.fromkeys(["width", "height", "area", "channels", "n_frames", "file_size", "orientation"], "Int64"),
    **dict.fromkeys(["aspect_ratio", "bytes_per_pixel"], "float64"),
    **dict.fromkeys(["mode", "format", "camera"], "category"),
    **dict.fromkeys(["has_alpha", "has_icc"], "boolean"),
    "taken_at": "datetime64[s]",
}


def photo_with_exif(tags, ifd=None, **options):
    exif = Image.Exif()
    exif.update(tags)
    if ifd:
        exif.get_ifd(0x8769).update(ifd)
    return encoded(scene(40, 30), "JPEG", exif=exif.tobytes(), **options)


def test_header_equals_decoded_image_in_every_format_and_mode():
    for name, mode, data in every_image():
        header = codec.read_header(data, codec.decode_options())
        decoded = codec.load(data, codec.decode_options(scale_depth=mode != "F"))
        assert (header.width, header.height) == decoded.size, f"{name} {mode}"
        assert header.file_size == len(data)
        with Image.open(io.BytesIO(data)) as image:
            assert (header.mode, header.channels, header.format) == (image.mode, len(image.getbands()), image.format)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_size_is_oriented(name, orientation):
    header = codec.read_header(oriented(scene(40, 30), orientation, name), codec.decode_options())
    assert (header.width, header.height, header.orientation) == (40, 30, orientation)


def test_header_reads_png_exif_after_pixels():
    data = oriented(scene(40, 30), 6, "PNG")
    start = data.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", data[start : start + 4])[0]
    moved = data[:start] + data[start + length :]
    end = moved.index(b"IEND") - 4
    moved = moved[:end] + data[start : start + length] + moved[end:]
    assert codec.load(moved, codec.decode_options()).size == (40, 30)
    header = codec.read_header(moved, codec.decode_options())
    assert (header.width, header.height, header.orientation) == (40, 30, 6)


def test_metadata_decodes_no_pixel(monkeypatch):
    frames = [scene(40, 30, n) for n in range(3)]
    images = [data for name, _, data in every_image() if name not in ("ICO", "AVIF")]  # decoded when opened
    images += [encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), oriented(frames[0], 6, "PNG")]
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    images.append(encoded(frames[0], "PNG", pnginfo=text))
    decoded = []
    original = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self.format) or original(self))
    monkeypatch.setattr(Image, "_getdecoder", lambda mode, name, *rest: decoded.append(name))
    frame = pd.Series(images).img.metadata()
    assert frame["width"].notna().all()
    assert frame["orientation"].iloc[-2:].tolist() == [6, 6]
    assert decoded == []


def test_metadata_counts_frames():
    # Copies: Pillow stores the last encoder options with an image, and a TIFF of several frames fails over them.
    frames = [scene(40, 30, n).copy() for n in range(3)]
    files = [encoded(frames[0], name, save_all=True, append_images=frames[1:]) for name in ("GIF", "TIFF", "WEBP")]
    metadata = pd.Series([*files, encoded(frames[0])]).img.metadata()["n_frames"]
    assert metadata.tolist() == [3, 3, 3, 1]


def test_metadata_reads_camera_and_time():
    taken = {0x9003: "2021:05:06 07:08:09"}
    files = [
        photo_with_exif({0x010F: "NIKON CORPORATION", 0x0110: "NIKON D750\0 "}, taken),
        photo_with_exif({0x010F: "Apple", 0x0110: "iPhone 12"}, {0x9004: "2020:01:02 03:04:05"}),
        photo_with_exif({0x0132: "2019:12:31 23:59:59", 0x0110: "Süß 1"}),
        photo_with_exif({0x010F: "   ", 0x0132: "0000:00:00 00:00:00"}, {0x9003: "    :  :     :  :  "}),
        encoded(scene(8, 8)),
    ]
    metadata = pd.Series(files).img.metadata()
    assert metadata["camera"].tolist()[:2] == ["NIKON D750", "Apple iPhone 12"]
    assert metadata["camera"].isna().tolist() == [False, False, False, True, True]
    times = [datetime(2021, 5, 6, 7, 8, 9), datetime(2020, 1, 2, 3, 4, 5), datetime(2019, 12, 31, 23, 59, 59)]
    assert metadata["taken_at"].tolist()[:3] == times
    assert metadata["taken_at"].isna().tolist() == [False, False, False, True, True]


def test_metadata_with_broken_exif_has_other_columns():
    whole = encoded(scene(8, 8))
    end = whole.index(b"IDAT") - 4
    files = [photo_with_exif({0x0110: "Camera"}).replace(b"MM\0*", b"XX\0*")]
    files += [whole[:end] + chunk(b"eXIf", body) + whole[end:] for body in (b"junk", b"MM\0*\xff\xff\xff\xff", b"")]
    frame = pd.Series(files).img.metadata()
    assert frame["width"].tolist() == [40, 8, 8, 8]
    assert frame["orientation"].eq(1).all()


def test_metadata_reports_alpha_and_profile():
    palette = scene(8, 8).convert("P")
    palette.info["transparency"] = 3
    files = [encoded(image) for image in (scene(8, 8), scene(8, 8).convert("RGBA"), scene(8, 8).convert("LA"), palette)]
    files.append(encoded(scene(8, 8), "PNG", icc_profile=b"a profile"))
    frame = pd.Series(files).img.metadata()
    assert frame["has_alpha"].tolist() == [False, True, True, True, False]
    assert frame["has_icc"].tolist() == [False, False, False, False, True]


def test_metadata_columns_have_fixed_dtypes():
    paths = pd.Series([encoded(scene(40, 30)), None, b"nothing"], index=["a", "b", "a"])
    frame = paths.img.metadata(errors="coerce")
    assert tuple(frame.columns) == HEADER_FEATURES
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert frame.index.tolist() == ["a", "b", "a"]
    assert frame.isna().all(axis=1).tolist() == [False, True, True]
    row = frame.iloc[0]
    assert (row["width"], row["height"], row["area"], row["aspect_ratio"]) == (40, 30, 1200, 40 / 30)
    assert row["bytes_per_pixel"] == len(paths.iloc[0]) / 1200
    assert frame.img.failures["kind"].tolist() == ["unidentified"]


@pytest.mark.parametrize("column", [pd.Series([], dtype=object), pd.Series([None, None], dtype=object)])
def test_metadata_of_empty_column_has_same_dtypes(column):
    frame = column.img.metadata()
    assert len(frame) == len(column)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES


def test_metadata_of_an_image_column():
    images = pd.Series([encoded(scene(40, 30)), None]).img.load_resized((6, 4))
    frame = images.img.metadata()
    assert frame.loc[0, ["width", "height", "mode", "channels", "n_frames"]].tolist() == [6, 4, "RGB", 3, 1]
    assert frame.loc[0, ["format", "file_size", "bytes_per_pixel", "camera"]].isna().all()
    assert frame.loc[1].isna().all()


def test_metadata_failure_kinds_equal_verify():
    # a header may be whole where the rest is not
    later = {"no_pixels.png", "header_lies.png", "half.jpg", "icon_of_a_giant.ico"}
    files = pd.Series({name: data for name, data in not_images().items() if name not in later})
    kinds = files.img.metadata(errors="coerce").img.failures["kind"].astype(str)
    expected = files.img.verify()["kind"].astype(str)
    assert kinds.to_dict() == expected.to_dict()


def test_header_ignores_exif_name_in_png_text():
    data = encoded(scene(8, 8))
    cut = data.index(b"IDAT") - 4
    data = data[:cut] + chunk(b"tEXt", b"Comment\0eXIf") + data[cut:]
    assert codec.read_header(data, codec.decode_options()).orientation is None


def test_header_of_image_in_memory_has_no_file():
    header = codec.read_header(np.zeros((3, 5, 4), np.uint8), codec.decode_options())
    assert (header.width, header.height, header.mode, header.has_alpha, header.file_size) == (5, 3, "RGBA", True, None)
