"""Factories of test images, each of which can be checked without a second decoder.

`row_image`     its color is its row number; `row_of` reads it, also after JPEG and at 8 x 8 pixels
`scene`         statistics of a photograph: smooth areas, edges, fine detail
`marked`        the color of each pixel is its position: shows a crop, an orientation and padding
`oriented`      stored in one of the EXIF orientations, with its tag
`png`           a PNG file of any depth and color type, also of those that Pillow cannot write
`tiff`          a TIFF file of gray levels or palette numbers of any depth and byte order
`icc_profile`   a color profile of RGB, gray or CMYK
`every_image` one file of each mode in each format
`broken`        files that are no images, or damaged ones
"""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

ROWS = 4096  # rows with distinct colors

_STORED = {  # transposition of an upright image as a camera stores it, by tag
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:  # noqa: A002  Pillow's word
    """Return the image as a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# ---- numbered and marked images


def row_image(row: int, size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Image.Image:
    """Return an image whose color is the number of its row, 0 to 4095: one hexadecimal digit per channel."""
    assert 0 <= row < ROWS
    color = tuple(8 + 16 * (row >> shift & 15) for shift in (8, 4, 0))
    return Image.new("RGB", size, color).convert(mode)


def image_bytes(row: int, format: str = "JPEG", size: tuple[int, int] = (32, 24)) -> bytes:  # noqa: A002
    """Return `row_image` as a file."""
    return encoded(row_image(row, size), format)


def row_of(pixels: np.ndarray) -> int:
    """Return the row number of an image (h, w, 3 or 4); -1 if its color is no row's."""
    height, width = pixels.shape[:2]
    middle = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4, :3].astype(float)
    levels = middle.mean((0, 1))
    digits = np.round((levels - 8) / 16)
    if np.abs(levels - (8 + 16 * digits)).max() > 6 or digits.min() < 0 or digits.max() > 15:
        return -1
    high, middle_digit, low = digits.astype(int)
    return int(high * 256 + middle_digit * 16 + low)


@functools.lru_cache(maxsize=32)
def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image with the statistics of a photograph: noise of 1/f, a horizon, discs with sharp edges."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3))
    octave = 2
    while octave <= max(width, height):
        size = max(2, octave * width // max(width, height)), max(2, octave * height // max(width, height))
        noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        canvas += (np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) - 128) / octave**0.7
        octave *= 2
    y, x = np.mgrid[0:height, 0:width]
    canvas[y > height * 0.6] -= 40
    for _ in range(6):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.04, 0.2) * min(width, height)
        canvas[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] += rng.uniform(-90, 90, 3)
    return Image.fromarray(np.clip(canvas + 128, 0, 255).astype(np.uint8))


def marked(width: int, height: int) -> Image.Image:
    """Return an image whose red runs from left to right and whose green runs from top to bottom."""
    x = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], -1).round().astype(np.uint8))


def oriented(upright: Image.Image, orientation: int, format: str = "JPEG", **options: object) -> bytes:  # noqa: A002
    """Return a file of the image in an EXIF orientation, with the tag."""
    method = _STORED[orientation]
    stored = upright if method is None else upright.transpose(method)
    if format == "TIFF":
        return encoded(stored, format, tiffinfo={274: orientation}, **options)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, format, exif=exif.tobytes(), **options)


# ---- PNG files, chunk by chunk


