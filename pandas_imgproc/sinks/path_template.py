"""Path templates: folders and patterns such as ``train/{label}/{stem}.jpg``, rendered for the rows of a frame."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._validation import check_path
from pandas_imgproc.errors import did_you_mean, format_row
from pandas_imgproc.sinks.own_names import is_own_name
from pandas_imgproc.source import is_encoded
from pandas_imgproc.source.paths import ArchiveMember, through_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.regions import Regions
    from pandas_imgproc.source import Source

    Field = tuple[str, str]
    Piece = str | Field
    Component = list[Piece]

MAX_FILENAME_BYTES = 255
"""Bytes of a name of a file or folder, on nearly every file system."""

_DEFAULT_FORMAT = "JPEG"
"""Format of the file for an image in a folder whose own suffix names no format that can be written, such as HEIC."""

PATH_FIELDS = ("dir", "stem", "name", "suffix")
ROW_FIELDS = ("position", "index", "variant")


def check_to(
    to: object, expected: str = "a folder such as 'thumbs', or a template such as 'train/{label}/{stem}'"
) -> str:
    """Return ``to=`` as text; raise a TypeError or ValueError if it is not a path or a URL."""
    return check_path("to", to, expected)


def parse(text: str) -> list[Component]:
    """Return the components of a template, each a list of literals and fields.

    Examples
    --------
    >>> parse("train/{label}/{stem}_{position:03d}.jpg")
    [['train'], [('label', '')], [('stem', ''), '_', ('position', '03d'), '.jpg']]
    """
    components: list[Component] = [[]]
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as exc:
        raise ValueError(f"to={text!r} is not a template: {exc}") from exc
    for literal, field, spec, conversion in pieces:
        head, *tail = literal.split("/")
        components[-1] += [head] * bool(head)
        components += [[component] if component else [] for component in tail]
        if field is not None:
            if not field or conversion:
                raise ValueError(f"to={text!r}: a field in braces is a column, or one of {_list_fields()}")
            components[-1].append((field, spec or ""))
    return components


def fixed_url(text: str) -> str:
    """Return the folder of a URL before the first field, where the journal of its objects is.

    Examples
    --------
    >>> fixed_url("s3://bucket/train/{label}/{stem}.jpg"), fixed_url("gs://bucket/raw/")
    ('s3://bucket/train', 'gs://bucket/raw')
    """
    components = parse(text.rstrip("/"))
    n = next((k for k, component in enumerate(components) if any(map(_is_field, component))), len(components))
    if n < 3:
        raise ValueError(f"to={text!r} does not name a bucket: 's3://bucket/{{label}}/{{stem}}.jpg'")
    return "/".join("".join(map(str, component)) for component in components[:n])


def _is_field(piece: Piece) -> bool:
    return isinstance(piece, tuple)


def fields_in(text: str) -> list[Field]:
    """Return the fields of a template, each a name and a format specification."""
    return [piece for component in parse(text) for piece in component if isinstance(piece, tuple)]


@dataclass
class PathTemplate:
    """Template of the paths of a job's files.

    The attributes are the arguments of `resolve_output_paths`.
    """

    to: str
    inputs: Sequence[Any]
    source: Source
    index: pd.Index[Any]
    frame: pd.DataFrame | None = None
    encode_options: codec.EncodeOptions | None = None
    offset: int = 0
    parent: str | None = None
    regions: Regions | None = None

    def __post_init__(self) -> None:
        self.paths = display_paths(self.inputs, self.source)
        names = [name for name, _ in fields_in(self.to)]
        # Components without a field are the same for all rows.
        self._components = [
            component if any(isinstance(piece, tuple) for piece in component) else "".join(map(str, component))
            for component in parse(self.to)
        ]
        fields = [name for name in names if not is_builtin_field(name, self.frame)]
        self._columns = {name: column_values(name, self.frame, self.to, self.index) for name in fields}
        self._check_dir_field()
        self._is_folder = not names
        # The folders before the first field are named by the user, not by the data.
        self._fixed = self.to if self._is_folder else self.to.partition("{")[0].rpartition("/")[0]
        if "://" in self.to:
            fixed_url(self.to)
        is_file = self._is_folder and self.encode_options is not None and codec.format_of(self.to) is not None
        if is_file and not os.path.isdir(self.to):
            raise ValueError(
                f"to={self.to!r} names one file; give a folder, or a template such as '{{dir}}/{{stem}}.jpg'"
            )

    def _check_dir_field(self) -> None:
        for k, component in enumerate(self._components):
            has_dir = any(piece[0] == "dir" for piece in component if isinstance(piece, tuple))
            if has_dir and "dir" not in self._columns and (k or component != [("dir", "")]):
                raise ValueError(f"to={self.to!r}: {{dir}} must be at the beginning, '{{dir}}/{{stem}}_128.jpg'")

    def has_no_source(self, position: int) -> bool:
        """Return whether a row is missing, or its input is no path: the failure of its read names the reason."""
        value = self.inputs[position]
        return value is None or (self.paths[position] is None and not is_encoded(value))

    def render(self, position: int, variant: int | None) -> str:
        """Return the file of a row."""
        if not self._is_folder:
            components = [
                component if isinstance(component, str) else self._render_component(component, position, variant)
                for component in self._components
            ]
            return self._apply_suffix("/".join(components), position)
        path = os.path.join(self.to, self._relative(position))
        if variant is not None:
            stem, suffix = os.path.splitext(path)
            path = f"{stem}_{variant}{suffix}"
        return self._apply_suffix(path, position)

    def row_label(self, position: int) -> str:
        """Return the name of a row in messages."""
        return format_row(self.offset + position, self.index[position])

    # ---- a plain folder

    def _relative(self, position: int) -> str:
        path = self._require_path(position, "a plain folder")
        if "://" in path:
            return path.partition("://")[2] if self._parent is None else os.path.relpath(_absolute(path), self._parent)
        return os.path.relpath(os.path.join(self.source.folder, path), self._parent)

    @functools.cached_property
    def _parent(self) -> str | None:
        """Folder below which the sources' own folders are mirrored."""
        root = self.source.root
        if root is not None and "://" in root:  # as the paths below it: decoded, without user and query
            return os.path.dirname(_absolute(self.source.path("name") or root))
        if root is not None:
            return _absolute(os.path.join(self.source.folder, root))
        return self.parent or common_parent(self.paths, self.source.folder)

    # ---- a template

    def _render_component(self, component: Component, position: int, variant: int | None) -> str:
        pieces = [
            piece if isinstance(piece, str) else self._render_field(piece, position, variant) for piece in component
        ]
        text = "".join(pieces)
        if component[0] != ("dir", "") and text in ("", ".", ".."):
            raise self._error(f"{self.row_label(position)} would be written to {text!r}, which is no name")
        return text

    def _render_field(self, field: Field, position: int, variant: int | None) -> str:
        name, spec = field
        if name in self._columns:
            return self._check_component(self._columns[name][position], spec, position, f"the column {name!r}")
        if name in PATH_FIELDS:
            return self._format_field(self._path_field(name, position), spec, position, f"{{{name}}}")
        if name == "index":
            label = self.index[position]
            label = "-".join(map(str, label)) if isinstance(label, tuple) else label
            return self._check_component(label, spec, position, "the index")
        if name == "variant" and variant is None:
            raise self._error("{variant} is of augment; other methods write one file for each row")
        value = self.offset + position if name == "position" else variant
        return self._check_component(value, spec, position, name)

    def _check_component(self, value: Any, spec: str, position: int, subject: str) -> str:
        """Return a value of the data as text that cannot leave its folder."""
        if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
            raise self._error(f"{subject} is missing in {self.row_label(position)}; leave such rows out: dropna()")
        text = self._format_field(value, spec, position, subject)
        illegal = next((char for char in text if char in "/\\" or not char.isprintable()), None)
        if illegal is not None or text.strip() in ("", ".", ".."):
            reason = f"a name cannot contain {illegal!r}" if illegal else "that is no name"
            raise self._error(
                f"{subject} is {text!r:.100} in {self.row_label(position)}, and {reason}; replace it first, for "
                "example with .str.replace('/', '_')"
            )
        return text

    def _format_field(self, value: Any, spec: str, position: int, subject: str) -> str:
        try:
            return format(value, spec)
        except (ValueError, TypeError) as exc:
            raise self._error(f"{subject} is {value!r:.100} in {self.row_label(position)}: {exc}") from exc

    def _path_field(self, name: str, position: int) -> str:
        path = self._require_path(position, f"{{{name}}}")
        if "://" in path:
            if name == "dir":
                raise self._error(f"{self.row_label(position)} is at {path!r}; {{dir}} must be a local folder")
            path = _absolute(path)
        elif name == "dir" and isinstance(through_archive(os.path.join(self.source.folder, path)), ArchiveMember):
            raise self._error(f"{self.row_label(position)} is in an archive, {path!r}; {{dir}} must be a folder")
        folder, filename = os.path.split(path)
        stem, suffix = os.path.splitext(filename)
        return {"dir": folder or ".", "name": filename, "stem": stem, "suffix": suffix}[name]

    def _require_path(self, position: int, subject: str) -> str:
        path = self.paths[position]
        if path is None:
            raise self._error(
                f"{subject} needs a path, and {self.row_label(position)} has none; name its file by a column, "
                "{index} or {position}: 'out/{position}.jpg'"
            )
        return path

    # ---- suffixes

    def _apply_suffix(self, path: str, position: int) -> str:
        path = self._apply_format(path, position)
        if any(map(is_own_name, path.removeprefix(self._fixed).split("/"))):
            raise self._error(
                f"{self.row_label(position)} would be written to {path!r:.300}, the name of a hidden file of "
                "pandas_imgproc; leave the row out, or name its file otherwise"
            )
        if len(os.fsencode(path)) <= MAX_FILENAME_BYTES:
            return path
        too_long = next((name for name in path.split("/") if len(os.fsencode(name)) > MAX_FILENAME_BYTES), None)
        if too_long is not None:
            raise self._error(
                f"{self.row_label(position)} needs the name {too_long!r:.60}, longer than {MAX_FILENAME_BYTES} bytes"
            )
        return path

    def _apply_format(self, path: str, position: int) -> str:
        if self.encode_options is None:
            return path
        requested, current = self.encode_options.format, codec.format_of(path)
        if current is not None and requested in (None, current):
            return path
        if requested is None and self._is_folder:
            requested = _DEFAULT_FORMAT
        if requested is None:
            raise self._error(
                f"{self.row_label(position)} would be written to {path!r}, whose suffix names no format that can "
                "be written; give format='JPEG'"
            )
        if current is not None and not self._is_folder:
            raise ValueError(
                f"to={self.to!r} names {current} files such as {path!r}, and format={requested!r}; choose one"
            )
        stem, suffix = os.path.splitext(path)
        replaced = self._is_folder and suffix.lower() in codec.READ_SUFFIXES
        return (stem if replaced else path) + codec.SUFFIX_OF[requested]

    def _error(self, message: str) -> ValueError:
        return ValueError(f"to={self.to!r}: {message}")


