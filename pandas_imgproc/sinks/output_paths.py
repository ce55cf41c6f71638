"""Output paths of a job: resolved for all rows and checked for collisions before any file is written."""

from __future__ import annotations

import functools
import os
import unicodedata
from typing import TYPE_CHECKING, Any

from pandas_imgproc.sinks.job_spec import checksum
from pandas_imgproc.sinks.path_template import (
    PathTemplate,
    check_to,
    column_values,
    common_parent,
    display_paths,
    fields_in,
    is_builtin_field,
)
from pandas_imgproc.source import is_encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import pandas as pd

    from pandas_imgproc.codec import EncodeOptions
    from pandas_imgproc.regions import Regions
    from pandas_imgproc.source import Source


def resolve_output_paths(
    to: object,
    inputs: Sequence[Any],
    source: Source,
    *,
    index: pd.Index[Any],
    frame: pd.DataFrame | None = None,
    encode_options: EncodeOptions | None = None,
    variants: Sequence[int] = (),
    offset: int = 0,
    parent: str | None = None,
    regions: Regions | None = None,
) -> list[str | None]:
    """Return the file of each result.

    Parameters
    ----------
    to : path
        A folder or its URL, which mirrors the sources' own folders below their root or common parent. Or a template
        with ``{dir}`` (at the beginning: the source's folder), ``{stem}``, ``{suffix}``, ``{name}``, ``{position}``,
        ``{index}``, ``{variant}``, columns of the frame and levels of its index; a column of such a name comes first.
    inputs, source, index : sequence, Source, Index
        Values of the column, None where missing; their root and suffix; and the index of the frame.
    frame : DataFrame, optional
        Frame whose columns the template may name.
    encode_options : EncodeOptions, optional
        Format of the files: a name gets its suffix, or must have that of a format. None keeps names as they are.
    variants : sequence of int
        Numbers of the variants of each row, if it has several results.
    offset : int
        ``{position}`` of the first row.
    parent : str, optional
        Folder below which a plain folder mirrors the sources' own folders, if `inputs` are a part of all rows.
    regions : Regions, optional
        Regions of the rows: two of one source are two images.

    Returns
    -------
    list of str or None
        One path for each row and variant; None where the input is missing, or is no path. Relative paths start from
        the caller's working directory. Rows with the same source and the same file have equal paths.

    Raises
    ------
    TypeError, ValueError, KeyError
        If `to` is not a folder or a template; if the values of a row make no name; if two rows would write the same
        file, also on file systems that ignore case; or if a source would be overwritten. The message names the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from pandas_imgproc.source import Source
    >>> frame = pd.DataFrame({"label": ["cat", "dog"]})
    >>> paths = ["a/1.jpg", "b/2.jpg"]
    >>> resolve_output_paths("train/{label}/{stem}.png", paths, Source(), index=frame.index, frame=frame)
    ['train/cat/1.png', 'train/dog/2.png']
    >>> resolve_output_paths("thumbs", paths, Source(), index=frame.index)
    ['thumbs/a/1.jpg', 'thumbs/b/2.jpg']
    """
    template = PathTemplate(check_to(to), inputs, source, index, frame, encode_options, offset, parent, regions)
    paths = [
        None if template.has_no_source(position) else template.render(position, variant)
        for position in range(len(inputs))
        for variant in (variants or (None,))
    ]
    return _resolve_collisions(paths, template, max(1, len(variants)))


def common_dir(inputs: Sequence[Any], source: Source) -> str | None:
    """Return the deepest folder above all sources; None if no source has a path.

    Examples
    --------
    >>> from pandas_imgproc.source import Source
    >>> common_dir(["/train/a/1.jpg", "/train/b/2.jpg", None], Source())
    '/train'
    """
    paths = display_paths(inputs, source)
    return common_parent(paths, source.folder) if any(path is not None for path in paths) else None


def is_template(to: str | os.PathLike[str]) -> bool:
    """Return whether a path has fields; else it is a plain folder."""
    return bool(fields_in(os.fspath(to)))


def template_columns(to: object, frame: pd.DataFrame | None, index: pd.Index[Any]) -> list[Hashable]:
    """Return the columns of a frame that a template names; raise a KeyError if no column or level has a name."""
    text = check_to(to)
    names = {name for name, _ in fields_in(text)}
    for name in names:
        if not is_builtin_field(name, frame):
            column_values(name, frame, text, index)
    return [] if frame is None else [column for column in frame.columns if str(column) in names]


