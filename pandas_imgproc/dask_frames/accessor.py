"""``.img`` on Dask: the methods of pandas, over partitions.

Importing this module registers them, which happens when dask.dataframe is imported, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import dask
import pandas as pd
from dask.dataframe.extensions import register_dataframe_accessor, register_series_accessor
from dask.dataframe.utils import clear_known_categories

from pandas_imgproc import codec, failures
from pandas_imgproc.accessor import FrameImageAccessor, SeriesImageAccessor
from pandas_imgproc.accessor.base import check_modes
from pandas_imgproc.accessor.features import DIGEST_METHODS, parse_hash_column
from pandas_imgproc.accessor.options import ReadOptions, WriteOptions, check_column
from pandas_imgproc.accessor.show import make_contact_sheet
from pandas_imgproc.accessor.transform import explode_variants
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.dask_frames.lookup import ResultLookup, lookup, with_row_keys
from pandas_imgproc.dask_frames.map_partitions import MapAndWritePartition, MapPartition, head, paths_only
from pandas_imgproc.dask_frames.offsets import lazy_index, partition_offsets, source_rows
from pandas_imgproc.sinks import check_row_memory, output_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from pandas_imgproc.accessor.display.html import ContactSheet
    from pandas_imgproc.sinks import ResultStore
    from pandas_imgproc.tasks import Task


@register_series_accessor("img")
class DaskSeriesImageAccessor(SeriesImageAccessor):
    """``series.img`` on a Dask column: what is one row's is lazy, and keeps partitions and divisions.

    Parameters
    ----------
    column : dask.dataframe.Series
        The column.
    frame : dask.dataframe.DataFrame, optional
        The frame that it is a column of, if the method was called on that.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg", "gone.png"]})
    >>> ddf = dd.from_pandas(df, npartitions=2)
    >>> ddf["image"] = ddf.img.load_resized("image_path", size=(6, 4), root=getfixture("photos"), errors="coerce")
    >>> ddf["image"].dtype, ddf.npartitions
    (image[uint8, (4, 6, 3)], 2)
    >>> ddf["image"].img.failure_kind.compute().tolist()
    [nan, nan, 'missing']
    """

    _requires_schema: ClassVar[str | None] = "a Dask column"

    # ---- the one way that every method takes

    def _run(self, task: Task, how: ReadOptions, kept: ResultStore | None = None) -> Any:
        if kept is not None:
            raise ValueError(
                "out= is for pandas; a Dask frame is written as it is computed: ddf['image'] = "
                "ddf.img.load_resized(…); ddf.to_parquet(folder)"
            )
        rows = MapPartition(self._checked(task, how), how, codec.PillowSettings.current())
        return self._lazy(rows, [partition_offsets(self._column)] if task.uses_position else [])

    def _write(
        self,
        task: Task,
        how: ReadOptions,
        where: WriteOptions,
        *,
        encode_options: codec.EncodeOptions | None = None,
        mode: str | None = None,
        variants: Sequence[int] = (),
    ) -> Any:
        task = self._checked(task, how)
        known: Any = None if self._frame is None else self._frame._meta
        cells, frame = self._small(output_paths.template_columns(where.to, known))
        names = output_paths.resolve_output_paths(
            where.to,
            list(cells),
            how.source,
            index=cells.index,
            frame=frame,
            encode_options=encode_options,
            variants=variants,
        )
        check_modes(names, encode_options, mode)
        parent = output_paths.common_dir(list(cells), how.source)
        settings = codec.PillowSettings.current()
        written = MapAndWritePartition(task, how, settings, where, encode_options, tuple(variants), parent)
        named = [] if frame is None or self._frame is None else [self._frame[list(frame.columns)]]
        return self._lazy(written, [partition_offsets(self._column), *named])

    def _lazy(self, rows: MapPartition, others: list[Any]) -> Any:
        meta = rows.meta(self._column._meta)
        return self._column.map_partitions(
            rows.with_token(), *others, meta=_unknown_categories(meta), token=rows.task.name, enforce_metadata=False,
            clear_divisions=rows.task.n_outputs > 1,
        )  # fmt: skip

    def _checked(self, task: Task, how: ReadOptions) -> Task:
        """Return the task as one whose answers have one form in all partitions, or raise before anything starts."""
        if how.npartitions is not None:
            raise ValueError(
                f"npartitions={how.npartitions!r}: a Dask frame has its own partitions; "
                "ddf.repartition(npartitions=…) changes them"
            )
        if how.progress:
            raise ValueError("progress=True: nothing is done yet; Dask shows it: dask.diagnostics.ProgressBar")
        check_column(self._column._meta_nonempty, how.source)
        check_row_memory(task)
        return task.with_nullable_dtype()

    def _small(self, columns: list[Any]) -> tuple[pd.Series[Any], pd.DataFrame | None]:
        """Compute what files are named by: paths, labels and columns of the frame, and no pixel."""
        named = self._frame[columns] if columns and self._frame is not None else None
        if isinstance(self._column.dtype, ImageDtype):  # whether an image is missing is known when it is there
            index, frame = dask.compute(lazy_index(self._column), named)
            return _numbered(index), frame
        names = self._column.map_partitions(paths_only, meta=pd.Series(dtype=object), enforce_metadata=False)
        cells, frame = dask.compute(names, named)
        return cells, frame

    @staticmethod
    def _apply_to_all_rows(answer: Any, function: Callable[[Any], Any], *, by_row: bool = False) -> Any:
        meta = function(answer._meta)
        meta.attrs.clear()
        if by_row:
            return answer.map_partitions(function, meta=meta, enforce_metadata=False)
        rows = source_rows(answer)
        told = rows is answer  # then failures are not those of these rows alone: some may have been left out
        own = [] if told else [answer]
        parts = rows.map_partitions(with_row_keys, *own, meta=pd.Series(dtype=object), enforce_metadata=False)
        whole = ResultLookup.of(list(dask.compute(*parts.to_delayed())), function, told=told)
        return rows.map_partitions(lookup, dask.delayed(whole, traverse=False), meta=meta, enforce_metadata=False)

    # ---- what differs

    @property
    def _image_array(self) -> ImageArray:
        SeriesImageAccessor(self._column._meta)._image_array  # noqa: B018  it raises where there are none
        array: ImageArray = self._column._meta.array
        return array

    def _hash_column(self, method: str) -> Any:
        if isinstance(self._column.dtype, ImageDtype):
            return None
        if pd.api.types.is_numeric_dtype(self._column.dtype):
            parse_hash_column(self._column._meta_nonempty, method)  # floats lose bits: it raises
            return self._column.map_partitions(_wide, method, meta=pd.Series(dtype="UInt64"))
        is_digest = method in DIGEST_METHODS and parse_hash_column(self._column.compute(), method) is not None
        return self._column if is_digest else None

    def _long(self, variants: Any, n: int) -> Any:
        frame: Any = self._frame
        if frame is None:
            return variants
        meta = explode_variants(frame._meta, variants._meta, n)
        return frame.map_partitions(
            explode_variants, variants, n, meta=meta, enforce_metadata=False, clear_divisions=True
        )

    def _contact_sheet(self, n: int, titles: list[Any], how: ReadOptions) -> ContactSheet:
        column, *shown = (_head(one, n) for one in (self._column, *titles))
        return make_contact_sheet(column, shown, how, None)

    def to_numpy(self, *args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:  # noqa: D102  as pandas'
        self._image_array  # noqa: B018  it raises where there are none
        return SeriesImageAccessor(self._column.compute()).to_numpy(*args, **kwargs)

    @property
    def failures(self) -> Any:
        """Why rows have no image, as a Dask frame; `position` is that in the partition."""
        return _failures(self._column)

    @property
    def failure_kind(self) -> Any:
        """The kind of failure of each row of an image column, as a Dask column beside it."""
        self._image_array  # noqa: B018  it raises where there are none
        return self._column.map_partitions(_kinds, meta=_kinds(self._column._meta), enforce_metadata=False)


@register_dataframe_accessor("img")
class DaskFrameImageAccessor(FrameImageAccessor):
    """``ddf.img``: the methods of ``series.img`` on a Dask column, each told the column of images first.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        The frame.
    """

    _series_accessor: ClassVar[type[SeriesImageAccessor]] = DaskSeriesImageAccessor

    @property
    def failures(self) -> Any:
        """Why rows of an answer that is a frame have no value, as a Dask frame."""
        return _failures(self._df)


def _failures(values: Any) -> Any:
    return values.map_partitions(
        failures.failures_frame, meta=failures.failures_frame(values._meta), enforce_metadata=False
    )


def _kinds(column: pd.Series[Any]) -> pd.Series[Any]:
    return SeriesImageAccessor(column).failure_kind


def _wide(column: pd.Series[Any], method: str) -> pd.Series[Any]:
    hashes = parse_hash_column(column, method)
    return pd.Series(pd.NA, index=column.index, dtype="UInt64") if hashes is None else hashes


def _numbered(index: pd.Index[Any]) -> pd.Series[Any]:
    """Return an image of its own for each label."""
    return pd.Series([b"%d" % row for row in range(len(index))], index=index, dtype=object)


def _head(column: Any, n: int) -> Any:
    """Compute the first rows, and no more partitions than they stand in."""
    parts: list[Any] = []
    for number in range(column.npartitions):
        parts.append(column.partitions[number].map_partitions(head, n, meta=column._meta).compute())
        n -= len(parts[-1])
        if n <= 0:
            break
    return pd.concat(parts)


def _unknown_categories(meta: Any) -> Any:
    """Return an answer without rows whose categories, where they come from the images, are not known."""
    if not isinstance(meta, pd.DataFrame):
        return meta
    found = [name for name, dtype in meta.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    return clear_known_categories(meta, cols=[name for name in found if not len(meta[name].cat.categories)])
