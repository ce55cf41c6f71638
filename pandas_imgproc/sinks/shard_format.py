"""Formats of shards: tar files of WebDataset, and Parquet files of Hugging Face datasets.

The bytes of a shard depend on its rows only: not on the time, the machine or the number of workers.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import tarfile
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pandas_imgproc._text import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGE = "image"
"""Name of the column of images in Parquet files."""

_GROUP_ROWS, _GROUP_NBYTES = 1000, 2**26
"""Rows of a row group, and bytes of its images: readers hold one in memory."""

_COLUMN_NBYTES = 400
"""Bytes about a column in a row group: headers, statistics."""


class ShardFormat(ABC):
    """Format of shards, with the other columns of the frame.

    Parameters
    ----------
    columns : DataFrame
        Other columns, of all rows.

    Raises
    ------
    TypeError
        If the format cannot hold a column.
    """

    suffix: ClassVar[str]
    end_nbytes: ClassVar[int]  # about the bytes of a shard without rows

    def __init__(self, columns: pd.DataFrame) -> None:
        self.columns = columns

    @abstractmethod
    def row_nbytes(self, position: int, name: str, data: bytes) -> int:
        """Return the bytes that a row adds to a shard, about as many or less."""

    @abstractmethod
    def open(self, file: IO[bytes]) -> ShardWriter:
        """Return the writer of a shard into a file."""


class ShardWriter(ABC):
    """Writer of the rows of a shard, in their order."""

    @abstractmethod
    def add(self, position: int, name: str, suffix: str, data: bytes) -> None:
        """Write a row: its position in the frame, the name of its image, and the bytes with their suffix."""

    @abstractmethod
    def close(self) -> None:
        """Write the end of the shard."""

    def discard(self) -> None:  # noqa: B027  most have nothing to do
        """Write nothing any longer."""


# ---- WebDataset


class WebDatasetFormat(ShardFormat):
    """Tar files in which the image and the columns of a row are ``000000012.jpg`` and ``000000012.json``."""

    suffix = ".tar"
    end_nbytes = 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE

    def __init__(self, columns: pd.DataFrame) -> None:
        super().__init__(columns)
        self._values = {str(name): _json_values(columns[name]) for name in columns}

    def row_json(self, position: int) -> bytes:
        """Return the columns of a row as JSON."""
        row = {name: values[position] for name, values in self._values.items()}
        return json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass")

    def row_nbytes(self, position: int, name: str, data: bytes) -> int:  # noqa: ARG002  names are positions here
        """Return the bytes that a row adds to a shard."""
        return sum(tarfile.BLOCKSIZE + _padded(len(part)) for part in (data, self.row_json(position)))

    def open(self, file: IO[bytes]) -> ShardWriter:
        """Return the writer of a shard into a file."""
        return _TarWriter(self, file)


class _TarWriter(ShardWriter):
    """Writer of a tar file."""

    def __init__(self, shard_format: WebDatasetFormat, file: IO[bytes]) -> None:
        self._format = shard_format
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  see close

    def add(self, position: int, name: str, suffix: str, data: bytes) -> None:  # noqa: ARG002
        for ending, part in ((suffix, data), (".json", self._format.row_json(position))):
            info = tarfile.TarInfo(f"{position:09d}{ending}")
            info.size = len(part)
            self._tar.addfile(info, io.BytesIO(part))

    def close(self) -> None:
        self._tar.close()


def _padded(n: int) -> int:
    return -(-n // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _json_values(column: pd.Series[Any]) -> list[Any]:
    """Return the values of a column for JSON, None where missing."""
    values = column.astype(object).tolist()
    if not isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.kind in "biuf":
        missing = column.isna()
        converted = [None if gone else value for value, gone in zip(values, missing, strict=True)]
        if column.dtype.kind != "f" or not np.isinf(column.to_numpy(float, na_value=np.nan)).any():
            return converted
    else:
        converted = [_to_json(value) for value in values]
    for position, value in enumerate(converted):
        try:
            json.dumps(value, allow_nan=False)  # Python would write Infinity, which only Python reads
        except (TypeError, ValueError, RecursionError) as exc:
            raise TypeError(
                f"columns= names {column.name!r}, and JSON cannot hold {shorten(values[position])} in row {position}: "
                f"{exc}; convert it, for example with .astype(str)"
            ) from exc
    return converted


def _to_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


# ---- Hugging Face


class HuggingFaceFormat(ShardFormat):
    """Parquet files with a column ``image`` of ``{bytes, path}``, which the metadata declare as the feature Image.

    A categorical column of texts becomes a ClassLabel with the categories as names.
    """

    suffix = ".parquet"
    end_nbytes = 2**13

    def __init__(self, columns: pd.DataFrame) -> None:
        super().__init__(columns)
        features: dict[str, Any] = {IMAGE: {"_type": "Image"}}
        arrays: dict[str, pa.Array] = {}
        for name in columns:
            arrays[str(name)], feature = _to_arrow(columns[name])
            features |= {str(name): feature} if feature else {}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        self._table = pa.table(arrays)
        image = pa.field(IMAGE, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        self.schema = pa.schema([image, *self._table.schema], metadata=metadata)

    def rows(self, positions: list[int], images: list[dict[str, Any]]) -> pa.Table:
        """Return the table of some rows."""
        column = pa.array(images, type=self.schema.field(IMAGE).type)
        taken = self._table.take(pa.array(positions, pa.int64()))
        return pa.table([column, *taken.columns], schema=self.schema)

    def row_nbytes(self, position: int, name: str, data: bytes) -> int:
        """Return the bytes that a row adds to a shard: those of the columns before their compression."""
        group = _COLUMN_NBYTES * len(self.schema) // _GROUP_ROWS
        return len(data) + len(os.fsencode(name)) + 16 + group + int(self._table.slice(position, 1).nbytes)

    def open(self, file: IO[bytes]) -> ShardWriter:
        """Return the writer of a shard into a file."""
        return _ParquetWriter(self, file)


class _ParquetWriter(ShardWriter):
    """Writer of a Parquet file in row groups."""

    def __init__(self, shard_format: HuggingFaceFormat, file: IO[bytes]) -> None:
        self._format = shard_format
        plain = [f"{IMAGE}.bytes", f"{IMAGE}.path"]  # images do not shrink, and their statistics are of no use
        others = [name for name in shard_format.schema.names if name != IMAGE]
        compression = {**dict.fromkeys(plain, "none"), **dict.fromkeys(_leaves(shard_format.schema), "zstd")}
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, "w"), shard_format.schema, use_dictionary=others, compression=compression,
            write_statistics=others,
        )  # fmt: skip
        self._positions: list[int] = []
        self._images: list[dict[str, Any]] = []
        self._nbytes = 0

    def add(self, position: int, name: str, suffix: str, data: bytes) -> None:
        self._positions.append(position)
        self._images.append({"bytes": data, "path": os.path.splitext(name)[0] + suffix})
        self._nbytes += len(data)
        if len(self._positions) == _GROUP_ROWS or self._nbytes >= _GROUP_NBYTES:
            self._flush()

    def _flush(self) -> None:
        if self._positions:
            self._writer.write_table(self._format.rows(self._positions, self._images))
        self._positions, self._images, self._nbytes = [], [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def discard(self) -> None:
        self._writer.is_open = False  # it would write when it is deleted


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the flat columns beside the images."""
    return [field.name for field in schema if field.name != IMAGE and not pa.types.is_nested(field.type)]


