"""Bytes to pixels: identify, decode at a reduced scale, orient, flatten, scale depth, resize."""

from __future__ import annotations

import functools
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.stages import stage

from .reasons import claims, icon_entries, is_cut_off, unidentified
from .recipes import FILTERS, FORMATS, Recipe, import_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Box = tuple[float, float, float, float]
    Size = tuple[int, int]

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, struct.error)

# ---- identify


def open_image(
    data: bytes,
    formats: tuple[str, ...] = FORMATS,
    *,
    max_pixels: int | None = None,
    frame: int = 0,
    plugins: tuple[str, ...] = (),
) -> ImageFile.ImageFile:
    """Read the header of a picture: nothing is decoded, and nothing but an allowed format is opened.

    Parameters
    ----------
    data : bytes
        The whole file.
    formats : tuple of str
        The formats that may be opened.
    max_pixels : int, optional
        More than these (width times height) are refused. Pillow's own limit, twice
        ``PIL.Image.MAX_IMAGE_PIXELS``, always holds.
    frame : int, default 0
    plugins : tuple of str
        Modules that teach Pillow those of the formats that it does not know by itself.

    Returns
    -------
    PIL.ImageFile.ImageFile
        Not yet loaded (an ICO file excepted: Pillow decodes it at once).

    Raises
    ------
    UnreadableImageError
        Of kind "empty", "unidentified", "truncated", "corrupt", "too_large" or "unsupported".

    Examples
    --------
    >>> open_image(b"%!PS-Adobe-3.0 EPSF-3.0")
    Traceback (most recent call last):
    pandas_imgproc.errors.UnreadableImageError: a file of format EPS, which formats= does not allow \
[unidentified]
    """
    if not len(data):
        raise UnreadableImageError("empty", "the file has no bytes")
    if max_pixels is not None and bytes(data[:4]) == b"\0\0\1\0":
        _check_pixels(_icon_size(data), max_pixels)
    with _cut_off_is_said(data):
        image = _identify(data, formats, plugins)
        if frame:
            _seek(image, frame)
    _check_pixels(image.size, max_pixels)
    return image


def warm_up() -> None:
    """Import what Pillow would import with the first picture."""
    Image.preinit()


def load(data: Any, recipe: Recipe) -> Image.Image:
    """Return the picture as the recipe says: decoded, upright, flattened, resized.

    Parameters
    ----------
    data : bytes, or ndarray of uint8, shape (height, width, channels)
        The whole file; or a picture that is in memory already, or anything with its ``__array_interface__``.
    recipe : Recipe
        With ``size=None`` the picture keeps its own size.

    Returns
    -------
    PIL.Image.Image
        In ``recipe.mode``; in mode "P" a palette picture keeps its palette and a grey one stays "L", the
        pixels are the numbers of the classes either way. Of what the file says beside the pixels it has the
        colour profile, ``info["icc_profile"]``, and nothing else.

    Raises
    ------
    Exception
        Whatever a decoder raises at broken bytes, and that is much more than OSError: see `explain`.

    Notes
    -----
    With ``reducing_gap=None`` a plain RGB file gives, byte for byte,
    ``ImageOps.exif_transpose(im).convert("RGB").resize(size)``, `PIL.ImageOps.fit` for "crop" and
    `PIL.ImageOps.pad` for "pad".
    """
    if hasattr(data, "__array_interface__"):
        return _from_memory(np.asarray(data), recipe)
    with stage("decode"):
        image = open_image(
            data, recipe.formats, max_pixels=recipe.max_pixels, frame=recipe.frame, plugins=recipe.plugins
        )
        turn = _turn(image, recipe) if image.format in _TURNED_BEFORE else None
        full = image.size
        box = _draft(image, recipe, turn)
        depth = _raw_mode(image)
        if image.format == "PNG":
            _check_sums(data)
        # Pillow feeds a decoder 64 KB at a time and copies what is left over: quadratic in the width of a row,
        # and a file of one kilobyte whose header says eight million columns took 20 s.
        image.decodermaxblock = max(image.decodermaxblock, 4 * image.size[0])
        with _cut_off_is_said(data):
            image.load()
    with stage("resize"):
        if image.format not in _TURNED_BEFORE:
            # PNG and WebP may carry EXIF after the pixels, and a TIFF file is turned by Pillow at load
            turn, full = _turn(image, recipe), image.size
        profile = image.info.get("icc_profile")
        finished = _finish(_in_mode(image, recipe, depth), recipe, turn, full, box)
        finished.info = {"icc_profile": profile} if profile else {}
        return finished


