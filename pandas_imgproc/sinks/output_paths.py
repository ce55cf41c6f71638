"""Which file each answer is written to: a folder or a template, and the frame, become names.

All of them are known, and checked against each other and against the sources, before anything is written.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import string
import unicodedata
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.errors import did_you_mean, format_row
from pandas_imgproc.sinks.journal import checksum
from pandas_imgproc.source import is_encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from pandas_imgproc.source import Source

    Field = tuple[str, str]
    Piece = str | Field
    Component = list[Piece]

MAX_FILENAME_BYTES = 255
"""Bytes of a name of a file or folder, on nearly every file system."""

PATH_FIELDS = ("dir", "stem", "name", "suffix")
ROW_FIELDS = ("position", "index", "variant")


def resolve_output_paths(
    to: object,
    inputs: Sequence[Any],
    source: Source,
    *,
    index: pd.Index[Any],
    frame: pd.DataFrame | None = None,
    encode_options: codec.EncodeOptions | None = None,
    variants: Sequence[int] = (),
    first: int = 0,
    parent: str | None = None,
) -> list[str | None]:
    """Return the file of each answer.

    Parameters
    ----------
    to : path
        A folder: below it the sources' own folders are kept, from their root or common parent on. Or a template with
        ``{dir}`` (at the beginning: the source's folder), ``{stem}``, ``{suffix}``, ``{name}``, ``{position}``,
        ``{index}``, ``{variant}`` and columns of the frame, which come first where they have such a name.
    inputs : sequence
        What stands in the column; None where missing.
    source : Source
        How cells become files.
    index : Index
        Of the frame.
    frame : DataFrame, optional
        Whose columns the template may name.
    encode_options : EncodeOptions, optional
        How files are written: a name gets the suffix of its format, or must have a suffix that says one. None leaves
        names as they are, for bytes that are kept as they are.
    variants : sequence of int
        Numbers of the answers of each row, if it has several.
    first : int
        ``{position}`` of the first row.
    parent : str, optional
        The folder below which the sources' own folders are kept, where these are some rows of many (see
        `common_dir`).

    Returns
    -------
    list of str or None
        One for each row and variant; None where there is no source, or none that could be read. Relative names start
        from the caller's working directory. Rows with the same source and the same file have the same text.

    Raises
    ------
    TypeError, ValueError, KeyError
        Names what is wrong with `to`, or the row whose values cannot be a name, or the two rows that would write the
        same file, also where upper and lower case are the same; or the source that would be written over.

    Examples
    --------
    >>> from pandas_imgproc.source import Source
    >>> frame = pd.DataFrame({"label": ["cat", "dog"]})
    >>> resolve_output_paths("train/{label}/{stem}.png", ["a/1.jpg", "b/2.jpg"], Source(), index=frame.index, frame=frame)
    ['train/cat/1.png', 'train/dog/2.png']
    >>> resolve_output_paths("thumbs", ["a/1.jpg", "b/2.jpg"], Source(), index=frame.index)
    ['thumbs/a/1.jpg', 'thumbs/b/2.jpg']
    """
    naming = PathTemplate(_text(to), inputs, source, index, frame, encode_options, first, parent)
    names = [
        None if naming.has_no_source(row) else naming.name(row, variant)
        for row in range(len(inputs))
        for variant in (variants or (None,))
    ]
    return _without_clashes(names, naming, max(1, len(variants)))


def _text(to: object) -> str:
    if not isinstance(to, str | os.PathLike) or not isinstance(os.fspath(to), str):
        raise TypeError(f"to={to!r} is not a folder such as 'thumbs', or a template such as 'train/{{label}}/{{stem}}'")
    text = os.fspath(to)
    if "://" in text:
        raise ValueError(f"to={text!r} is not a folder of this machine; write to one and copy it there")
    if not text.strip() or "\0" in text:
        raise ValueError(f"to={text!r} is not the name of a folder")
    return text


def common_dir(inputs: Sequence[Any], source: Source) -> str | None:
    """Return the folder in or below which all sources are; None where none has a path.

    Examples
    --------
    >>> from pandas_imgproc.source import Source
    >>> common_dir(["/train/a/1.jpg", "/train/b/2.jpg", None], Source())
    '/train'
    """
    paths = _shown_paths(inputs, source)
    return _common_folder(paths, source.folder) if any(path is not None for path in paths) else None


def template_columns(to: object, frame: pd.DataFrame | None) -> list[Hashable]:
    """Return the columns of a frame that a template names.

    Raises
    ------
    KeyError
        If there is no such column.
    """
    named = {field[0] for component in parse(_text(to)) for field in component if isinstance(field, tuple)}
    for name in named:
        if not _is_ours(name, frame):
            _values(name, frame, _text(to))
    return [] if frame is None else [column for column in frame.columns if str(column) in named]


def is_template(to: str | os.PathLike[str]) -> bool:
    """Return whether a path has fields to be filled, or is a plain folder."""
    return any(isinstance(piece, tuple) for component in parse(os.fspath(to)) for piece in component)


def parse(text: str) -> list[Component]:
    """Return the components of a template, each made of texts and fields.

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
        first, *rest = literal.split("/")
        components[-1] += [first] * bool(first)
        components += [[part] if part else [] for part in rest]
        if field is not None:
            if not field or conversion:
                raise ValueError(f"to={text!r}: between braces stands a column, or one of {_known()}")
            components[-1].append((field, spec or ""))
    return components


