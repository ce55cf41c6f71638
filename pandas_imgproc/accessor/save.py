"""Methods that write images to files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    DECODE,
    READ,
    REGION,
    WRITE,
    ReadKwargs,
    ReadOptions,
    SaveKwargs,
    ThumbnailKwargs,
    WriteKwargs,
    WriteOptions,
    decode_and_read_options,
    read_options,
    select_kwargs,
    write_options,
)
from pandas_imgproc.sinks.output_paths import is_template
from pandas_imgproc.source.paths import scheme_of
from pandas_imgproc.tasks import Download, SaveResized, SaveThumbnails, Upload

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from pandas_imgproc.codec.option_values import Mode
    from pandas_imgproc.sinks import Retry

MODE_OF: dict[int, Mode] = {1: "L", 3: "RGB", 4: "RGBA"}
"""Mode of an image by its number of channels."""

_THUMBNAIL = (
    codec.decode_options,
    (
        "mode",
        "resample",
        "background",
        "max_pixels",
        "limits",
        "formats",
        "readers",
        "strict",
        "engine",
        "color_profile",
    ),
)
_COLUMN = (read_options, ("errors", "storage_options", "schemes", "npartitions", "progress"))


class _SaveMethods(_ImageAccessorBase):
    """Methods that write one file for each image."""

    @delegates(DECODE, REGION, WRITE, READ)
    def save_resized(
        self,
        to: str | os.PathLike[str],
        size: int | tuple[int, int] | None,
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        **options: Unpack[SaveKwargs],
    ) -> pd.Series[Any]:
        """Write each image, resized, to its own file.

        The same call again continues: files that the same call wrote from the same images are left, and missing ones
        are written.

        Parameters
        ----------
        to : path
            A folder, in which the images' own folders are repeated, from `root` or from their common parent on. Or a
            template: ``"{dir}/{stem}_128.jpg"`` writes next to the originals, ``"train/{label}/{stem}.jpg"`` sorts a
            flat folder into those of a column. Fields are a column of the frame or a level of its index; ``dir``,
            ``stem``, ``name`` or
            ``suffix`` of the path; ``index`` and ``position``. Python's format specifications are allowed
            (``{position:06d}``). Both may be in a bucket, ``"s3://bucket/train/{stem}.jpg"``.
        size : int or (int, int) or None
            Pixels: one side of a square, or ``(width, height)``. None keeps each image's own size.
        format : str, optional
            Pillow's name, ``"JPEG"``, ``"PNG"``, ``"WEBP"``, …; by default the one of the file's suffix.
        quality : int
            1 to 100, of JPEG, WebP and AVIF. 75 is Pillow's default for JPEG files.
        mode : {"RGB", "L", "RGBA", "P"}
            As in `load_resized`. JPEG files hold ``"RGB"`` and ``"L"``; ``"RGBA"`` keeps transparency in PNG, WebP, …,
            ``"P"`` the class numbers of a mask.
        fit : {"stretch", "crop", "pad", "contain", "thumbnail"}
            As in `load_resized`; ``"contain"`` keeps the aspect and fills the size on one side
            (`PIL.ImageOps.contain`), ``"thumbnail"`` the same without ever enlarging.
        resample, reducing_gap, background, exif_transpose, scale_depth
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.
        overwrite : bool
            Whether every file is written again and replaces an existing one.
        retry : {"transient", "all"}
            Failed images of an earlier run that are tried again: those with a transient failure, or all. A file that
            has changed always is.

        Returns
        -------
        Series
            Named ``path``, of str, with the index of the column: the files, missing for rows without one; the
            reasons are in ``.img.failures``.

        Raises
        ------
        ValueError, TypeError, KeyError
            If an argument is wrong, two images would be written to one file, or a file over a source; before
            anything is written.
        JournalError
            If a file exists that was not written by this library, or from another image, or with other arguments:
            the message names the first difference. It is a ValueError.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.
        OSError
            If a file cannot be written; finished files stay on disk, and the same call continues.

        Notes
        -----
        Files are written atomically. There is no EXIF, and the pixels are upright. They are in sRGB, without a color
        profile or with the file's own, if that is sRGB; ``color_profile="ignore"`` keeps every profile.
        In each folder a hidden manifest, ``.pandas-imgproc.jsonl``, records the source of each file; in a bucket the
        folder ``.pandas-imgproc`` does.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"], "label": ["warm", "cold"]})
        >>> paths = df.img.save_resized("image_path", "small/{label}/{stem}.jpg", size=(60, 40))
        >>> paths.tolist()
        ['small/warm/red.jpg', 'small/cold/blue.jpg']
        """
        return self._save_as(SaveResized, to, size, codec.encode_options(format, quality), options)

    @delegates(_THUMBNAIL, REGION, WRITE, READ)
    def save_thumbnails(
        self,
        to: str | os.PathLike[str],
        size: int | tuple[int, int] = 128,
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        reducing_gap: float | None = 1.5,
        **options: Unpack[ThumbnailKwargs],
    ) -> pd.Series[Any]:
        """Write a thumbnail of each image: of the size and aspect of `PIL.Image.Image.thumbnail`, never enlarged.

        Parameters
        ----------
        to : path
            As in `save_resized`.
        size : int or (int, int)
            Pixels: the bounds of the thumbnail.
        reducing_gap : float or None
            As in `save_resized`. Pillow's own value for thumbnails is 2.0; with 1.5 an image of 500 pixels is
            decoded at half its scale, and the difference is less than the loss of JPEG.
        format, quality, mode, resample, background
            As in `save_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `save_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `save_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress, overwrite, retry
            As in `save_resized`.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> paths = pd.Series(["red.png", "blue.jpg"]).img.save_thumbnails("thumbs", size=12)
        >>> for path in paths:
        ...     with Image.open(path) as image:
        ...         print(image.size)
        (12, 8)
        (8, 12)
        """
        encode_options = codec.encode_options(format, quality)
        all_options = {"fit": "thumbnail", "reducing_gap": reducing_gap, **options}
        return self._save_as(SaveThumbnails, to, size, encode_options, all_options)

    def _save_as(
        self, task_class: type[SaveResized], to: Any, size: Any, encode_options: codec.EncodeOptions, options: Any
    ) -> pd.Series[Any]:
        decode_options, read_options = decode_and_read_options(size, options, allow_any_size=True)
        task = task_class(decode_options, encode_options)
        return self._save_images(task, read_options, write_options(to, **select_kwargs(options, WriteKwargs)))

    @delegates(READ)
    def download(
        self,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Copy each remote file unchanged to a local one, or to a bucket: fetch once, train many times.

        The same call again continues, also within a file: existing files are left, unless their source has changed.

        Parameters
        ----------
        to : path
            As in `save_resized`. Names are unchanged.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress, overwrite, retry
            As in `save_resized`.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Notes
        -----
        Nothing is decoded: a page of HTML that a server returns for an image is copied too; `verify` finds it. Files
        have any size, and are copied in blocks to ``name.part``, which gets its name when it is complete. A part is
        continued after an error, and by the next call, if the file on the server is still of the same version.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> paths = pd.Series(["red.png", "gone.png"]).img.download("copies", errors="coerce")
        >>> paths.fillna("none").tolist()
        ['copies/red.png', 'none']
        """
        output = write_options(to, overwrite=overwrite, retry=retry)
        paths: pd.Series[Any] = self._write(Download(), read_options(**options), output)
        return paths

    @delegates(READ)
    def upload(
        self,
        to: str,
        *,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Copy each file unchanged to a bucket: the twin of `download`, many files at a time.

        The same call again continues: objects that it has written are left, unless their source has changed.

        Parameters
        ----------
        to : str
            URL of a folder in a bucket or on another file system of fsspec, ``"gs://bucket/raw"``, or of a template, as
            in `save_resized`. Names are unchanged.
        storage_options : dict, optional
            As in `save_resized`. Those of the sources and those of the bucket are given by protocol.
        errors, root, suffix, schemes, redirect_hosts, npartitions, progress, overwrite, retry
            As in `save_resized`.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`: the URLs of the objects.

        Raises
        ------
        ValueError
            If `to` is no URL that can be written; and as in `save_resized`.
        OutputError
            If an object cannot be written; finished ones stay, and the same call continues. It is an OSError.

        Notes
        -----
        Nothing is decoded, and files have any size: large ones are sent in parts of 5 MiB and more, one while the next
        is read. An object is there when its last part is.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> names = pd.Series(["red.png", "blue.jpg"])
        >>> names.img.upload("memory://raw", schemes=["memory"]).tolist()
        ['memory://raw/red.png', 'memory://raw/blue.jpg']
        """
        if not isinstance(to, str) or scheme_of(to) in (None, "file"):
            raise ValueError(f"to={to!r} is no URL, such as 'gs://bucket/raw'; download copies to a local folder")
        output = write_options(to, overwrite=overwrite, retry=retry)
        uploaded: pd.Series[Any] = self._write(Upload(), read_options(**options), output)
        return uploaded

    @delegates(_COLUMN)
    def save(
        self,
        to: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Write each image of an image column, unchanged, to its own file.

        Parameters
        ----------
        to : path
            A folder, where files are named by their row's label, as PNG if there is no `format`; or a template, as
            in `save_resized`: ``"train/{label}/{index}.jpg"``. Images have no path, so that ``{stem}`` means nothing.
        format, quality
            As in `save_resized`.
        errors, storage_options, schemes, npartitions, progress, overwrite, retry
            As in `save_resized`; missing images are missing files, with the reason of the image.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> column = pd.Series(["red.png", "blue.jpg"], index=["r", "b"]).img.load_resized(4)
        >>> column.img.save("images").tolist()
        ['images/r.png', 'images/b.png']
        """
        dtype = self._image_array.dtype
        mode = MODE_OF.get(dtype.shape[2]) if dtype.subtype == np.uint8 else None
        if mode is None:
            raise TypeError(f"the column {self._column.name!r} holds {dtype}; files hold uint8 of 1, 3 or 4 channels")
        if isinstance(to, str | os.PathLike) and not is_template(to):
            to, format = os.path.join(os.fspath(to), "{index}"), format or "PNG"  # noqa: A001
        decode_options = codec.decode_options(size=None, mode=mode, allow_any_size=True, engine="pillow")
        task = SaveResized(decode_options, codec.encode_options(format, quality))
        output = write_options(to, overwrite=overwrite, retry=retry)
        return self._save_images(task, read_options(**options), output)

    def _save_images(self, task: SaveResized, read_options: ReadOptions, write_options: WriteOptions) -> pd.Series[Any]:
        """Write images in formats that can hold them."""
        paths: pd.Series[Any] = self._write(
            task, read_options, write_options, encode_options=task.encode_options, mode=task.decode_options.mode
        )
        return paths
