"""Method that packs images into shards."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_bool, check_choice, check_nbytes
from pandas_imgproc.accessor.base import _ImageAccessorBase
from pandas_imgproc.accessor.options import (
    DECODE,
    READ,
    REGION,
    ImageKwargs,
    ReadOptions,
    decode_and_read_options,
    get_column,
)
from pandas_imgproc.accessor.save import MODE_OF
from pandas_imgproc.array import ImageArray
from pandas_imgproc.sinks.path_template import check_to
from pandas_imgproc.sinks.shard_format import FORMATS, check_columns, format_for
from pandas_imgproc.sinks.shard_journal import ShardTemplate
from pandas_imgproc.sinks.shards import ShardSink, image_names
from pandas_imgproc.tasks import SaveShards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from pandas_imgproc.codec.option_values import Mode

_PIXEL_ARGUMENTS = (
    "mode", "fit", "resample", "reducing_gap", "background", "exif_transpose", "scale_depth", "color_profile", "frame",
    "box",
)  # fmt: skip


class _ShardMethods(_ImageAccessorBase):
    """Method that packs the images of a column into few files."""

    @delegates(DECODE, REGION, READ)
    def save_shards(
        self,
        to: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        size: int | tuple[int, int] | None = None,
        format: str | None = None,  # noqa: A002  Pillow's word
        max_bytes: int | str = "500 MB",
        image_format: str | None = None,
        quality: int = 75,
        overwrite: bool = False,
        **options: Unpack[ImageKwargs],
    ) -> pd.Series[Any]:
        """Pack the images, with other columns, into files for training: WebDataset tars or Hugging Face Parquet files.

        The same call again continues with the first shard that is not finished. The shards are the same for any number
        of workers. Rows without an image are left out.

        Parameters
        ----------
        to : path or URL
            Folder and name of the shards with their number, ``"shards/train-{shard:06d}.tar"``; also in a bucket,
            ``"s3://bucket/train-{shard:06d}.parquet"``.
        columns : sequence of str, optional
            Other columns of the frame that are packed too, such as labels.
        size : int or (int, int) or None
            Pixels: one side of a square, or ``(width, height)``. None copies the bytes of each file unchanged, unless
            another argument changes pixels: of such a file only the format is checked, and `verify` finds broken ones.
        format : {"webdataset", "huggingface"}, optional
            Tar files with ``000000012.jpg`` and ``000000012.json`` for the row at position 12; or Parquet files with a
            column ``image`` of ``{bytes, path}`` that is declared as the feature Image, and categories as ClassLabel.
            By default the one of the suffix, ``.tar`` or ``.parquet``.
        max_bytes : int or str
            Size that a shard has at most, or ``"500 MB"``; one image that is larger has a shard of its own.
        image_format : str, optional
            Pillow's name, as `format` in `save_resized`; by default JPEG for images that are resized, or PNG if these
            have transparency or class numbers.
        quality
            As in `save_resized`.
        mode, fit, resample, reducing_gap, background, exif_transpose, scale_depth, color_profile
            As in `save_resized`.
        frame, box, box_format, box_unit, margin, outside
            As in `load_resized`.
        max_pixels, limits, formats, strict, engine
            As in `load_resized`.
        errors, root, suffix, storage_options, schemes, redirect_hosts, npartitions, progress
            As in `load_resized`.
        overwrite : bool
            Whether all shards are written again and replace existing ones.

        Returns
        -------
        Series
            Named ``path``, of str, with the index of the column: the shard of each row, missing for rows without an
            image; the reasons are in ``.img.failures``.

        Raises
        ------
        ValueError, TypeError, KeyError
            If an argument is wrong, or a column cannot be packed; before anything is written.
        JournalError
            If the shards belong to another job, other images or other columns, or a file of their name was not written
            by this library. It is a ValueError.
        NoReadableImageError, UnreadableImageError
            As in `load_resized`.
        OSError
            If a shard cannot be written; finished shards stay, and the same call continues.

        Notes
        -----
        A finished shard is final: its failed rows are not tried again, and changed files not noticed.
        ``overwrite=True`` writes all of them again.

        Examples
        --------
        >>> from PIL import Image
        >>> Image.new("RGB", (30, 20), "red").save("red.png")
        >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
        >>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"], "label": ["warm", "cold"]})
        >>> shards = df.img.save_shards("image_path", "shards/train-{shard:06d}.tar", columns=["label"], size=64)
        >>> shards.tolist()
        ['shards/train-000000.tar', 'shards/train-000000.tar']
        >>> import tarfile
        >>> with tarfile.open(shards[0]) as shard:
        ...     shard.getnames()
        ['000000000.jpg', '000000000.json', '000000001.jpg', '000000001.json']
        """
        check_bool("overwrite", overwrite)
        template_text, shard_format = (
            check_to(to, "a path such as 'shards/train-{shard:06d}.tar'"),
            _check_format(to, format),
        )
        frame = self._shard_columns(columns, shard_format)
        mode = self._mode()
        if mode is not None:
            options = {"mode": mode, **options}
        is_copy = size is None and image_format is None and not any(name in options for name in _PIXEL_ARGUMENTS)
        is_copy |= mode is not None and size is None and image_format is None
        decode_options, read_options = decode_and_read_options(size, options, allow_any_size=True)
        task = SaveShards(
            decode_options, None if is_copy else _encode_options(image_format, quality, decode_options.mode),
            shard_format, tuple(map(str, frame.columns)), check_nbytes("max_bytes", max_bytes, "500 MB"),
        )  # fmt: skip
        template = ShardTemplate(template_text, read_options.source)
        result: pd.Series[Any] = self._write_shards(task, read_options, template, frame, overwrite=overwrite)
        return result

    def _write_shards(
        self,
        task: SaveShards,
        read_options: ReadOptions,
        template: ShardTemplate,
        frame: pd.DataFrame,
        *,
        overwrite: bool,
    ) -> Any:
        job = self._make_job(task, read_options, self._inputs())
        names = image_names([read_options.source.path(value) for value in job.inputs], range(len(job.inputs)))
        context = dataclasses.replace(self._job_context(job), columns=frame if len(frame.columns) else None)
        sink = ShardSink(context, template, FORMATS[task.shard_format](frame), task.max_bytes, names)
        sink.open(overwrite=overwrite)
        return self._execute(dataclasses.replace(job, columns=None), sink, read_options)

    def _shard_columns(self, names: Any, shard_format: str) -> pd.DataFrame:
        """Return the columns of the frame that are packed, with the positions of the rows as index."""
        if names is None:
            return pd.DataFrame(index=range(len(self._column)))
        if isinstance(names, str) or not isinstance(names, list | tuple | pd.Index):
            raise TypeError(f"columns={shorten(names)} is not a list of columns such as ['label']")
        if self._frame is None:
            raise ValueError("columns= needs a frame: df.img.save_shards('image_path', …)")
        check_columns(list(names), shard_format)
        frame = pd.DataFrame({name: get_column(self._frame, name).array for name in names})
        return frame if len(names) else pd.DataFrame(index=range(len(self._column)))

    def _mode(self) -> Mode | None:
        """Return the mode of the images of an image column; None for a column of files."""
        array = self._column.array
        return MODE_OF.get(array.dtype.shape[2], "RGB") if isinstance(array, ImageArray) else None


def _check_format(to: Any, name: Any) -> str:
    suffix = os.path.splitext(os.fspath(to))[1]
    implied = format_for(suffix)
    if name is None and implied is None:
        raise ValueError(f"to={os.fspath(to)!r} ends neither in '.tar' (WebDataset) nor in '.parquet' (Hugging Face)")
    checked: str = check_choice("format", name or implied, FORMATS)
    if checked != implied:
        raise ValueError(f"format={checked!r} writes {FORMATS[checked].suffix} files, and to={os.fspath(to)!r}")
    return checked


def _encode_options(image_format: Any, quality: Any, mode: str) -> codec.EncodeOptions:
    options = codec.encode_options(image_format or ("JPEG" if mode in ("RGB", "L") else "PNG"), quality)
    codec.check_modes([options.format or ""], mode)
    return options