def _known() -> str:
    return ", ".join(f"{{{name}}}" for name in (*PATH_FIELDS, *ROW_FIELDS))


class PathTemplate:
    """How rows become names."""

    def __init__(
        self,
        to: str,
        inputs: Sequence[Any],
        source: Source,
        index: pd.Index[Any],
        frame: pd.DataFrame | None,
        encode_options: codec.EncodeOptions | None,
        first: int,
        parent: str | None,
    ) -> None:
        self.to, self.inputs, self.index, self.encode_options = to, inputs, index, encode_options
        self._first, self._given_parent = first, parent
        self.paths = _shown_paths(inputs, source)
        self.folder, self._root = source.folder, source.root
        self._components = parse(to)
        fields = [field for component in self._components for field in component if isinstance(field, tuple)]
        self._is_folder = not fields
        self._columns = {name: _values(name, frame, to) for name, _ in fields if not _is_ours(name, frame)}
        _check_places(self._components, self._columns, to)
        if self._is_folder and encode_options is not None and codec.format_of(to) is not None and not os.path.isdir(to):
            raise ValueError(f"to={to!r} names one file; give a folder, or a template such as '{{dir}}/{{stem}}.jpg'")

    def has_no_source(self, row: int) -> bool:
        """Return whether a row has no source, or a name that cannot be one: reading it will tell why."""
        cell = self.inputs[row]
        return cell is None or (self.paths[row] is None and not is_encoded(cell))

    def name(self, row: int, variant: int | None) -> str:
        """Return the file of a row."""
        if self._is_folder:
            path = os.path.join(self.to, self._below(row))
            if variant is not None:
                stem, suffix = os.path.splitext(path)
                path = f"{stem}_{variant}{suffix}"
            return self._with_suffix(path, row, replace=True)
        parts = [self._filled(component, row, variant) for component in self._components]
        return self._with_suffix("/".join(parts), row, replace=False)

    def where(self, row: int) -> str:
        """Return how an error calls a row."""
        return format_row(self._first + row, self.index[row])

    # ---- a plain folder

    def _below(self, row: int) -> str:
        path = self._path(row, "a plain folder")
        if "://" in path:
            return path.partition("://")[2] if self._parent is None else os.path.relpath(_rooted(path), self._parent)
        return os.path.relpath(os.path.join(self.folder, path), self._parent)

    @functools.cached_property
    def _parent(self) -> str | None:
        """The folder below which the sources' own folders are kept."""
        if self._root is not None:
            return _rooted(os.path.join(self.folder, self._root))
        return self._given_parent or _common_folder(self.paths, self.folder)

    # ---- a template

    def _filled(self, component: Component, row: int, variant: int | None) -> str:
        text = "".join(piece if isinstance(piece, str) else self._value(piece, row, variant) for piece in component)
        if component and component[0] == ("dir", ""):
            return text
        if text in ("", ".", "..") and any(isinstance(piece, tuple) for piece in component):
            raise ValueError(f"to={self.to!r}: {self.where(row)} would be written to {text!r}, which is no name")
        return text

    def _value(self, field: Field, row: int, variant: int | None) -> str:
        name, spec = field
        if name in self._columns:
            return self._checked(self._columns[name][row], spec, row, f"the column {name!r}")
        if name in PATH_FIELDS:
            return self._formatted(self._of_the_path(name, row), spec, row, f"{{{name}}}")
        if name == "index":
            label = self.index[row]
            label = "-".join(map(str, label)) if isinstance(label, tuple) else label
            return self._checked(label, spec, row, "the index")
        if name == "variant" and variant is None:
            raise ValueError(f"to={self.to!r}: {{variant}} is of augment; here each row has one file")
        return self._checked(self._first + row if name == "position" else variant, spec, row, name)

    def _checked(self, value: Any, spec: str, row: int, what: str) -> str:
        """Return a value out of the data as text that cannot leave its folder."""
        if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
            raise ValueError(f"to={self.to!r}: {what} is missing in {self.where(row)}; leave such rows out: dropna()")
        text = self._formatted(value, spec, row, what)
        bad = next((char for char in text if char in "/\\" or not char.isprintable()), None)
        if bad is not None or text.strip() in ("", ".", ".."):
            reason = f"{bad!r} cannot stand in a name" if bad else "that is no name"
            raise ValueError(
                f"to={self.to!r}: {what} is {text!r:.100} in {self.where(row)}, and {reason}; replace it first, "
                "for example with .str.replace('/', '_')"
            )
        return text

    def _formatted(self, value: Any, spec: str, row: int, what: str) -> str:
        try:
            return format(value, spec)
        except (ValueError, TypeError) as exc:
            raise ValueError(f"to={self.to!r}: {what} is {value!r:.100} in {self.where(row)}: {exc}") from exc

    def _of_the_path(self, name: str, row: int) -> str:
        path = self._path(row, f"{{{name}}}")
        if "://" in path:
            if name == "dir":
                raise ValueError(f"to={self.to!r}: {self.where(row)} is at {path!r}; {{dir}} must be a local folder")
            path = _rooted(path)
        folder, last = os.path.split(path)
        stem, suffix = os.path.splitext(last)
        return {"dir": folder or ".", "name": last, "stem": stem, "suffix": suffix}[name]

    def _path(self, row: int, wanted: str) -> str:
        path = self.paths[row]
        if path is None:
            raise ValueError(
                f"to={self.to!r}: {wanted} needs a path, and {self.where(row)} has none; name its file by a column, "
                "{index} or {position}: 'out/{position}.jpg'"
            )
        return path

    # ---- suffixes

    def _with_suffix(self, path: str, row: int, *, replace: bool) -> str:
        path = self._of_the_format(path, row, replace=replace)
        long = next((part for part in path.split("/") if len(os.fsencode(part)) > MAX_FILENAME_BYTES), None)
        if long is not None:
            raise ValueError(
                f"to={self.to!r}: {self.where(row)} needs the name {long!r:.60}, longer than {MAX_FILENAME_BYTES} bytes"
            )
        return path

    def _of_the_format(self, path: str, row: int, *, replace: bool) -> str:
        if self.encode_options is None:
            return path
        wanted, said = self.encode_options.format, codec.format_of(path)
        if said is not None and wanted in (None, said):
            return path
        if wanted is None:
            raise ValueError(
                f"to={self.to!r}: {self.where(row)} would be written to {path!r}, whose suffix says no format that can "
                "be written; give format='JPEG'"
            )
        if said is not None and not replace:
            raise ValueError(f"to={self.to!r} names {said} files such as {path!r}, and format={wanted!r}; choose one")
        stem, suffix = os.path.splitext(path)
        known = replace and suffix.lower() in codec.READ_SUFFIXES
        return (stem if known else path) + codec.SUFFIX_OF[wanted]


