"""Failure kinds and messages for decoder errors and for files of no known format."""

from __future__ import annotations

import io
import re
import struct
from typing import Literal

from PIL import Image, UnidentifiedImageError

from pandas_imgproc._text import MAX_MESSAGE_CHARS, exception_text, truncate
from pandas_imgproc.codec.variants import tiff_layout, variant_error
from pandas_imgproc.errors import FailureKind, UnreadableImageError

_BY_TYPE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FailureKind, str], ...] = (
    (FileNotFoundError, "missing", "there is no such file"),
    (PermissionError, "permission", "it may not be read"),
    ((IsADirectoryError, NotADirectoryError), "not_a_file", "it is not a file"),
    (TimeoutError, "timeout", "it took too long"),
    ((Image.DecompressionBombError, Image.DecompressionBombWarning), "too_large", "more pixels than allowed"),
    (MemoryError, "too_large", "it needs more memory than there is"),
    (UnidentifiedImageError, "unidentified", "it is no image of an allowed format"),
    ((NotImplementedError, ImportError), "unsupported", "Pillow cannot decode this variant"),
    ((EOFError, IndexError, struct.error), "truncated", "the file ends too early"),
    (SystemExit, "corrupt", "the decoder tried to end the process"),
)
_BY_TEXT: tuple[tuple[str, FailureKind, str], ...] = (
    ("out of memory|memory exhausted", "too_large", "it needs more memory than there is"),
    ("too large for PngImagePlugin", "too_large", "more text than Pillow allows"),
    ("unsupported operand", "corrupt", "it cannot be decoded"),  # a TypeError of Python
    ("unsupported|not supported|illegal conversion", "unsupported", "Pillow cannot decode this variant"),
    ("unknown pixel mode|unknown data organization", "unsupported", "Pillow cannot decode this variant"),
    ("can ?not handle|not configured", "unsupported", "Pillow cannot decode this variant"),
    ("codec configuration|unable to determine.* mode", "unsupported", "Pillow cannot decode this variant"),
    (r"unknown \w+ (mode|map depth)", "unsupported", "Pillow cannot decode this variant"),
    ("not (yet )?implemented|not available|not installed", "unsupported", "Pillow cannot decode this variant"),
    ("truncated|unexpected end|end of (file|data|image)|reached EOF|EOF while", "truncated", "the file ends too early"),
    ("ended|not enough|only got|buffer is not large enough|fewer bytes", "truncated", "the file ends too early"),
    ("requires a buffer|premature|incomplete|got \\d+ bytes, expected", "truncated", "the file ends too early"),
    ("cannot load this image", "corrupt", "there are no pixels in the file"),
)


def classify_error(exc: BaseException) -> tuple[FailureKind, str]:
    """Return the failure kind and a message of one line for an error of reading or decoding.

    Parameters
    ----------
    exc : BaseException

    Returns
    -------
    kind : str
        One of the failure kinds.
    message : str
        One line, printable, of at most 300 characters.

    Examples
    --------
    >>> classify_error(OSError("image file is truncated (3 bytes not processed)"))
    ('truncated', 'the file ends too early: image file is truncated (3 bytes not processed)')
    """
    if isinstance(exc, UnreadableImageError):
        return exc.kind, _to_single_line(exc.message)
    text = _to_single_line(exception_text(exc))
    for types, kind, reason in _BY_TYPE:
        if isinstance(exc, types):
            return kind, _to_single_line(f"{reason}: {text}" if text else reason)
    for pattern, kind, reason in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return kind, _to_single_line(f"{reason}: {text}")
    return "corrupt", _to_single_line(f"it cannot be decoded: {type(exc).__name__}: {text}".rstrip(": "))


