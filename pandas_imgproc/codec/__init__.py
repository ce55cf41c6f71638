"""Bytes to pixels and back, with Pillow.

`recipes`   everything that changes the pixels, one frozen value
`encode_options`  pixels to the bytes of a file
`opening`   which image a file is, and whether it may be decoded
`pixels`    the only way from bytes to pixels: a column, one image for serving, a saved file cannot
            differ; by way of `orient`, `flatten` and `resizing`
`header`    what a file says of its image before it is decoded
`working`   a smaller image to measure
`reasons`   why it was no image
`settings`  Pillow's globals, which belong to the user
"""

from pandas_imgproc.codec.decode import decode_into, load
from pandas_imgproc.codec.diagnose import INTERRUPTS, classify_error
from pandas_imgproc.codec.downscale import downscale
from pandas_imgproc.codec.encode import (
    FORMAT_OF,
    READ_SUFFIXES,
    SUFFIX_OF,
    EncodeOptions,
    check_modes,
    encode,
    encode_options,
    format_of,
)
from pandas_imgproc.codec.header import Header, read_header
from pandas_imgproc.codec.identify import open_image, preinit
from pandas_imgproc.codec.options import (
    CHANNELS,
    FILTERS,
    FITS,
    FORMATS,
    DecodeKwargs,
    DecodeOptions,
    decode_options,
    parse_size,
)
from pandas_imgproc.codec.pillow_globals import PillowSettings, pillow_settings

__all__ = [
    "CHANNELS",
    "FILTERS",
    "FITS",
    "FORMATS",
    "FORMAT_OF",
    "INTERRUPTS",
    "READ_SUFFIXES",
    "SUFFIX_OF",
    "DecodeKwargs",
    "DecodeOptions",
    "EncodeOptions",
    "Header",
    "PillowSettings",
    "check_modes",
    "classify_error",
    "decode_into",
    "decode_options",
    "downscale",
    "encode",
    "encode_options",
    "format_of",
    "load",
    "open_image",
    "parse_size",
    "pillow_settings",
    "preinit",
    "read_header",
]
