"""JPEG files by simplejpeg: Pillow's pixels to the last bit, or Pillow itself, with its failures."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from decoding import loaded, opened, pixels
from image_factory import encoded, mutated, oriented, scene

from pandas_imgproc import codec
from pandas_imgproc.codec.jpeg_turbo import _has_common_frame, decode_exactly

VARIANTS = [
    *({"subsampling": k, "progressive": p} for k in (0, 1, 2) for p in (False, True)),
    {"keep_rgb": True}, {"restart_marker_blocks": 3}, {"quality": 3}, {"quality": 100}, {"optimize": True},
    {"icc_profile": bytes(70_000)}, {"comment": b"a comment"},
]  # fmt: skip
SIZES = [(1, 1), (3, 2), (15, 17), (33, 1), (1, 40), (63, 65), (257, 129)]
SIMD, PILLOW = codec.decode_options(), codec.decode_options(engine="pillow")


def outcome(data, options):
    """Return the pixels of a file, or the kind and message of its failure."""
    try:
        image = loaded(data, options)
    except Exception as exc:
        return codec.classify_error(exc)
    return image.mode, image.size, image.tobytes()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_of_pillow_at_every_scale(size, mode):
    n_exact = 0
    for variant in VARIANTS:
        options = {name: value for name, value in variant.items() if mode == "RGB" or name != "subsampling"}
        data = encoded(scene(*size, seed=size[0]).convert(mode), "JPEG", **options)
        for draft_mode in (None, "L"):
            for scale in (1, 2, 4, 8):
                images = opened(data), opened(data)
                for image in images:
                    image.draft(draft_mode, (max(1, size[0] // scale), max(1, size[1] // scale)))
                raster = decode_exactly(data, images[0])
                if raster is None:
                    continue
                n_exact += 1
                expected = images[1]
                assert (raster.mode, raster.size) == (expected.mode, expected.size)
                assert raster.data == expected.tobytes(), (variant, draft_mode, scale)
    assert n_exact >= 2 * len(VARIANTS)


def frame_of(data):
    return data.index(b"\xff\xc0")


def with_sampling(data, *factors):
    """Return a file whose header states other sampling factors of the three components."""
    frame, changed = frame_of(data), bytearray(data)
    for k, factor in enumerate(factors):
        changed[frame + 11 + 3 * k] = factor
    return bytes(changed)


RARE = {
    "CMYK": lambda: encoded(scene(64, 48).convert("CMYK"), "JPEG"),
    "three horizontal samples": lambda: with_sampling(encoded(scene(64, 48), "JPEG", subsampling=0), 0x31, 0x11, 0x11),
    "chroma finer than luma": lambda: with_sampling(encoded(scene(64, 48), "JPEG", subsampling=0), 0x11, 0x21, 0x21),
    "4:1:0": lambda: with_sampling(encoded(scene(64, 48), "JPEG", subsampling=0), 0x42, 0x11, 0x11),
    "4:1:1": lambda: with_sampling(encoded(scene(64, 48), "JPEG", subsampling=0), 0x41, 0x11, 0x11),
    "4:4:0": lambda: with_sampling(encoded(scene(64, 48), "JPEG", subsampling=0), 0x12, 0x11, 0x11),
    "gray of two samples": lambda: with_sampling(encoded(scene(64, 48).convert("L"), "JPEG"), 0x22),
    "12 bits": lambda: (lambda d: d[: frame_of(d) + 4] + b"\x0c" + d[frame_of(d) + 5 :])(
        encoded(scene(64, 48), "JPEG")
    ),
    "arithmetic": lambda: encoded(scene(64, 48), "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1),
    "lossless": lambda: encoded(scene(64, 48), "JPEG").replace(b"\xff\xc0", b"\xff\xc3", 1),
    "component names": lambda: (lambda d: d[: frame_of(d) + 10] + b"R\x22\x00G\x11\x01B" + d[frame_of(d) + 17 :])(
        encoded(scene(64, 48), "JPEG")
    ),
    "no JFIF": lambda: (lambda d: d[:2] + d[20:])(encoded(scene(64, 48), "JPEG")),
    "fill bytes": lambda: (lambda d: d[:2] + b"\xff" * 9 + d[2:])(encoded(scene(64, 48), "JPEG")),
    "trailing bytes": lambda: encoded(scene(64, 48), "JPEG") + b"trailer" * 99,
    "two files": lambda: encoded(scene(64, 48), "JPEG") + encoded(scene(64, 48, 1), "JPEG"),
    "height 0": lambda: (lambda d: d[: frame_of(d) + 5] + struct.pack(">H", 0) + d[frame_of(d) + 7 :])(
        encoded(scene(64, 48), "JPEG")
    ),
    "Adobe without transform": lambda: (
        lambda d: d[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\0" + d[2:]
    )(encoded(scene(64, 48), "JPEG")),
}  # fmt: skip


@pytest.mark.parametrize("name", RARE)
def test_rare_variant_is_as_with_pillow(name):
    data = RARE[name]()
    for options in ({}, {"strict": True}, {"mode": "L"}):
        simd, pillow = (outcome(data, codec.decode_options(**options, engine=e)) for e in ("simd", "pillow"))
        assert simd == pillow
    small = pixels(data, 8, resample="box") if isinstance(outcome(data, PILLOW)[1], tuple) else None
    if small is not None:
        assert np.array_equal(small, pixels(data, 8, resample="box", engine="pillow"))


def test_uncommon_frames_are_left_to_pillow():
    data = encoded(scene(64, 48), "JPEG")
    assert decode_exactly(data, opened(data)) is not None
    for marker in (b"\xff\xc3", b"\xff\xc9", b"\xff\xca"):
        changed = data.replace(b"\xff\xc0", marker, 1)
        assert decode_exactly(changed, opened(changed)) is None
        assert not _has_common_frame(changed)  # by its marker, not because these data are no such frame
    for other in (encoded(scene(64, 48).convert("CMYK"), "JPEG"), encoded(scene(64, 48))):
        assert decode_exactly(other, opened(other)) is None
    tiny = encoded(scene(5, 5), "JPEG")
    image = opened(tiny)
    image.draft(None, (2, 2))
    assert decode_exactly(tiny, image) is None


def test_frames_of_mpo_are_those_of_pillow():
    data = encoded(scene(64, 48), "MPO", save_all=True, append_images=[scene(64, 48, seed=1)])
    assert decode_exactly(data, opened(data)) is not None
    for frame in (0, 1, 2):
        for strict in (False, True):
            simd, pillow = (
                outcome(data, codec.decode_options(frame=frame, strict=strict, engine=e)) for e in ("simd", "pillow")
            )
            assert simd == pillow


@pytest.mark.parametrize("strict", [False, True])
def test_damaged_files_fail_and_decode_as_with_pillow(strict):
    rng = random.Random(5 + strict)
    files = [
        encoded(scene(96, 64, seed=k), "JPEG", **{"quality": 90, **variant}) for k, variant in enumerate(VARIANTS[:9])
    ] + [oriented(scene(96, 64), 6), encoded(scene(96, 64).convert("L"), "JPEG")]  # fmt: skip
    kinds = set()
    for k in range(400):
        _, data = mutated(files[k % len(files)], rng.choice(files), rng)
        options = {"strict": strict, "mode": "L"} if k % 4 == 0 else {"strict": strict}
        simd, pillow = (outcome(data, codec.decode_options(**options, engine=e)) for e in ("simd", "pillow"))
        assert simd == pillow
        kinds.add(simd[0])
    assert {"RGB", "L", "truncated"} < kinds


def test_file_that_is_smaller_than_its_header_says_is_pillows():
    data = encoded(scene(64, 48), "JPEG")
    frame = frame_of(data)
    taller = data[: frame + 5] + struct.pack(">HH", 480, 64) + data[frame + 9 :]
    assert decode_exactly(taller, opened(taller)) is None
    assert outcome(taller, SIMD) == outcome(taller, PILLOW)


def test_replaced_plugin_decodes_itself(monkeypatch):
    from PIL import Image, ImageFile

    class Plugin(ImageFile.ImageFile):
        format = "JPEG"

        def _open(self):
            self._size, self._mode = (2, 2), "RGB"

        def load(self):
            return Image.Image.load(self)

    data = encoded(scene(64, 48), "JPEG")
    assert decode_exactly(data, Plugin(io.BytesIO(data))) is None