def decoder_message_error(message: str) -> UnreadableImageError:
    """Return the error for a decoder's warning, which quotes it.

    Examples
    --------
    >>> decoder_message_error("Corrupt JPEG data: bad Huffman code").args
    ('corrupt', 'libjpeg reports: Corrupt JPEG data: bad Huffman code')
    """
    reason = f"libjpeg reports: {message}"
    if re.search("premature end", message, re.IGNORECASE):
        return UnreadableImageError("truncated", _to_single_line(f"the file ends too early: {reason}"))
    return UnreadableImageError("corrupt", _to_single_line(reason))


_ADDRESS = re.compile(r"<_io\.\w+ object at 0x[0-9a-fA-F]+>")
_BYTES = re.compile(r"""b?'[^']*\\x[^']*'|b?"[^"]*\\x[^"]*\"""")


def _to_single_line(text: str) -> str:
    """Return printable text of one line and at most 300 characters: decoders quote any bytes of a file."""
    text = _BYTES.sub("(bytes)", _ADDRESS.sub("the file", truncate(text, 10 * MAX_MESSAGE_CHARS)))
    text = " ".join("".join(char if " " <= char <= "~" or char.isalpha() else " " for char in text).split())
    return truncate(text)


def matches_signature(name: str, data: bytes) -> bool:
    """Return whether a file begins with the signature of a format."""
    _, accept = Image.OPEN.get(name, (None, None))
    try:
        return accept is not None and accept(bytes(data[:16])) is True
    except (SyntaxError, IndexError, TypeError, struct.error):
        return False  # Image.open ignores the same


def unidentified_error(data: bytes, formats: tuple[str, ...], claimed: list[str]) -> UnreadableImageError:
    """Return the error for a file that Image.open refused, which hides the reason of each plugin."""
    if claimed and bytes(data[4:12]) not in _HEIF:
        return _broken_header_error(data, claimed[0])
    content = _describe_content(data)
    if content is None:
        others = [name for name in sorted(Image.OPEN) if name not in formats and matches_signature(name, data)]
        content = f"a file of format {others[0]}, which formats= does not allow" if others else None
    first_bytes = bytes(data[:8]).hex(" ")
    return UnreadableImageError(
        "unidentified", _to_single_line(content or f"no image; its first bytes are {first_bytes}")
    )


def _broken_header_error(data: bytes, name: str) -> UnreadableImageError:
    reason: BaseException = SyntaxError("only its signature is right")
    try:
        Image.OPEN[name][0](io.BytesIO(data), "")
    except (SyntaxError, LookupError, TypeError, ValueError, OSError, struct.error) as error:
        inner = error.args[0] if error.args else None
        reason = inner if isinstance(inner, BaseException) else error
    kind, _ = classify_error(reason)
    if is_truncated(data) or (kind == "truncated" and not _states_its_end(data)):
        return UnreadableImageError("truncated", f"a file of format {name} that ends within its header")
    text = str(reason).replace("not identified by this driver", "Pillow does not recognize its header")
    if isinstance(reason, LookupError):
        text = f"{type(reason).__name__}: {text}"
    variant = variant_error(data, text)
    if variant is not None:
        return UnreadableImageError(variant.kind, _to_single_line(variant.message))
    if kind == "unsupported":
        layout = tiff_layout(data) if name == "TIFF" else ""
        return UnreadableImageError(kind, _to_single_line(f"a {name} file{layout} that Pillow cannot decode: {text}"))
    return UnreadableImageError("corrupt", _to_single_line(f"a broken {name} file: {text}"))


def is_truncated(data: bytes) -> bool:
    """Return whether a file is shorter than its header states; decoders often only call it broken."""
    head, size = bytes(data[:16]), len(data)
    if head[:3] == b"\xff\xd8\xff":
        return b"\xff\xda" not in data
    if head[:4] == b"\x89PNG":
        return b"IEND" not in data[-1024:] and b"IEND" not in data
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head[:2] == b"BM":
        return int.from_bytes(head[2:6], "little") > size
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_ifd_end(data) > size
    if head[:4] == b"\0\0\1\0":
        return any(offset + length > size for offset, length in ico_entries(data))
    if head[4:8] in (b"ftyp", b"jP  "):
        return _isobmff_boxes_end(data) > size
    return head[:4] == b"\xff\x4f\xff\x51" and bytes(data[-2:]) != b"\xff\xd9"