def _from_memory(pixels: NDArray[Any], recipe: Recipe) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise UnreadableImageError("unsupported", f"images of {pixels.dtype} are not pictures; only those of uint8 are")
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    with stage("resize"):
        return _finish(_in_mode(image, recipe, ""), recipe, None, image.size, None)


def decode_into(data: Any, recipe: Recipe, out: NDArray[np.uint8]) -> None:
    """Write the picture into the caller's array, which may be a slice of a block.

    Parameters
    ----------
    data : bytes, or ndarray of uint8, shape (height, width, channels)
        As in `load`.
    recipe : Recipe
    out : ndarray of uint8, shape (height, width, channels)
        ``recipe.shape``; untouched when something is raised.

    Examples
    --------
    >>> from pandas_imgproc.codec import recipe
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    >>> out = np.zeros((2, 2, 3), np.uint8)
    >>> decode_into(buffer.getvalue(), recipe(2), out)
    >>> out[0, 0].tolist()
    [255, 0, 0]
    """
    image = load(data, recipe)
    with stage("resize"):
        # Measured: the array interface copies twice and is still faster than Arrow's view of four bytes per
        # pixel, and within two percent of driving Pillow's private encoder into the slice.
        pixels = np.asarray(image)
        out[...] = pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _identify(data: bytes, formats: tuple[str, ...], plugins: tuple[str, ...]) -> ImageFile.ImageFile:
    signed = _signed(formats)
    buffer = io.BytesIO(data)
    try:
        return Image.open(buffer, formats=signed)
    except KeyError:
        # a format of a plugin that this process has not imported
        import_plugins(plugins)
        signed = tuple(name for name in signed if name in Image.OPEN)
    except UnidentifiedImageError:
        pass
    # Files without a signature look like TGA now and then: it is asked only when nobody else claims the file.
    claimed = [name for name in signed if claims(name, data)]
    try:
        return Image.open(buffer, formats=signed if claimed or "TGA" not in formats else ("TGA",))
    except UnidentifiedImageError:
        raise unidentified(data, formats, claimed) from None


@functools.lru_cache(maxsize=64)
def _signed(formats: tuple[str, ...]) -> tuple[str, ...]:
    # Pillow reads MPO through its JPEG plugin and knows no opener of that name.
    names = ["JPEG" if name == "MPO" else name for name in formats if name != "TGA"]
    return tuple(dict.fromkeys(names))


def _seek(image: ImageFile.ImageFile, frame: int) -> None:
    try:
        image.seek(frame)
    except EOFError:
        frames = getattr(image, "n_frames", 1)
        raise UnreadableImageError(
            "unsupported", f"there is no frame {frame}: the picture has {frames}, counted from 0"
        ) from None


class _cut_off_is_said:  # noqa: N801  reads as a statement
    """Name the reason that most decoders do not: they only say "broken" of a file that is shorter than it says."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        told = isinstance(error, UnreadableImageError)
        if isinstance(error, _DECODER_ERRORS) and not told and is_cut_off(self.data):
            raise UnreadableImageError("truncated", f"the file ends too early: {error}") from error


def _check_pixels(size: Size, max_pixels: int | None) -> None:
    pixels = size[0] * size[1]
    if max_pixels is not None and pixels > max_pixels:
        raise UnreadableImageError(
            "too_large", f"{size[0]} x {size[1]} = {pixels} pixels are more than max_pixels={max_pixels}"
        )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > 2 * limit:  # not every plugin asks again after seek()
        raise Image.DecompressionBombError(
            f"{size[0]} x {size[1]} = {pixels} pixels are more than Pillow's limit of {2 * limit}"
        )


def _check_sums(data: bytes) -> None:
    """Compare the checksums of a PNG file's pixels, which Pillow leaves out: what a flipped bit shows is no picture."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    view, start = memoryview(data), 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        name, told = bytes(view[start + 4 : start + 8]), view[end : end + 4]
        wrong = len(told) == 4 and zlib.crc32(view[start + 4 : end]) != int.from_bytes(told, "big")
        if name == b"IDAT" and wrong:
            raise UnreadableImageError("corrupt", "the checksum of its pixels is wrong")
        start = end + 4


