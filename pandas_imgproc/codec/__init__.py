"""Codec of images, with Pillow and SIMD packages: bytes to pixels and back.

`decode` is the only way from bytes to pixels, so that a column, an image for serving and a saved file cannot differ.
It goes through `identify`, `color_profile`, `orientation`, `convert` and `resize`, and with the engine "simd" through
`jpeg_turbo` and `simd_resize` where they apply.
"""

from pandas_imgproc.codec.decode import decode_into, load, verify
from pandas_imgproc.codec.diagnose import classify_error
from pandas_imgproc.codec.downscale import downscale
from pandas_imgproc.codec.encode import (
    READ_SUFFIXES,
    SUFFIX_OF,
    EncodeOptions,
    check_modes,
    encode,
    encode_options,
    format_of,
)
from pandas_imgproc.codec.engine import require_engine
from pandas_imgproc.codec.header import Header, read_header, read_upright_size
from pandas_imgproc.codec.identify import preinit
from pandas_imgproc.codec.libjpeg import can_be_strict
from pandas_imgproc.codec.limits import Limits
from pandas_imgproc.codec.option_values import parse_size
from pandas_imgproc.codec.options import (
    CHANNELS,
    FORMATS,
    DecodeKwargs,
    DecodeOptions,
    decode_options,
    mask_options,
)
from pandas_imgproc.codec.pillow_globals import PillowSettings, pillow_settings, restore_functions
from pandas_imgproc.codec.resize import resized_geometry

__all__ = [
    "CHANNELS",
    "FORMATS",
    "READ_SUFFIXES",
    "SUFFIX_OF",
    "DecodeKwargs",
    "DecodeOptions",
    "EncodeOptions",
    "Header",
    "Limits",
    "PillowSettings",
    "can_be_strict",
    "check_modes",
    "classify_error",
    "decode_into",
    "decode_options",
    "downscale",
    "encode",
    "encode_options",
    "format_of",
    "load",
    "mask_options",
    "parse_size",
    "pillow_settings",
    "preinit",
    "read_header",
    "read_upright_size",
    "require_engine",
    "resized_geometry",
    "restore_functions",
    "verify",
]
