"""Methods that measure, hash and compare images."""

from __future__ import annotations

import functools
import re
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc._delegates import delegates
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    DECODING,
    LIMITS,
    READ,
    REGION,
    STORE,
    DecodeInspectKwargs,
    FeatureKwargs,
    InspectKwargs,
    ReadOptions,
    RegionInspectKwargs,
    decode_and_read_options,
    load_options,
)
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.failures import find_stack_level
from pandas_imgproc.features import HASH_FEATURES, HEADER_FEATURES, issues, select_features
from pandas_imgproc.features.duplicates import BITS, group_ids
from pandas_imgproc.tasks import Measure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from pandas_imgproc import codec
    from pandas_imgproc.features.issues import Thresholds
    from pandas_imgproc.sinks import ResultStore

DEFAULT_WORKING_SIZE = 256
"""Longest edge, in pixels, of the downscaled image that is measured."""

DIGEST_METHODS = ("md5", "pixels", "pixel_md5")
"""Methods of `duplicate_groups` that compare digests of 32 hexadecimal digits."""

_METHODS = {**{name: name for name in HASH_FEATURES}, "pixels": "pixel_md5"}
_DIGEST = re.compile("[0-9a-f]{32}")


class _FeatureMethods(_ImageAccessorBase):
    """Methods that measure, hash and compare images."""

    @delegates(LIMITS, READ)
    def metadata(self, **options: Unpack[InspectKwargs]) -> pd.DataFrame:
        """Read the header fields of the files; no pixel is decoded.

        Parameters
        ----------
        max_pixels, limits, formats, readers
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame
            With the index of the column: ``width``, ``height`` (pixels, after EXIF orientation), ``area``,
            ``channels``, ``n_frames``, ``file_size`` (bytes), ``orientation`` (Int64); ``aspect_ratio`` (width /
            height), ``bytes_per_pixel`` (float64); ``mode``, ``format``, ``camera`` (category); ``has_alpha``,
            ``has_icc`` (boolean); ``taken_at`` (datetime64[s]). Missing where there is no image, or where a file
            lacks the field.

        Notes
        -----
        A file that is truncated after its header has metadata; `verify` finds it.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]})
        >>> df.img.metadata("image_path")[["width", "height", "mode", "format"]]
           width  height mode format
        0     30      20  RGB    PNG
        1     20      30  RGB   JPEG
        """
        decode_and_read = decode_and_read_options(None, options, engine="pillow")  # nothing is decoded
        frame: pd.DataFrame = self._measure("metadata", HEADER_FEATURES, None, *decode_and_read)
        return frame

    @delegates(LIMITS, DECODING, REGION, STORE, READ)
    def features(
        self,
        include: str | Iterable[str] | None = None,
        *,
        size: int | None = DEFAULT_WORKING_SIZE,
        **options: Unpack[FeatureKwargs],
    ) -> pd.DataFrame:
        """Measure each image: header fields, pixel features and hashes, in one pass and with one decode.

        Parameters
        ----------
        include : str or list of str, optional
            Names of the columns, in the order of the result; ``"all"`` is all of them. By default those that a model
            takes as they are, the same for all images: header fields and pixel features that are numbers and that no
            intact image lacks, and numeric ones added with `pandas_imgproc.register_feature`. These are no default:
            ``mode``, ``format``, ``camera`` and ``taken_at`` (texts and times), ``hue`` (gray images have none),
            ``file_size`` and ``bytes_per_pixel`` (images in memory have none), and the hashes ``phash``, ``dhash``,
            ``ahash``, ``md5`` and ``pixel_md5``. Only the included columns are computed.
        size : int or None
            The working size: pixels of the longest edge at which pixels are measured; smaller images are not
            enlarged. None measures the whole image. Header fields and hashes do not depend on it.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`: pixel features and hashes of pixels are those of the box, header fields and ``md5``
            those of the file.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.
        out : path, optional
            As in `load_resized`. Here it is a folder of ``.parquet`` parts.
        overwrite, retry
            As in `load_resized`.

        Returns
        -------
        DataFrame, or with `out` the Series of the part that holds each row
            With the index of the column. ``docs/features.md`` defines each column, with its formula, range and source.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong; before anything is read.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        Images are measured upright, on white, in 8 bits. The image is decoded in full, never at a reduced scale, so
        that a value does not depend on the other included columns.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]}, index=["r", "b"])
        >>> df.img.features("image_path", ["width", "brightness", "hue"]).round(2)
           width  brightness    hue
        r     30        0.49    0.0
        b     20        0.26  240.0
        """
        working_size = None if size is None else check_int("size", size)
        frame: pd.DataFrame = self._measure("features", include, working_size, *load_options(None, options))
        return frame

    @delegates(LIMITS, DECODING, REGION, READ)
    def hash(self, kind: str = "phash", **options: Unpack[RegionInspectKwargs]) -> pd.Series[Any]:
        """Hash each image.

        Parameters
        ----------
        kind : {"phash", "dhash", "ahash", "md5", "pixel_md5"}
            Of the upright RGB image, 64 bits: ``"phash"`` (cosine frequencies), ``"dhash"`` (differences),
            ``"ahash"`` (average), bit for bit those of the ``imagehash`` package, which knows no color profiles: with
            ``color_profile="ignore"``, or of files without another one than sRGB. 32 hexadecimal digits: ``"md5"`` of
            the file's bytes, for which nothing is decoded, and ``"pixel_md5"`` of the upright RGB image.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`, except with ``"md5"``.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series of UInt64 or string
            Named as its kind, with the index of the column; missing where there is no image.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> pd.Series(["red.png", None]).img.hash("dhash")
        0       0
        1    <NA>
        Name: dhash, dtype: UInt64
        """
        check_choice("kind", kind, HASH_FEATURES)
        decode_options, read_options = decode_and_read_options(None, options)
        if kind == "md5" and (read_options.regions or decode_options.frame):
            raise ValueError("kind='md5' is of the bytes of a file, not of its boxes or frames; give kind='pixel_md5'")
        column: pd.Series[Any] = self._measure("hash", kind, None, decode_options, read_options)[kind]
        return column

    @delegates(LIMITS, DECODING, READ)
    def duplicate_groups(
        self, method: str = "phash", max_distance: int = 0, **options: Unpack[DecodeInspectKwargs]
    ) -> pd.Series[Any]:
        """Return for each row the number of its group of equal or nearly equal images.

        Parameters
        ----------
        method : {"phash", "dhash", "ahash", "md5", "pixels"}
            Key that two images must share: a hash that survives resizing and compression, the bytes of the file
            (``"md5"``), or the pixels.
        max_distance : int
            Bits of 64 in which two hashes may differ; 0 to 64. Groups are the connected components of such pairs, so
            two images of one group may differ more.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series of Int64
            Named ``duplicate_group``, with the index of the column: numbers from 0 up in the order of their first
            rows. An image without a duplicate is a group by itself; missing where there is no image.

        Notes
        -----
        On a column of hashes (integers, or MD5 as 32 hexadecimal digits with ``method="md5"`` or ``"pixels"``)
        nothing is decoded, so that trying several distances is fast. Images of one color have the same phash.

        Examples
        --------
        >>> hashes = pd.Series([8, None, 9, 255], dtype="UInt64")
        >>> hashes.img.duplicate_groups(max_distance=1).tolist()
        [0, <NA>, 0, 1]
        """
        check_choice("method", method, _METHODS)
        distance = _check_distance(max_distance, method)
        holds_names = options.get("root") is not None or options.get("suffix") is not None
        hashes = None if holds_names else self._hash_column(method)
        if hashes is None:
            hashes = self.hash(_METHODS[method], **options)
        groups: pd.Series[Any] = self._apply_to_all_rows(hashes, functools.partial(_group_series, distance=distance))
        return groups

    @delegates(LIMITS, DECODING, READ)
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
        **options: Unpack[DecodeInspectKwargs],
    ) -> pd.DataFrame:
        """Find images that may not be worth training on, by the definitions of cleanvision 0.3.6.

        Parameters
        ----------
        include : str or list of str, optional
            Names of the issues: ``is_dark``, ``is_light``, ``is_blurry``, ``is_low_information``, ``is_odd_size``,
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
            ``is_odd_size`` if sqrt(width * height) is this many interquartile ranges of the column below its first or
            above its third quartile.
        odd_aspect_ratio : float
            ``is_odd_aspect_ratio`` if the shorter edge / the longer edge is below.
        max_distance : int
            ``is_duplicate`` if another row's ``phash`` differs in at most this many bits; all rows of a group are.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame of boolean
            With the index of the column; missing where there is no image.

        Notes
        -----
        On a frame without the name of a column, ``features.img.issues()``, the issues are computed from the columns
        of the frame, as returned by `features`, and nothing is read: all that these columns allow for, with a warning
        that names the others, or those of `include`.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> paths = pd.Series(["red.png", "blue.jpg"])
        >>> paths.img.issues(["is_dark", "is_low_information"])
           is_dark  is_low_information
        0    False                True
        1     True                True
        """
        names = issues.select_issues(include)
        thresholds = issues.Thresholds(
            dark, light, blurry, low_information, odd_size, odd_aspect_ratio, _check_distance(max_distance)
        )
        features = self.features(issues.required_features(names), **options)
        return self._find_issues(features, names, thresholds)

    @classmethod
    def _issues_from_features(
        cls, frame: pd.DataFrame, include: str | Iterable[str] | None = None, **thresholds: Any
    ) -> pd.DataFrame:
        """Return the issues of a frame of features."""
        for name in thresholds:
            if name not in issues.Thresholds.__dataclass_fields__:
                raise TypeError(f"{name}= needs a column of images: issues('image_path', {name}=...)")
        _check_distance(thresholds.get("max_distance", 0))
        names = issues.select_issues(include)
        if include is None:
            names = _warn_not_computable(names, frame.columns) or names
        return cls._find_issues(frame, names, issues.Thresholds(**thresholds))

    @classmethod
    def _find_issues(cls, features: pd.DataFrame, names: tuple[str, ...], thresholds: Thresholds) -> pd.DataFrame:
        required = [name for name in issues.required_features(names) if name in features.columns]
        find = functools.partial(issues.find_issues, issues=names, thresholds=thresholds)
        result: pd.DataFrame = cls._apply_to_all_rows(features[required], find, row_wise=issues.is_row_wise(names))
        return result

    def _hash_column(self, method: str) -> pd.Series[Any] | None:
        """Return the column in the dtype for grouping, if it holds hashes."""
        return parse_hash_column(self._column, method)

    def _measure(
        self,
        name: str,
        include: Any,
        working_size: int | None,
        decode_options: codec.DecodeOptions,
        read_options: ReadOptions,
        store: ResultStore | None = None,
    ) -> Any:
        names, registered = select_features(include)
        return self._run(Measure(name, names, decode_options, working_size, registered), read_options, store)


