"""Methods that feed models: batches for a loop, and a dataset for the loader of another library."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_bool, check_int
from pandas_imgproc.accessor.base import _ImageAccessorBase, column_inputs
from pandas_imgproc.accessor.options import (
    DECODE,
    FORMAT,
    REGION,
    SOURCE,
    BatchKwargs,
    DatasetKwargs,
    FormatKwargs,
    RegionKwargs,
    check_callable,
    decode_and_read_options,
    get_column,
    read_options,
    select_kwargs,
)
from pandas_imgproc.accessor.regions import region_options
from pandas_imgproc.array import ImageArray, PixelFormat, pixel_format
from pandas_imgproc.failures import failures_frame, failures_table
from pandas_imgproc.feeding import DecodedRows, ImageBatches, ImageDataset, Rows, StoredRows
from pandas_imgproc.sinks import BatchSpec, Missing
from pandas_imgproc.tasks import LoadResized, Readable, function_name, is_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from pandas_imgproc.accessor.options import ReadOptions


class _FeedingMethods(_ImageAccessorBase):
    """Methods that feed models."""

    @delegates(FORMAT, DECODE, REGION, SOURCE)
    def batches(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        missing: Missing = "skip",
        drop_last: bool = False,
        prefetch: int = 2,
        dtype: Any = None,
        **options: Unpack[BatchKwargs],
    ) -> ImageBatches:
        """Return the images in batches, to loop over as often as there are passes.

        Parameters
        ----------
        size : int or (int, int), optional
            As in `load_resized`. The images of an image column need none, and are then taken as they are.
        batch_size : int
            Rows of a batch.
        shuffle : bool
            Whether a pass is in random order, instead of that of the frame.
        seed : int
            Seed of the order, which depends on it and on the number of the pass alone.
        missing : {"skip", "raise"} or number
            Rows without an image: left out, so that batches are full without them; an exception when the loop
            reaches the first; or images of this value in all pixels, after `scale`. No row is replaced by another.
        drop_last : bool
            Whether a last batch of fewer rows is dropped, as by the DataLoader of PyTorch.
        prefetch : int
            Batches that are decoded ahead of the loop: their memory is that of the call.
        dtype, scale, mean, std, channels
            As in `to_numpy`; by default uint8, the channels last.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        root, suffix, storage_options, schemes, redirect_hosts
            As in `load_resized`.

        Returns
        -------
        ImageBatches
            Iterator over tuples ``(positions, images)``: ndarray of int64, shape (k,), the positions of the rows in
            the frame, and ndarray of uint8, shape (k, height, width, channels). `len` is the number of batches, before
            the first pass the number if all images can be read. ``set_epoch`` sets the number of the next pass,
            ``state_dict`` and ``load_state_dict`` continue in the middle of one, and ``failures`` is the table of the
            rows that could not be read.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong.
        NoReadableImageError
            At the end of a pass, if none of at least two images could be read.
        UnreadableImageError, MissingImagesError
            In a pass, with ``missing="raise"``: the row has an image that cannot be read, or none.
        ResultTooLargeError
            At the begin of a pass, if the batches ahead of the loop do not fit into memory.

        Notes
        -----
        Every row with an image is in a pass once. The first pass with failures ends with one warning, if
        they are left out. Images are
        decoded on threads of this process, one for each core, and no cluster is started.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", None, "blue.jpg"], "label": [0, 1, 2]})
        >>> labels = df["label"].to_numpy()
        >>> for positions, images in df.img.batches("image_path", size=32, batch_size=2):
        ...     print(positions, labels[positions], images.shape, images.dtype)
        [0 2] [0 2] (2, 32, 32, 3) uint8
        """
        rows, read = self._rows(size, options)
        form = _format(rows, dtype, options)
        spec = BatchSpec(
            check_int("batch_size", batch_size), rows.image_shape, form, check_missing(missing, form),
            check_bool("drop_last", drop_last),
        )  # fmt: skip
        return ImageBatches(
            rows, spec, self._column.index, read.source, shuffle=check_bool("shuffle", shuffle),
            seed=check_int("seed", seed, 0), prefetch=check_int("prefetch", prefetch),
        )  # fmt: skip

    @delegates(FORMAT, DECODE, REGION, SOURCE, (read_options, ("npartitions", "progress")))
    def dataset(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        label: Any = None,
        transform: Callable[..., Any] | None = None,
        missing: Missing = "skip",
        readable: Any = None,
        dtype: Any = None,
        **options: Unpack[DatasetKwargs],
    ) -> ImageDataset:
        """Return the images as a map-style dataset, such as the DataLoader of PyTorch takes.

        Parameters
        ----------
        size : int or (int, int), optional
            As in `batches`.
        label : label, list of labels, or array-like, optional
            Column of the frame whose value is the third element of an item, or several, whose values are one array;
            or the values themselves, one for each row of the column.
        transform : callable, optional
            Function of the pixels, ndarray of uint8, shape (height, width, channels), before they get their format:
            a transform of Albumentations or torchvision, or any function, called as by `augment`. Its random numbers
            are those of the process, which the loader seeds.
        missing : {"skip", "raise"} or number
            Rows without an image: left out, an exception when the item is read, or images of this value. ``"skip"``
            needs to know them: the images are decoded once when the dataset is built, unless `readable` is given.
        readable : sequence of bool, optional
            Mask of the rows that can be read, such as ``df.img.verify("image_path")["kind"].isna()``; the others are
            left out.
        dtype, scale, mean, std, channels
            As in `to_numpy`; by default uint8, the channels last.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`; the last two are of the pass that finds the rows that can be read.

        Returns
        -------
        ImageDataset
            ``len`` counts its items, ``positions`` are their rows in the frame, ``failures`` is the table of the rows
            that were left out. An item is a tuple ``(position, image)`` or ``(position, image, label)``: int, ndarray
            of uint8, shape (height, width, channels), and a value.

        Raises
        ------
        ValueError, TypeError, KeyError
            If an argument is wrong.
        NoReadableImageError
            If none of at least two images could be read.
        UnreadableImageError, MissingImagesError
            When an item is read that has no image, unless `missing` is a number.

        Notes
        -----
        It can be pickled, with its paths and without the frame, also with a transform that a notebook defines. Its
        processes start no cluster.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", None, "blue.jpg"], "label": [0, 1, 2]})
        >>> data = df.img.dataset("image_path", size=32, label="label")
        >>> [(position, image.shape, int(label)) for position, image, label in data]
        [(0, (32, 32, 3), 0), (2, (32, 32, 3), 2)]
        """
        rows, read = self._rows(size, options)
        form = _format(rows, dtype, options)
        check_missing(missing, form)
        function = None if transform is None else check_callable("transform", transform)
        if is_class(transform):  # built with the dataset, or once in each process: the user decides
            raise TypeError(f"transform={function_name(transform)} is a class; give an instance of it")
        labels = self._labels(label)
        included, table = self._included(rows, read, missing, readable)
        positions = np.flatnonzero(included)
        return ImageDataset(rows, positions, labels, form, missing, function, self._column.index, table)

    def _rows(self, size: Any, options: Mapping[str, Any]) -> tuple[Rows, ReadOptions]:
        """Return the images of the column by position."""
        images = self._column.array
        is_stored = isinstance(images, ImageArray)
        if size is None and not is_stored:
            raise ValueError("size= is needed: the images of a batch have one shape; give size=224 or (width, height)")
        is_region = region_options(**select_kwargs(options, RegionKwargs)) is not None
        is_decoded = is_region or size is not None or bool(select_kwargs(options, codec.DecodeKwargs))
        size = images.dtype.shape[1::-1] if size is None and isinstance(images, ImageArray) else size
        decode_options, read = decode_and_read_options(size, options)
        is_unchanged = isinstance(images, ImageArray) and images.dtype.shape == decode_options.shape and not is_region
        if isinstance(images, ImageArray) and (not is_decoded or is_unchanged):
            return StoredRows(images.copy()), read
        job = self._make_job(LoadResized(decode_options), read, column_inputs(self._column))
        return DecodedRows(job, codec.PillowSettings.current()), read

    def _labels(self, label: Any) -> np.ndarray[Any, Any] | None:
        """Return the labels of all rows."""
        if label is None:
            return None
        if self._frame is not None and pd.api.types.is_hashable(label):
            return get_column(self._frame, label).to_numpy()
        if self._frame is not None and isinstance(label, list) and set(label) <= set(self._frame.columns):
            return np.column_stack([get_column(self._frame, name).to_numpy() for name in label])
        return self._per_row("label", label)

    def _per_row(self, name: str, values: Any) -> np.ndarray[Any, Any]:
        """Return an array with a value for each row of the column."""
        if isinstance(values, pd.Series | pd.DataFrame) and not values.index.equals(self._column.index):
            raise ValueError(f"{name}= has another index than the column; give one of its frame, or an array")
        array = np.asarray(values)
        if array.ndim == 0 or len(array) != len(self._column):
            n = "no rows" if array.ndim == 0 else f"{len(array):,} rows"
            raise ValueError(f"{name}={shorten(values)} has {n}, and the column has {len(self._column):,}")
        return array

    def _included(
        self, rows: Rows, read: ReadOptions, missing: Missing, readable: Any
    ) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
        """Return the mask of the rows of a dataset, and the failures of the others."""
        nothing = failures_table([], self._column.index)
        if readable is not None:
            mask = self._per_row("readable", readable)
            if mask.dtype != bool:
                raise TypeError(f"readable= holds {mask.dtype}, and not True and False")
            return mask, nothing
        if missing != "skip":
            return np.ones(len(rows), dtype=bool), nothing
        if isinstance(rows, StoredRows):
            absent = rows.missing()
            return ~absent, failures_table(rows.read(np.flatnonzero(absent).tolist()).failures, self._column.index)
        assert isinstance(rows, DecodedRows)
        task = rows.job.task
        assert isinstance(task, LoadResized)
        result = self._run(Readable(task.decode_options), read)
        return result.to_numpy(), failures_frame(result)


def _format(rows: Rows, dtype: Any, options: Mapping[str, Any]) -> PixelFormat:
    return pixel_format(rows.dtype, rows.image_shape[2], dtype=dtype, **select_kwargs(options, FormatKwargs))


def check_missing(missing: Any, form: PixelFormat) -> Missing:
    """Return "skip", "raise", or a number that a pixel of this format can hold."""
    if missing in ("skip", "raise"):
        return missing  # type: ignore[no-any-return]
    if isinstance(missing, bool) or not isinstance(missing, numbers.Real):
        raise ValueError(f"missing={shorten(missing)} is not 'skip', 'raise' or a number, the value of all pixels")
    with np.errstate(all="ignore"):
        value = np.array(missing).astype(form.dtype)
    if value != missing and form.dtype.kind != "f":
        raise ValueError(f"missing={shorten(missing)} is no value of {form.dtype}, the dtype of the pixels")
    return float(missing)