def chunk(name: bytes, body: bytes) -> bytes:
    """Return one PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    levels: np.ndarray,
    depth: int,
    color: int,
    *,
    trns: bytes | None = None,
    palette: bytes | None = None,
    size: tuple[int, int] | None = None,
    extra: bytes = b"",
) -> bytes:
    """Return a PNG file of these samples.

    ``levels`` is (h, w) or (h, w, channels) in the range of the depth; ``color`` the PNG color type: 0 gray,
    2 RGB, 3 palette, 4 gray and alpha, 6 RGBA. ``size`` lies in the header.
    """
    height, width = levels.shape[:2]
    if depth == 16:
        rows = levels.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        rows = levels.astype(np.uint8).reshape(height, -1)
    else:
        bits = levels[..., None].astype(np.uint8) >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", *(size or (width, height)), depth, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            b"" if palette is None else chunk(b"PLTE", palette),
            b"" if trns is None else chunk(b"tRNS", trns),
            extra,
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(levels: np.ndarray, depth: int, photometric: int, order: str = "<", n_bands: int = 1) -> bytes:
    """Return a TIFF file of these samples, of integers or of floats, in this byte order.

    ``photometric`` is 0 where zero is white, 1 where it is black, and 3 for numbers of a gray palette. The bands of a
    pixel are neighbors in a row of ``levels``.
    """
    height, width = levels.shape
    if depth >= 8:
        kind = "f" if levels.dtype.kind == "f" else "u"
        body = levels.astype(f"{order}{kind}{depth // 8}").tobytes()
    else:
        bits = levels[..., None].astype(np.uint8) >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
        body = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    palette = np.linspace(0, 65535, 2**depth).astype(f"{order}u2").tobytes() * 3 if photometric == 3 else b""
    tags = [
        (256, 4, 1, width // n_bands), (257, 4, 1, height), (258, 3, 1, depth), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, n_bands), (278, 4, 1, height), (279, 4, 1, len(body)),
        (339, 3, 1, 3 if levels.dtype.kind == "f" else 1),
    ]  # fmt: skip
    if palette:
        tags.insert(-1, (320, 3, len(palette) // 2, 8 + len(body)))
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, n)
        + struct.pack(f"{order}H2x" if kind == 3 and n == 1 else f"{order}I", value)
        for tag, kind, n, value in tags
    )
    mark, directory = (b"II" if order == "<" else b"MM"), 8 + len(body) + len(palette)
    head = mark + struct.pack(f"{order}HI", 42, directory)
    return head + body + palette + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def bomb(width: int = 12000, height: int = 12000) -> bytes:
    """Return a small PNG file of one bit a pixel that decodes to a large image."""
    return png(np.zeros((height, width), np.uint8), 1, 0)


def icon_around(inner: bytes, side: int = 16) -> bytes:
    """Return an ICO file of a PNG, whose directory has the size side x side."""
    entry = struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


# ---- every mode and format

_MODES_OF = {
    "JPEG": ("RGB", "L", "CMYK"),
    "MPO": ("RGB",),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "GIF": ("P", "L", "1", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P", "1"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK", "LAB"),
    "AVIF": ("RGB", "RGBA", "L"),
    "JPEG2000": ("RGB", "RGBA", "L", "LA", "I;16"),
    "PPM": ("RGB", "L", "1", "I;16", "F"),
    "ICO": ("RGBA", "RGB"),
    "TGA": ("RGB", "RGBA", "L", "LA", "P", "1"),
}


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return an RGB image in this mode; with alpha, its left half fades out; 16 bits use their full range."""
    if mode in ("RGBA", "LA"):
        fade = np.clip(np.arange(image.width) * 510 // image.width, 0, 255).astype(np.uint8)
        alpha = Image.fromarray(np.repeat(fade[None], image.height, 0))
        image = image.convert("RGB" if mode == "RGBA" else "L")
        image.putalpha(alpha)
        return image
    if mode in ("I;16", "I"):
        levels = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return Image.fromarray(levels if mode == "I;16" else levels.astype(np.int32))
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    return image.convert(mode)


def every_image(size: tuple[int, int] = (40, 30), seed: int = 0) -> Iterator[tuple[str, str, bytes]]:
    """Yield (format, mode, file) for every format of the allowlist in every mode that can be written."""
    image = scene(*size, seed=seed)
    for name, modes in _MODES_OF.items():
        for mode in modes:
            options: dict[str, object] = {}
            if name == "ICO":
                options["sizes"] = [(32, 32)]
            if name == "MPO":
                options |= {"save_all": True, "append_images": [image.rotate(180)]}
            source = image.resize((32, 32)) if name == "ICO" else image
            yield name, mode, encoded(in_mode(source, mode), name, **options)


# ---- files that are no images


def _flipped(data: bytes, rng: random.Random, bits: int) -> bytes:
    changed = bytearray(data)
    for _ in range(bits):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, max(2, len(data) // 3)))
    return data[:start] + bytes(end - start) + data[end:]


def _spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _without(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 64) :]


def _huge_numbers(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    start = rng.randrange(min(len(data), 64))
    changed[start : start + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
    return bytes(changed[: len(data)])


def mutated(data: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return the name of a random damage, and the damaged file."""
    data = data.ljust(4, b"\0")
    damages = {
        "truncated": lambda: data[: rng.randrange(len(data))],
        "truncated late": lambda: data[: len(data) - rng.randrange(1, min(len(data), 40))],
        "one bit flipped": lambda: _flipped(data, rng, 1),
        "header flipped": lambda: _flipped(data[:64], rng, 2) + data[64:],
        "bits flipped": lambda: _flipped(data, rng, 1 + len(data) // 100),
        "zeroed": lambda: _zeroed(data, rng),
        "spliced": lambda: _spliced(data, other, rng),
        "a piece is missing": lambda: _without(data, rng),
        "huge numbers": lambda: _huge_numbers(data, rng),
        "twice": lambda: data[: len(data) // 2] + data,
    }
    name = rng.choice(list(damages))
    return name, damages[name]()


def not_images() -> dict[str, bytes]:
    """Return files that are not to be identified as images, by file name."""
    photo = encoded(scene(64, 48), "JPEG")
    flat = encoded(Image.new("RGB", (8, 8)), "PNG")
    return {
        "empty.jpg": b"",
        "one_byte.jpg": b"\xff",
        "zeros.jpg": bytes(5000),
        "text.jpg": b"This is not an image.\nIt is a letter.\n",
        "page.jpg": b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>",
        "drawing.png": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "data.png": b'{"error": "quota exceeded"}',
        "umlauts.jpg": "Größe geändert".encode(),
        "latin1.jpg": "Größe geändert".encode("latin-1"),
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
        "document.jpg": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "archive.jpg": b"PK\x03\x04" + bytes(60),
        "compressed.jpg": b"\x1f\x8b\x08\x00" + bytes(60),
        "video.jpg": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(60),
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
        "photoshop.jpg": b"8BPS\0\x01" + bytes(6) + b"\0\x03\0\0\0\x08\0\0\0\x08\0\x08\0\x03" + bytes(40),
        "array.jpg": b"\x93NUMPY\x01\x00" + bytes(60),
        "only_signature.jpg": photo[:3],
        "only_signature.png": flat[:8],
        "text_mode.png": flat.replace(b"\r\n", b"\n"),
        "no_pixels.png": flat[: flat.index(b"IDAT") - 4] + chunk(b"IEND", b""),
        "size_zero.png": png(np.zeros((8, 8)), 8, 0, size=(0, 8)),
        "depth_3.png": png(np.zeros((8, 8)), 8, 0).replace(b"\x08\0\0\0\0", b"\x03\0\0\0\0", 1),
        "header_lies.png": png(np.zeros((8, 8)), 8, 0, size=(60, 60)),
        "two_billion.png": png(np.zeros((8, 8)), 8, 0, size=(2**31 - 1, 2**31 - 1)),
        "five_gigapixels.bmp": b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, 70000, 70000, 1, 24, *[0] * 6),
        "icon_of_a_giant.ico": icon_around(png(np.zeros((8, 8)), 8, 0, size=(30000, 30000))),
        "half.jpg": photo[: len(photo) // 2],
    }


def broken(seed: int = 0, n: int = 200) -> Iterator[tuple[str, bytes]]:
    """Yield (name, file): all of `not_images`, each format cut at many points, then n random damages."""
    yield from not_images().items()
    files = [(f"{name} {mode}", data) for name, mode, data in every_image()]
    for name, data in files:
        for part in (0.02, 0.1, 0.3, 0.5, 0.9, 0.99):
            yield f"{name} cut at {part:.0%}", data[: max(1, int(len(data) * part))]
    rng = random.Random(seed)
    for number in range(n):
        name, data = rng.choice(files)
        _, other = rng.choice(files)
        damage, damaged = mutated(data, other, rng)
        yield f"{number}: {name}, {damage}", damaged


# ---- color profiles

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))


def icc_profile(
    space: str = "RGB",
    *,
    primaries: tuple[tuple[float, ...], ...] = ADOBE_RGB,
    gamma: float = 563 / 256,
    extra: int = 0,
) -> bytes:
    """Return a color profile of "RGB", by default Adobe RGB (1998), "GRAY" or "CMYK"; `extra` bytes have no use."""
    text = b"a profile of a test"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 78),
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"cprt": b"text" + bytes(4 + extra + 1),
    }
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma))
    if space == "RGB":
        tags |= {b"rgb"[k : k + 1] + b"XYZ": _xyz(*primaries[k]) for k in range(3)}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    elif space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        tags[b"A2B0"] = _cmyk_table()
    body, table, start = b"", struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", space.ljust(4).encode(), b"XYZ ")
    if space == "CMYK":
        header = header.replace(b"mntr", b"prtr").replace(b"XYZ ", b"Lab ")
    header += struct.pack(">6H4s28x", 2020, 1, 1, 0, 0, 0, b"acsp") + _xyz(0.9642, 1.0, 0.8249)[8:]
    return header + bytes(48) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _cmyk_table() -> bytes:
    """Return a table of CMYK to Lab with the sixteen corners: ink darkens, cyan is green and blue, and so on."""
    ramp, corners = bytes(range(256)), bytearray()
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = round(255 * (1 - 0.9 * k) * (1 - (0.4 * c + 0.5 * m + 0.1 * y)))
        corners += bytes([light, 128 + round((40 * m - 35 * c) * (1 - k)), 128 + round((60 * y - 40 * c) * (1 - k))])
    identity = struct.pack(">9i", *(65536 * (k % 4 == 0) for k in range(9)))
    return b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + bytes(corners) + 3 * ramp
