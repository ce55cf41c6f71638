"""Limits of the work for one image, checked over its bytes before a decoder sees them.

Pillow bounds the pixels. A small file can cost minutes or gigabytes all the same: Python code in Pillow walks through
the blanks, markers, chunks, boxes and tags of a header one by one, a progressive JPEG file passes over all pixels in
each scan, and some decoders hold several times the bytes of the image.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageFile


@dataclass(frozen=True)
class Limits:
    """Limits of the work for one image; None is unlimited. Part of a job's fingerprint.

    Parameters
    ----------
    header_bytes : int or None
        Bytes before the first pixel of a JPEG, PNG, GIF or JPEG 2000 file.
    text_bytes : int or None
        Bytes of the header of a PNM file (PBM, PGM, PPM), which is text.
    segments : int or None
        Markers before the pixels of a JPEG file, chunks of a PNG file, blocks of a GIF file, boxes or markers of a
        JPEG 2000 file, tags of a TIFF file and values of each.
    comments : int or None
        Comments of a PNM file, blocks of 255 bytes in comments of a GIF file.
    scans : int or None
        Scans of a JPEG file: each passes over all pixels.
    decoded_bytes : int or None
        Estimate of the bytes that the decoder and the decoded image hold, by format.

    Examples
    --------
    >>> Limits().scans
    64
    """

    header_bytes: int | None = 2**26
    text_bytes: int | None = 2**20
    segments: int | None = 500_000
    comments: int | None = 4096
    scans: int | None = 64
    decoded_bytes: int | None = 2**31

    def check(self, name: str, count: int, subject: str) -> None:
        """Raise an UnreadableImageError of kind "too_large" if a count is above the limit of that name."""
        limit = getattr(self, name)
        if limit is not None and count > limit:
            raise_too_large(name, limit, subject)


def raise_too_large(name: str, limit: int, subject: str) -> NoReturn:
    """Raise the UnreadableImageError that names a limit and the way to lift it."""
    raise UnreadableImageError("too_large", f"{subject} than {limit:,}; limits={{{name!r}: None}} lifts the limit")


def parse_limits(value: Any) -> Limits:
    """Return the default limits, with those of a mapping in their place.

    Parameters
    ----------
    value : mapping of str to int or None, or None
        Limits by name; those that are not named keep their defaults.

    Raises
    ------
    TypeError, ValueError
        Names the limit, the value and the legal ones.

    Examples
    --------
    >>> parse_limits({"scans": 500, "header_bytes": None}).scans
    500
    """
    names = [field.name for field in fields(Limits)]
    if not isinstance(value, Mapping | None):
        raise TypeError(f"limits must be a mapping like {{'scans': 500}} of {', '.join(names)}, got {shorten(value)}")
    given = {check_choice("limits", name, names): _check_limit(name, limit) for name, limit in (value or {}).items()}
    return replace(Limits(), **given)


def _check_limit(name: Any, limit: Any) -> int | None:
    return None if limit is None else check_int(f"limits[{name!r}]", limit)


def check_header(data: bytes, limits: Limits, *, all_frames: bool = False) -> None:
    """Raise an UnreadableImageError of kind "too_large" if opening or decoding a file costs too much.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    all_frames : bool, default False
        Whether frames after the first one are read or counted.

    Examples
    --------
    >>> check_header(b"P6 " + b" " * 2**21 + b"1 1 255 abc", Limits())
    Traceback (most recent call last):
    pandas_imgproc.errors.UnreadableImageError: its header has more bytes of text than 1,048,576; \