def _shown_paths(inputs: Sequence[Any], source: Source) -> list[str | None]:
    # Not from the working directory on: what is shown, and what relative answers start with, is the user's.
    return list(map(dataclasses.replace(source, folder="").path, inputs))


def _common_folder(paths: Sequence[str | None], folder: str) -> str:
    return os.path.commonpath(
        {os.path.dirname(_rooted(os.path.join(folder, path))) for path in paths if path is not None}
    )


def _rooted(path: str) -> str:
    """Return a path or URL as a path from the top on."""
    if "://" in path:
        return os.path.normpath("/" + path.partition("://")[2].partition("?")[0].partition("#")[0])
    return os.path.abspath(path)


def _is_ours(name: str, frame: pd.DataFrame | None) -> bool:
    """Return whether a field is one that we know, and no column has its name."""
    return name in (*PATH_FIELDS, *ROW_FIELDS) and (frame is None or name not in map(str, frame.columns))


def _values(name: str, frame: pd.DataFrame | None, to: str) -> list[Any]:
    """Return the values of a column that a template names."""
    if frame is None:
        raise KeyError(
            f"to={to!r} names {{{name}}}, which is none of {_known()}; to name columns, call it on the frame: "
            "df.img.save_resized('image_path', to=…)"
        )
    columns: list[Hashable] = [column for column in frame.columns if str(column) == name]
    if len(columns) != 1:
        if columns:
            raise KeyError(f"to={to!r}: the frame has {len(columns)} columns named {name!r}; rename them")
        legal = [*frame.columns, *PATH_FIELDS, *ROW_FIELDS]
        raise KeyError(f"to={to!r}: the frame has no column {name!r}; {did_you_mean(name, legal)}")
    return list(frame[columns[0]])