def display_paths(inputs: Sequence[Any], source: Source) -> list[str | None]:
    """Return the paths of inputs as users know them; None where an input has none."""
    # Relative to the user's working directory: messages and relative targets begin as the user's paths do.
    return list(map(dataclasses.replace(source, folder="").path, inputs))


_VERSION = re.compile(r"\?versionId=[^/]*\Z")  # of an object in S3; any other ? is a part of the name


def common_parent(paths: Sequence[str | None], folder: str) -> str:
    """Return the deepest folder above all paths, of which relative ones start from `folder`."""
    return os.path.commonpath(
        {os.path.dirname(_absolute(os.path.join(folder, path))) for path in paths if path is not None}
    )


def _absolute(path: str) -> str:
    """Return the absolute path of a file; of a URL, which has no query any longer, that on its host."""
    if "://" in path:
        return os.path.normpath("/" + _VERSION.sub("", path.partition("://")[2]))
    return os.path.abspath(path)


def is_builtin_field(name: str, frame: pd.DataFrame | None) -> bool:
    """Return whether a field is built in, and no column has its name."""
    return name in (*PATH_FIELDS, *ROW_FIELDS) and (frame is None or name not in map(str, frame.columns))


def _list_fields() -> str:
    return ", ".join(f"{{{name}}}" for name in (*PATH_FIELDS, *ROW_FIELDS))


def column_values(name: str, frame: pd.DataFrame | None, to: str, index: pd.Index[Any]) -> list[Any]:
    """Return the values of a column, or of a level of the index, that a template names."""
    columns = [] if frame is None else [column for column in frame.columns if str(column) == name]
    levels = [k for k, level in enumerate(index.names) if level is not None and str(level) == name]
    if not columns and len(levels) == 1:
        return list(index.get_level_values(levels[0]))
    if frame is None:
        raise KeyError(
            f"to={to!r} names {{{name}}}, which is none of {_list_fields()}; to name columns, call it on the frame: "
            "df.img.save_resized('image_path', to=…)"
        )
    if len(columns) > 1:
        raise KeyError(f"to={to!r}: the frame has {len(columns)} columns named {name!r}; rename them")
    if not columns:
        legal = [*frame.columns, *PATH_FIELDS, *ROW_FIELDS]
        raise KeyError(f"to={to!r}: the frame has no column {name!r}; {did_you_mean(name, legal)}")
    return list(frame[columns[0]])
