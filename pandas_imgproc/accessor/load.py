"""Methods that load and verify images, and those of an image column."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec, failures
from pandas_imgproc._delegates import delegates
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    DECODE,
    FORMAT,
    LIMITS,
    READ,
    REGION,
    SOURCE,
    STORE,
    FormatKwargs,
    InspectKwargs,
    LoadKwargs,
    decode_and_read_options,
    load_options,
    read_options,
)
from pandas_imgproc.tasks import LoadResized, Verify

if TYPE_CHECKING:
    from typing import Unpack

    import numpy as np


logger = logging.getLogger("pandas_imgproc")


@functools.lru_cache(maxsize=1)
def _log_missing_simplejpeg() -> None:
    logger.warning("verify accepts JPEG files that Pillow accepts: pip install simplejpeg to find all broken ones")


class _LoadMethods(_ImageAccessorBase):
    """Methods that load and verify images."""

    @delegates(DECODE, REGION, STORE, READ)
    def load_resized(self, size: int | tuple[int, int], **options: Unpack[LoadKwargs]) -> pd.Series[Any]:
        """Load each image at one size, as a column of images.

        Parameters
        ----------
        size : int or (int, int)
            Pixels: one side of a square, or ``(width, height)`` as in Pillow.
        mode : {"RGB", "L", "RGBA", "P", "CMYK"}
            Pillow's mode of the result; its channels are 3, 1, 4, 1 and 4. ``"P"`` keeps the class numbers of a
            mask and is always resized by ``"nearest"``.
        fit : {"stretch", "crop", "pad"}
            Fit of an image of another aspect: stretched; filling the shape, with the rest cut off
            (`PIL.ImageOps.fit`); or complete on the background (`PIL.ImageOps.pad`).
        resample : {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}
            Pillow's filter.
        reducing_gap : float or None
            As in `PIL.Image.Image.thumbnail`: a JPEG is decoded at a reduced scale of at least `reducing_gap`
            times the size, and other images are reduced before they are resized. None is exact and slower.
        background : color or None
            Color behind transparent pixels and around padded images, in any of Pillow's notations. None drops
            transparency and shows the hidden colors.
        exif_transpose : bool
            Whether images are turned upright by their EXIF orientation.
        scale_depth : bool
            Whether 16 bits are scaled to 8; False clips them as Pillow's ``convert`` does.
        frame : int, label, or array-like of int
            Frame of an animation, or page of a TIFF file, from 0 up: one number for all rows; or on a frame the name of
            the column, or of the level of the index, that holds the number of each row; or these numbers, shape (n,).
        box : list of four labels, label, or array-like of float, optional
            Box of each row that is loaded in place of the whole image: the names of four columns, or levels of the
            index, such as ``["x", "y", "w", "h"]``; of one column of sequences of four numbers, or of their texts; or a
            frame or an array of shape (n, 4). Boxes are in the pixels of the upright image, from its upper left corner,
            half-open and to a fraction of a pixel. The image is cropped before it is resized: `fit` and `reducing_gap`
            are about the crop. A row without a box is missing, without a failure; one whose box has no area, or none in
            the image, is a failure of kind ``region``. A file of several rows is decoded once in each partition.
        box_format : {"xywh", "xyxy", "cxcywh"}
            Four numbers of a box: corner, width and height (COCO); two corners (Pascal VOC); center, width and height
            (YOLO).
        box_unit : {"pixel", "fraction"}
            Unit of the boxes: pixels, or fractions of the image's width and height.
        margin : float
            Fraction of a box's width that is added on its left and on its right, and of its height above and below.
        outside : {"clip", "pad"}
            Treatment of the part of a box that is outside of the image: cut off, or filled with `background`.
        max_pixels : int, optional
            Images of more pixels are failures of kind ``too_large``. It can only lower Pillow's own limit
            (``PIL.Image.MAX_IMAGE_PIXELS``).
        limits : dict of str to int or None, optional
            Bounds of the work for one image, such as ``{"scans": 500}``: an image above one is a failure of kind
            ``too_large``. Those that are not named keep their defaults, None is unlimited. The names are
            ``decoded_bytes``, ``header_bytes``, ``text_bytes``, ``segments``, ``comments`` and ``scans``; a table is on
            the page about failures.
        formats : sequence of str
            Pillow's names of the formats that are read, by default `pandas_imgproc.FORMATS`; add those of a plugin.
        readers : dict of str or (int, bytes) to callable, optional
            Functions of yours for formats that Pillow does not know, by the suffix of a name or by a signature at an
            offset: ``{".dcm": read_dicom}`` or ``{(128, b"DICM"): read_dicom}``. They come before Pillow and `formats`,
            take the bytes of the file, and ``frame=`` if they have that argument, and return ndarray of uint8 or
            uint16, shape (height, width) or (height, width, 1 to 4); 65,535 is white. They travel as the function of
            `map` does, and an exception is that row's failure, of kind ``function``.
        strict : bool
            Whether a warning of the decoder is a failure, of kind ``truncated`` for a premature end and ``corrupt``
            otherwise. False accepts what Pillow accepts: half a JPEG with an end marker is gray below. It costs a
            second pass over the data of each JPEG and PNG file, except of JPEG files with ``engine="simd"``.
        engine : {"auto", "simd", "pillow"}
            Packages that decode and resize. ``"simd"`` decodes common JPEG files with simplejpeg, to Pillow's very
            pixels, and resizes with cykooz-resizer by ``"bicubic"``, ``"bilinear"`` and ``"lanczos"``: faster, and on
            average at least as close to the exact filter as Pillow, from which it differs by rounding. All else is
            Pillow's with every engine. ``"auto"`` is ``"simd"`` where both packages are installed, and ``"pillow"``
            with ``reducing_gap=None``.
        color_profile : {"srgb", "ignore"}
            Colors of a file with a color profile (ICC): ``"srgb"`` converts them where the profile is another one, such
            as Display P3 of phones or Adobe RGB of cameras, as a viewer shows them; ``"ignore"`` keeps the numbers in
            the file, as Pillow does. Class numbers and samples of 16 bits are never converted, and a broken profile is
            ignored.
        errors : {"warn", "coerce", "raise"}
            Policy for images that cannot be read: missing values and one warning, missing values without a
            warning, or an exception at the first.
        root : path or URL, optional
            Base of relative paths; nothing outside of it is read. A local folder, a URL (``"gs://bucket/train"``),
            or a ``.zip`` or ``.tar`` archive, whose members are read without extracting it; a local ``.tar.gz``,
            ``.tar.bz2``, ``.tar.xz`` or ``.tar.zst`` is decompressed once, to a file beside it. Without a root, a
            path may go on behind the name of a local archive: ``"train.zip/cat/1.jpg"``.
        suffix : str, optional
            Added to each name: ``suffix=".jpg"`` for a column of ids.
        storage_options : dict, optional
            For the file system of fsspec that reads URLs: ``{"anon": True}``, or by scheme
            ``{"s3": {…}, "https": {"headers": {…}}}``. They are never shown.
        schemes : sequence of str
            Schemes of URLs that are read in addition to file, s3, gs, http and https: ``["sftp"]``. One that is used
            before ``::`` allows chained URLs: ``["simplecache"]``.
        redirect_hosts : sequence of str, optional
            Hosts to which a web server may redirect: ``["cdn.example.org"]``, or with a port or a scheme. By default
            every redirect stays below a root, and without a root it may lead anywhere. Headers and credentials of
            ``storage_options`` are sent to their own server only, never to another host, not to one of these either.
        npartitions : int, optional
            Number of partitions; a call that gives it runs on a cluster.
        progress : bool, optional
            Whether a progress bar is shown; by default in a terminal or a notebook.
        out : path, optional
            A ``.npy`` file, or a local or remote folder ``….parquet`` of parts, that is written while images are
            processed, with a journal. The same call again continues: finished rows are not read again, unless their
            file has changed. A frame that has grown at its end continues with the new rows. The result maps the
            ``.npy`` file, and nothing is read until it is used; of a folder it is the part that holds each row, and
            `pandas_imgproc.read_result` reads them.
        overwrite : bool
            Whether an existing `out` is replaced.
        retry : {"transient", "all"}
            Failed rows of an earlier run that are tried again: those with a transient failure
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
            If a package is not installed, before anything is read: that of the URLs, simplejpeg for ``strict=True``,
            or one for ``engine="simd"``. Also if a worker lacks a package of the engine that the caller has.
        NoReadableImageError
            If none of at least two images could be read, with ``errors="warn"``.
        UnreadableImageError
            At the first image that cannot be read, with ``errors="raise"``: of several that are read concurrently,
            it may be any of the first.
        ResultTooLargeError
            If the result cannot fit into memory, and there is no `out`.
        JournalError
            If the result at `out` belongs to another job or another frame.
        OSError
            If `out` cannot be written; finished rows stay on disk.

        Notes
        -----
        Row i of the result is the image of row i, independent of the index. A missing path is a missing image
        and not a failure; every other row without an image is in ``.img.failures``.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg", None]}, index=["r", "b", "none"])
        >>> df["image"] = df.img.load_resized("image_path", size=(6, 4))
        >>> df["image"].dtype
        image[uint8, (4, 6, 3)]
        >>> df.dropna(subset=["image"])["image"].img.to_numpy().shape
        (2, 4, 6, 3)
        """
        decode_options, read_options, store = load_options(size, options)
        column: pd.Series[Any] = self._run(LoadResized(decode_options), read_options, store)
        return column

    @delegates(LIMITS, (read_options, ("npartitions", "progress")), SOURCE, absent={"strict": "it is always strict"})
    def verify(self, **options: Unpack[InspectKwargs]) -> pd.DataFrame:
        """Find the broken images, by reading each to its last pixel without storing any.

        A warning of the decoder is a failure, as in `load_resized` with ``strict=True``. Without simplejpeg
        the warnings of libjpeg are unknown, which is logged once.

        Parameters
        ----------
        max_pixels, limits, formats, readers
            As in `load_resized`.
        root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            ``kind`` (category) and ``message`` (string), with the index of the column; both are missing where an
            image is intact, or where there is no path.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> from pathlib import Path
        >>> _ = Path("half.jpg").write_bytes(Path("blue.jpg").read_bytes()[:-50])
        >>> df = pd.DataFrame({"image_path": ["red.png", "half.jpg"]}, index=["r", "h"])
        >>> df.img.verify("image_path")["kind"].to_dict()
        {'r': nan, 'h': 'truncated'}
        """
        strict = codec.can_be_strict()
        if not strict:
            _log_missing_simplejpeg()
        decode_options, read_options = decode_and_read_options(
            None, {**options, "errors": "coerce"}, strict=strict, engine="pillow", color_profile="ignore"
        )
        report: pd.DataFrame = self._run(Verify(decode_options), read_options)
        return report

    @delegates(FORMAT)
    def to_numpy(
        self,
        dtype: Any = None,
        copy: bool = False,
        na_value: Any = pd.api.extensions.no_default,
        **options: Unpack[FormatKwargs],
    ) -> np.ndarray[Any, Any]:
        """Return an image column as one array.

        Parameters
        ----------
        dtype : dtype, optional
            Another dtype than the column's, for example ``"float32"``; requires one copy. By default ``float32`` if
            there is `scale`, `mean` or `std`.
        copy : bool
            Whether the array is a writeable copy; by default it is a read-only view.
        na_value : scalar, optional
            Value of the pixels of missing images, in the array that is returned.
        scale : number, optional
            Factor of the pixels: ``1 / 255`` for values from 0 to 1.
        mean, std : number, or sequence with one for each channel, optional
            As in torchvision's ``Normalize``: the pixels, after `scale`, minus `mean`, divided by `std`.
        channels : {"last", "first"}
            Order of the axes; ``"first"`` gives the shape (n, channels, height, width) of PyTorch.

        Returns
        -------
        ndarray of dtype, shape (n, height, width, channels)
            Written in one pass: no other array of this size is made.

        Raises
        ------
        MissingImagesError
            If images are missing and no `na_value` is given.
        ValueError, TypeError
            If an argument is wrong.

        Examples
        --------
        >>> column = pd.Series([np.zeros((4, 6, 3), "uint8"), None], dtype="image[uint8, (4, 6, 3)]")
        >>> column.img.to_numpy(na_value=255)[:, 0, 0, 0]
        array([  0, 255], dtype=uint8)
        >>> column.dropna().img.to_numpy(scale=1 / 255, mean=0.5, std=0.25, channels="first")[0, :, 0, 0]
        array([-2., -2., -2.], dtype=float32)
        """
        return self._image_array.to_pixels(dtype=dtype, copy=copy, na_value=na_value, **options)

    @property
    def failures(self) -> pd.DataFrame:
        """Failures: the rows without an image, and the reasons.

        Returns
        -------
        DataFrame
            Index: the labels of the failed rows. Columns: ``position`` (int64; in the frame of the call),
            ``path``, ``kind`` (category), ``message``.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> column = pd.Series(["red.png", "gone.png"]).img.load_resized(4, errors="coerce")
        >>> column.img.failures
           position      path     kind                message
        1         1  gone.png  missing  there is no such file
        """
        return failures.failures_frame(self._column)

    @property
    def failure_kind(self) -> pd.Series[Any]:
        """Kind of failure of each row of an image column; missing for every other row.

        Returns
        -------
        Series of category
            Named ``failure_kind``, with the index of the column; its categories are `pandas_imgproc.FAILURE_KINDS`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> column = pd.Series(["red.png", "gone.png"]).img.load_resized(4, errors="coerce")
        >>> column.img.failure_kind.tolist()
        [nan, 'missing']
        """
        return pd.Series(self._image_array.failure_kinds(), index=self._column.index, name="failure_kind")