def _icon_size(data: bytes) -> Size:
    # The directory has one byte per side, the pictures inside may be any size, and Pillow decodes in open.
    largest = (0, 0)
    for offset, _ in icon_entries(data):
        inner = data[offset : offset + 24]
        if inner[:4] == b"\x89PNG":
            size = int.from_bytes(inner[16:20], "big"), int.from_bytes(inner[20:24], "big")
        else:
            size = int.from_bytes(inner[4:8], "little"), int.from_bytes(inner[8:12], "little") // 2
        largest = max(largest, size, key=lambda pair: pair[0] * pair[1])
    return largest


# ---- orient

_UPRIGHT: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK: dict[Any, Image.Transpose] = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
_SIDEWAYS = {_UPRIGHT[tag] for tag in (5, 6, 7, 8)}
_ORIENTATION = 0x0112
_EXIF_KEYS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_BROKEN_EXIF = (SyntaxError, ValueError, TypeError, LookupError, OSError, ArithmeticError, struct.error)
# Of these the turn must be known before load(): draft needs it, or Pillow turns (and forgets) by itself.
_TURNED_BEFORE = ("JPEG", "MPO", "TIFF")


def _turn(image: ImageFile.ImageFile, recipe: Recipe) -> Image.Transpose | None:
    if image.format == "TIFF":
        # Pillow turns it upright in load(): nothing is left to do, or all of it to undo.
        return None if recipe.exif_transpose else _by_tag(image, _BACK)
    # getexif() is dear, and most pictures have nothing to tell
    if not recipe.exif_transpose or not any(key in image.info for key in _EXIF_KEYS):
        return None
    return _by_tag(image, _UPRIGHT)


def _by_tag(image: ImageFile.ImageFile, turns: dict[Any, Image.Transpose]) -> Image.Transpose | None:
    try:
        return turns.get(image.getexif().get(_ORIENTATION))
    except _BROKEN_EXIF:
        return None  # a broken EXIF block is no reason to lose a readable picture


# ---- flatten

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_BY_WAY_OF_RGB = ("LAB", "HSV", "YCbCr", "RGBX")  # Pillow converts these to nothing else


