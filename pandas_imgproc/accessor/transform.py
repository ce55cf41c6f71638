"""The methods that call a user's function on each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    ImageKwargs,
    check_callable,
    check_count,
    check_dtype,
    check_flag,
    decode_and_read_options,
    with_image_kwargs,
    write_options,
)
from pandas_imgproc.sinks.out import parse_out
from pandas_imgproc.tasks import Augment, Map, SaveAugmented

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Unpack

    import pandas as pd

    from pandas_imgproc.sinks import Retry


class _TransformMethods(_ImageAccessorBase):
    """Call a function on each image."""

    @with_image_kwargs
    def map(
        self,
        func: Callable[..., Any],
        *,
        size: int | tuple[int, int] | None = None,
        dtype: Any = None,
        overwrite: bool = False,
        retry: Retry = "transient",
        out: str | os.PathLike[str] | None = None,
        **options: Unpack[ImageKwargs],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Call any function on each image.

        Parameters
        ----------
        func : callable
            Of one argument, ndarray of uint8, shape (height, width, channels), which it may change. It may stand in
            a notebook, be a lambda or a closure, or be compiled by numba. It runs in processes of its own: a copy of
            what it uses travels there, and what it changes outside of itself does not come back.
        size : int or (int, int), optional
            Pixels: the images are resized first, as `load_resized` does it; by default they are as large as they
            are.
        dtype : dtype, ImageDtype, or dict of dtype by column, optional
            Of the answer; by default what pandas infers. One that cannot hold missing values becomes the nullable
            one of pandas where rows are missing. A dict names all columns if there is `out`, and on Dask frames: a
            value for another is the failure of its row; without, it makes a column. What a row lacks is missing.
        out, overwrite, retry
            As in `load_resized`; needs `dtype`. Images go to a ``.npy`` file or ``.parquet`` parts, other answers to
            parts.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth, frame, max_pixels, formats
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        Series or DataFrame
            With the index of the column. A number or text of each image gives a Series named as the function; a
            dict, or a 1-D array, a DataFrame; an image (an array of shape (height, width) or (height, width, 1, 3
            or 4), or a PIL image), all of one shape, a column of images.

        Raises
        ------
        TypeError
            If `func` cannot be called, or cannot travel to another process.
        ValueError
            If the answers are not all of one form.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        What the function raises is that row's failure, of kind ``function``; ``sys.exit`` too. A function that ends
        its process costs that row (``worker_died``).

        Examples
        --------
        >>> folder = getfixture("photos")
        >>> df = pd.DataFrame({"image_path": ["red.png", None, "blue.jpg"]})
        >>> df.img.map("image_path", lambda pixels: int(pixels[:, :, 0].mean()), root=folder).tolist()
        [255, <NA>, 0]
        """
        decode_options, how = decode_and_read_options(size, options)
        kept = parse_out(out, overwrite=overwrite, retry=retry, options=how.source.options)
        asking = self._requires_schema if kept is None else "out="
        if asking and dtype is None:
            raise ValueError(
                f"{asking} needs dtype=, because all parts must be alike: 'float64', {{'mean': 'float64', 'n': "
                "'int64'}, or ImageDtype('uint8', (64, 64, 3))"
            )
        func, dtype = check_callable("func", func), check_dtype(dtype)
        task = Map(func, decode_options, dtype, strict=bool(asking))
        answer: pd.Series[Any] | pd.DataFrame = self._run(task, how, kept)
        return answer

    @with_image_kwargs
    def augment(
        self,
        transform: Callable[..., Any],
        n: int = 5,
        *,
        size: int | tuple[int, int] | None = None,
        seed: int = 0,
        keep_original: bool = False,
        to: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002  Pillow's word
        quality: int = 75,
        overwrite: bool = False,
        retry: Retry = "transient",
        out: str | os.PathLike[str] | None = None,
        **options: Unpack[ImageKwargs],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Make random variants of each image, which is read and decoded once.

        Parameters
        ----------
        transform : callable
            One of Albumentations (``transform(image=pixels)["image"]``), one of torchvision (it is given a PIL
            image), or any function of pixels, ndarray of uint8, shape (height, width, channels). A function whose
            first argument is annotated ``PIL.Image.Image`` is given that; one with an argument ``rng`` is given a
            `numpy.random.Generator`.
        n : int
            Variants of each image.
        size : int or (int, int), optional
            Pixels: images are resized before they are transformed, as `load_resized` does it.
        seed : int
            What the random numbers begin with: those of a variant depend on the seed, the position of its row and
            its number alone, whatever runs it.
        keep_original : bool
            Whether variant 0 is the image itself.
        to : path, optional
            Write each variant to a file, as `save_resized` does: a folder, where ``_0``, ``_1``, … are added to the
            names, or a template with ``{variant}`` in it. Images may then be of any size.
        format, quality, overwrite, retry
            Of the files, as in `save_resized`.
        out : path, optional
            As in `load_resized`: a ``.npy`` file or ``.parquet`` parts; needs `size`, which the transform keeps.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth, frame, max_pixels, formats
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, npartitions, progress
            As in `load_resized`.

        Returns
        -------
        DataFrame or Series
            Of a frame, the long frame: every row n times, all its columns, and ``image`` (in place of one of that
            name), or with `to` the ``path`` of each file, or with parts as `out` the ``part``. Of a column, that
            column alone. The index has one more level, ``variant``, from 0 to n - 1.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong; if the images that the transform makes are not all of one shape.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        Before each variant `random`, `numpy.random` and torch, if it is imported, are seeded, and the transform's
        ``set_random_seed`` is called; afterwards their states are put back. What the transform raises is that row's
        failure, of kind ``function``.

        Examples
        --------
        >>> def darker(pixels, rng):
        ...     return (pixels * rng.uniform(0.5, 1)).astype("uint8")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"], "label": [0, 1]})
        >>> aug = df.img.augment("image_path", darker, n=3, size=32, root=getfixture("photos"))
        >>> aug["image"].img.to_numpy().shape, aug["label"].tolist()
        ((6, 32, 32, 3), [0, 0, 0, 1, 1, 1])
        """
        decode_options, how = decode_and_read_options(size, options)
        task = Augment(
            check_callable("transform", transform),
            check_count("n", n, least=1),
            decode_options,
            check_count("seed", seed, least=0),
            check_flag("keep_original", keep_original),
            self._shape(decode_options, out, to),
        )
        if to is None:
            kept = parse_out(out, overwrite=overwrite, retry=retry, options=how.source.options)
            return self._long(self._run(task, how, kept), n)
        files = SaveAugmented(task, codec.encode_options(format, quality))
        where = write_options(to, overwrite=overwrite, retry=retry)
        return self._long(self._write(files, how, where, encode_options=files.encode_options, variants=range(n)), n)

    def _shape(self, decode_options: codec.DecodeOptions, out: object, to: object) -> tuple[int, int, int] | None:
        """Return the shape of all variants, where it must be known before the first."""
        if out is not None and to is not None:
            raise ValueError("out= keeps variants as a column, to= writes files; give one of them")
        asking = self._requires_schema if out is None else "out="
        if asking is None or to is not None:
            return None
        if decode_options.size is None:
            raise ValueError(f"{asking} needs size=: the shape of all images must be known before the first one")
        return decode_options.shape

    def _long(self, variants: pd.Series[Any], n: int) -> pd.Series[Any] | pd.DataFrame:
        """Return the variants beside the columns of the frame, if there is one."""
        return variants if self._frame is None else explode_variants(self._frame, variants, n)


def explode_variants(frame: pd.DataFrame, variants: pd.Series[Any], n: int) -> pd.DataFrame:
    """Return each row of a frame n times, with its variants beside it."""
    long = frame.take(np.repeat(np.arange(len(frame)), n))
    long.index = variants.index
    long[variants.name] = variants.array
    return long
