"""Frames of one file, one after the other: a frame of an animation is the change of the one before.

To open the file for each of its frames would decode all earlier ones each time, in quadratic time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from pandas_imgproc.codec.identify import check_pixels, explain_errors, open_image, seek
from pandas_imgproc.codec.limits import check_header

if TYPE_CHECKING:
    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions

_FORMATS = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # whose frames Pillow decodes one after the other


def open_frame(data: bytes, options: DecodeOptions, opened: list[ImageFile.ImageFile]) -> ImageFile.ImageFile:
    """Open an image at the frame of the options, from the earlier frame that is open, if there is one.

    It is taken out of `opened`: an image at which an error was raised is not used again.
    """
    image = opened.pop() if opened else None
    if image is None or image.tell() >= options.frame:
        return open_image(data, options, options.frame)
    if image.tell() == 0:  # only the first frame was to be read
        check_header(data, options.limits, all_frames=True)
    with explain_errors(data):
        seek(image, options.frame, data)
    check_pixels(image.size, options.max_pixels)
    return image


def hold_frame(image: ImageFile.ImageFile, pixels: Any, opened: list[ImageFile.ImageFile]) -> Any:
    """Hold an image that may have later frames, and return its pixels as a copy, which may be changed."""
    if image.format not in _FORMATS or not getattr(image, "is_animated", False) or not isinstance(pixels, Image.Image):
        return pixels
    opened.append(image)
    copy = pixels.copy()
    copy.info = dict(pixels.info)
    return copy