def _in_mode(image: Image.Image, recipe: Recipe, raw: str) -> Image.Image:
    if recipe.mode == "P":
        return _classes(image)
    image = _eight_bits(image, recipe, raw)
    if not image.has_transparency_data:
        if image.mode == "L" and recipe.mode in ("RGB", "RGBA"):
            return image  # a third of the work, and the same pixels: _finish repeats the channel
    else:
        image = _flat(image, recipe, raw)
    if image.mode == recipe.mode:
        return image
    if image.mode in _BY_WAY_OF_RGB:
        image = image.convert("RGB")
    return image.convert(recipe.mode)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return how the samples are stored, before load() forgets it: "L;4", "RGB;16B", "I;12"."""
    args: Any = image.tile[0][3] if image.tile else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def _eight_bits(image: Image.Image, recipe: Recipe, raw: str) -> Image.Image:
    """Return "L" or "LA" for a picture of 16-bit grey levels, any other as it is."""
    if image.mode == "F" and recipe.scale_depth:
        _check_range("F", np.asarray(image), 255, above=1)
    if not (image.mode.startswith("I;16") or (image.mode == "I" and recipe.scale_depth)):
        return image
    levels = np.asarray(image)
    if recipe.scale_depth:
        _check_range(image.mode, levels, 65535)
    grey = _scaled(levels, 4095 if "12" in raw else 65535) if recipe.scale_depth else image.convert("L")
    transparent = image.info.get("transparency")
    if recipe.background is None and recipe.mode != "RGBA":
        transparent = None
    if transparent is None:
        return grey
    # Pillow compares after clipping, which makes the whole picture transparent.
    alpha = np.where(levels == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _check_range(mode: str, levels: NDArray[Any], top: int, above: float = -1) -> None:
    """Refuse levels whose white is nowhere written and cannot be meant: what was shown would be black or clipped."""
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and above < high <= top):
        raise UnreadableImageError(
            "unsupported",
            f"a picture of mode {mode} with levels from {low:g} to {high:g}: what is white in it is not known; "
            "scale_depth=False clips it as Pillow does",
        )


def _scaled(levels: NDArray[Any], top: int) -> Image.Image:
    # The range of a 32-bit picture is nowhere written: within 16 bits it is read as 16 bits, as most writers mean it.
    wide = np.clip(levels, 0, top).astype(np.uint32)
    wide *= 255
    wide += top // 2
    wide //= top
    return Image.fromarray(wide.astype(np.uint8))


# Pillow widens these samples to 8 bits and leaves the transparent level as the file has it.
_TRANSPARENT_LEVEL: dict[str, Callable[[int], int]] = {
    "1": lambda level: 255 if level else 0,
    "L;2": lambda level: (level & 3) * 85,
    "L;4": lambda level: (level & 15) * 17,
    "RGB;16B": lambda level: level >> 8,
}


def _flat(image: Image.Image, recipe: Recipe, raw: str) -> Image.Image:
    """Return the picture in "RGBA" if that is wanted, else on its background, else without its alpha."""
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if recipe.mode != "RGBA" and recipe.background is None:
        return image.convert("RGB") if image.mode == "RGBA" else image
    level, widen = image.info.get("transparency"), _TRANSPARENT_LEVEL.get(raw)
    if widen is not None and level is not None:
        image.info["transparency"] = tuple(map(widen, level)) if isinstance(level, tuple) else widen(level)
    if image.mode != "RGBA":  # convert() would copy
        image = image.convert("RGBA")
    if recipe.mode == "RGBA":
        return image
    ground = Image.new("RGB", image.size, recipe.background)
    # Before the resize: the colours hidden below transparency would bleed into the edges.
    ground.paste(image, mask=image)
    return ground


def _classes(image: Image.Image) -> Image.Image:
    """Return a picture whose pixels are the numbers of a mask's classes."""
    if image.mode in ("P", "L"):
        return image
    if image.mode == "1":
        return image.convert("L").point([0] + [1] * 255)
    if image.mode == "PA":
        return image.getchannel("P")
    if image.mode.startswith("I"):
        numbers = np.asarray(image)
        if int(numbers.min()) >= 0 and int(numbers.max()) <= 255:
            return Image.fromarray(numbers.astype(np.uint8))
        raise UnreadableImageError(
            "unsupported",
            f"mode='P' holds class numbers up to 255, this picture has {numbers.min()} to {numbers.max()}",
        )
    raise UnreadableImageError(
        "unsupported",
        "mode='P' wants a palette or grey picture, whose pixels are class numbers; "
        f"this one is {image.mode}: use mode='RGB'",
    )


# ---- resize


def _draft(image: ImageFile.ImageFile, recipe: Recipe, turn: Image.Transpose | None) -> Box | None:
    """Let a JPEG be decoded at a reduced scale; return the part of it that shows the picture."""
    if recipe.size is None or recipe.reducing_gap is None:
        return None
    width, height = _target(image.size, recipe, turn)
    wanted = int(width * recipe.reducing_gap), int(height * recipe.reducing_gap)
    # Grey is stored as it is in a JPEG file: nothing else need be decoded.
    drafted = image.draft("L" if recipe.mode == "L" else None, wanted)
    return None if drafted is None else drafted[1]