limits={'text_bytes': None} lifts the limit [too_large]
    """
    for signature, check in _CHECKS:
        if data.startswith(signature):
            check(data, limits, all_frames)
            return


def check_decoding(image: ImageFile.ImageFile, data: bytes, limits: Limits) -> None:
    """Raise an UnreadableImageError of kind "too_large" if decoding an open image costs too much."""
    width, height = image.size
    per_pixel, tile = _decoder_bytes_per_pixel(image), _tile_bytes(image)
    if limits.decoded_bytes is not None and width * height * per_pixel + tile > limits.decoded_bytes:
        tile_text = f" and {tile:,} bytes of a tile" if tile else ""
        subject = f"{width} x {height} pixels of {per_pixel} bytes{tile_text} in its decoder are more bytes"
        raise_too_large("decoded_bytes", limits.decoded_bytes, subject)
    # Scans of a sequential file hold bits for each block, those of a progressive one may be empty.
    if image.format == "MPO" or (image.format == "JPEG" and "progressive" in image.info):
        _check_scans(data, image.tile[0].offset, limits)


_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH = 258, 277, 322, 323  # tags of TIFF

_SINGLE_BUFFER_FORMATS = frozenset({"PNG", "GIF", "BMP", "PPM", "TIFF", "ICO", "TGA"})  # with at most a second buffer


def _tile_bytes(image: ImageFile.ImageFile) -> int:
    """Return the bytes of a tile of a TIFF file, which may be larger than the image; 0 without tiles."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, 1)
    sizes = [tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH), tags.get(_SAMPLES_PER_PIXEL, 1)]
    sizes.append(max(bits, default=1) if isinstance(bits, tuple) else bits)
    return math.prod(sizes) // 8 if all(isinstance(size, int) for size in sizes) else 0


def _decoder_bytes_per_pixel(image: ImageFile.ImageFile) -> int:
    """Return an estimate of the peak, measured with images of one color: Pillow's own pixels are 1 or 4 bytes."""
    n_bands = len(image.getbands())
    pillow = 1 if n_bands == 1 and image.mode in ("1", "L", "P") else 4
    if image.format == "JPEG2000":
        return 4 * n_bands + pillow  # OpenJPEG: int32 for each band
    if image.format == "WEBP":
        return 12 + pillow  # two canvases of libwebp, and its own pixels
    if image.format in ("JPEG", "MPO"):
        progressive = "progressive" in image.info
        return (2 * n_bands if progressive else 0) + pillow  # int16 for each coefficient
    return 2 * pillow if image.format in _SINGLE_BUFFER_FORMATS else 8 + pillow


# ---- formats

_ANY_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither stuffing of entropy-coded data nor a restart
_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA), *range(0xF0, 0xFE), 0xFF})
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1


def _check_jpeg(data: bytes, limits: Limits, all_frames: bool) -> None:  # noqa: ARG001  Pillow reads the first header
    """Check the markers up to the first scan. Bytes between markers count as well: Pillow reads them one by one."""
    exif: list[bytes] = []
    start, n_steps, end = 2, 0, len(data) - 4
    max_steps, max_start = limits.segments or len(data), limits.header_bytes or len(data)
    while start < end:
        code = data[start + 1]
        if data[start] != 0xFF or code in _NO_LENGTH:  # of nearly no file
            found = _ANY_MARKER.search(data, start + 1)
            stop = found.start() if found else end
            n_steps += stop - start
        elif code == _SOS:
            break
        else:
            stop = start + 2 + max(data[start + 2] << 8 | data[start + 3], 2)
            if code == _APP1 and data.startswith(b"Exif\0\0", start + 4):
                exif.append(data[start + 10 : stop])
        start, n_steps = stop, n_steps + 1
        if n_steps > max_steps or start > max_start:
            limits.check("segments", n_steps, "it has more markers, or bytes between them,")
            limits.check("header_bytes", start, "its header has more bytes")
    if exif:
        check_tags(b"".join(exif), limits)


def _check_scans(data: bytes, start: int, limits: Limits) -> None:
    n_scans, position = 0, start + 2
    while found := _MARKER_IN_SCAN.search(data, position):
        code, position = data[found.end() - 1], found.end()
        n_scans += code == _SOS
        limits.check("scans", n_scans, "it has more scans")
        if code == _EOI:
            return
        if code not in _NO_LENGTH:
            position += max(int.from_bytes(data[position : position + 2], "big"), 2)


