"""The methods that load images, and those of an image column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec, failures
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import ReadKwargs, SourceKwargs, read_options, with_read_kwargs, with_source_kwargs
from pandas_imgproc.sinks.out import parse_out
from pandas_imgproc.tasks import LoadResized, Verify

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    import numpy as np

    from pandas_imgproc.sinks import Retry


class _LoadMethods(_ImageAccessorBase):
    """Load images as they are, or at one size."""

    @with_read_kwargs
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
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Load each image at one size, as a column of images.

        Parameters
        ----------
        size : int or (int, int)
            Pixels: one side of a square, or ``(width, height)`` as Pillow has it.
        mode : {"RGB", "L", "RGBA", "P", "CMYK"}
            Pillow's mode of the answer; its channels are 3, 1, 4, 1 and 4. ``"P"`` keeps the class numbers of a
            mask and is always resized by ``"nearest"``.
        fit : {"stretch", "crop", "pad"}
            How an image of another aspect becomes this shape: stretched; filling it, the rest cut off
            (`PIL.ImageOps.fit`); or all of it on the background (`PIL.ImageOps.pad`).
        resample : {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}
            Pillow's filter.
        reducing_gap : float or None
            As in `PIL.Image.Image.thumbnail`: a JPEG is decoded at a reduced scale of at least `reducing_gap`
            times the size, and other images are reduced before they are resized. None is exact and slower.
        background : color or None
            What is behind transparent pixels and around padded images, in any of Pillow's notations. None drops
            transparency and shows the hidden colours.
        exif_transpose : bool
            Whether images are turned upright by their EXIF orientation.
        scale_depth : bool
            Whether 16 bits are scaled to 8; False clips them as Pillow's ``convert`` does.
        frame : int
            Which frame of an animation.
        max_pixels : int, optional
            Images of more pixels are failures of kind ``too_large``. It can only lower Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``).
        formats : sequence of str
            Pillow's names of the formats that are read, by default `pandas_imgproc.FORMATS`; add what a plugin brings.
        errors : {"warn", "coerce", "raise"}
            What becomes of images that cannot be read: missing values and one warning, missing values in
            silence, or an exception at the first.
        root : path or URL, optional
            What relative paths start from, and nothing outside of it is read: a folder, here or at a URL
            (``"gs://bucket/train"``), or a ``.zip`` or plain ``.tar`` archive, whose members are read in place.
        suffix : str, optional
            Added to each name: ``suffix=".jpg"`` for a column of ids.
        storage_options : dict, optional
            For the file system of fsspec that reads URLs: ``{"anon": True}``, or by scheme
            ``{"s3": {…}, "https": {"headers": {…}}}``. They are never shown.
        schemes : sequence of str
            Schemes of URLs that are read beside file, s3, gs, http and https: ``["sftp"]``. One that stands before
            ``::`` allows chained URLs: ``["simplecache"]``.
        npartitions : int, optional
            How many partitions; a call that says so runs on a cluster.
        progress : bool, optional
            Whether a bar is shown; by default where there is a terminal or a notebook.
        out : path, optional
            A ``.npy`` file, or a folder ``….parquet`` of parts (here or at a URL), that is written as images are
            done, with a journal. The same call again continues: what is done is not read again, unless its file has
            changed. A frame that has grown at its end continues with the new rows. The answer maps the ``.npy`` file,
            and nothing is read until it is used; of a folder it is the part that holds each row, and
            `pandas_imgproc.read_result` reads them.
        overwrite : bool
            Whether `out` is started anew, whatever stands there.
        retry : {"transient", "all"}
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
        MissingExtraError
            If what reads the URLs is not installed; before anything is read.
        NoReadableImageError
            If none of at least two images could be read, with ``errors="warn"``.
        UnreadableImageError
            At the first image that is found not to be readable, with ``errors="raise"``: where several are, and are
            read at the same time, it may be any of the first.
        ResultTooLargeError
            If the answer cannot fit into memory, and there is no `out`.
        JournalError
            If what stands at `out` is of another job or another frame.
        OSError
            If `out` cannot be written; what was finished is kept.

        Notes
        -----
        Row i of the answer is the image of row i, whatever the index holds. A missing path is a missing image
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
        decode_options = codec.decode_options(
            size=size, mode=mode, fit=fit, resample=resample, reducing_gap=reducing_gap, background=background,
            exif_transpose=exif_transpose, scale_depth=scale_depth, frame=frame, max_pixels=max_pixels,
            formats=formats,
        )  # fmt: skip
        how = read_options(**options)
        column: pd.Series[Any] = self._run(
            LoadResized(decode_options),
            how,
            parse_out(out, overwrite=overwrite, retry=retry, options=how.source.options),
        )
        return column

    @with_source_kwargs
    def verify(
        self,
        *,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        npartitions: int | None = None,
        progress: bool | None = None,
        **options: Unpack[SourceKwargs],
    ) -> pd.DataFrame:
        """Tell which images are broken, by decoding each to its last pixel and keeping none.

        Parameters
        ----------
        max_pixels, formats, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            ``kind`` (category) and ``message`` (string), with the index of the column; both are missing where a
            image is whole, or where there is no path.

        Examples
        --------
        >>> folder = getfixture("photos")
        >>> df = pd.DataFrame({"image_path": ["red.png", "half.jpg"]}, index=["r", "h"])
        >>> df.img.verify("image_path", root=folder)["kind"].to_dict()
        {'r': nan, 'h': 'truncated'}
        """
        decode_options = codec.decode_options(size=None, max_pixels=max_pixels, formats=formats)
        how = read_options(errors="coerce", npartitions=npartitions, progress=progress, **options)
        verdict: pd.DataFrame = self._run(Verify(decode_options), how)
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
        return self._image_array.to_pixels(dtype=dtype, copy=copy, na_value=na_value)

    @property
    def failures(self) -> pd.DataFrame:
        """Why rows have no image.

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
        return failures.failures_frame(self._column)

    @property
    def failure_kind(self) -> pd.Series[Any]:
        """The kind of failure of each row of an image column, missing where there is none.

        Returns
        -------
        Series of category
            Named ``failure``, with the index of the column.
        """
        return pd.Series(self._image_array.failure_kinds(), index=self._column.index, name="failure")
