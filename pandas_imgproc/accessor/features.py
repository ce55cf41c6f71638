"""The methods that turn images into numbers."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import ReadKwargs, ReadOptions, check_count, read_options, with_read_kwargs
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.features import HASHES, HEADER, issues, select_features
from pandas_imgproc.features.duplicates import BITS, group_ids
from pandas_imgproc.sinks.out import parse_out
from pandas_imgproc.tasks import Measure

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    from pandas_imgproc.features.issues import Thresholds
    from pandas_imgproc.sinks import ResultStore, Retry

DEFAULT_WORKING_SIZE = 256
"""Pixels of the longest edge at which images are measured."""

DIGEST_METHODS = ("md5", "pixels", "pixel_md5")
"""Methods that compare digests of 32 hexadecimal digits."""

_METHODS = {**{name: name for name in HASHES}, "pixels": "pixel_md5"}
_DIGEST = re.compile("[0-9a-f]{32}")


class _FeatureMethods(_ImageAccessorBase):
    """Measure images, and find out which are the same and what is wrong with them."""

    @with_read_kwargs
    def metadata(
        self,
        *,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        **options: Unpack[ReadKwargs],
    ) -> pd.DataFrame:
        """Tell what the headers of the files say; no pixel is decoded.

        Parameters
        ----------
        max_pixels, formats, errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            With the index of the column: ``width``, ``height`` (pixels, as seen: after EXIF orientation), ``area``,
            ``channels``, ``n_frames``, ``file_size`` (bytes), ``orientation`` (Int64); ``aspect_ratio`` (width /
            height), ``bytes_per_pixel`` (float64); ``mode``, ``format``, ``camera`` (category); ``has_alpha``,
            ``has_icc`` (boolean); ``taken_at`` (datetime64[s]). Missing where there is no image, or where a file
            does not say.

        Notes
        -----
        A file that is cut off behind its header has metadata; `verify` tells.

        Examples
        --------
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]})
        >>> df.img.metadata("image_path", root=getfixture("photos"))[["width", "height", "mode", "format"]]
           width  height mode format
        0     30      20  RGB    PNG
        1     20      30  RGB   JPEG
        """
        decode_options = codec.decode_options(size=None, max_pixels=max_pixels, formats=formats)
        frame: pd.DataFrame = self._measure("metadata", HEADER, decode_options, None, read_options(**options))
        return frame

    @with_read_kwargs
    def features(
        self,
        include: str | Iterable[str] | None = None,
        *,
        size: int | None = DEFAULT_WORKING_SIZE,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        retry: Retry = "transient",
        **options: Unpack[ReadKwargs],
    ) -> Any:
        """Measure each image: header fields, measures of its pixels and hashes, in one pass and with one decode.

        Parameters
        ----------
        include : str or list of str, optional
            Names of the columns, in the order of the answer. By default all header fields and measures, also those
            added with `pandas_imgproc.measure`, and no hash: ``"phash"``, ``"dhash"``, ``"ahash"``, ``"md5"`` and
            ``"pixel_md5"`` are computed where they are named. Only what is included is computed.
        size : int or None
            The working size: pixels of the longest edge at which pixels are measured; smaller images are not
            enlarged. None measures the whole image. Header fields and hashes do not depend on it.
        max_pixels, formats, errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.
        out, overwrite, retry
            As in `load_resized`: a folder of ``.parquet`` parts.

        Returns
        -------
        DataFrame, or with `out` the Series of the part that holds each row
            With the index of the column. What each column means is in ``docs/features.md``, with its formula, range
            and source.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong; before anything is read.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        Images are measured as they are seen: upright, on white, in 8 bits. The image is decoded in full, never at
        a reduced scale, so that a value does not depend on what else is included.

        Examples
        --------
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]}, index=["r", "b"])
        >>> df.img.features("image_path", ["width", "brightness", "hue"], root=getfixture("photos")).round(2)
           width  brightness    hue
        r     30        0.49    0.0
        b     20        0.26  240.0
        """
        decode_options = codec.decode_options(size=None, max_pixels=max_pixels, formats=formats)
        how = read_options(**options)
        working = None if size is None else check_count("size", size)
        kept = parse_out(out, overwrite=overwrite, retry=retry, options=how.source.options)
        return self._measure("features", include, decode_options, working, how, kept)

    @with_read_kwargs
    def hash(
        self,
        kind: str = "phash",
        *,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Hash each image.

        Parameters
        ----------
        kind : {"phash", "dhash", "ahash", "md5", "pixel_md5"}
            Of the upright RGB image, 64 bits: ``"phash"`` (cosine frequencies), ``"dhash"`` (differences),
            ``"ahash"`` (average), bit for bit those of the ``imagehash`` package. 32 hexadecimal digits: ``"md5"`` of
            the file's bytes, for which nothing is decoded, and ``"pixel_md5"`` of the upright RGB image.
        max_pixels, formats, errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series of UInt64 or string
            Named as its kind, with the index of the column; missing where there is no image.

        Examples
        --------
        >>> pd.Series(["red.png", None]).img.hash("dhash", root=getfixture("photos"))
        0       0
        1    <NA>
        Name: dhash, dtype: UInt64
        """
        if kind not in HASHES:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, HASHES))}")
        decode_options = codec.decode_options(size=None, max_pixels=max_pixels, formats=formats)
        column: pd.Series[Any] = self._measure("hash", kind, decode_options, None, read_options(**options))[kind]
        return column

    @with_read_kwargs
    def duplicate_groups(
        self,
        method: str = "phash",
        max_distance: int = 0,
        *,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        **options: Unpack[ReadKwargs],
    ) -> pd.Series[Any]:
        """Give each row the number of its group of images that are the same, or nearly so.

        Parameters
        ----------
        method : {"phash", "dhash", "ahash", "md5", "pixels"}
            What two images must share: a hash that survives resizing and compression, the very bytes of the file,
            or the very pixels.
        max_distance : int
            Bits of 64 in which two hashes may differ; 0 to 64. Groups are what such pairs connect, so two images of
            one group may differ more.
        max_pixels, formats, errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series of Int64
            Named ``duplicate_group``, with the index of the column: numbers from 0 up in the order of their first
            rows. An image without a double has a number of its own; missing where there is no image.

        Notes
        -----
        On a column of hashes (whole numbers, or MD5 as 32 hexadecimal digits with ``method="md5"`` or ``"pixels"``)
        nothing is decoded, so trying several distances is free. Images of one colour have one and the same phash.

        Examples
        --------
        >>> hashes = pd.Series([8, None, 9, 255], dtype="UInt64")
        >>> hashes.img.duplicate_groups(max_distance=1).tolist()
        [0, <NA>, 0, 1]
        """
        if method not in _METHODS:
            raise ValueError(f"method={method!r} is not one of {', '.join(map(repr, _METHODS))}")
        distance = _check_distance(max_distance, method)
        are_names = options.get("root") is not None or options.get("suffix") is not None
        hashes = None if are_names else self._hash_column(method)
        if hashes is None:
            hashes = self.hash(_METHODS[method], max_pixels=max_pixels, formats=formats, **options)
        groups: pd.Series[Any] = self._apply_to_all_rows(hashes, functools.partial(_groups, distance=distance))
        return groups

    @with_read_kwargs
    def issues(
        self,
        include: str | Iterable[str] | None = None,
        *,
        dark: float = issues.Thresholds.dark,
        light: float = issues.Thresholds.light,
        blurry: float = issues.Thresholds.blurry,
        low_information: float = issues.Thresholds.low_information,
        odd_size: float = issues.Thresholds.odd_size,
        odd_aspect_ratio: float = issues.Thresholds.odd_aspect_ratio,
        max_distance: int = issues.Thresholds.max_distance,
        max_pixels: int | None = None,
        formats: Sequence[str] = codec.FORMATS,
        **options: Unpack[ReadKwargs],
    ) -> pd.DataFrame:
        """Tell which images may not be worth training on, by the definitions of cleanvision 0.3.6.

        Parameters
        ----------
        include : str or list of str, optional
            Which issues: ``is_dark``, ``is_light``, ``is_blurry``, ``is_low_information``, ``is_odd_size``,
            ``is_odd_aspect_ratio``, ``is_grayscale``, ``is_duplicate``; by default all.
        dark : float
            ``is_dark`` if ``brightness_p99`` is below.
        light : float
            ``is_light`` if ``1 - brightness_p05`` is below.
        blurry : float
            ``is_blurry`` if ``sharpness`` is below.
        low_information : float
            ``is_low_information`` if ``entropy / 10`` is below.
        odd_size : float
            ``is_odd_size`` if sqrt(width * height) is so many interquartile ranges of the column below its first or
            above its third quartile.
        odd_aspect_ratio : float
            ``is_odd_aspect_ratio`` if the shorter edge / the longer edge is below.
        max_distance : int
            ``is_duplicate`` if another row's ``phash`` differs in at most so many bits; all rows of a group are.
        max_pixels, formats, errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame of boolean
            With the index of the column; missing where there is no image.

        Notes
        -----
        On a frame without the name of a column, ``features.img.issues()``, the issues are told from the columns of
        the frame, as `features` makes them, and nothing is read.

        Examples
        --------
        >>> paths = pd.Series(["red.png", "blue.jpg"])
        >>> paths.img.issues(["is_dark", "is_low_information"], root=getfixture("photos"))
           is_dark  is_low_information
        0    False                True
        1     True                True
        """
        wanted = issues.select_issues(include)
        limits = issues.Thresholds(
            dark, light, blurry, low_information, odd_size, odd_aspect_ratio, _check_distance(max_distance)
        )
        features = self.features(issues.required_features(wanted), max_pixels=max_pixels, formats=formats, **options)
        return self._find_issues(features, wanted, limits)

    @classmethod
    def _issues_of_features(
        cls, frame: pd.DataFrame, include: str | Iterable[str] | None = None, **thresholds: Any
    ) -> pd.DataFrame:
        """Return the issues that the columns of a features frame tell.

        Raises
        ------
        KeyError
            If such columns are missing.
        TypeError
            If an argument is given that only makes sense with a column of images.
        """
        known = issues.Thresholds.__dataclass_fields__
        wrong = [name for name in thresholds if name not in known]
        if wrong:
            raise TypeError(f"{wrong[0]}= needs a column of images: issues('image_path', {wrong[0]}=...)")
        _check_distance(thresholds.get("max_distance", 0))
        return cls._find_issues(frame, issues.select_issues(include), issues.Thresholds(**thresholds))

    @classmethod
    def _find_issues(cls, features: pd.DataFrame, wanted: tuple[str, ...], limits: Thresholds) -> pd.DataFrame:
        needed = [name for name in issues.required_features(wanted) if name in features.columns]
        find = functools.partial(issues.find_issues, issues=wanted, limits=limits)
        found: pd.DataFrame = cls._apply_to_all_rows(features[needed], find, by_row=issues.is_row_wise(wanted))
        return found

    def _hash_column(self, method: str) -> pd.Series[Any] | None:
        """Return the column as one of hashes that can be grouped; None if it holds images."""
        return parse_hash_column(self._column, method)

    def _measure(
        self,
        name: str,
        include: Any,
        decode_options: codec.DecodeOptions,
        size: int | None,
        how: ReadOptions,
        kept: ResultStore | None = None,
    ) -> Any:
        names, measured = select_features(include)
        return self._run(Measure(name, names, decode_options, size, measured), how, kept)