def _check_png(data: bytes, limits: Limits, all_frames: bool) -> None:  # noqa: ARG001  Pillow walks through all chunks
    if not _may_exceed(limits.segments, len(data) // 12) and not _may_exceed(limits.header_bytes, len(data)):
        return
    is_header = True
    for n_chunks, (name, start, _) in enumerate(png_chunks(data), start=1):
        limits.check("segments", n_chunks, "it has more chunks")
        if is_header:
            limits.check("header_bytes", start, "its header has more bytes")
            is_header = name != b"IDAT"


_CHUNK = struct.Struct(">I4s")  # head of a PNG chunk: length and name


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of the body of each chunk of a PNG file; the last may end beyond the file."""
    start = 16
    while start + 4 <= len(data):
        length, name = _CHUNK.unpack_from(data, start - 8)
        yield name, start, start + length
        start += length + 12


def _check_gif(data: bytes, limits: Limits, all_frames: bool) -> None:
    """Check the blocks up to the first frame, or all: Pillow joins the parts of a comment in quadratic time."""
    n_blocks = n_comments = 0
    is_header = True
    for is_comment, is_image, start in _gif_blocks(data):
        n_blocks, n_comments = n_blocks + 1, n_comments + is_comment
        limits.check("comments", n_comments, "it has more blocks of comments")
        limits.check("segments", n_blocks, "it has more blocks")
        if is_header:
            limits.check("header_bytes", start, "its header has more bytes")
        is_header &= not is_image
        if is_image and not all_frames:
            return


def _gif_blocks(data: bytes) -> Iterator[tuple[bool, bool, int]]:
    """Yield (whether of a comment, whether of pixels, start) of each block of a GIF file."""
    position = 13 + _gif_palette(data[10:11])
    while position < len(data):
        introducer, start = data[position], position
        if introducer == 0x2C:  # an image: descriptor, palette, size of a code, data
            position += 11 + _gif_palette(data[position + 9 : position + 10])
        elif introducer == 0x21:
            position += 2
        else:  # Pillow skips unknown bytes one by one, and ends at a semicolon
            yield False, False, start
            position += 1
            if introducer == 0x3B:
                return
            continue
        is_comment = introducer == 0x21 and data[start + 1 : start + 2] == b"\xfe"
        yield False, introducer == 0x2C, start
        while position < len(data) and data[position]:
            yield is_comment, False, position
            position += data[position] + 1
        position += 1


def _gif_palette(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


_PNM_MAGIC = re.compile(rb"(?:P[1-6f]|P0CMYK|PyP|PyRGBA|PyCMYK)\s")
_PNM_TOKEN = rb"(?:\s|#[^\r\n]*+[\r\n])*+[^\s#]++"
_PNM_HEADERS = {n: re.compile(rb"P\w++\s(?:%s){%d}\s" % (_PNM_TOKEN, n)) for n in (2, 3)}


def _check_pnm(data: bytes, limits: Limits, all_frames: bool) -> None:  # noqa: ARG001  it has one frame
    limit, magic = limits.text_bytes, data[:2]
    if not _PNM_MAGIC.match(data):
        return
    if limit is not None and len(data) > limit:
        n_values = 2 if magic in (b"P1", b"P4") else 3  # width, height and the greatest value
        if not _PNM_HEADERS[n_values].match(data, 0, limit):
            limits.check("text_bytes", len(data), "its header has more bytes of text")
    if magic in (b"P1", b"P2", b"P3") and _may_exceed(limits.comments, len(data)):
        limits.check("comments", data.count(b"#"), "it has more comments")


def _check_jpeg2000(data: bytes, limits: Limits, all_frames: bool) -> None:  # noqa: ARG001  it has one frame
    if not _may_exceed(limits.segments, len(data) // 4) and not _may_exceed(limits.header_bytes, len(data)):
        return
    parts = _j2k_markers(data, 2) if data.startswith(b"\xff") else _jp2_boxes(data, 0, len(data))
    for n_parts, start in enumerate(parts, start=1):
        limits.check("segments", n_parts, "it has more boxes and markers")
        limits.check("header_bytes", start, "its header has more bytes")


def _jp2_boxes(data: bytes, start: int, stop: int) -> Iterator[int]:
    """Yield the position of each box, of those inside of the header, and of the markers of the codestream."""
    while start + 8 <= stop:
        yield start
        length, name = _CHUNK.unpack_from(data, start)
        body = start + (16 if length == 1 else 8)
        if length == 1:
            length = int.from_bytes(data[start + 8 : body], "big")
        if name == b"jp2c":
            yield from _j2k_markers(data, body + 2)
            return
        if length < body - start:
            return
        if name == b"jp2h":
            yield from _jp2_boxes(data, body, min(start + length, stop))
        start += length


def _j2k_markers(data: bytes, start: int) -> Iterator[int]:
    """Yield the position of each marker in front of the first tile."""
    while start + 4 <= len(data) and data[start + 1] not in (0x90, 0xD9, 0x64):
        yield start
        start += 2 + max(int.from_bytes(data[start + 2 : start + 4], "big"), 2)


_TAG_BYTES = {1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 8: 2, 5: 8, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}  # per value, 4 for others
_EXIF_POINTER = 0x8769


def check_tags(data: bytes, limits: Limits, all_frames: bool = False) -> None:
    """Check the tags of a TIFF file, or of the EXIF block of another, which has the same form.

    Pillow copies the values of all tags, which may overlap: 65,535 tags of a small file can each be the whole file.
    """
    n_bytes = 0
    for n_tags, (n_values, size) in enumerate(_tags(data, all_frames), start=1):
        limits.check("segments", max(n_tags, n_values), "it has more tags, or one has more values,")
        n_bytes += size
        if n_bytes > len(data):
            limits.check("header_bytes", n_bytes - len(data), "its tags overlap, and have more bytes")


def _tags(data: bytes, all_frames: bool) -> Iterator[tuple[int, int]]:
    """Yield (number of values that are no text, bytes outside of the entry) of each tag."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    head, length, width = (8, 20, 8) if b"\x2b" in data[2:4] else (2, 12, 4)

    def uint(start: int, n: int) -> int:
        return int.from_bytes(data[start : start + n], order)

    offsets, seen = [uint(width, width)], set[int]()
    while offsets:
        start = offsets.pop()
        if start in seen or not 0 < start < len(data):
            continue
        seen.add(start)
        first = start + head
        end = min(first + length * uint(start, head), len(data))
        for entry in range(first, end, length):
            count, value_size = uint(entry + 4, width), _TAG_BYTES.get(uint(entry + 2, 2), 4)
            offset = uint(entry + 4 + width, width)
            if uint(entry, 2) == _EXIF_POINTER:
                offsets.append(offset)
            size = min(count * value_size, max(len(data) - offset, 0)) if count * value_size > width else 0
            yield (size // value_size if value_size > 1 else 0), size
        if all_frames:
            offsets.append(uint(end, width))


def _may_exceed(limit: int | None, maximum: int) -> bool:
    return limit is not None and maximum > limit


_Check = Callable[[bytes, Limits, bool], None]
_CHECKS: tuple[tuple[bytes | tuple[bytes, ...], _Check], ...] = (
    (b"\xff\xd8\xff", _check_jpeg),
    (b"\x89PNG", _check_png),
    (b"GIF8", _check_gif),
    ((b"II", b"MM"), check_tags),
    (b"P", _check_pnm),
    ((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "), _check_jpeg2000),
)
