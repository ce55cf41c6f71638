"""Methods that call a user's function on each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc._validation import check_bool, check_int
from pandas_imgproc.accessor.options import (
    DECODE,
    READ,
    REGION,
    STORE,
    LoadKwargs,
    WriteKwargs,
    check_callable,
    check_dtype,
    check_prefix,
    load_options,
    select_kwargs,
    write_options,
)
from pandas_imgproc.accessor.pairs import PairArguments, _PairMethods, warn_of_mixed_ids
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.tasks import Augment, Map, SaveAugmented

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    import pandas as pd


class _TransformMethods(_PairMethods):
    """Methods that call a function on each image."""

    @delegates(DECODE, REGION, STORE, READ)
    def map(
        self,
        func: Callable[..., Any],
        *,
        size: int | tuple[int, int] | None = None,
        dtype: Any = None,
        prefix: str | None = None,
        with_columns: Sequence[Any] | None = None,
        **options: Unpack[LoadKwargs],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Call a function on each image.

        Parameters
        ----------
        func : callable
            Of one argument, ndarray of uint8, shape (height, width, channels), which it may change. It may be defined
            in a notebook, be a lambda or a closure, or be compiled by numba. It runs in worker processes, on copies
            of the objects that it uses: changes outside of the function are not returned. A class, or a
            `functools.partial` of one, is built once in each worker process, and its instance is the function: it
            may load a model. Calls of an instance are serialized.
        size : int or (int, int), optional
            Pixels: the images are resized first, as in `load_resized`; by default each keeps its own size.
        dtype : dtype, ImageDtype, or dict of dtype by column, optional
            Of the result; by default inferred by pandas. A dtype without missing values becomes the nullable
            one of pandas if rows are missing. A dict names all columns if there is `out`, and on Dask frames: a
            value for another column is the failure of its row; otherwise it adds a column. Absent values are missing.
            A single dtype is that of all columns of a vector.
        prefix : str, optional
            Names of the columns of a 1-D array before their number, which is their name by default: ``"0"``, …
            With a dict, it is put before each key.
        with_columns : list of labels, optional
            Columns of the frame of which the function is given the row too, as its last argument: a Series.
        out, overwrite, retry
            As in `load_resized`; needs `dtype`. Images are written to a ``.npy`` file or ``.parquet`` parts, other
            results to parts.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series or DataFrame
            With the index of the column. A number or text for each image gives a Series named as the function; a
            dict, or a 1-D array, a DataFrame; an image (an array of shape (height, width) or (height, width, 1, 3
            or 4), or a PIL image), all of one shape, a column of images.

        Raises
        ------
        TypeError
            If `func` cannot be called, or cannot be sent to another process.
        ValueError
            If no type and shape is that of more than half of the results.
        UserFunctionError
            If `func` fails alike on all of the first 16 images, unless ``errors="coerce"``; if it fails on any, with
            ``errors="raise"``. The cause is its exception, with its traceback.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        An exception of the function is that row's failure, of kind ``function``; ``sys.exit`` too, a value that
        `dtype` cannot hold, and a result of another type or shape than most. A function that
        ends its process fails that row only (``worker_died``).

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", None, "blue.jpg"]})
        >>> df.img.map("image_path", lambda pixels: int(pixels[:, :, 0].mean())).tolist()
        [255, <NA>, 0]
        """
        decode_options, read_options, store = load_options(size, options)
        strict_for = self._requires_schema if store is None else "out="
        if strict_for and dtype is None:
            raise ValueError(
                f"{strict_for} needs dtype=, because all parts must be alike: 'float64', {{'mean': 'float64', 'n': "
                "'int64'}, or ImageDtype('uint8', (64, 64, 3))"
            )
        checked = check_dtype(dtype)
        task = Map(
            check_callable("func", func),
            decode_options,
            checked,
            strict=bool(strict_for) and (store is None or isinstance(checked, dict)),
            prefix=check_prefix(prefix),
            column_names=self._check_extra_columns(with_columns),
        )
        result: pd.Series[Any] | pd.DataFrame = self._run(task, read_options, store)
        return result

    @delegates(DECODE, REGION, STORE, READ)
    def augment(
        self,
        transform: Callable[..., Any],
        n: int = 5,
        *,
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        keep_original: bool = False,
        masks: Any = None,
        boxes: Sequence[Any] | None = None,
        group: Any = None,
        to: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | None = None,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        **options: Unpack[LoadKwargs],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Augment each image with random variants; it is read and decoded once.

        Parameters
        ----------
        transform : callable
            A transform of Albumentations (``transform(image=pixels)["image"]``) or of torchvision (called with a PIL
            image), or any function of pixels, ndarray of uint8, shape (height, width, channels). A function whose
            first argument is annotated ``PIL.Image.Image`` gets a PIL image; one with an argument ``rng`` gets a
            `numpy.random.Generator`.
        n : int
            Number of variants of each image.
        size : int or (int, int), optional
            Pixels: images are resized before they are transformed, as in `load_resized`.
        seed : int
            Seed of the random numbers: those of a variant depend on the seed, the position of its row and
            its number alone, and not on the process that runs it.
        keep_original : bool
            Whether variant 0 is the image itself.
        masks : label or Series, or a list of them, optional
            Columns of masks, which are augmented with their image: gray or palette images of class numbers, of the size
            of the upright image. They are read with ``mode="P"``, resized as the image is, by ``"nearest"``, and padded
            with class 0.
        boxes : list of label, optional
            Four columns of a box of the upright image: each row is a box, and several are of one image. Their meaning
            is that of `box_format` and `box_unit`, as of `box`.
        group : label, optional
            With `boxes`, the column, or level of the index, that is equal in the rows of one image; by default the
            column of images. Rows in which it is missing are missing.
        to : path, or dict of path, optional
            Write each variant to a file, as in `save_resized`: a folder, where ``_0``, ``_1``, … are added to the
            names, or a template with ``{variant}`` in it. Images may then be of any size. With masks a dict, such as
            ``{"image": "{stem}_{variant}.jpg", "mask": "{stem}_{variant}.png"}``; fields are those of the image.
        format, quality, overwrite, retry
            Of the files, as in `save_resized`.
        out : path, optional
            As in `load_resized`: a ``.npy`` file or ``.parquet`` parts; needs `size`, which the transform must keep.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth
            As in `load_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, readers, strict, engine, color_profile
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame or Series
            Of a frame, the exploded frame: every row n times, all its columns, and ``image``, which replaces the image
            column that is augmented if it has that name; or with `to` the ``path`` of each file, or with parts as `out`
            the ``part``. Of a series, that column alone. The index has one more level, ``variant``, from 0 to n - 1.
            With `masks` also ``mask``, or ``mask_0``, ``mask_1``, … for a list; with a dict as `to` the paths have the
            names of its keys. With `boxes` the four columns hold the box of each variant, missing where it is outside
            of the image.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong; if no shape is that of more than half of the rows; if the frame has a column or an
            index level of a name that the result needs.
        UserFunctionError
            If `transform` fails alike on all of the first 16 images, unless ``errors="coerce"``; if it fails on any,
            with ``errors="raise"``. The cause is its exception, with its traceback.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        Before each variant `random`, `numpy.random` and torch, if it is imported, are seeded, and the transform's
        ``set_random_seed`` is called; afterwards their states are restored. An exception of the transform is that
        row's failure, of kind ``function``.

        A transform is given masks and boxes as keywords: ``mask=``, or ``masks=`` for a list, and ``bboxes=``; a
        function returns a dict of the same. Transforms of ``torchvision.transforms.v2`` are given tensors of
        ``tv_tensors``. An image or mask that cannot be read, or a mask of another size, makes image and masks of its
        row missing, and the failure names the file. With `boxes` the position of an image is its number among the
        images.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> def darker(pixels, rng):
        ...     return (pixels * rng.uniform(0.5, 1)).astype("uint8")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"], "label": [0, 1]})
        >>> aug = df.img.augment("image_path", darker, n=3, size=32)
        >>> aug["image"].img.to_numpy().shape, aug["label"].tolist()
        ((6, 32, 32, 3), [0, 0, 0, 1, 1, 1])
        """
        arguments = PairArguments.of(masks, boxes, group, options)
        decode_options, read_options, store = load_options(size, arguments.without_form(options))
        self._check_pair_arguments(arguments, to, store, read_options)
        parts = store is not None and store.sink_class.returns_parts
        paths_only = to is not None and not isinstance(to, dict)
        self._check_names_are_free(*(("path",) if paths_only else ("part",) if parts else arguments.names))
        if decode_options.mode == "P":
            warn_of_mixed_ids(transform)
        task = Augment(
            check_callable("transform", transform),
            check_int("n", n),
            decode_options,
            check_int("seed", seed, 0),
            check_bool("keep_original", keep_original),
            self._variant_shape(decode_options, store, to),
        )
        output = None if to is None else write_options(to, **select_kwargs(options, WriteKwargs))
        encode_options = codec.encode_options(format, quality)
        if not arguments.is_empty or isinstance(to, dict):
            return self._explode(self._augment_pairs(task, arguments, read_options, output, encode_options), n)
        if output is None:
            return self._explode(self._run(task, read_options, store), n)
        files = SaveAugmented(task, encode_options)
        paths = self._write(files, read_options, output, encode_options=files.encode_options, variants=range(n))
        return self._explode(paths, n)

    def _check_names_are_free(self, *names: str) -> None:
        """Raise a ValueError if the frame has columns or levels of names that the exploded frame needs."""
        column, frame = self._column, self._frame
        levels = getattr(column.index, "names", [column.index.name])  # an index of Dask has one level
        if any(isinstance(level, str) and level == "variant" for level in levels):  # pd.NA is not comparable
            raise ValueError(
                "the index has a level 'variant', and augment adds one of that name; rename it, for example "
                "df.rename_axis(index={'variant': 'round'})"
            )
        columns = () if frame is None else frame.columns
        # Images of a column are replaced by their variants; anything else of that name would be lost.
        replaced = column.name if isinstance(column.dtype, ImageDtype) else None
        needed = ["variant", *(name for name in names if name != replaced)]
        taken = next((name for name in needed if name in columns), None)
        if taken is not None:
            raise ValueError(
                f"the frame has a column {taken!r}, and the result of augment needs that name; rename it, for example "
                f"df.rename(columns={{{taken!r}: '{taken}_before'}})"
            )

    def _variant_shape(
        self, decode_options: codec.DecodeOptions, store: object, to: object
    ) -> tuple[int, int, int] | None:
        """Return the shape of all variants, if it must be known before the first."""
        if store is not None and to is not None:
            raise ValueError("out= stores variants as a column, to= writes files; give one of them")
        strict_for = self._requires_schema if store is None else "out="
        if strict_for is None or to is not None:
            return None
        if decode_options.size is None:
            raise ValueError(f"{strict_for} needs size=: the shape of all images must be known before the first one")
        return decode_options.shape

    def _explode(self, variants: Any, n: int) -> pd.Series[Any] | pd.DataFrame:
        """Return the variants with the columns of the frame, if there is one."""
        result: pd.Series[Any] | pd.DataFrame = variants
        return result if self._frame is None else explode_variants(self._frame, variants, n)


def explode_variants(frame: pd.DataFrame, variants: Any, n: int) -> pd.DataFrame:
    """Return each row of a frame n times, with its variants as one column or several."""
    exploded = frame.take(np.repeat(np.arange(len(frame)), n))
    exploded.index = variants.index
    columns = {variants.name: variants} if variants.ndim == 1 else dict(variants.items())
    for name, column in columns.items():
        all_levels = (name, *[""] * (frame.columns.nlevels - 1))
        exploded[name if name in frame.columns or frame.columns.nlevels == 1 else all_levels] = column.array
    exploded.attrs.update(variants.attrs)  # the failures, unless the array of images has them
    return exploded
