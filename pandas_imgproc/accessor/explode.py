"""Methods that return a long frame: a row for each frame of an image, or for each of its tiles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc._delegates import delegates
from pandas_imgproc._labels import full_label
from pandas_imgproc._validation import check_bool
from pandas_imgproc.accessor.features import _FeatureMethods
from pandas_imgproc.accessor.options import LIMITS, READ, InspectKwargs, decode_and_read_options
from pandas_imgproc.codec import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    Array = np.ndarray[Any, np.dtype[Any]]

BOX_COLUMNS = ("x", "y", "w", "h")


class _ExplodeMethods(_FeatureMethods):
    """Methods that return a row for each part of an image."""

    @delegates(LIMITS, READ)
    def frames(self, **options: Unpack[InspectKwargs]) -> pd.DataFrame:
        """Return a row for each frame of each image: of an animation, or the pages of a TIFF file.

        Only headers are read. ``load_resized("image_path", size=64, frame="frame")`` on the result loads the frames.

        Parameters
        ----------
        max_pixels, limits, formats, readers
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            The exploded frame: each row as often as its image has frames, with all columns; of a series, that column.
            The index has one more level, ``frame``, from 0 up. A row without an image has one row, whose frame is
            missing, as in `pandas.DataFrame.explode`; the reasons are in ``.img.failures``.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong, or the frame has a column or level of a name that the result needs.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> df = pd.DataFrame({"image_path": ["red.png", "scan.tif"]})
        >>> pages = [Image.new("L", (8, 8), level) for level in (0, 100, 200)]
        >>> pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
        >>> pages = df.img.frames("image_path")
        >>> pages["image_path"].tolist()
        ['red.png', 'scan.tif', 'scan.tif', 'scan.tif']
        >>> images = pages.img.load_resized("image_path", size=4, frame="frame")
        >>> images.img.to_numpy()[:, 0, 0, 1].tolist()
        [0, 0, 100, 200]
        """
        return self._explode_headers("frames", explode_frames, ("frame",), options)

    @delegates(LIMITS, READ)
    def tiles(
        self,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
        keep_partial: bool = True,
        **options: Unpack[InspectKwargs],
    ) -> pd.DataFrame:
        """Return a row for each tile of each image, with its box.

        Only headers are read. ``load_resized("image_path", 256, box=["x", "y", "w", "h"])`` on the result loads the
        tiles; each image is decoded once for many of them.

        Parameters
        ----------
        size : int or (int, int)
            Pixels of a tile: one side of a square, or ``(width, height)``.
        stride : int or (int, int), optional
            Pixels from one tile to the next, to the right and down; by default `size`. Less than that lets tiles
            overlap.
        keep_partial : bool
            Whether there are tiles that reach beyond the right or the lower edge of the image. Without them a part of
            the image may be in no tile.
        max_pixels, limits, formats, readers
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            The exploded frame, as of `frames`, with the columns ``x``, ``y``, ``w`` and ``h`` (Int64): pixels of the
            upright image. The index has one more level, ``tile``, from 0 up, row by row from the upper left corner.
            All tiles have the same width and height: with ``outside="pad"`` those at the edges are filled with the
            background, and with ``outside="clip"`` and without a size they are cut off. An image without a tile has one
            row, which is missing, as a row without an image has.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong, or the frame has a column or level of a name that the result needs.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]})  # of 30 x 20 and 20 x 30 pixels
        >>> tiles = df.img.tiles("image_path", size=20)
        >>> tiles[["x", "y", "w", "h"]].values.tolist()
        [[0, 0, 20, 20], [20, 0, 20, 20], [0, 0, 20, 20], [0, 20, 20, 20]]
        >>> tiles.index.tolist()
        [(0, 0), (0, 1), (1, 0), (1, 1)]
        """
        tile = parse_size(size)
        step = tile if stride is None else _parse_stride(stride)
        explode = functools.partial(
            explode_tiles, tile=tile, step=step, partial=check_bool("keep_partial", keep_partial)
        )
        return self._explode_headers("tiles", explode, ("tile", *BOX_COLUMNS), options)

    def _explode_headers(
        self, method: str, explode: Callable[..., pd.DataFrame], names: tuple[str, ...], options: Any
    ) -> pd.DataFrame:
        """Return each row of the frame as often as its header demands."""
        check_names_are_free(method, names, self._column, self._frame)
        decode_and_read = decode_and_read_options(None, options, engine="pillow")  # nothing is decoded
        headers = self._measure(method, ["width", "height", "n_frames"], None, *decode_and_read)
        return self._explode_rows(explode, headers)

    def _explode_rows(self, explode: Callable[..., pd.DataFrame], headers: Any) -> pd.DataFrame:
        return explode(self._column.to_frame() if self._frame is None else self._frame, headers)


def check_names_are_free(method: str, names: tuple[str, ...], column: Any, frame: Any) -> None:
    """Raise a ValueError if the frame has columns or levels of names that the exploded frame needs."""
    levels = getattr(column.index, "names", [column.index.name])  # an index of Dask has one level
    columns = [column.name] if frame is None else list(frame.columns)
    for name in names:
        where = "the index has a level" if name in levels else "the frame has a column" if name in columns else None
        if where is not None:
            raise ValueError(
                f"{where} {name!r}, and the result of {method} needs that name; rename it, for example "
                f"df.rename(columns={{{name!r}: '{name}_before'}})"
            )


def explode_frames(frame: pd.DataFrame, headers: pd.DataFrame) -> pd.DataFrame:
    """Return each row of a frame as often as its image has frames, with the level ``frame`` in the index."""
    n_frames = headers["n_frames"].where(headers["n_frames"].notna() | headers["width"].isna(), 1)
    exploded, _ = _repeat(frame, headers, n_frames.to_numpy(dtype=np.int64, na_value=0), "frame")
    return exploded


def explode_tiles(
    frame: pd.DataFrame, headers: pd.DataFrame, tile: tuple[int, int], step: tuple[int, int], *, partial: bool
) -> pd.DataFrame:
    """Return each row of a frame as often as its image has tiles, with their boxes."""
    sides = [headers[name].to_numpy(dtype=np.int64, na_value=0) for name in ("width", "height")]
    n_columns, n_rows = (_count(sides[k], tile[k], step[k], partial=partial) for k in range(2))
    exploded, numbers = _repeat(frame, headers, n_columns * n_rows, "tile")
    per_row = np.repeat(np.maximum(n_columns, 1), np.maximum(n_columns * n_rows, 1))
    left, top = numbers % per_row * step[0], numbers // per_row * step[1]
    missing = numbers < 0
    for name, values in zip(BOX_COLUMNS, np.broadcast_arrays(left, top, *tile), strict=True):
        column = pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
        exploded[full_label(name, exploded.columns)] = column
    return exploded


def _count(sides: Array, tile: int, step: int, *, partial: bool) -> Array:
    """Return the number of tiles along a side."""
    if not partial:
        full: Array = np.maximum((sides - tile) // step + 1, 0)
        return full
    n_to_edge = -((tile - sides) // step) + 1  # one that reaches the edge is the last
    counts: Array = np.where(sides > 0, np.clip(n_to_edge, 1, -(-sides // step)), 0)
    return counts


def _repeat(frame: pd.DataFrame, headers: pd.DataFrame, counts: Array, level: str) -> tuple[pd.DataFrame, Array]:
    """Return each row n times, but at least once, and the number of each repetition, -1 of none."""
    n = np.maximum(counts, 1)
    rows = np.repeat(np.arange(len(frame)), n)
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(n) - n, n)
    numbers[np.repeat(counts == 0, n)] = -1
    exploded = frame.take(rows)
    unnamed = frame.index.set_names([None] * frame.index.nlevels)  # an integer name would be taken for a position
    levels = [unnamed.get_level_values(k).take(rows) for k in range(frame.index.nlevels)]
    index = pd.MultiIndex.from_arrays([*levels, np.maximum(numbers, 0)], names=[*frame.index.names, level])
    codes: Any = [*index.codes[:-1], np.where(numbers < 0, -1, index.codes[-1])]
    exploded.index = index.set_codes(codes)
    exploded.attrs["failures"] = headers.attrs.get("failures", ())
    return exploded, numbers


def _parse_stride(stride: Any) -> tuple[int, int]:
    try:
        return parse_size(stride)
    except (TypeError, ValueError) as exc:
        raise type(exc)(str(exc).replace("size", "stride", 1)) from exc