def _groups(hashes: pd.Series[Any], distance: int) -> pd.Series[Any]:
    ids = group_ids(hashes.array, distance)
    groups = pd.Series(pd.arrays.IntegerArray(ids, ids < 0), index=hashes.index, name="duplicate_group")
    groups.attrs["failures"] = hashes.attrs.get("failures", ())
    return groups


def _check_distance(value: object, method: str = "phash") -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"max_distance={value!r} is not a whole number of bits")
    if not 0 <= value <= BITS:
        raise ValueError(f"max_distance={value!r} is not between 0 and {BITS} bits")
    if value and method in DIGEST_METHODS:
        raise ValueError(f"max_distance={value!r} makes no sense with method={method!r}, which is equal or is not")
    return int(value)


def parse_hash_column(column: pd.Series[Any], method: str) -> pd.Series[Any] | None:
    """Return a column of hashes as one that can be grouped; None if it holds images.

    Raises
    ------
    TypeError
        If it holds floats: they cannot hold 64 bits.
    """
    if isinstance(column.dtype, ImageDtype) or column.isna().all():
        return None
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "integer":
        wide = pd.array([None if pd.isna(value) else int(value) % 2**BITS for value in column], dtype="UInt64")
        return pd.Series(wide, index=column.index)
    if kind == "floating":
        raise TypeError(f"the column {column.name!r} holds {column.dtype}, which loses bits of a hash; keep it UInt64")
    digests = _METHODS[method] in ("md5", "pixel_md5") and kind == "string"
    return column if digests and column.dropna().map(lambda text: bool(_DIGEST.fullmatch(text))).all() else None
