"""Method that calls a user's function on batches of images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pandas_imgproc._delegates import delegates
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    DECODE,
    READ,
    REGION,
    STORE,
    LoadKwargs,
    check_callable,
    check_dtype,
    check_prefix,
    load_options,
)
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.execution import CallerSink
from pandas_imgproc.sinks import JobContext, memory_sink
from pandas_imgproc.tasks import LoadImages, MapBatches
from pandas_imgproc.tasks.batch_results import storage_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, Unpack

    import pandas as pd

    from pandas_imgproc.accessor.options import ReadOptions
    from pandas_imgproc.sinks import ResultStore


class _BatchMethods(_ImageAccessorBase):
    """Methods that call a function on batches of images."""

    @delegates(DECODE, REGION, STORE, READ)
    def map_batches(
        self,
        func: Callable[..., Any],
        *,
        size: int | tuple[int, int] | None = None,
        batch_size: int = 64,
        prefix: str | None = None,
        dtype: Any = None,
        n_columns: int | None = None,
        with_columns: Sequence[Any] | None = None,
        run_on: Literal["workers", "caller"] = "workers",
        **options: Unpack[LoadKwargs],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Call a function on batches of images, such as a network that returns an embedding of each.

        Parameters
        ----------
        func : callable
            Of one argument, ndarray of uint8, shape (k, height, width, channels), with k <= `batch_size`. A class, or
            a `functools.partial` of one, is built once in each worker process, and its instance is the function: a
            model is loaded once. Calls of an instance are serialized.
        size : int or (int, int), optional
            Pixels: the images are resized first, as in `load_resized`. Needed unless the column is one of images.
        batch_size : int
            Rows of a batch: batch b has the rows b * batch_size to (b + 1) * batch_size - 1 of the frame. Rows that
            cannot be read are left out, and nothing is padded.
        prefix : str, optional
            Names of the columns of a vector before their number: ``"emb_"`` gives ``emb_0``, ``emb_1``, …
            With a dict or a frame, it is put before each name.
        dtype : dtype, ImageDtype, or dict of dtype by column, optional
            Of the result, as in `map`; ``"float32"`` is that of all columns of a vector.
        n_columns : int, optional
            Length of the vectors, which a Dask frame must know; needs `dtype`.
        with_columns : list of labels, optional
            Columns of the frame that the function is given too, as its last argument: a frame of k rows.
        run_on : {"workers", "caller"}
            Process that calls the function: with ``"caller"`` workers read and decode the images, and this process
            runs the model, such as one on the only GPU.
        out, overwrite, retry
            As in `load_resized`; needs `dtype`. Images are written to a ``.npy`` file or ``.parquet`` parts, other
            results to parts. A call that is resumed computes each batch with an unfinished row again.
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
            With the index of the column. An array of shape (k, d) for each batch gives a DataFrame of d columns; (k,)
            a Series named as the function; (k, height, width) or (k, height, width, 1, 3 or 4) a column of images; a
            dict of arrays a DataFrame, in which an array of shape (k, d) has the columns ``key_0``, ``key_1``, …

        Raises
        ------
        BatchLengthError
            If the function returns an array whose first axis is not k.
        UserFunctionError
            If a class cannot be built.
        ClusterError
            If building it ends each worker process.
        TypeError, ValueError
            If an argument is wrong, or the function cannot be sent to another process.
        UserFunctionError
            If `func` fails alike on all images of the first two batches, unless ``errors="coerce"``; if it fails on
            any, with ``errors="raise"``. The cause is its exception, with its traceback.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.

        Notes
        -----
        A batch on which the function raises is given again row by row: a row on which it raises alone has failed, of
        kind ``function``. Before each call the random numbers of `random`, `numpy.random` and torch, if it is imported,
        are seeded by the position of the first row of the batch.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> def mean_color(images):
        ...     return images.mean(axis=(1, 2)).astype("float32")
        >>> df = pd.DataFrame({"image_path": ["red.png", None, "blue.jpg"]})
        >>> emb = df.img.map_batches("image_path", mean_color, size=8, prefix="mean_")
        >>> emb.round().astype(object).where(emb.notna(), None).values.tolist()
        [[255.0, 0.0, 0.0], [None, None, None], [0.0, 0.0, 254.0]]
        """
        decode_options, read_options, store = load_options(size, options)
        check_choice("run_on", run_on, ("workers", "caller"))
        strict_for = self._requires_schema if store is None else None
        checked = _check_dtype(check_dtype(dtype), n_columns, strict_for, has_out=store is not None)
        task = MapBatches(
            check_callable("func", func),
            self._with_image_size(decode_options),
            check_int("batch_size", batch_size),
            check_prefix(prefix),
            checked,
            n_columns,
            self._check_extra_columns(with_columns),
            strict=strict_for is not None,
        )
        run = self._run if run_on == "workers" else self._run_in_caller
        result: pd.Series[Any] | pd.DataFrame = run(task, read_options, store)
        return result

    def _run_in_caller(self, task: MapBatches, read_options: ReadOptions, store: ResultStore | None) -> Any:
        """Run a task whose images workers decode, and whose function this process calls."""
        load = LoadImages(task.decode_options, 1 + len(self._others))
        job = self._make_job(load, read_options, self._inputs())
        job = dataclasses.replace(job, ends_on_bug=read_options.errors == "warn")
        columns = self._extra_columns(task)
        context = JobContext(task, self._column.index, job.inputs, job.source, columns)
        sink = memory_sink(task, len(job.inputs)) if store is None else store.open_sink(context)
        return self._execute(job, CallerSink(sink, task, load.row_shape, columns, job.path), read_options)

    def _with_image_size(self, decode_options: Any) -> Any:
        """Return options with a size: all images that one call is given are of one shape."""
        if decode_options.size is not None:
            return decode_options
        dtypes: list[Any] = [column.dtype for column in (self._column, *self._others)]
        if not all(isinstance(dtype, ImageDtype) for dtype in dtypes) or len({dtype.shape[:2] for dtype in dtypes}) > 1:
            raise ValueError("map_batches needs size=: the images of a batch are one array, and have one shape")
        height, width = dtypes[0].shape[:2]
        return dataclasses.replace(decode_options, size=(width, height))


def _check_dtype(dtype: Any, n_columns: Any, strict_for: str | None, *, has_out: bool) -> Any:
    """Return the dtype of a result, or raise a ValueError if it must be declared."""
    if dtype is None and (strict_for or has_out):
        raise ValueError(
            f"{strict_for or 'out='} needs dtype=, because all parts must be alike: 'float32' for scalars or vectors, "
            "{'score': 'float32'} for a dict, or ImageDtype('uint8', (64, 64, 3))"
        )
    if n_columns is None:
        return dtype
    check_int("n_columns", n_columns)
    if dtype is None or isinstance(dtype, dict | ImageDtype) or storage_dtype(dtype) is None:
        raise ValueError(f"n_columns={n_columns} needs dtype= of numbers, such as 'float32'; it is {shorten(dtype)}")
    return dtype
