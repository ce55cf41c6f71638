"""``.img`` on pandas: check the arguments, make the task, call a driver, wrap the answer."""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import os
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

from pandas_imgproc import codec, drivers, failures, results
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.destination import in_memory
from pandas_imgproc.source import Source, Unreadable, cells
from pandas_imgproc.tasks import LoadResized, Verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from pandas_imgproc.destination import Retry
    from pandas_imgproc.failures import Errors
    from pandas_imgproc.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")


class SeriesImageAccessor:
    """``series.img``: a column of pictures, as paths, encoded bytes, ``{bytes, path}`` structs or images.

    Parameters
    ----------
    column : Series
        The column.
    """

    def __init__(self, column: pd.Series[Any]) -> None:
        self._column = column

    def load_resized(
        self,
        size: int | tuple[int, int],
        *,
        mode: str = "RGB",
        fit: str = "stretch",
        resample: str = "bicubic",
        reducing_gap: float | None = 2.0,
        background: str | tuple[int, ...] | None = "white",
        exif_transpose: bool = True,
        scale_depth: bool = True,
        frame: int = 0,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        errors: Errors = "warn",
        root: str | os.PathLike[str] | None = None,
        suffix: str | None = None,
        npartitions: int | None = None,
        progress: bool | None = None,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        retry: Retry = "passing",
    ) -> pd.Series[Any]:
        """Load each picture at one size, as a column of images.

        Parameters
        ----------
        size : int or (int, int)
            Pixels: one side of a square, or ``(width, height)`` as Pillow has it.
        mode : {"RGB", "L", "RGBA", "P", "CMYK"}
            Pillow's mode of the answer; its channels are 3, 1, 4, 1 and 4. ``"P"`` keeps the class numbers of a
            mask and is always resized by ``"nearest"``.
        fit : {"stretch", "crop", "pad"}
            How a picture of another aspect becomes this shape: stretched; filling it, the rest cut off
            (`PIL.ImageOps.fit`); or all of it on the background (`PIL.ImageOps.pad`).
        resample : {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}
            Pillow's filter.
        reducing_gap : float or None
            As in `PIL.Image.Image.thumbnail`: a JPEG is decoded at a reduced scale of at least `reducing_gap`
            times the size, and other pictures are reduced before they are resized. None is exact and slower.
        background : color or None
            What is behind transparent pixels and around padded pictures, in any of Pillow's notations. None drops
            transparency and shows the hidden colours.
        exif_transpose : bool
            Whether pictures are turned upright by their EXIF orientation.
        scale_depth : bool
            Whether 16 bits are scaled to 8; False clips them as Pillow's ``convert`` does.
        frame : int
            Which frame of an animation.
        max_pixels : int, optional
            Pictures of more pixels are failures of kind ``too_large``. It can only lower Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``).
        formats : sequence of str
            Pillow's names of the formats that are read, by default `pandas_imgproc.FORMATS`; add what a plugin brings.
        errors : {"warn", "coerce", "raise"}
            What becomes of pictures that cannot be read: missing values and one warning, missing values in
            silence, or an exception at the first.
        root : path, optional
            The folder that relative paths start from; nothing outside of it is read.
        suffix : str, optional
            Added to each name: ``suffix=".jpg"`` for a column of ids.
        npartitions : int, optional
            How many partitions; a call that says so runs on a cluster.
        progress : bool, optional
            Whether a bar is shown; by default where there is a terminal or a notebook.
        out : path, optional
            A ``.npy`` file that is written as pictures are done, with a journal beside it. The same call again
            continues: what is done is not read again, unless its file has changed. A frame that has grown at its
            end continues with the new rows. The answer maps the file; nothing is read until it is used.
        overwrite : bool
            Whether `out` is started anew, whatever stands there.
        retry : {"passing", "all"}
            Which failed rows of an earlier run are tried again: those that failed for a passing reason
            (``missing``, ``remote``, ``timeout``, ``worker_died``), or all.

        Returns
        -------
        Series
            Named ``image``, of `ImageDtype` ``image[uint8, (height, width, channels)]``, with the index of the
            column.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong; before anything is read.
        NoReadableImageError
            If none of at least two pictures could be read, with ``errors="warn"``.
        UnreadableImageError
            At the first picture that cannot be read, with ``errors="raise"``.
        ResultTooLargeError
            If the answer cannot fit into memory, and there is no `out`.
        JournalError
            If what stands at `out` is of another job or another frame.
        OSError
            If `out` cannot be written; what was finished is kept.

        Notes
        -----
        Row i of the answer is the picture of row i, whatever the index holds. A missing path is a missing image
        and not a failure; every other row without an image is in ``.img.failures``.

        Examples
        --------
        >>> folder = getfixture("photos")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg", None]}, index=["r", "b", "none"])
        >>> df["image"] = df.img.load_resized("image_path", size=(6, 4), root=folder)
        >>> df["image"].dtype
        image[uint8, (4, 6, 3)]
        >>> df.dropna(subset=["image"])["image"].img.to_numpy().shape
        (2, 4, 6, 3)
        """
        recipe = codec.recipe(
            size=size, mode=mode, fit=fit, resample=resample, reducing_gap=reducing_gap, background=background,
            exif_transpose=exif_transpose, scale_depth=scale_depth, frame=frame, max_pixels=max_pixels,
            formats=formats,
        )  # fmt: skip
        kept = results.place(out, overwrite=overwrite, retry=retry)
        column: pd.Series[Any] = self._run(LoadResized(recipe), errors, root, suffix, npartitions, progress, kept)
        return column

    def verify(
        self,
        *,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        root: str | os.PathLike[str] | None = None,
        suffix: str | None = None,
        npartitions: int | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Tell which pictures are broken, by decoding each to its last pixel and keeping none.

        Parameters
        ----------
        max_pixels, formats, root, suffix, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            ``kind`` (category) and ``message`` (string), with the index of the column; both are missing where a
            picture is whole, or where there is no path.

        Examples
        --------
        >>> folder = getfixture("photos")
        >>> df = pd.DataFrame({"image_path": ["red.png", "half.jpg"]}, index=["r", "h"])
        >>> df.img.verify("image_path", root=folder)["kind"].to_dict()
        {'r': nan, 'h': 'truncated'}
        """
        recipe = codec.recipe(size=None, max_pixels=max_pixels, formats=formats)
        verdict: pd.DataFrame = self._run(Verify(recipe), "coerce", root, suffix, npartitions, progress)
        return verdict

    def to_numpy(
        self, dtype: Any = None, copy: bool = False, na_value: Any = pd.api.extensions.no_default
    ) -> np.ndarray[Any, Any]:
        """Return an image column as one block.

        Parameters
        ----------
        dtype : dtype, optional
            Another dtype than the column's, for example ``"float32"``; makes one copy.
        copy : bool
            Whether the block is the caller's own and writeable; by default it is a read-only view.
        na_value : scalar, optional
            What the pixels of missing images are.

        Returns
        -------
        ndarray of dtype, shape (n, height, width, channels)

        Raises
        ------
        MissingImagesError
            If images are missing and no `na_value` is given.

        Examples
        --------
        >>> column = pd.Series([np.zeros((4, 6, 3), "uint8"), None], dtype="image[uint8, (4, 6, 3)]")
        >>> column.img.to_numpy(na_value=255)[:, 0, 0, 0]
        array([  0, 255], dtype=uint8)
        """
        return self._images.to_block(dtype=dtype, copy=copy, na_value=na_value)

    @property
    def failures(self) -> pd.DataFrame:
        """Why rows have no picture.

        Returns
        -------
        DataFrame
            Index: the labels of the failed rows. Columns: ``position`` (int64; in the frame of the call),
            ``path``, ``kind`` (category), ``message``.

        Examples
        --------
        >>> column = pd.Series(["red.png", "gone.png"]).img.load_resized(4, root=getfixture("photos"), errors="coerce")
        >>> column.img.failures
           position      path     kind                message
        1         1  gone.png  missing  there is no such file
        """
        return failures.table(self._column)

    @property
    def failure(self) -> pd.Series[Any]:
        """The kind of failure of each row of an image column, missing where there is none.

        Returns
        -------
        Series of category
            Named ``failure``, with the index of the column.
        """
        return pd.Series(self._images.kinds(), index=self._column.index, name="failure")

    @property
    def _images(self) -> ImageArray:
        if isinstance(self._column.array, ImageArray):
            return self._column.array
        raise TypeError(
            f"the column {self._column.name!r} holds {self._column.dtype}, not images; "
            "load it first: .img.load_resized(size=64)"
        )

    def _run(
        self,
        task: Task,
        errors: Errors,
        root: str | os.PathLike[str] | None,
        suffix: str | None,
        npartitions: int | None,
        progress: bool | None,
        kept: results.Place | None = None,
    ) -> Any:
        """Do a task on every row, and wrap the answer with the index of the column."""
        errors = failures.check_errors(errors)
        source = Source(_check_root(root), _check_suffix(suffix), _working_directory())
        _check_column(self._column, source)
        rows = _cells(self._column)
        call = drivers.Call(
            task, source, rows, _check_count("npartitions", npartitions), progress,
            stop_at_failure=errors == "raise",
        )  # fmt: skip
        destination = in_memory(task, len(rows)) if kept is None else kept.open(call, self._column.index)
        drivers.run(call, destination)
        status, failed = destination.status()
        failures.report(errors, status, failed, self._column.index, source)
        return destination.wrap(task, self._column.index)


def _check_column(column: pd.Series[Any], source: Source) -> None:
    dtype = column.dtype
    if isinstance(dtype, ImageDtype) or not pd.api.types.is_numeric_dtype(dtype) or column.isna().all():
        return
    if pd.api.types.is_any_real_numeric_dtype(dtype) and source.suffix is not None:
        return
    advice = "if they are names of files, say which with suffix='.jpg' (and root=)"
    raise TypeError(f"the column {column.name!r} holds {dtype}, not paths; {advice}")


def _cells(column: pd.Series[Any]) -> list[Any]:
    """Return what stands in a column; in an image column also why some images are missing."""
    found = cells(column)
    if isinstance(column.array, ImageArray):
        for position, failed in zip(*column.array.failure_rows(), strict=True):
            found[position] = Unreadable(failed["path"], failed["kind"], failed["message"])
    return found


def _check_root(root: object) -> str | None:
    if root is None:
        return None
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root={root!r} is not a folder; give a path such as 'train'")
    return os.fspath(root)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: relative paths are missing, absolute ones are not
        return ""


def _check_suffix(suffix: object) -> str | None:
    if suffix is None or isinstance(suffix, str):
        return suffix
    raise TypeError(f"suffix={suffix!r} is not a text such as '.jpg'")


def _check_count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise ValueError(f"{name}={value!r} is less than 1")
    return int(value)


def _column_of(frame: pd.DataFrame, column: Any) -> pd.Series[Any]:
    """Return a column of a frame; a mistyped one lists the near names."""
    if not isinstance(column, Hashable):
        raise TypeError(f"column={column!r:.100} is not the name of a column; give one name, such as 'image_path'")
    if column not in frame.columns:
        near = difflib.get_close_matches(str(column), [str(name) for name in frame.columns], cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {list(frame.columns)[:10]}"
        raise KeyError(f"the frame has no column {column!r}; {hint}")
    found: pd.Series[Any] | pd.DataFrame = frame[column]
    if isinstance(found, pd.DataFrame):
        raise ValueError(f"the frame has {found.shape[1]} columns named {column!r}; rename them, or use .iloc[:, k]")
    return found


def _on_column(
    method: Callable[Concatenate[SeriesImageAccessor, P], R],
) -> Callable[Concatenate[FrameImageAccessor, Any, P], R]:
    """Return a method of a column as one of a frame, which is told the column first."""

    @functools.wraps(method)
    def on_frame(self: FrameImageAccessor, column: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(SeriesImageAccessor(_column_of(self._frame, column)), *args, **kwargs)

    signature = inspect.signature(method)
    own, *rest = signature.parameters.values()
    column = inspect.Parameter("column", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    on_frame.__signature__ = signature.replace(parameters=[own, column, *rest])  # type: ignore[attr-defined]
    return on_frame  # type: ignore[return-value]  # the column may be named, which Concatenate cannot say


class FrameImageAccessor:
    """``df.img``: the methods of ``series.img``, each told the column of pictures first.

    Parameters
    ----------
    frame : DataFrame
        The frame.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    load_resized = _on_column(SeriesImageAccessor.load_resized)
    verify = _on_column(SeriesImageAccessor.verify)

    @property
    def failures(self) -> pd.DataFrame:
        """Why rows of an answer that is a frame have no value (see `SeriesImageAccessor.failures`)."""
        return failures.table(self._frame)


def register() -> None:
    """Register ``.img`` on the frames and columns of pandas."""
    pd.api.extensions.register_dataframe_accessor("img")(FrameImageAccessor)
    pd.api.extensions.register_series_accessor("img")(SeriesImageAccessor)
