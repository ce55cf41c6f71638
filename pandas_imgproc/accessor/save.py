"""The methods that write images to files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    ReadKwargs,
    ReadOptions,
    WriteOptions,
    read_options,
    with_read_kwargs,
    write_options,
)
from pandas_imgproc.sinks.output_paths import is_template
from pandas_imgproc.tasks import Download, SaveResized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import pandas as pd

    from pandas_imgproc.failures import Errors
    from pandas_imgproc.sinks import Retry

_MODE_OF = {1: "L", 3: "RGB", 4: "RGBA"}


class _SaveMethods(_ImageAccessorBase):
    """Write each image to a file of its own."""

    @with_read_kwargs
    def save_resized(
        self,
        to: str | os.PathLike[str],
        size: int | tuple[int, int] | None,
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
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
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Write each image, resized, to a file of its own.

        The same call again continues: files that were made of the same images by the same call are left, and what
        is missing is made.

        Parameters
        ----------
        to : path
            A folder, below which the images' own folders are kept, from `root` or from their common parent on. Or a
            template: ``"{dir}/{stem}_128.jpg"`` writes beside the originals, ``"train/{label}/{stem}.jpg"`` sorts a
            flat folder into those of a column. Between braces stands a column of the frame, or ``dir``, ``stem``,
            ``name``, ``suffix`` of the path, ``index``, ``position``; Python's formats go (``{position:06d}``).
        size : int or (int, int) or None
            Pixels: one side of a square, or ``(width, height)``. None keeps each image's own size.
        format : str, optional
            Pillow's name, ``"JPEG"``, ``"PNG"``, ``"WEBP"``, …; by default what the suffix of the file says.
        quality : int
            1 to 100, of JPEG, WebP and AVIF. 75 is what Pillow writes JPEG files with.
        mode : {"RGB", "L", "RGBA", "P"}
            As in `load_resized`. JPEG files hold ``"RGB"`` and ``"L"``; ``"RGBA"`` keeps transparency in PNG, WebP, …,
            ``"P"`` the class numbers of a mask.
        fit : {"stretch", "crop", "pad", "contain", "thumbnail"}
            As in `load_resized`; ``"contain"`` keeps the aspect and fills the size on one side
            (`PIL.ImageOps.contain`), ``"thumbnail"`` the same without ever enlarging.
        resample, reducing_gap, background, exif_transpose, scale_depth, frame, max_pixels, formats
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.
        overwrite : bool
            Whether every file is made anew and takes the place of whatever stands there.
        retry : {"transient", "all"}
            Which images that an earlier run could not read are tried again: those that failed for a passing reason,
            or all. A file that has changed always is.

        Returns
        -------
        Series
            Named ``path``, of str, with the index of the column: the files, missing where there is none.
            ``.img.failures`` tells why.

        Raises
        ------
        ValueError, TypeError, KeyError
            If an argument is wrong, two images would be written to one file, or a file over a source; before
            anything is written.
        JournalError
            If a file is there that was not made here, or of another image, or with other arguments: the message
            names the first difference. It is a ValueError.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.
        OSError
            If a file cannot be written; what was finished is kept, and the same call continues.

        Notes
        -----
        A file is written whole or not at all. Its colour profile is kept; it holds no EXIF, and its pixels stand
        upright. In each folder a hidden journal, ``.pandas-imgproc.jsonl``, says what was made of what.

        Examples
        --------
        >>> folder, out = getfixture("photos"), getfixture("tmp_path")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"], "label": ["warm", "cold"]})
        >>> paths = df.img.save_resized("image_path", f"{out}/{{label}}/{{stem}}.jpg", size=(60, 40), root=folder)
        >>> paths.str.removeprefix(str(out)).tolist()
        ['/warm/red.jpg', '/cold/blue.jpg']
        """
        decode_options = codec.decode_options(
            size=size, mode=mode, fit=fit, resample=resample, reducing_gap=reducing_gap, background=background,
            exif_transpose=exif_transpose, scale_depth=scale_depth, frame=frame, max_pixels=max_pixels,
            formats=formats, allow_any_size=True,
        )  # fmt: skip
        how = read_options(**options)
        task = SaveResized(decode_options, codec.encode_options(format, quality))
        return self._save_images(task, how, write_options(to, overwrite=overwrite, retry=retry))

    @with_read_kwargs
    def save_thumbnails(
        self,
        to: str | os.PathLike[str],
        size: int | tuple[int, int] = 128,
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        mode: str = "RGB",
        resample: str = "bicubic",
        reducing_gap: float | None = 1.5,
        background: str | tuple[int, ...] | None = "white",
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Write a thumbnail of each image: of the size and aspect of `PIL.Image.Image.thumbnail`, never enlarged.

        Parameters
        ----------
        to : path
            As in `save_resized`.
        size : int or (int, int)
            Pixels: what the thumbnail lies within.
        reducing_gap : float or None
            As in `save_resized`. Pillow's own value for thumbnails is 2.0; with 1.5 an image of 500 pixels is
            decoded at half its scale, and what differs is less than what JPEG loses.
        format, quality, mode, resample, background, max_pixels, formats
            As in `save_resized`.
        errors, root, suffix, storage_options, schemes, npartitions, progress, overwrite, retry
            As in `save_resized`.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Examples
        --------
        >>> folder, out = getfixture("photos"), getfixture("tmp_path")
        >>> paths = pd.Series(["red.png", "blue.jpg"]).img.save_thumbnails(out, size=12, root=folder)
        >>> from PIL import Image
        >>> for path in paths:
        ...     with Image.open(path) as image:
        ...         print(image.size)
        (12, 8)
        (8, 12)
        """
        thumbnails: pd.Series[Any] = self.save_resized(
            to, size, fit="thumbnail", format=format, quality=quality, mode=mode, resample=resample,
            reducing_gap=reducing_gap, background=background, max_pixels=max_pixels, formats=formats,
            overwrite=overwrite, retry=retry, **options,
        )  # fmt: skip
        return thumbnails

    @with_read_kwargs
    def download(
        self,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Copy each file as it is to this machine: fetch once, train many times.

        The same call again continues: files that are there are left, unless their source has changed.

        Parameters
        ----------
        to : path
            As in `save_resized`. Names stay as they are.
        errors, root, suffix, storage_options, schemes, npartitions, progress, overwrite, retry
            As in `save_resized`.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Notes
        -----
        Nothing is decoded: a page of HTML that a server gives for an image is copied too; `verify` tells. A file is
        written whole or not at all.

        Examples
        --------
        >>> out = getfixture("tmp_path")
        >>> paths = pd.Series(["red.png", "gone.png"]).img.download(out, root=getfixture("photos"), errors="coerce")
        >>> paths.str.removeprefix(str(out)).fillna("none").tolist()
        ['/red.png', 'none']
        """
        how = read_options(**options)
        paths: pd.Series[Any] = self._write(Download(), how, write_options(to, overwrite=overwrite, retry=retry))
        return paths

    def save(
        self,
        to: str | os.PathLike[str],
        *,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        errors: Errors = "warn",
        npartitions: int | None = None,
        progress: bool | None = None,
        overwrite: bool = False,
        retry: Retry = "transient",
    ) -> pd.Series[Any]:
        """Write each image of an image column, as it is, to a file of its own.

        Parameters
        ----------
        to : path
            A folder, where files are called by their row's label, as PNG if there is no `format`; or a template, as
            in `save_resized`: ``"train/{label}/{index}.jpg"``. Images have no path, so that ``{stem}`` means nothing.
        format, quality
            As in `save_resized`.
        errors, npartitions, progress, overwrite, retry
            As in `save_resized`; missing images are missing files, with the reason that they had.

        Returns
        -------
        Series
            Named ``path``, as of `save_resized`.

        Examples
        --------
        >>> out = getfixture("tmp_path")
        >>> column = pd.Series(["red.png", "blue.jpg"], index=["r", "b"]).img.load_resized(4, root=getfixture("photos"))
        >>> column.img.save(out).str.removeprefix(str(out)).tolist()
        ['/r.png', '/b.png']
        """
        dtype = self._image_array.dtype
        mode = _MODE_OF.get(dtype.shape[2]) if dtype.subtype == np.uint8 else None
        if mode is None:
            raise TypeError(f"the column {self._column.name!r} holds {dtype}; files hold uint8 of 1, 3 or 4 channels")
        if isinstance(to, str | os.PathLike) and not is_template(to):
            to, format = os.path.join(os.fspath(to), "{index}"), format or "PNG"  # noqa: A001
        how = read_options(errors=errors, npartitions=npartitions, progress=progress)
        task = SaveResized(
            codec.decode_options(size=None, mode=mode, allow_any_size=True), codec.encode_options(format, quality)
        )
        return self._save_images(task, how, write_options(to, overwrite=overwrite, retry=retry))

    def _save_images(self, task: SaveResized, how: ReadOptions, where: WriteOptions) -> pd.Series[Any]:
        """Write images in formats that can hold them."""
        paths: pd.Series[Any] = self._write(
            task, how, where, encode_options=task.encode_options, mode=task.decode_options.mode
        )
        return paths