def _states_its_end(data: bytes) -> bool:
    """Return whether `is_truncated` knows the end of a file: an error of reading beyond a part of it is no cut then."""
    head = bytes(data[:8])
    is_known = head[:3] == b"\xff\xd8\xff" or head[:4] in (b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"\xff\x4f\xff\x51")
    return is_known or head[:2] == b"BM" or head[4:] in (b"ftyp", b"jP  ")


def ico_entries(data: bytes) -> list[tuple[int, int]]:
    """Return the offset and length in bytes of each image of an ICO file."""
    count = int.from_bytes(data[4:6], "little")
    entries = range(6, min(6 + 16 * count, len(data) - 15), 16)
    return [struct.unpack("<II", data[i + 8 : i + 16])[::-1] for i in entries]


_TIFF_BYTES = {
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    10: 8,
    12: 8,
}  # per value, by type; short values lie in the entry


def _tiff_ifd_end(data: bytes) -> int:
    """Return the end of a TIFF file's first directory and of the values that it points at."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def uint(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], order)

    first = uint(4, 4) + 2
    end = first + 12 * uint(first - 2, 2) + 4
    for entry in range(first, min(end, len(data)) - 4, 12):
        length = _TIFF_BYTES.get(uint(entry + 2, 2), 0) * uint(entry + 4, 4)
        if length > 4:
            end = max(end, uint(entry + 8, 4) + length)
    return end


_MAX_BOXES = 10_000  # a file of a gigabyte can hold a hundred million


def _isobmff_boxes_end(data: bytes) -> int:
    """Return the end of the last box of an AVIF, HEIF or JPEG 2000 file, beyond the data if truncated."""
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(data):
            break
        length = int.from_bytes(data[offset : offset + 4], "big")
        if length == 1:
            length = int.from_bytes(data[offset + 8 : offset + 16], "big")
        if length < 8:  # 0: up to the end of the file
            if bytes(data[offset + 4 : offset + 8]) == b"jp2c" and bytes(data[-2:]) != b"\xff\xd9":
                return len(data) + 1
            return offset
        offset += length
    return offset if offset >= len(data) else offset + 8


_HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer: the image itself was not fetched (git lfs pull)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"PK\x03\x04", "a ZIP archive, or a document in the form of one"),
    (0, b"BZh", "bzip2-compressed data"),
    (0, b"\xfd7zXZ", "xz-compressed data"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\xff\x0a", "a JPEG XL image, which needs a Pillow plugin (pillow_jxl) and formats="),
    (4, b"JXL ", "a JPEG XL image, which needs a Pillow plugin (pillow_jxl) and formats="),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"OggS", "an Ogg file"),
    (0, b"\x7fELF", "a program"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (4, b"ftypcrx ", "a raw photograph of a Canon camera (CR3)"),
    (0, b"FUJIFILMCCD-RAW", "a raw photograph of a Fujifilm camera (RAF)"),
    (0, b"FOVb", "a raw photograph of a Sigma camera (X3F)"),
    (0, b"\0MRM", "a raw photograph of a Minolta camera (MRW)"),
    (0, b"IIRO", "a raw photograph of an Olympus camera (ORF)"),
    (0, b"IIRS", "a raw photograph of an Olympus camera (ORF)"),
    (0, b"MMOR", "a raw photograph of an Olympus camera (ORF)"),
    (0, b"IIU\0", "a raw photograph of a Panasonic camera (RW2)"),
    (0, b"\0\5\x16\7", "an AppleDouble file of macOS, which accompanies the image of the same name without '._'"),
    (0, b"\0\5\x16\0", "an AppleSingle file of macOS"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"CDF\1", "a NetCDF file"),
    (0, b"CDF\2", "a NetCDF file"),
    (344, b"n+1\0", "a NIfTI volume"),
    (0, b"gimp xcf", "a GIMP project (XCF)"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"BPG\xfb", "a BPG image"),
    (0, b"FLIF", "a FLIF image"),
    (0, b"farbfeld", "a farbfeld image"),
    (0, b"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (0, b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (0, b"II\xbc\1", "a JPEG XR image"),
    (0, b"SDPX", "a DPX image"),
    (0, b"XPDS", "a DPX image"),
    (0, b"\x80\x2a\x5f\xd7", "a Cineon image"),
    (6, b"HEAPCCDR", "a raw photograph of a Canon camera (CRW)"),
    (0, b"qoif", "a QOI image; add 'QOI' to formats="),
    (0, b"P7\n", "a Netpbm file of arbitrary channels (PAM)"),
    (0, b"#?RADIANCE", "a Radiance image (HDR)"),
    (0, b"#?RGBE", "a Radiance image (HDR)"),
    (0, b"\xd0\xcf\x11\xe0", "a document of Microsoft Office"),
)


def _describe_content(data: bytes) -> str | None:
    """Return a description of a file that is no image, None if its first bytes are unknown."""
    if bytes(data[4:12]) in _HEIF:
        return "a HEIC image, which needs pillow_heif: import and register it, and add 'HEIF' to formats="
    for offset, signature, name in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return name + _reader_hint(name)
    if bytes(data[4:8]) == b"ftyp" and bytes(data[8:12]) not in (b"avif", b"avis"):
        return "an MP4 or QuickTime video"
    if (data[12:16] == b"IHDR" or data[1:4] == b"PNG") and data[:8] != b"\x89PNG\r\n\x1a\n":
        return "nearly a PNG file: its signature is damaged, as a transfer in text mode does"
    if _is_zero(data):
        return f"nothing but zero bytes ({len(data)} of them)"
    return _describe_text(bytes(data[:512]))


_SUFFIXES = {
    "a PDF document": ".pdf",
    "an HDF5 file": ".h5",
    "a DICOM file": ".dcm",
    "a NumPy array (.npy)": ".npy",
    "a FITS file": ".fits",
    "a NetCDF file": ".nc",
    "a NIfTI volume": ".nii",
    "an OpenEXR image": ".exr",
    "a DPX image": ".dpx",
    "a JPEG XR image": ".jxr",
}
"""Suffixes of formats that other packages read."""


def _reader_hint(name: str) -> str:
    """Return a hint for a format that a function of the user may read, else an empty text."""
    suffix = _SUFFIXES.get(name)
    if suffix is None and name.startswith("a raw photograph"):
        suffix = f".{name[name.rindex('(') + 1 : -1].lower()}"
    return "" if suffix is None else f"; readers={{{suffix!r}: function}} reads it with a function of yours"


def _is_zero(data: bytes) -> bool:
    zeros = bytes(2**20)  # compared in blocks: `any` takes ten seconds for a gigabyte
    blocks = (data[start : start + len(zeros)] for start in range(0, len(data), len(zeros)))
    return all(block == zeros[: len(block)] for block in blocks)


_MARKUP = (("<svg", "an SVG drawing"), ("<html", "an HTML page"), ("<!doctype html", "an HTML page"))


def _describe_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 512 else "ignore").strip()
    except UnicodeDecodeError:
        return None
    if not text or sum(char.isprintable() or char.isspace() for char in text) < len(text):
        return None
    lowered = text.lower()
    if lowered.startswith("%!ps") or text.startswith(("P1", "P2", "P3", "/* XPM", "#define")):
        return None  # images as text, whose format Pillow names
    if lowered.startswith("<"):
        name = next((name for tag, name in _MARKUP if tag in lowered), "an XML or HTML document")
        return f"{name}, not an image"
    return "text, not an image"  # the text may be a secret, and failures are shown and stored
