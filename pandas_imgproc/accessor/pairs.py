"""Variants of images together with their masks and boxes, for `augment`."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._labels import full_label
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice
from pandas_imgproc.accessor.base import _ImageAccessorBase, check_modes, column_inputs
from pandas_imgproc.accessor.regions import BOX_FORMATS, BOX_UNITS, lookup, warn_of_fractions
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.sinks.object_files import file_sink
from pandas_imgproc.sinks.output_paths import is_template, resolve_output_paths
from pandas_imgproc.sinks.path_template import check_to, fixed_url
from pandas_imgproc.tasks import (
    BOXES,
    AugmentPairs,
    PairForm,
    SavePairs,
    mixing_step,
    to_corners,
    variant_index,
    with_box_params,
)

if TYPE_CHECKING:
    from pandas_imgproc.accessor.options import ReadOptions, WriteOptions
    from pandas_imgproc.tasks import Augment

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PairArguments:
    """Arguments of `augment` for masks and boxes.

    Attributes
    ----------
    masks : label, Series, list of them, or None
        Columns of masks.
    boxes : list of label, or None
        Four columns of boxes.
    group : label or None
        Column that is equal in the rows of one image; None is the column of images.
    box_format : {"xywh", "xyxy", "cxcywh"}
    box_unit : {"pixel", "fraction"}
    """

    masks: Any
    boxes: Any
    group: Any
    box_format: str
    box_unit: str

    def __post_init__(self) -> None:
        check_choice("box_format", self.box_format, BOX_FORMATS)
        check_choice("box_unit", self.box_unit, BOX_UNITS)
        if self.group is not None and self.boxes is None:
            raise ValueError(f"group={shorten(self.group)} is of rows that are boxes of one image; give boxes= too")
        if self.boxes is not None and not _are_four_names(self.boxes):
            raise ValueError(
                f"boxes={shorten(self.boxes)} must name four columns, ['x', 'y', 'w', 'h'] with box_format='xywh'; a "
                "column of lists becomes four by df[['x', 'y', 'w', 'h']] = df['bbox'].tolist()"
            )

    @classmethod
    def of(cls, masks: Any, boxes: Any, group: Any, options: Mapping[str, Any]) -> PairArguments:
        """Return the checked arguments, with those of the form of boxes among the keyword arguments of a method."""
        return cls(masks, boxes, group, options.get("box_format", "xywh"), options.get("box_unit", "pixel"))

    def without_form(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments without the form of boxes, if that is the form of these."""
        is_own = self.boxes is not None and options.get("box") is None
        return {name: value for name, value in options.items() if not (is_own and name in ("box_format", "box_unit"))}

    @property
    def is_empty(self) -> bool:
        """Whether nothing belongs to an image."""
        return self.masks is None and self.boxes is None

    @property
    def mask_columns(self) -> list[Any]:
        """Columns of masks, by name or as Series."""
        return [] if self.masks is None else list(self.masks) if isinstance(self.masks, list) else [self.masks]

    @property
    def form(self) -> PairForm:
        """Form in which a transform is given masks and boxes."""
        return PairForm(
            len(self.mask_columns), isinstance(self.masks, list), self.box_format, self.box_unit == "fraction"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of images in the result."""
        n = len(self.mask_columns)
        return ("image", *((f"mask_{k}" for k in range(n)) if isinstance(self.masks, list) else ("mask",) * n))


def _are_four_names(boxes: Any) -> bool:
    return isinstance(boxes, list | tuple) and len(boxes) == len(set(map(repr, boxes))) == 4


class _PairMethods(_ImageAccessorBase):
    """Steps of `augment` for images with masks and boxes."""

    def _augment_pairs(
        self,
        task: Augment,
        arguments: PairArguments,
        read_options: ReadOptions,
        write_options: WriteOptions | None,
        encode_options: codec.EncodeOptions,
    ) -> Any:
        """Return the exploded frame of the variants, or their columns without a frame."""
        masks = tuple(self._frame_column("masks", name, "augment") for name in arguments.mask_columns)
        rows = None if arguments.boxes is None else self._group_rows(arguments, masks)
        columns = self if rows is None else self._first_rows(rows)
        accessor = type(self)(
            columns._column, columns._frame, tuple(mask if rows is None else mask.iloc[rows.first] for mask in masks)
        )
        values = {item.name: getattr(task, item.name) for item in dataclasses.fields(task)}
        values["transform"] = with_box_params(task.transform) if rows is not None else task.transform
        pairs = AugmentPairs(**values, form=arguments.form, max_boxes=None if rows is None else rows.max_boxes)
        if write_options is None:
            variants = accessor._run(pairs, read_options)
        else:
            variants = accessor._write_pairs(pairs, arguments.names, read_options, write_options, encode_options)
            if rows is not None:
                boxes = accessor._run(dataclasses.replace(pairs, has_images=False), read_options)
                variants = variants.assign(**{BOXES: boxes[BOXES].array})
        return variants if rows is None else rows.expand(variants, task.n, arguments, self._column.index)

    @staticmethod
    def _check_pair_arguments(arguments: PairArguments, to: object, store: object, read_options: ReadOptions) -> None:
        """Raise a ValueError if images with masks or boxes cannot be stored in the requested way."""
        if arguments.is_empty:
            return
        if read_options.regions is not None:
            raise ValueError("masks= and boxes= are of whole images, and box= or frame= names a part of each; give one")
        if store is not None:
            raise ValueError("out= stores one column of images; write images and masks to files with to={'image': …}")
        if to is not None:
            _templates(to, arguments.names)

    def _group_rows(self, arguments: PairArguments, masks: tuple[Any, ...]) -> _BoxRows:
        """Return the boxes of each image, for rows that are boxes."""
        if self._frame is None:
            raise ValueError("boxes= needs a frame: df.img.augment('image_path', …, boxes=['x', 'y', 'w', 'h'])")
        key = self._column
        if arguments.group is not None:
            key = lookup("group", arguments.group, self._column.index, self._frame)
        codes, _ = pd.factorize(key, use_na_sentinel=False)
        is_ungrouped = key.isna().to_numpy(dtype=bool)
        for column in (self._column, *masks):
            _check_one_value(column, codes, key, ~is_ungrouped)
        boxes = np.stack([_to_floats(self._frame_column("boxes", name, "augment")) for name in arguments.boxes], axis=1)
        warn_of_fractions("boxes", boxes, arguments.box_unit)
        return _BoxRows.of(codes, to_corners(boxes, arguments.box_format), is_ungrouped)

    def _first_rows(self, rows: _BoxRows) -> Any:
        """Return the accessor of a frame with one row for each image, and its boxes as a column."""
        assert self._frame is not None
        frame = self._frame.iloc[rows.first]
        if BOXES in frame.columns:
            frame = frame.drop(columns=BOXES)
        frame = frame.copy(deep=False)
        frame[full_label(BOXES, frame.columns)] = pd.Series(rows.boxes, index=frame.index, dtype=object)
        column = self._column.iloc[rows.first]
        return type(self)(column.mask(rows.is_ungrouped) if rows.is_ungrouped.any() else column, frame)

    def _write_pairs(
        self,
        pairs: AugmentPairs,
        names: tuple[str, ...],
        read_options: ReadOptions,
        write_options: WriteOptions,
        encode_options: codec.EncodeOptions,
    ) -> Any:
        """Write the variants of images and masks to files, and return their paths: a column for each."""
        templates = _templates(write_options.to, names)
        columns = names if isinstance(write_options.to, Mapping) else ("path",)
        encodings = [encode_options, *(_mask_encoding(templates[name], encode_options) for name in names[1:])]
        task = SavePairs(pairs, encodings[0], tuple(encodings[1:]), columns)
        location = _common_location(list(templates.values()))
        job = self._make_job(task, read_options, self._inputs(), location)
        inputs = column_inputs(self._column)
        targets = []
        for name, encoding in zip(names, encodings, strict=True):
            targets.append(
                resolve_output_paths(
                    templates[name], inputs, read_options.source, index=self._column.index, frame=self._frame,
                    encode_options=encoding, variants=range(pairs.n),
                )
            )  # fmt: skip
            check_modes(targets[-1], encoding, "P" if len(targets) > 1 else None)
        _check_distinct(names, targets)
        files = [target for row in zip(*targets, strict=True) for target in row]
        sink = file_sink(self._job_context(job), files, location)
        sink.open(overwrite=write_options.overwrite, retry=write_options.retry)
        return self._execute(dataclasses.replace(job, targets=files, target=location), sink, read_options)


@dataclass(frozen=True)
class _BoxRows:
    """Rows of a frame that are boxes of images.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        For each row its image, in the order of their first rows.
    first : ndarray of int, shape (n_images,)
        First row of each image.
    member : ndarray of int, shape (n,)
        For each row its number among the boxes of its image.
    boxes : list of ndarray of float64, shape (k, 4)
        For each image its boxes, as corners.
    is_ungrouped : ndarray of bool, shape (n_images,)
        Whether the group is missing: the rows are of no image, and missing, as in `DataFrameGroupBy.transform`.
    """

    codes: Array
    first: Array
    member: Array
    boxes: list[Array]
    is_ungrouped: Array

    @classmethod
    def of(cls, codes: Array, boxes: Array, is_ungrouped: Array) -> _BoxRows:
        """Return the rows of the images with these codes."""
        _, first = np.unique(codes, return_index=True)
        member = pd.Series(codes).groupby(codes).cumcount().to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = np.flatnonzero(np.diff(codes[order], append=-1)) + 1
        return cls(codes, first, member, np.split(boxes[order], ends)[:-1], is_ungrouped[first])

    @property
    def max_boxes(self) -> int:
        """Most boxes of an image."""
        return max(map(len, self.boxes), default=0)

    def expand(self, variants: pd.DataFrame, n: int, arguments: PairArguments, index: pd.Index[Any]) -> pd.DataFrame:
        """Return the variants of each row: images, and the box in place of four columns."""
        rows = (self.codes[:, np.newaxis] * n + np.arange(n)).ravel()
        boxes = _boxes_at(variants[BOXES].array, rows, self.member.repeat(n))
        result = variants.drop(columns=BOXES).take(rows).set_axis(variant_index(index, n))
        for k, name in enumerate(arguments.boxes):
            result[name] = boxes[:, k]
        return result


def _boxes_at(boxes: Any, rows: Array, members: Array) -> Array:
    """Return one box of each row: of arrays of boxes by row, None where missing, the one of a number."""
    none = np.empty((0, 4))
    arrays = [none if found is None else found for found in boxes]
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    starts = np.cumsum(lengths) - lengths
    result = np.full((len(rows), 4), np.nan)
    valid = lengths[rows] > 0
    result[valid] = np.concatenate([none, *arrays])[(starts[rows] + members)[valid]]
    return result


def warn_of_mixed_ids(transform: Any) -> None:
    """Warn if a transform of images would mix the class ids of a mask, for which it is no image but a mask."""
    name = mixing_step(transform)
    if name is not None:
        warnings.warn(
            f"mode='P' gives the transform class numbers as if they were gray levels, and {name} makes other numbers "
            "of them; give the images, with the masks as masks=, or a transform that moves pixels without mixing them",
            UserWarning,
            stacklevel=4,
        )


def _to_floats(column: Any) -> Array:
    """Return a column of numbers as floats, NaN where missing."""
    try:
        floats: Array = column.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"boxes= names the column {column.name!r} of {column.dtype}, which holds no numbers") from exc
    return floats


def _check_one_value(column: Any, codes: Array, key: Any, is_grouped: Array) -> None:
    """Raise a ValueError if a column differs in the rows of one image."""
    if isinstance(column.dtype, ImageDtype) or column is key:
        return
    texts = np.array([str(value) for value in column], dtype=object)
    _, first = np.unique(codes, return_index=True)
    differs = np.flatnonzero(is_grouped & (texts != texts[first[codes]]))
    if len(differs):
        row = int(differs[0])
        raise ValueError(
            f"rows {first[codes[row]]} and {row} are of one image by group={key.name!r}, and differ in "
            f"{column.name!r}: {shorten(texts[first[codes[row]]])} and {shorten(texts[row])}"
        )


def _templates(to: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the folder or the template of the files for each column of images."""
    if not isinstance(to, Mapping):
        if len(names) > 1:
            keys = ", ".join(f"{name!r}: …" for name in names)
            raise ValueError(f"to={to!r} is one folder or template, and masks= needs one for each: to={{{keys}}}")
        return {names[0]: to}
    if set(to) != set(names):
        raise ValueError(f"to= has the keys {list(to)!r}, and the variants are {list(names)!r}; give each of them one")
    return dict(to)


def _common_location(templates: list[Any]) -> str:
    """Return the first of some local folders or templates, or the URL above all of them."""
    texts = [check_to(to) for to in templates]
    if not any("://" in text for text in texts):
        return texts[0]
    folders = [fixed_url(text).split("/") if "://" in text else [] for text in texts]
    levels = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    common = [names[0] for names in levels]
    if len(common) < 3:  # of the scheme, nothing, and the bucket
        raise ValueError(f"to= has the locations {texts!r:.200}; give local folders only, or URLs of one bucket")
    return "/".join(common)


def _mask_encoding(to: Any, encode_options: codec.EncodeOptions) -> codec.EncodeOptions:
    """Return the encoding of masks: PNG in a plain folder, and by the suffix of a template."""
    is_folder = isinstance(to, str | os.PathLike) and not is_template(to)
    return codec.EncodeOptions("PNG" if is_folder else None, encode_options.quality)


def _check_distinct(names: tuple[str, ...], targets: list[list[str | None]]) -> None:
    """Raise a ValueError if two columns of images would be written to one file."""
    owner: dict[str, str] = {}
    for name, paths in zip(names, targets, strict=True):
        for path in filter(None, dict.fromkeys(paths)):
            if owner.setdefault(path, name) != name:
                raise ValueError(f"to={{…}}: {owner[path]!r} and {name!r} would both be written to {path!r}")