def _resolve_collisions(paths: list[str | None], template: PathTemplate, n_outputs: int) -> list[str | None]:
    """Return the paths, equal for equal files; raise if two sources, or a source and a file, have the same path."""
    folder = template.source.folder
    key = functools.partial(_collision_key, folder, functools.cache(os.path.realpath))
    is_url = "://" in template.to
    sources = {key(path): path for path in template.paths if path is not None and ("://" in path) == is_url}
    first_by_key: dict[str, int] = {}
    for k, path in enumerate(paths):
        if path is None:
            continue
        path_key = key(path)
        if path_key in sources and _same_file(path, sources[path_key], folder):
            raise ValueError(
                f"to={template.to!r}: {template.row_label(k // n_outputs)} would be written over {path!r}, a source of "
                "this call; choose another folder, or another name such as '{dir}/{stem}_128.jpg'"
            )
        other = first_by_key.setdefault(path_key, k)
        if other != k:
            _check_collision(path, divmod(k, n_outputs), divmod(other, n_outputs), template)
            paths[k] = paths[other]
    _check_folders(first_by_key, n_outputs, template)
    return paths


def _check_folders(first_by_key: dict[str, int], n_outputs: int, template: PathTemplate) -> None:
    """Raise a ValueError if the file of an item would have the name of a folder of other files."""
    folders: dict[str, int] = {}
    for path_key, k in first_by_key.items():
        folder = os.path.dirname(path_key)
        while folder not in folders and folder not in ("", os.sep):
            folders[folder] = k
            folder = os.path.dirname(folder)
    taken = next((path_key for path_key in first_by_key if path_key in folders), None)
    if taken is not None:
        row, inside = (template.row_label(k // n_outputs) for k in (first_by_key[taken], folders[taken]))
        raise ValueError(
            f"to={template.to!r}: {row} would be written to {taken!r}, the folder of the file of {inside}; leave the "
            "row out, or give a template with a suffix, such as '{stem}.jpg'"
        )


def _check_collision(path: str, item: tuple[int, int], other: tuple[int, int], template: PathTemplate) -> None:
    """Raise a ValueError if two items, each a row and a variant, share a path but not the source and the variant."""
    (row, variant), (other_row, other_variant) = item, other
    if variant == other_variant and _source_id(row, template) == _source_id(other_row, template):
        return
    both = f"{template.row_label(other_row)} and {template.row_label(row)}"
    fields = _different_fields(row, other_row, template)
    if row == other_row:
        both, fields = f"two variants of {template.row_label(row)}", "{variant}"
    raise ValueError(
        f"to={template.to!r}: {both} would both be written to {path!r}; add a field to to= that differs, such as "
        f"{fields}"
    )


def _different_fields(row: int, other_row: int, template: PathTemplate) -> str:
    """Return fields that differ between two rows: the position, and the suffix of their files if it does."""
    path, other = template.paths[row], template.paths[other_row]
    differs = path is not None and other is not None and os.path.splitext(path)[1] != os.path.splitext(other)[1]
    return "a column, {suffix} or {position}" if differs else "a column or {position}"


def _source_id(position: int, template: PathTemplate) -> Any:
    path, value = template.paths[position], template.inputs[position]
    region = None if template.regions is None else template.regions[position]
    if path is None or is_encoded(value) or "://" in path:
        return checksum(value), region
    return os.path.abspath(os.path.join(template.source.folder, path)), region


def _same_file(path: str, source: str, folder: str) -> bool:
    """Return whether two paths name one file: equal keys do not prove that on file systems that respect case."""
    if "://" in path:
        return path == source
    try:
        return os.path.samefile(os.path.join(folder, path), os.path.join(folder, source))
    except OSError:
        return False


def _collision_key(folder: str, realpath: Callable[[str], str], path: str) -> str:
    """Return a key that all paths of a file share, also on file systems that ignore case and Unicode forms."""
    if "://" in path:  # buckets distinguish them
        return path
    head, tail = os.path.split(os.path.join(folder, path))
    return unicodedata.normalize("NFC", f"{realpath(head)}/{tail}").casefold()