def _finish(
    image: Image.Image, recipe: Recipe, turn: Image.Transpose | None, full: Size, box: Box | None
) -> Image.Image:
    """Resize, turn, pad.

    The exact way turns first, as one does by hand; else turning the small result is cheaper, and draft's
    fractional box need not be turned.
    """
    if turn is not None and (recipe.size is None or recipe.reducing_gap is None):
        image, full, turn = image.transpose(turn), _seen(full, turn), None
    if recipe.size is not None:
        size = _seen(recipe.size, turn)
        if recipe.fit == "crop":
            box = _crop_box((box[2], box[3]) if box else image.size, size)
        image = _resized(image, _target(full, recipe, turn), recipe, box)
    if turn is not None:
        image = image.transpose(turn)
    if recipe.mode != "P" and image.mode != recipe.mode:
        image = image.convert(recipe.mode)
    if recipe.fit == "pad" and recipe.size is not None and image.size != recipe.size:
        return _padded(image, recipe.size, recipe)
    return image


def _resized(image: Image.Image, size: Size, recipe: Recipe, box: Box | None) -> Image.Image:
    resample, gap = FILTERS[recipe.resample], recipe.reducing_gap
    if image.mode == "RGBA" and gap is not None:
        # resize() does the same by itself, but forgot the gap before Pillow 12
        return image.convert("RGBa").resize(size, resample, box, gap).convert("RGBA")
    return image.resize(size, resample, box, gap)


def _seen(size: Size, turn: Image.Transpose | None) -> Size:
    return (size[1], size[0]) if turn in _SIDEWAYS else size


def _target(full: Size, recipe: Recipe, turn: Image.Transpose | None) -> Size:
    """Return the size that the picture itself is given before it is turned."""
    assert recipe.size is not None
    # Of the upright picture, as a person would reckon: rounding is not the same for both sides.
    return _seen(_KEEPING_ASPECT.get(recipe.fit, _as_asked)(_seen(full, turn), recipe.size), turn)


def _as_asked(full: Size, size: Size) -> Size:  # noqa: ARG001  the others need it
    return size


def _contained(full: Size, size: Size) -> Size:
    """Return the size of a picture that lies within another, as `PIL.ImageOps.contain`."""
    (width, height), ratio, wanted = size, full[0] / full[1], size[0] / size[1]
    if ratio > wanted:
        return width, max(1, round(full[1] / full[0] * width))
    if ratio < wanted:
        return max(1, round(full[0] / full[1] * height)), height
    return size


def _as_thumbnail(full: Size, size: Size) -> Size:
    """Return the size of a picture that lies within another and is never enlarged, as `PIL.Image.Image.thumbnail`."""
    (width, height), ratio = size, full[0] / full[1]
    if width >= full[0] and height >= full[1]:
        return full
    if width / height >= ratio:
        return _nearest(height * ratio, lambda side: abs(ratio - side / height)), height
    return width, _nearest(width / ratio, lambda side: abs(ratio - width / side) if side else 0)


def _nearest(side: float, error: Callable[[int], float]) -> int:
    """Return the whole number beside a length whose aspect is nearest, at least 1."""
    return max(min(math.floor(side), math.ceil(side), key=error), 1)


_KEEPING_ASPECT: dict[str, Callable[[Size, Size], Size]] = {
    "pad": _contained,
    "contain": _contained,
    "thumbnail": _as_thumbnail,
}


def _crop_box(live: tuple[float, float], size: Size) -> Box:
    """Return the middle of a picture in the size's proportions, as `PIL.ImageOps.fit`, to the last bit."""
    width, height = live
    ratio = size[0] / size[1]
    if width / height > ratio:
        width = ratio * height
    elif width / height < ratio:
        height = width / ratio
    left, top = (live[0] - width) * 0.5, (live[1] - height) * 0.5
    return left, top, min(left + width, live[0]), min(top + height, live[1])


def _padded(image: Image.Image, size: Size, recipe: Recipe) -> Image.Image:
    canvas = Image.new(image.mode, size, _ground(recipe.background, recipe.mode))
    palette = image.getpalette() if image.mode == "P" else None
    if palette is not None:
        canvas.putpalette(palette)
    canvas.paste(image, (round((size[0] - image.width) * 0.5), round((size[1] - image.height) * 0.5)))
    return canvas


@functools.lru_cache(maxsize=64)
def _ground(background: tuple[int, ...] | None, mode: str) -> Any:
    if background is None:
        return 0
    colour = Image.new("RGBA" if len(background) == 4 else "RGB", (1, 1), background)
    return colour.convert("L" if mode == "P" else mode).getpixel((0, 0))
