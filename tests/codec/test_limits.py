"""Limits of the work for one image: files that cost minutes or gigabytes are refused before a decoder sees them."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import pandas as pd
import pytest
from decoding import pixels
from image_factory import chunk, encoded, every_image, icon_around, scene

from pandas_imgproc import codec
from pandas_imgproc.codec import limits
from pandas_imgproc.errors import UnreadableImageError

SMALL = {"header_bytes": 3000, "text_bytes": 500, "segments": 200, "comments": 20, "scans": 12}


def read_header(data: bytes, **options) -> codec.Header:
    return codec.read_header(data, codec.decode_options(**options))


def after(data: bytes, position: int, extra: bytes) -> bytes:
    return data[:position] + extra + data[position:]


def failure(data: bytes, size=8, **options) -> str | None:
    try:
        pixels(data, size, **options)
    except Exception as exc:
        return codec.classify_error(exc)[0]
    return None


def jpeg(**options) -> bytes:
    return encoded(scene(64, 48), "JPEG", **options)


def gif(extra: bytes, frames: int = 1) -> bytes:
    images = [scene(20, 10, seed).convert("P") for seed in range(frames)]
    data = encoded(images[0], "GIF", save_all=frames > 1, append_images=images[1:])
    return after(data, 13 + (3 << ((data[10] & 7) + 1)), extra)


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"", offset: int = 8) -> bytes:
    """Return a TIFF file of (tag, type, count, value) entries."""
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", offset) + body + tail


def jp2(extra: bytes) -> bytes:
    data = encoded(scene(20, 10), "JPEG2000")
    return after(data, 12, extra)


OVERLAPPING = [(40000 + number, 7, 4000, 8) for number in range(100)]
ATTACKS = {
    "ppm blanks": (b"P6 " + b" " * 1000 + b"1 1 255 abc", "text_bytes"),
    "ppm comment": (b"P6 #" + b"x" * 1000 + b"\n1 1 255 abc", "text_bytes"),
    "pbm comments": (b"P4 " + b"#\n" * 1000 + b"8 1\nx", "text_bytes"),
    "plain comments": (b"P3 2 1 255\n" + b"# a\n" * 30 + b"1 2 3 4 5 6\n", "comments"),
    "jpeg comments": (after(jpeg(), 2, b"\xff\xfe\0\2" * 300), "segments"),
    "jpeg fill": (after(jpeg(), 2, b"\xff" * 400), "segments"),
    "jpeg junk": (after(jpeg(), 20, b"\1" * 400), "segments"),
    "jpeg header": (after(jpeg(), 2, (b"\xff\xe5\x07\xd0" + b"x" * 1998) * 3), "header_bytes"),
    "png chunks": (after(encoded(scene(20, 10)), 33, chunk(b"teXt", b"") * 300), "segments"),
    "png chunks at the end": (encoded(scene(20, 10))[:-12] + chunk(b"teXt", b"") * 300, "segments"),
    "png header": (after(encoded(scene(20, 10)), 33, chunk(b"prVt", b"x" * 4000)), "header_bytes"),
    "gif comment": (gif(b"\x21\xfe" + (b"\x0f" + b"a" * 15) * 30 + b"\0"), "comments"),
    "gif comments": (gif(b"\x21\xfe\x01a\0" * 30), "comments"),
    "gif blocks": (gif(b"\x21\x01\1a\0" * 150), "segments"),
    "jp2 boxes": (jp2(b"\0\0\0\x08free" * 300), "segments"),
    "jp2 header": (jp2(struct.pack(">I4s", 4008, b"free") + b"x" * 4000), "header_bytes"),
    "j2k markers": (
        b"\xff\x4f\xff\x51" + struct.pack(">H", 41) + bytes(39) + b"\xff\x52\0\2" * 300,
        "segments",
    ),
    "tiff tags": (tiff(OVERLAPPING, bytes(4000)), "header_bytes"),
    "tiff values": (tiff([(273, 4, 500, 8)], bytes(4000)), "segments"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_header_above_a_limit_is_too_large(name):
    data, limit = ATTACKS[name]
    with pytest.raises(UnreadableImageError, match=rf"limits=\{{'{limit}': None\}} lifts the limit") as caught:
        pixels(data, limits=SMALL)
    assert caught.value.kind == "too_large"


READABLE = [name for name in ATTACKS if not name.startswith(("tiff", "j2k", "jp2"))]


@pytest.mark.parametrize("name", READABLE)
def test_lifted_limit_lets_file_through(name):
    data, limit = ATTACKS[name]
    assert pixels(data, limits={**SMALL, limit: None, "header_bytes": None}).size == pixels(data).size


@pytest.mark.parametrize("head", [b"PK\3\4", b"PAR1", b"P6abc", b"Python", b"II*x"])
def test_other_files_keep_their_reason(head):
    data = head + b"x" * 5000
    assert failure(data, limits=SMALL) == failure(data) != "too_large"


def test_scans_of_progressive_jpeg_are_limited():
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    many = data[:-2] + data[last:-2] * 40 + data[-2:]
    assert failure(many, limits={"scans": 12}) == "too_large"
    assert pixels(data, limits={"scans": 12}).shape == (48, 64, 3)
    assert failure(data[:2] + b"\xff\xfe\0\4\xff\xd9" + many[2:], limits={"scans": 12}) == "too_large"
    assert failure(many, limits={"scans": 100}) is None


def test_verify_keeps_limits():
    data = jpeg(progressive=True)
    for values in ({"scans": 3}, {"decoded_bytes": 1000}):
        with pytest.raises(UnreadableImageError, match="lifts the limit"):
            codec.verify(data, codec.decode_options(strict=True, limits=values))


def test_scans_of_second_image_of_mpo_are_limited():
    data = encoded(scene(64, 48), "MPO", save_all=True, append_images=[scene(64, 48, 1)], progressive=True)
    last = data.rindex(b"\xff\xda")
    many = data[:-2] + data[last:-2] * 40 + data[-2:]
    assert failure(many, limits={"scans": 12}) is None
    assert failure(many, frame=1, limits={"scans": 12}) == "too_large"


@pytest.mark.parametrize(
    ("format_", "per_pixel"),
    [("PNG", 8), ("JPEG", 4), ("JPEG2000", 16), ("WEBP", 16), ("AVIF", 12), ("TIFF", 8), ("GIF", 2)],
)
def test_decoded_bytes_are_limited_by_format(format_, per_pixel):
    image = scene(64, 48)
    data = encoded(image.convert("P") if format_ == "GIF" else image, format_)
    enough = 64 * 48 * per_pixel
    assert pixels(data, limits={"decoded_bytes": enough}).shape == (48, 64, 3)
    with pytest.raises(UnreadableImageError, match=f"64 x 48 pixels of {per_pixel} bytes"):
        pixels(data, limits={"decoded_bytes": enough - 1})
    assert codec.read_header(data, codec.decode_options(limits={"decoded_bytes": 1})).width == 64


def tiled_tiff(side: int) -> bytes:
    """Return a gray TIFF file of 64 x 48 pixels in one tile, which its decoder unpacks as a whole."""
    body = zlib.compress(bytes(side * side))
    numbers = {256: 64, 257: 48, 258: 8, 259: 8, 262: 1, 322: side, 323: side, 324: 8 + 2 + 12 * 9 + 4, 325: len(body)}
    return tiff([(tag, 4, 1, number) for tag, number in numbers.items()], body)


def test_decoded_bytes_include_those_of_a_tile():
    enough = 64 * 48 * 2 + 1024 * 1024
    assert pixels(tiled_tiff(1024), limits={"decoded_bytes": enough}).shape == (48, 64, 3)
    with pytest.raises(UnreadableImageError, match="64 x 48 pixels of 2 bytes and 1,048,576 bytes of a tile"):
        pixels(tiled_tiff(1024), limits={"decoded_bytes": enough - 1})


def test_decoded_bytes_of_jpeg_are_those_of_its_reduced_scale():
    data = jpeg()
    assert pixels(data, 8, limits={"decoded_bytes": 32 * 24 * 4}).shape == (8, 8, 3)


def test_frames_are_walked_only_where_frames_are_read():
    data = gif(b"", frames=30)
    assert failure(data, limits={"segments": 40}) is None
    for check in (
        lambda: pixels(data, frame=3, limits={"segments": 40}),
        lambda: read_header(data, limits={"segments": 40}),
    ):
        with pytest.raises(UnreadableImageError, match="more blocks than 40"):
            check()
    pages = encoded(scene(20, 10), "TIFF", save_all=True, append_images=[scene(20, 10)] * 20)
    assert failure(pages, limits={"segments": 60}) is None
    with pytest.raises(UnreadableImageError, match="more tags"):
        read_header(pages, limits={"segments": 60})


def test_directories_in_a_circle_end():
    data = tiff([(256, 4, 1, 1)], offset=8)
    looped = data[:-4] + struct.pack("<I", 8)
    assert list(limits._tags(looped, all_frames=True)) == [(0, 0)]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("read", [pixels, read_header])
def test_overlapping_tags_of_exif_block_are_not_read(format_, read):
    block = b"Exif\0\0" + tiff([(1000 + number, 7, 50_000, 8) for number in range(1000)], bytes(50_000))
    data = encoded(scene(20, 10), format_, exif=block)
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match="its tags overlap"):
        read(data, limits={"header_bytes": 100_000})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000  # the tags together claim 50 MB


def test_exif_of_imagemagick_is_checked():
    block = tiff([(1000 + number, 7, 5000, 8) for number in range(100)], bytes(5000))
    text = "\nexif\n" + f"{len(block):8}\n" + block.hex()
    body = b"Raw profile type exif\0\0" + zlib.compress(text.encode())
    data = after(encoded(scene(20, 10)), 33, chunk(b"zTXt", body))
    assert failure(data, limits={"header_bytes": 10_000}) == "too_large"
    assert failure(data) is None


def test_ordinary_images_are_within_the_defaults():
    for name, _, data in every_image():
        assert failure(data) == failure(data, limits=dict.fromkeys(SMALL)), name
    assert failure(icon_around(encoded(scene(16, 16)))) is None


def test_limits_are_checked_and_part_of_the_options():
    with pytest.raises(ValueError, match="limits='scan' is not one of 'header_bytes'"):
        codec.decode_options(limits={"scan": 3})
    with pytest.raises(TypeError, match=re.escape("limits['scans']")):
        codec.decode_options(limits={"scans": 1.5})
    with pytest.raises(TypeError, match="limits must be a mapping"):
        codec.decode_options(limits=64)
    default = codec.decode_options(8)
    assert codec.decode_options(8, limits={"scans": 64}) == default
    assert repr(codec.decode_options(8, limits={"scans": 65})) != repr(default)


def test_limits_hold_in_every_method(tmp_path):
    paths = pd.Series([str(tmp_path / "a.jpg")])
    paths.map(Path).iloc[0].write_bytes(ATTACKS["jpeg comments"][0])
    options = {"errors": "coerce", "limits": {"segments": 200}, "progress": False}
    results = [
        paths.img.load_resized(8, **options), paths.img.map(lambda p: 1.0, size=8, **options),
        paths.img.features(**options), paths.img.metadata(**options), paths.img.hash(**options),
        paths.img.augment(lambda p: p, n=1, size=8, **options),
        paths.img.save_resized(str(tmp_path / "out"), size=8, **options),
        paths.img.save_thumbnails(str(tmp_path / "small"), size=8, **options),
    ]  # fmt: skip
    assert [result.img.failures["kind"].tolist() for result in results] == [["too_large"]] * len(results)
    assert paths.img.verify(limits={"segments": 200})["kind"].tolist() == ["too_large"]
