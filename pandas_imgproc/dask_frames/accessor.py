"""Accessor ``.img`` of Dask frames and columns: the methods of pandas, over partitions.

The import of this module registers it, and happens only once dask.dataframe is imported.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import dask
import pandas as pd
from dask.dataframe.extensions import register_dataframe_accessor, register_series_accessor
from dask.dataframe.utils import clear_known_categories

from pandas_imgproc import codec, failures
from pandas_imgproc.accessor import FrameImageAccessor, SeriesImageAccessor
from pandas_imgproc.accessor.base import check_modes
from pandas_imgproc.accessor.features import DIGEST_METHODS, parse_hash_column
from pandas_imgproc.accessor.options import (
    ReadOptions,
    RegionKwargs,
    WriteOptions,
    check_column,
    get_column,
    select_kwargs,
)
from pandas_imgproc.accessor.regions import region_options
from pandas_imgproc.accessor.show import Overlay, ShownRows, make_contact_sheet
from pandas_imgproc.accessor.transform import explode_variants
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.dask_frames.lookup import ResultLookup, lookup, with_row_keys
from pandas_imgproc.dask_frames.map_partitions import (
    MapAndWritePartition,
    MapPartition,
    call_function,
    head,
    paths_only,
)
from pandas_imgproc.dask_frames.offsets import lazy_index, partition_offsets, source_rows
from pandas_imgproc.sinks import check_row_memory, output_paths
from pandas_imgproc.sinks.path_template import check_to
from pandas_imgproc.source import check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from pandas_imgproc.accessor.display.html import ContactSheet
    from pandas_imgproc.accessor.regions import RegionOptions
    from pandas_imgproc.feeding import ImageBatches, ImageDataset
    from pandas_imgproc.sinks import ResultStore
    from pandas_imgproc.tasks import Task


@register_series_accessor("img")
class DaskSeriesImageAccessor(SeriesImageAccessor):
    """Accessor ``series.img`` of a Dask column; results are lazy and preserve partitions and divisions.

    Parameters
    ----------
    column : dask.dataframe.Series
        Column of images.
    frame : dask.dataframe.DataFrame, optional
        Frame of the column, if the method was called on the frame.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
    >>> import dask.dataframe as dd
    >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg", "gone.png"]})
    >>> ddf = dd.from_pandas(df, npartitions=2)
    >>> ddf["image"] = ddf.img.load_resized("image_path", size=(6, 4), errors="coerce")
    >>> ddf["image"].dtype, ddf.npartitions
    (image[uint8, (4, 6, 3)], 2)
    >>> ddf["image"].img.failure_kind.compute().tolist()
    [nan, nan, 'missing']
    """

    _requires_schema: ClassVar[str | None] = "a Dask column"

    # ---- jobs

    def _run(self, task: Task, read_options: ReadOptions, store: ResultStore | None = None) -> Any:
        if store is not None:
            raise ValueError(
                "out= is for pandas; a Dask frame is written as it is computed: ddf['image'] = "
                "ddf.img.load_resized(…); ddf.to_parquet(folder)"
            )
        task = self._validate(task, read_options)
        image_columns = tuple(column.name for column in self._others)
        settings = codec.PillowSettings.current()
        function = MapPartition(task, read_options, settings, image_columns=image_columns)
        names = [*dict.fromkeys((*image_columns, *(task.column_names or ()), *self._region_columns(read_options)))]
        offsets = partition_offsets(self._column) if task.uses_position else None
        frame = self._frame[names] if names and self._frame is not None else None
        return self._map_partitions(function, [offsets] if frame is None else [offsets, frame])

    def _write_pairs(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        raise ValueError(
            "to={…} is for pandas; call it on the pandas frame of each partition, by ddf.map_partitions(function)"
        )

    def _group_rows(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        raise ValueError(
            "boxes= is for pandas, because the rows of one image may lie in several partitions; if they do not, "
            "ddf.map_partitions calls a function on the pandas frame of each partition"
        )

    def _run_in_caller(self, task: Any, read_options: ReadOptions, store: ResultStore | None) -> Any:  # noqa: ARG002
        raise ValueError("run_on='caller' is for pandas; a Dask frame is computed by its workers")

    def _write(
        self,
        task: Task,
        read_options: ReadOptions,
        write_options: WriteOptions,
        *,
        encode_options: codec.EncodeOptions | None = None,
        mode: str | None = None,
        variants: Sequence[int] = (),
    ) -> Any:
        task, source = self._validate(task, read_options), read_options.source
        meta: Any = None if self._frame is None else self._frame._meta
        names = output_paths.template_columns(write_options.to, meta, self._column._meta.index)
        paths, frame = self._compute_paths([*dict.fromkeys((*names, *self._region_columns(read_options)))])
        inputs: Sequence[Any] = list(paths)
        regions = None
        if read_options.regions is not None:
            inputs, regions = read_options.regions.to_regions(inputs, paths.index, frame)
        check(source, list(paths), check_to(write_options.to))
        targets = output_paths.resolve_output_paths(
            write_options.to, inputs, source, index=paths.index, frame=frame, encode_options=encode_options,
            variants=variants, regions=regions,
        )  # fmt: skip
        check_modes(targets, encode_options, mode)
        function = MapAndWritePartition(
            task, read_options, codec.PillowSettings.current(), write_options, encode_options, tuple(variants),
            output_paths.common_dir(list(paths), source),
        )  # fmt: skip
        columns = [] if frame is None or self._frame is None else [self._frame[list(frame.columns)]]
        return self._map_partitions(function, [partition_offsets(self._column), *columns])

    def _region_columns(self, read_options: ReadOptions) -> list[Any]:
        """Return the columns of the frame that hold the boxes and frames of the rows; a level of the index is none."""
        options = read_options.regions
        if options is None:
            return []
        if self._others:
            raise ValueError("box= and frame= are of one column of images, and the function is given several")
        if options.has_values:
            raise ValueError(
                "box= and frame= of a Dask frame are names of columns: ddf.img.load_resized('image_path', size=64, "
                "box=['x', 'y', 'w', 'h'])"
            )
        meta: Any = None if self._frame is None else self._frame._meta
        options.to_regions([], self._column._meta.index, meta)  # raises
        return [] if meta is None else [name for name in options.names if name in meta.columns]

    def _map_partitions(self, function: MapPartition, others: list[Any]) -> Any:
        meta, function = function.meta(self._column._meta), function.with_token()
        apply: Any = function
        if function.task.runs_user_code:
            # A task of its own, whose result is sent to a worker once: it may hold the weights of a model.
            name = f"{function.task.name}-function-{function.step}"
            apply, others = call_function, [dask.delayed(function, name=name, traverse=False), *others]
        return self._column.map_partitions(
            apply, *others, meta=_with_unknown_categories(meta), token=function.task.name, enforce_metadata=False,
            clear_divisions=function.task.n_outputs > 1,
        )  # fmt: skip

    def _validate(self, task: Task, read_options: ReadOptions) -> Task:
        """Return the task with one dtype for all partitions; invalid options raise before anything is computed."""
        if read_options.npartitions is not None:
            raise ValueError(
                f"npartitions={read_options.npartitions!r}: a Dask frame has its own partitions; "
                "ddf.repartition(npartitions=…) changes them"
            )
        if read_options.progress:
            raise ValueError("progress=True: the call is lazy; for a bar of Dask's own: dask.diagnostics.ProgressBar")
        check_column(self._column._meta_nonempty, read_options.source)
        check_row_memory(task)
        return task.with_nullable_dtype()

    def _compute_paths(self, names: list[Any]) -> tuple[pd.Series[Any], pd.DataFrame | None]:
        """Compute the inputs of output paths: source paths, labels and columns of the frame, but no pixels."""
        columns = self._frame[names] if names and self._frame is not None else None
        if isinstance(self._column.dtype, ImageDtype):  # missing images are known only once they are computed
            index, frame = dask.compute(lazy_index(self._column), columns)
            distinct = [b"%d" % i for i in range(len(index))]  # one encoded image per label
            return pd.Series(distinct, index=index, dtype=object), frame
        lazy_paths = self._column.map_partitions(paths_only, meta=pd.Series(dtype=object), enforce_metadata=False)
        paths, frame = dask.compute(lazy_paths, columns)
        return paths, frame

    @staticmethod
    def _apply_to_all_rows(result: Any, function: Callable[[Any], Any], *, row_wise: bool = False) -> Any:
        if row_wise:
            return _map_lazily(function, result)
        meta = function(result._meta)
        meta.attrs.clear()
        rows = source_rows(result)
        failures_inline = rows is result  # then rows have their failures in attrs, also after a selection
        results = [] if failures_inline else [result]
        parts = rows.map_partitions(with_row_keys, *results, meta=pd.Series(dtype=object), enforce_metadata=False)
        table = ResultLookup.build(dask.compute(*parts.to_delayed()), function, failures_inline=failures_inline)
        return rows.map_partitions(lookup, dask.delayed(table, traverse=False), meta=meta, enforce_metadata=False)

    # ---- hooks of the pandas accessor

    @property
    def _image_array(self) -> ImageArray:
        SeriesImageAccessor(self._column._meta)._image_array  # noqa: B018  raises for other dtypes
        array: ImageArray = self._column._meta.array
        return array

    def _hash_column(self, method: str) -> Any:
        if isinstance(self._column.dtype, ImageDtype):
            return None
        if pd.api.types.is_numeric_dtype(self._column.dtype):
            parse_hash_column(self._column._meta_nonempty, method)  # raises for floats, which lose bits
            return self._column.map_partitions(_to_hashes, method, meta=pd.Series(dtype="UInt64"))
        is_digest = method in DIGEST_METHODS and parse_hash_column(self._column.compute(), method) is not None
        return self._column if is_digest else None

    def _explode(self, variants: Any, n: int) -> Any:
        frame: Any = self._frame
        if frame is None:
            return variants
        meta = explode_variants(frame._meta, variants._meta, n)
        return frame.map_partitions(
            explode_variants, variants, n, meta=meta, enforce_metadata=False, clear_divisions=True
        )

    def _explode_rows(self, explode: Callable[..., pd.DataFrame], headers: Any) -> Any:
        frame: Any = self._column.to_frame() if self._frame is None else self._frame
        meta = explode(frame._meta, headers._meta)
        meta.attrs.clear()
        return frame.map_partitions(explode, headers, meta=meta, enforce_metadata=False, clear_divisions=True)

    def _contact_sheet(
        self,
        n: int,
        titles: list[Any],
        masks: list[Any],
        box: RegionOptions | None,
        decode_options: codec.DecodeOptions,
        read_options: ReadOptions,
    ) -> ContactSheet:
        regions = (read_options, dataclasses.replace(read_options, regions=box))
        names = [*dict.fromkeys(name for options in regions for name in self._region_columns(options))]
        frame = _compute_head(self._frame[names], n) if names and self._frame is not None else None
        column, *computed = (_compute_head(lazy, n) for lazy in (self._column, *titles, *masks))
        n_titles = len(titles)
        rows = ShownRows(column, frame, computed[:n_titles], None)
        return make_contact_sheet(rows, Overlay(computed[n_titles:], box), decode_options, read_options)

    def to_numpy(self, *args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:  # noqa: D102  as in pandas
        self._image_array  # noqa: B018  raises for other dtypes
        return SeriesImageAccessor(self._column.compute()).to_numpy(*args, **kwargs)

    def batches(self, *args: Any, **kwargs: Any) -> ImageBatches:  # noqa: D102  as in pandas
        return self._computed(kwargs).batches(*args, **kwargs)

    def save_shards(self, to: Any, *, columns: Any = None, **kwargs: Any) -> pd.Series[Any]:  # noqa: D102  as in pandas
        lazy: Any = self._frame
        if lazy is not None and not {"box", "frame"} & set(kwargs):  # which may name other columns
            lazy = None if columns is None else lazy[list(columns)]
        column, frame = dask.compute(self._column, lazy)
        return SeriesImageAccessor(column, frame).save_shards(to, columns=columns, **kwargs)

    def dataset(self, *args: Any, label: Any = None, **kwargs: Any) -> ImageDataset:  # noqa: D102  as in pandas
        if label is not None and self._frame is not None:
            lazy: Any = self._frame[label] if isinstance(label, list) else get_column(self._frame, label)
            label = lazy.compute()
        return self._computed(kwargs).dataset(*args, label=label, **kwargs)

    def _computed(self, options: dict[str, Any]) -> SeriesImageAccessor:
        """Return the accessor of the computed column, with the columns of the frame that hold boxes and frames."""
        regions = region_options(**select_kwargs(options, RegionKwargs))
        lazy: Any = self._frame
        if lazy is not None:
            lazy = lazy[[name for name in (regions.names if regions is not None else ()) if name in lazy.columns]]
        column, frame = dask.compute(self._column, lazy if regions is not None else None)
        return SeriesImageAccessor(column, frame)

    @property
    def failures(self) -> Any:
        """Table of the failed rows, as a Dask frame; `position` is that in the partition."""
        return _map_lazily(failures.failures_frame, self._column)

    @property
    def failure_kind(self) -> Any:
        """Failure kind of each row of an image column, as a Dask column with its index."""
        self._image_array  # noqa: B018  raises for other dtypes
        return _map_lazily(_failure_kinds, self._column)


@register_dataframe_accessor("img")
class DaskFrameImageAccessor(FrameImageAccessor):
    """Accessor ``ddf.img``: the methods of ``series.img`` on a Dask column, with the image column as first argument.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    """

    _series_accessor: ClassVar[type[SeriesImageAccessor]] = DaskSeriesImageAccessor

    @property
    def failures(self) -> Any:
        """Table of the failed rows of a result that is a frame, as a Dask frame."""
        return _map_lazily(failures.failures_frame, self._df)


def _map_lazily(function: Callable[[Any], Any], collection: Any) -> Any:
    meta = function(collection._meta)
    meta.attrs.clear()
    return collection.map_partitions(function, meta=meta, enforce_metadata=False)


def _failure_kinds(column: pd.Series[Any]) -> pd.Series[Any]:
    return SeriesImageAccessor(column).failure_kind


def _to_hashes(column: pd.Series[Any], method: str) -> pd.Series[Any]:
    hashes = parse_hash_column(column, method)
    return pd.Series(pd.NA, index=column.index, dtype="UInt64") if hashes is None else hashes


def _compute_head(column: Any, n: int) -> Any:
    """Compute the first rows, and only the partitions that hold them."""
    parts: list[Any] = []
    for partition in column.partitions:
        parts.append(partition.map_partitions(head, n, meta=column._meta).compute())
        n -= len(parts[-1])
        if n <= 0:
            break
    return pd.concat(parts)


def _with_unknown_categories(meta: Any) -> Any:
    """Return the meta with unknown categories in each categorical column that has none: images define those."""
    if not isinstance(meta, pd.DataFrame):
        return meta
    categorical = [name for name, dtype in meta.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    return clear_known_categories(meta, cols=[name for name in categorical if not len(meta[name].cat.categories)])