def _warn_not_computable(names: tuple[str, ...], columns: Iterable[Any]) -> tuple[str, ...]:
    """Return the issues that can be derived from some columns, and warn of the others, unless none can."""
    found = issues.computable(names, columns)
    lacking = [name for name in names if name not in found]
    if lacking and found:
        required = [name for name in issues.required_features(lacking) if name not in set(columns)]
        warnings.warn(
            f"without {', '.join(lacking)}: the frame lacks {', '.join(map(repr, required))}; add the columns with "
            f".img.features(column, include={required}), or select the issues: include=",
            UserWarning,
            stacklevel=find_stack_level(),
        )
    return found


def _group_series(hashes: pd.Series[Any], distance: int) -> pd.Series[Any]:
    ids = group_ids(hashes.array, distance)
    groups = pd.Series(pd.arrays.IntegerArray(ids, ids < 0), index=hashes.index, name="duplicate_group")
    groups.attrs["failures"] = hashes.attrs.get("failures", ())
    return groups


def _check_distance(value: object, method: str = "phash") -> int:
    distance = check_int("max_distance", value, 0, BITS)
    if distance and method in DIGEST_METHODS:
        raise ValueError(f"max_distance={distance} makes no sense with method={method!r}, which is equal or is not")
    return distance


def parse_hash_column(column: pd.Series[Any], method: str) -> pd.Series[Any] | None:
    """Return a column of hashes in the dtype for grouping; None if it holds images. Floats lose bits: a TypeError."""
    if isinstance(column.dtype, ImageDtype) or column.isna().all():
        return None
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "integer":
        unsigned = pd.array([None if pd.isna(value) else int(value) % 2**BITS for value in column], dtype="UInt64")
        return pd.Series(unsigned, index=column.index)
    if kind == "floating":
        raise TypeError(f"the column {column.name!r} holds {column.dtype}, which loses bits of a hash; keep it UInt64")
    is_text = _METHODS[method] in ("md5", "pixel_md5") and kind == "string"
    return column if is_text and column.dropna().map(lambda text: bool(_DIGEST.fullmatch(text))).all() else None
