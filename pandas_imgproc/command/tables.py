"""Tables in and out: the frame that a command works on, and what it gives."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc._atomic import named_when_whole
from pandas_imgproc.discovery import from_glob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PATHS = "image_path"
"""The column of a frame that was made of a pattern."""


def _text(path: str, column: str, sep: str = ",") -> pd.DataFrame:
    """Return a table of text as it stands: 007 is not 7, nor is NA missing. An empty cell is no path."""
    try:
        frame = pd.read_csv(path, sep=sep, dtype="str", keep_default_na=False, na_values={column: [""]})
    except pd.errors.EmptyDataError as exc:
        raise ValueError(f"the table {path!r} is empty; its first line names the columns") from exc
    except UnicodeDecodeError as exc:
        advice = f"write it so, as by: iconv -f LATIN1 -t UTF-8 {path}"
        raise ValueError(f"the table {path!r} is not encoded as UTF-8; {advice}") from exc
    except pd.errors.ParserError as exc:
        raise ValueError(f"the table {path!r} cannot be read: {exc}") from exc
    only = frame.columns[0]
    other = next((mark for mark in ";\t|," if mark in only), None)
    if len(frame.columns) == 1 and only != column and other:
        wanted = {",": "commas", "\t": "tabs"}[sep]
        raise ValueError(
            f"the table {path!r} has one column, {only!r}; is it separated by {other!r}? It takes {wanted}"
        )
    return frame


# What stands in JSON's column of pictures is what it is; as text, null would be "None".
_READERS: dict[str, Callable[[str, str], pd.DataFrame]] = {
    ".csv": _text,
    ".tsv": functools.partial(_text, sep="\t"),
    ".json": lambda path, column: pd.read_json(path, dtype={column: "object"}),
    ".jsonl": lambda path, column: pd.read_json(path, lines=True, dtype={column: "object"}),
    ".parquet": lambda path, _: pd.read_parquet(path),
    ".feather": lambda path, _: pd.read_feather(path),
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    ".csv": lambda frame, file: frame.to_csv(file, index=False),
    ".tsv": lambda frame, file: frame.to_csv(file, index=False, sep="\t"),
    ".json": lambda frame, file: frame.to_json(file, orient="records"),
    ".jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True),
    ".parquet": lambda frame, file: frame.to_parquet(file, index=False),
    ".feather": lambda frame, file: frame.reset_index(drop=True).to_feather(file),
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def is_table(path: str) -> bool:
    """Return whether a path is that of a table, by its suffix.

    Examples
    --------
    >>> is_table("train.csv"), is_table("train.csv.gz"), is_table("photos"), is_table("photos/*.jpg")
    (True, True, False, False)
    """
    return _suffix(path, packed=True) in _READERS


def check(option: str, path: str | None, what: str = "table", suffixes: Iterable[str] = tuple(_WRITERS)) -> None:
    """Raise a ValueError if a file cannot be written to a path, for its suffix or its folder."""
    if path is None:
        return
    if _suffix(path) not in suffixes:
        raise ValueError(f"{option} {path!r} is not a {what}: {', '.join(suffixes)}")
    check_folder(option, path)


def check_folder(option: str, path: str) -> None:
    """Raise a ValueError if the folder of a file is not there."""
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ValueError(f"{option} {path!r}: there is no folder {os.path.dirname(path)!r}")


def check_apart(source: str, **written: str | None) -> None:
    """Raise a ValueError if what an option names is the table that is read, or what another one names.

    Examples
    --------
    >>> check_apart("t.csv", out="./t.csv")
    Traceback (most recent call last):
    ValueError: --out './t.csv' is the table that is read; name another file
    """
    there = {os.path.realpath(source): "the table that is read"} if is_table(source) else {}
    for option, path in written.items():
        if path is None:
            continue
        for other, what in there.items():
            if _is_same(os.path.realpath(path), other):
                raise ValueError(f"--{option} {path!r} is {what}; name another file")
        there[os.path.realpath(path)] = f"what --{option} names too"


def _is_same(path: str, other: str) -> bool:
    return path == other or (os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other))


def read(path: str, column: str | None, storage_options: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return the frame that a path names: a table, or the pictures that a folder or a pattern holds.

    Raises
    ------
    ValueError
        If there is none.
    """
    try:
        if is_table(path):
            return _READERS[_suffix(path, packed=True)](path, column or "")
        return from_glob(path, storage_options=None if storage_options is None else dict(storage_options))
    except FileNotFoundError as exc:
        said = f"there is no table {path!r}" if is_table(path) else str(exc)
        raise ValueError(said) from exc


def beside(frame: pd.DataFrame, answer: pd.Series[Any] | pd.DataFrame, command: str) -> pd.DataFrame:
    """Return a frame and, in columns beside it, an answer; a name that is taken gets the command's behind it.

    Examples
    --------
    >>> beside(pd.DataFrame({"path": ["a"]}), pd.Series(["b"], name="path"), "save-thumbnails")
      path path_save_thumbnails
    0    a                    b
    """
    columns = answer.to_frame() if isinstance(answer, pd.Series) else answer
    taken = {name: f"{name}_{command.replace('-', '_')}" for name in columns if name in frame.columns}
    return pd.concat([frame, columns.rename(columns=taken)], axis=1)


def write(frame: pd.DataFrame, path: str | None) -> None:
    """Write a frame as a table, whole or not at all; None is CSV on the standard output."""
    if path is None:
        frame.to_csv(sys.stdout, index=False)
        sys.stdout.flush()
        return
    with named_when_whole(os.path.abspath(path)) as fd, open(fd, "wb", closefd=False) as file:
        _WRITERS[_suffix(path)](frame, file)


def _suffix(path: str, *, packed: bool = False) -> str:
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if packed and suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