def _check_places(components: list[Component], columns: Mapping[str, Any], to: str) -> None:
    """Raise a ValueError if the folder of the source stands elsewhere than at the beginning."""
    for number, component in enumerate(components):
        dirs = [piece for piece in component if piece[0] == "dir" and isinstance(piece, tuple)]
        if dirs and "dir" not in columns and (number or component != [("dir", "")]):
            raise ValueError(f"to={to!r}: {{dir}} stands at the beginning, '{{dir}}/{{stem}}_128.jpg'")


# ---- names against names


def _without_clashes(names: list[str | None], naming: PathTemplate, n_outputs: int) -> list[str | None]:
    """Return the names, with one text for one file; raise if two sources or a source and a file have the same one."""
    real = functools.cache(os.path.realpath)
    sources = {_key(path, naming.folder, real): path for path in naming.paths if path is not None and "://" not in path}
    taken: dict[str, int] = {}
    for number, name in enumerate(names):
        if name is None:
            continue
        key = _key(name, naming.folder, real)
        if key in sources and _is_same(name, sources[key], naming.folder):
            raise ValueError(
                f"to={naming.to!r}: {naming.where(number // n_outputs)} would be written over {name!r}, a source of this "
                "call; choose another folder, or another name such as '{dir}/{stem}_128.jpg'"
            )
        other = taken.setdefault(key, number)
        if other != number:
            _check_twins(
                name, number // n_outputs, other // n_outputs, naming, distinct=number % n_outputs != other % n_outputs
            )
            names[number] = names[other]
    return names


def _check_twins(name: str, row: int, other: int, naming: PathTemplate, *, distinct: bool) -> None:
    if distinct or _identity(row, naming) != _identity(other, naming):
        two, more = f"{naming.where(other)} and {naming.where(row)}", "a column, {name} or {position}"
        if row == other:
            two, more = f"two variants of {naming.where(row)}", "{variant}"
        raise ValueError(
            f"to={naming.to!r}: {two} would both be written to {name!r}; say more of them in to=, such as {more}"
        )


def _identity(row: int, naming: PathTemplate) -> Any:
    path, cell = naming.paths[row], naming.inputs[row]
    if path is None or is_encoded(cell) or "://" in path:
        return checksum(cell)
    return os.path.abspath(os.path.join(naming.folder, path))


def _is_same(name: str, path: str, folder: str) -> bool:
    """Return whether two names are of one file: a key may only look the same where case makes a difference."""
    try:
        return os.path.samefile(os.path.join(folder, name), os.path.join(folder, path))
    except OSError:
        return False


def _key(name: str, folder: str, real: Callable[[str], str]) -> str:
    """Return what two names of one file share, also where case and the forms of Unicode make no difference."""
    head, tail = os.path.split(os.path.join(folder, name))
    return unicodedata.normalize("NFC", f"{real(head)}/{tail}").casefold()
