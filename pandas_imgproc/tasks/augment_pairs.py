"""Tasks of `augment` with masks or boxes: random variants of an image, and the same ones of all that belongs to it."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray
from pandas_imgproc.custom_files import CustomFile
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import combine_signatures, paths_to_series
from pandas_imgproc.tasks.augment import Augment, SaveAugmented, encode_variant
from pandas_imgproc.tasks.base import with_labels
from pandas_imgproc.tasks.box_format import clip, from_corners, sides
from pandas_imgproc.tasks.pair_calls import PairForm, Sample, pair_call
from pandas_imgproc.tasks.rng import seeded
from pandas_imgproc.tasks.user_function import load_pixels, store_result, user_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

BOXES = "boxes"
"""Column of the boxes of an image, arrays of shape (k, 4): corners as input, in the format of the table as result."""


@dataclass(frozen=True)
class AugmentPairs(Augment):
    """Random variants of each image, with its masks and boxes.

    Attributes
    ----------
    form : PairForm
        Form in which the transform is given masks and boxes.
    max_boxes : int, optional
        Most boxes of an image; None without boxes.
    has_images : bool
        Whether images and masks are results, beside the boxes.
    """

    form: PairForm = field(default_factory=PairForm)
    max_boxes: int | None = None
    has_images: bool = True

    @property
    def column_names(self) -> tuple[Any, ...] | None:
        """Name of the column of the boxes, if there are some."""
        return None if self.max_boxes is None else (BOXES,)

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names of the masks in the result."""
        n = self.form.n_masks
        return tuple(f"mask_{k}" for k in range(n)) if self.form.has_mask_list else ("mask",) * n

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded image and masks, of a copy and of the variants."""
        return super().nbytes_per_row * (1 + self.form.n_masks)

    def allocate(self, n: int) -> Values:
        """Return n rows of zeros, or an array of objects if the shape is not declared."""
        if self.shape is None or not self.has_images:
            return np.full(n, None, dtype=object)
        return np.zeros(n, dtype=self._row_dtype(self.shape, np.dtype(np.uint8)))

    def _row_dtype(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.dtype[Any]:
        fields: list[Any] = [("image", dtype, shape), *((name, "u1", (*shape[:2], 1)) for name in self.mask_names)]
        return np.dtype(fields if self.max_boxes is None else [*fields, (BOXES, "f8", (self.max_boxes, 4))])

    def fill(self, out: Values, position: int, file: InputFile | Iterable[InputFile]) -> None:
        """Decode the image and the masks of one row, and write their variants into ``out``."""
        for variant, sample in enumerate(self.variants(position, file)):
            if out.dtype.names:
                for name, value in self._fields(sample).items():
                    store_result(out[name], variant, value)
            else:
                out[variant] = self._to_row(sample) if self.has_images else self._numbers(sample)

    def variants(self, position: int, file: InputFile | Iterable[InputFile]) -> Iterator[Sample]:
        """Yield the variants of one row."""
        original, call = self._load(file), pair_call(self.transform, self.form)
        for variant in range(self.n):
            if self.keep_original and variant == 0:
                yield original.copy()
                continue
            with timed("function"), seeded(self.transform, self.seed, position, variant) as rng, user_code():
                sample = call(original.copy(), rng)
            yield sample

    def _load(self, file: Any) -> Sample:
        """Return image, masks and boxes of one row, all of the size of the image."""
        files, options = (file if hasattr(file, "__iter__") else (file,)), self.decode_options
        image: Values = np.empty(0)
        size, masks = (0, 0), []
        for k, one in enumerate(files):  # a failure has the path of the file that was read last
            data = one.data()
            if isinstance(data, CustomFile):
                data = data.read(options.frame if not k else 0)  # once, for the size and the pixels
            if not k:
                size, image = codec.read_upright_size(data, options), load_pixels(data, options)
                continue
            _check_mask_size(codec.read_upright_size(data, options), size)
            masks.append(load_pixels(data, codec.mask_options(options))[:, :, 0])
        if hasattr(file, "__iter__"):
            file.signature = combine_signatures([one.signature for one in file])
            next(iter(file))  # a failure of the transform has the path of the image
        return Sample(image, tuple(masks), self._boxes(file, size, image.shape))

    def _boxes(self, file: Any, size: tuple[int, int], shape: tuple[int, ...]) -> Any:
        """Return the boxes of one row in the pixels of the resized image; NaN for one without a part in it."""
        if self.max_boxes is None:
            return None
        boxes = np.asarray(file.columns[BOXES].iloc[file.i], dtype=float)
        boxes = boxes * sides((size[1], size[0])) if self.form.is_fraction else boxes
        scale, offset = codec.resized_geometry(size, self.decode_options)
        return clip(boxes * (*scale, *scale) + (*offset, *offset), shape)

    def _to_row(self, sample: Sample) -> Any:
        """Return a sample as one row: a record of image, masks and boxes."""
        row = np.zeros(1, dtype=self._row_dtype(sample.image.shape, sample.image.dtype))[0]
        for name, value in self._fields(sample).items():
            row[name] = value
        return row

    def _fields(self, sample: Sample) -> dict[str, Any]:
        masks = (mask[:, :, np.newaxis] for mask in sample.masks)
        fields = {"image": sample.image, **dict(zip(self.mask_names, masks, strict=True))}
        if sample.boxes is not None:
            fields[BOXES] = np.full((self.max_boxes or 0, 4), np.nan)
            fields[BOXES][: len(sample.boxes)] = self._numbers(sample)
        return fields

    def _numbers(self, sample: Sample) -> Any:
        """Return the boxes of a sample in the format of the table."""
        assert sample.boxes is not None
        scale = sides(sample.image.shape) if self.form.is_fraction else 1.0
        return from_corners(sample.boxes, self.form.box_format) / scale

    def is_stackable(self, value: Any) -> bool:
        """Return whether a result is a record."""
        return isinstance(value, np.void)

    def result_form(self, value: Any) -> str | None:
        """Return the form of one result."""
        dtype = getattr(value, "dtype", None)
        image = dtype["image"] if dtype is not None and dtype.names else None
        return "boxes" if image is None else f"an image of {image.base} and shape {image.shape}"

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.DataFrame:
        """Return the DataFrame of images, masks and boxes, each row n times."""
        columns: dict[str, Any] = {}
        if self.has_images:
            if values.dtype == object:  # no row has a result: the shape is a guess
                width, height = self.decode_options.size or (1, 1)
                shape = height, width, codec.CHANNELS[self.decode_options.mode]
                values = np.zeros(len(values), dtype=self._row_dtype(shape, np.dtype(np.uint8)))
            for name in ("image", *self.mask_names):
                columns[name] = ImageArray(_copy_field(values, name), np.repeat(status, self.n), failures)
        if self.max_boxes is not None:
            columns[BOXES] = _to_objects(values[BOXES] if self.has_images else values, np.repeat(status == 0, self.n))
        frame = pd.DataFrame(columns, index=self.index(index), copy=False)
        frame.attrs["failures"] = with_labels(failures, frame.index, self.n)
        return frame


@dataclass(frozen=True)
class SavePairs(SaveAugmented):
    """Encoded files of the random variants of images and masks: for each variant that of the image and of each mask."""

    variants: AugmentPairs
    mask_options: tuple[codec.EncodeOptions, ...] = ()
    names: tuple[str, ...] = ("image",)

    column_names = property(operator.attrgetter("variants.column_names"))

    @property
    def n_outputs(self) -> int:
        """Number of files of each row."""
        return self.variants.n * len(self.names)

    def fill(self, out: Values, position: int, file: Any) -> None:
        """Decode the image and the masks of one row, and encode their variants into ``out``."""
        targets = getattr(file, "targets", None) or [getattr(file, "target", None)] * len(self.names)
        encodings = self.encode_options, *self.mask_options
        for variant, sample in enumerate(self.variants.variants(position, file)):
            images = sample.image, *(mask[:, :, np.newaxis] for mask in sample.masks)
            for k, (pixels, options) in enumerate(zip(images, encodings, strict=True)):
                out[variant * len(self.names) + k] = encode_variant(pixels, options, targets[k])

    def to_pandas(
        self,
        values: Values,
        status: Values,  # noqa: ARG002  values are None where a row has no result
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.DataFrame:
        """Return the DataFrame of the paths of the files: a column of images and one of each mask."""
        rows = self.index(index)
        step = len(self.names)
        columns = {name: paths_to_series(values[k::step], rows) for k, name in enumerate(self.names)}
        frame = pd.DataFrame(columns, index=rows)
        frame.attrs["failures"] = with_labels(failures, rows, self.variants.n)
        return frame


def _copy_field(records: Values, name: str) -> Values:
    """Return one field of records as an array of its own."""
    field = records[name]
    rows = field.reshape(len(field), math.prod(field.shape[1:]))  # a view: numpy copies long rows five times as fast
    return np.ascontiguousarray(rows).reshape(field.shape)


def _check_mask_size(size: tuple[int, int], image_size: tuple[int, int]) -> None:
    if size != image_size:
        raise UnreadableImageError(
            "unsupported",
            f"the mask has {size[0]} x {size[1]} pixels, and the upright image {image_size[0]} x {image_size[1]}",
        )


def _to_objects(arrays: Any, valid: Values) -> Values:
    objects = np.full(len(arrays), None, dtype=object)
    for k in np.flatnonzero(valid):
        objects[k] = arrays[k]
    return objects
