"""Loading of one image without a frame: `load_image`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.kernel import NullLedger, run_partition
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import check, decode_data_uri, is_data_uri, make_source
from pandas_imgproc.tasks import LoadResized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    import numpy as np


@delegates((codec.decode_options, codec.DecodeKwargs.__annotations__))
def load_image(
    source: str | os.PathLike[str] | bytes,
    size: int | tuple[int, int],
    *,
    frame: int = 0,
    storage_options: Mapping[str, Any] | None = None,
    schemes: Sequence[str] = (),
    redirect_hosts: Sequence[str] | None = None,
    **options: Unpack[codec.DecodeKwargs],
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Load one image with the same pixels as in an image column, such as for inference with a trained model.

    Parameters
    ----------
    source : path, URL, or bytes
        Image file, or its encoded bytes.
    size : int or (int, int)
        Pixels: one side of a square, or ``(width, height)``.
    frame : int
        Frame of an animation, from 0 up.
    storage_options, schemes, redirect_hosts
        As in `Series.img.load_resized`.
    mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth
        As in `Series.img.load_resized`, with the same defaults.
    max_pixels, limits, formats, readers, strict, engine, color_profile
        As in `Series.img.load_resized`, with the same defaults.

    Returns
    -------
    ndarray of uint8, shape (height, width, channels)

    Raises
    ------
    UnreadableImageError
        With ``kind`` and ``message``.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> load_image("red.png", size=(6, 4)).shape
    (4, 6, 3)
    """
    task = LoadResized(codec.decode_options(size=size, frame=frame, **options))
    value = os.fspath(source) if isinstance(source, os.PathLike) else source
    value = decode_data_uri(value) if is_data_uri(value) else value
    reader = make_source(storage_options=storage_options, schemes=schemes, redirect_hosts=redirect_hosts)
    check(reader, [value])
    # The kernel, for one row: any exception of a decoder becomes a kind and a message.
    rows = PartitionInput(range(1), [value])
    result = run_partition(task, rows, reader, NullLedger(), codec.PillowSettings.current())
    if result.failures:
        failure = result.failures[0]
        raise UnreadableImageError(failure["kind"], f"{failure['path']!r}: {failure['message']}")
    if result.status[0] < 0:
        raise TypeError("source=None is not an image; give a path or the encoded bytes")
    assert result.values is not None
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = result.values[0]
    return pixels
