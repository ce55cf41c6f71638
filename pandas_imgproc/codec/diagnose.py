"""Why it was no image: a kind and a sentence for whatever a decoder raised or could not identify."""

from __future__ import annotations

import io
import re
import struct
from typing import Literal

from PIL import Image, UnidentifiedImageError

from pandas_imgproc.errors import FailureKind, UnreadableImageError

INTERRUPTS = (KeyboardInterrupt,)
"""What the caller raised to stop. All else costs a row, also what is no `Exception`: panics of Rust code are none, and
a worker that lets a `GeneratorExit` through never answers."""

_TRUNCATED = re.compile(
    r"truncated|unexpected end|end of (file|data|image)|reached EOF|EOF while|ended|not enough|"
    r"only got|buffer is not large enough|fewer bytes|requires a buffer|premature|incomplete",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|not (yet )?implemented|not available|illegal conversion|not installed",
    re.IGNORECASE,
)
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
    (SystemExit, "corrupt", "the decoder asked Python to exit"),
)
_BY_TEXT: tuple[tuple[re.Pattern[str], FailureKind, str], ...] = (
    (
        re.compile("out of memory|memory exhausted", re.IGNORECASE),
        "too_large",
        "it needs more memory than there is",
    ),
    (_UNSUPPORTED, "unsupported", "Pillow cannot decode this variant"),
    (_TRUNCATED, "truncated", "the file ends too early"),
    (re.compile("cannot load this image"), "corrupt", "there are no pixels in the file"),
)


def classify_error(exc: BaseException) -> tuple[FailureKind, str]:
    """Return the kind and a one-line reason of anything that reading or decoding an image raised.

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
        return exc.kind, _one_line(exc.message)
    text = _one_line(str(exc))
    for types, kind, said in _BY_TYPE:
        if isinstance(exc, types):
            return kind, _one_line(f"{said}: {text}" if text else said)
    for pattern, kind, said in _BY_TEXT:
        if pattern.search(text):
            return kind, _one_line(f"{said}: {text}")
    return "corrupt", _one_line(f"it cannot be decoded: {type(exc).__name__}: {text}".rstrip(": "))


_ADDRESS = re.compile(r"<_io\.\w+ object at 0x[0-9a-fA-F]+>")
_BYTES = re.compile(r"""b?'[^']*\\x[^']*'|b?"[^"]*\\x[^"]*\"""")


def _one_line(text: str) -> str:
    """Return text that fits into a cell of a table: a decoder quotes what it found, whatever that is."""
    text = _BYTES.sub("(bytes)", _ADDRESS.sub("the file", text))
    text = " ".join("".join(char if " " <= char <= "~" or char.isalpha() else " " for char in text).split())
    return text if len(text) <= 300 else text[:299] + "…"


def matches_signature(name: str, data: bytes) -> bool:
    """Return whether the file begins as files of this format do."""
    _, accept = Image.OPEN.get(name, (None, None))
    try:
        return accept is not None and accept(bytes(data[:16])) is True
    except (SyntaxError, IndexError, TypeError, struct.error):
        return False  # Image.open forgives the same


def unidentified_error(data: bytes, formats: tuple[str, ...], claimed: list[str]) -> UnreadableImageError:
    """Say why Image.open knew nothing of a file: it hides the reason of each plugin."""
    heif = bytes(data[4:12]) in _HEIF
    if claimed and not heif:
        return _broken_header(data, claimed[0])
    seen = _looks_like(data)
    if seen is None:
        other = [name for name in sorted(Image.OPEN) if name not in formats and matches_signature(name, data)]
        seen = f"a file of format {other[0]}, which formats= does not allow" if other else None
    first = " ".join(f"{byte:02x}" for byte in data[:8])
    return UnreadableImageError("unidentified", _one_line(seen or f"no image; its first bytes are {first}"))