def _to_arrow(column: pd.Series[Any]) -> tuple[pa.Array, dict[str, Any] | None]:
    """Return a column as Arrow array, and its feature of Hugging Face if Arrow's type does not imply it."""
    try:
        if isinstance(column.dtype, pd.CategoricalDtype):
            names = column.cat.categories.tolist()
            if all(isinstance(name, str) for name in names):
                codes = column.cat.codes.to_numpy().astype(np.int64)
                return pa.array(codes, pa.int64(), mask=codes < 0), {"_type": "ClassLabel", "names": names}
            column = column.astype(column.cat.categories.dtype) if column.notna().all() else column.astype(object)
        array = pa.Array.from_pandas(column)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array, None
    except (pa.ArrowException, TypeError, UnicodeEncodeError) as exc:
        raise TypeError(
            f"columns= names {column.name!r}, which Parquet cannot hold: {exc}; convert it, such as with .astype(str)"
        ) from exc


FORMATS: dict[str, type[ShardFormat]] = {"webdataset": WebDatasetFormat, "huggingface": HuggingFaceFormat}


def format_for(suffix: str) -> str | None:
    """Return the format whose files have a suffix.

    Examples
    --------
    >>> format_for(".tar"), format_for(".zip")
    ('webdataset', None)
    """
    return next((name for name, cls in FORMATS.items() if cls.suffix == suffix.lower()), None)


def check_columns(names: Sequence[Any], shard_format: str) -> None:
    """Raise a ValueError if columns of a frame cannot have their names in a shard."""
    texts = list(map(str, names))
    twice = next((name for k, name in enumerate(texts) if name in texts[:k]), None)
    if twice is not None:
        raise ValueError(f"columns= names {twice!r} twice")
    if shard_format == "huggingface" and IMAGE in texts:
        raise ValueError(f"columns= names {IMAGE!r}, which is the column of the images in the shards; rename it")