def _broken_header(data: bytes, name: str) -> UnreadableImageError:
    reason: BaseException = SyntaxError("it begins so and is none")
    try:
        Image.OPEN[name][0](io.BytesIO(data), "")
    except (SyntaxError, LookupError, TypeError, ValueError, OSError, struct.error) as error:
        inner = error.args[0] if error.args else None
        reason = inner if isinstance(inner, BaseException) else error
    kind, _ = classify_error(reason)
    if is_truncated(data) or kind == "truncated":
        return UnreadableImageError("truncated", f"a file of format {name} that ends within its header")
    text = str(reason).replace("not identified by this driver", "its header says nothing that Pillow knows")
    if isinstance(reason, LookupError):
        text = f"{type(reason).__name__}: {text}"
    kind = "unsupported" if kind == "unsupported" else "corrupt"
    return UnreadableImageError(kind, _one_line(f"a broken {name} file: {text}"))


def is_truncated(data: bytes) -> bool:
    """Return whether a file is shorter than it says itself; decoders often only say "broken"."""
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
        return _directory_end(data) > size
    if head[:4] == b"\0\0\1\0":
        return any(offset + length > size for offset, length in ico_entries(data))
    if head[4:8] in (b"ftyp", b"jP  "):
        return _boxes_end(data) > size
    return head[:4] == b"\xff\x4f\xff\x51" and bytes(data[-2:]) != b"\xff\xd9"


def ico_entries(data: bytes) -> list[tuple[int, int]]:
    """Return where each image of an ICO file begins, and its length in bytes."""
    count = int.from_bytes(data[4:6], "little")
    starts = range(6, min(6 + 16 * count, len(data) - 15), 16)
    return [
        (int.from_bytes(data[at + 12 : at + 16], "little"), int.from_bytes(data[at + 8 : at + 12], "little"))
        for at in starts
    ]


_TIFF_BYTES = {2: 1, 3: 2, 4: 4, 5: 8, 10: 8, 12: 8}  # of one value, where they may lie outside of the entry


def _directory_end(data: bytes) -> int:
    """Return where the first directory of a TIFF file and the values it points at end."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def number(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], order)

    first = number(4, 4) + 2
    end = first + 12 * number(first - 2, 2) + 4
    for entry in range(first, min(end, len(data)) - 4, 12):
        length = _TIFF_BYTES.get(number(entry + 2, 2), 0) * number(entry + 4, 4)
        if length > 4:
            end = max(end, number(entry + 8, 4) + length)
    return end


def _boxes_end(data: bytes) -> int:
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:  # 0: up to the end, whatever that is
            if bytes(data[position + 4 : position + 8]) == b"jp2c" and bytes(data[-2:]) != b"\xff\xd9":
                return len(data) + 1
            return position
        position += length
    return position if position >= len(data) else position + 8


_HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer: the image itself was not fetched (git lfs pull)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"PK\x03\x04", "a ZIP archive, or a document made of one"),
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
)


def _looks_like(data: bytes) -> str | None:
    """Return what a file is that no image can be read from, if its first bytes tell."""
    if bytes(data[4:12]) in _HEIF:
        return "a HEIC image, which needs pillow_heif: import and register it, and add 'HEIF' to formats="
    if bytes(data[4:8]) == b"ftyp" and bytes(data[8:12]) not in (b"avif", b"avis"):
        return "an MP4 or QuickTime video"
    for offset, signature, name in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return name
    if (data[12:16] == b"IHDR" or data[1:4] == b"PNG") and data[:8] != b"\x89PNG\r\n\x1a\n":
        return "nearly a PNG file: its signature is damaged, as a transfer in text mode does"
    if not any(data):
        return f"nothing but zero bytes ({len(data)} of them)"
    return _looks_like_text(bytes(data[:512]))


_MARKUP = (("<svg", "an SVG drawing"), ("<html", "an HTML page"), ("<!doctype html", "an HTML page"))


def _looks_like_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 512 else "ignore").strip()
    except UnicodeDecodeError:
        return None
    if not text or sum(char.isprintable() or char.isspace() for char in text) < len(text):
        return None
    lowered = text.lower()
    if lowered.startswith("%!ps") or text.startswith(("P1", "P2", "P3", "/* XPM", "#define")):
        return None  # images as text, which Pillow has a name for
    if lowered.startswith("<"):
        for sign, name in _MARKUP:
            if sign in lowered:
                return f"{name}, not an image"
        return "an XML or HTML document, not an image"
    return "text, not an image"  # what it says may be a secret, and failures are shown and kept
