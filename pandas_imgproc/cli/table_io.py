"""Tables in and out: the frame that a command works on, and its result."""

from __future__ import annotations

import codecs
import functools
import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc.discovery import from_glob, is_image_path
from pandas_imgproc.execution.progress import is_open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PATH_COLUMN = "image_path"
"""The column of a frame that lists the files of a folder or pattern."""


def _encoding_of(path: str) -> str:
    """Return the encoding that the first bytes of a text file name, of which Excel writes UTF-16, or UTF-8."""
    with open(path, "rb") as file:
        head = file.read(4)
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):  # the first of these begins like UTF-16
        return "utf-32"
    return "utf-16" if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def _read_text(path: str, column: str, sep: str = ",") -> pd.DataFrame:
    """Return a text table with its text unchanged: 007 is not 7, nor is NA missing. An empty path is missing."""
    try:
        frame = pd.read_csv(
            path, sep=sep, dtype="str", keep_default_na=False, na_values={column: [""]}, encoding=_encoding_of(path)
        )
    except pd.errors.EmptyDataError as exc:
        raise ValueError(f"the table {path!r} is empty; its first line names the columns") from exc
    except UnicodeDecodeError as exc:
        advice = f"convert it: iconv -f LATIN1 -t UTF-8 {path}"
        raise ValueError(f"the table {path!r} is not encoded as UTF-8; {advice}") from exc
    except pd.errors.ParserError as exc:
        raise ValueError(f"the table {path!r} cannot be read: {exc}") from exc
    only = frame.columns[0]
    other = next((mark for mark in ";\t|," if mark in only), None)
    if len(frame.columns) == 1 and only != column and other:
        expected = {",": "commas", "\t": "tabs"}[sep]
        raise ValueError(f"the table {path!r} has one column, {only!r}; is it separated by {other!r}? Use {expected}")
    return frame


# JSON keeps the values of the image column as they are: as text, null would be "None".
_READERS: dict[str, Callable[[str, str], pd.DataFrame]] = {
    ".csv": _read_text,
    ".tsv": functools.partial(_read_text, sep="\t"),
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
    """Return whether the suffix of a path is that of a table.

    Examples
    --------
    >>> is_table("train.csv"), is_table("train.csv.gz"), is_table("photos"), is_table("photos/*.jpg")
    (True, True, False, False)
    """
    return _suffix(path, compressed=True) in _READERS


def check_output(
    option: str, path: str | None, kind: str = "a table", suffixes: Iterable[str] = tuple(_WRITERS)
) -> None:
    """Raise a ValueError if the suffix or the folder of an output file is wrong."""
    if path is None:
        return
    if _suffix(path) not in suffixes:
        raise ValueError(f"{option} {path!r} is not {kind}: {', '.join(suffixes)}")
    check_folder(option, path)


def check_folder(option: str, path: str) -> None:
    """Raise a ValueError if the folder of an output file does not exist."""
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ValueError(f"{option} {path!r}: there is no folder {os.path.dirname(path)!r}")


def check_stdout() -> None:
    """Raise a ValueError if there is no standard output for a table."""
    if not is_open(sys.stdout):
        raise ValueError("the standard output is closed; --out result.csv names a file for the table")


def check_distinct(sources: list[str], **outputs: str | None) -> None:
    """Raise a ValueError if an output file is the input table, or the file of another option.

    Examples
    --------
    >>> check_distinct(["t.csv"], out="./t.csv")
    Traceback (most recent call last):
    ValueError: --out './t.csv' is the table that is read; name another file
    """
    taken = {os.path.realpath(path): "the table that is read" for path in sources if is_table(path)}
    for option, path in outputs.items():
        if path is None:
            continue
        for other, role in taken.items():
            if _is_same_file(os.path.realpath(path), other):
                raise ValueError(f"--{option} {path!r} is {role}; name another file")
        taken[os.path.realpath(path)] = f"the file of --{option} too"


def _is_same_file(path: str, other: str) -> bool:
    return path == other or (os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other))


def check_archive(path: str) -> None:
    """Raise a ValueError if there is no archive; URLs are refused by the function."""
    if os.path.isdir(path):
        raise ValueError(f"{path!r} is a folder, not an archive; its files need not be unpacked")
    if "://" not in path and not os.path.exists(path):
        raise ValueError(f"there is no archive {path!r}")


def read_input(
    positionals: list[str], n_more: int, storage_options: Mapping[str, Any] | None
) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the frame of a command, the name of its image column, and the words after it.

    The words are a table and the name of its column, or a folder or pattern, and then `n_more` others. A ValueError
    names a word that is missing or one too many, and a table or files that do not exist.
    """
    if not positionals:
        raise ValueError("name the images: a table and its column, a folder, or a quoted pattern")
    path, *rest = positionals
    if path.startswith(("http://", "https://")) and is_image_path(path):
        raise ValueError(f"{path!r} is one image, not a folder; name a table and its column of URLs: train.csv url")
    has_column = is_table(path) or rest[: len(rest) - n_more] == [PATH_COLUMN]
    column = rest.pop(0) if has_column and rest else None if has_column else PATH_COLUMN
    if len(rest) > n_more:
        raise ValueError(f"{rest[n_more]!r} is one word too many; quote a pattern, or the shell expands it: '*.jpg'")
    df = read(path, column, storage_options)
    if column is None:
        raise ValueError(f"which column of {path!r} holds the images? It has {list(df.columns)[:10]}")
    if len(rest) < n_more:
        raise ValueError("name the output: a folder such as thumbs, or a template such as 'train/{label}/{stem}.jpg'")
    return df, column, rest


def read(path: str, column: str | None, storage_options: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return the frame of a table, or of the image files in a folder or pattern; raise ValueError if none exists."""
    try:
        if is_table(path):
            return _READERS[_suffix(path, compressed=True)](path, column or "")
        return from_glob(path, storage_options=None if storage_options is None else dict(storage_options))
    except FileNotFoundError as exc:
        raise ValueError(f"there is no table {path!r}" if is_table(path) else str(exc)) from exc


def join_result(df: pd.DataFrame, result: pd.Series[Any] | pd.DataFrame, command: str) -> pd.DataFrame:
    """Return a frame with a result in new columns; a name that is taken gets the command as a suffix.

    A result with a row for each part of an image gets the number of the part as a column.

    Examples
    --------
    >>> join_result(pd.DataFrame({"path": ["a"]}), pd.Series(["b"], name="path"), "save-thumbnails")
      path path_save_thumbnails
    0    a                    b
    """
    if result.index.nlevels > df.index.nlevels:  # an exploded frame, which has the columns
        level = result.index.names[-1]
        table = result.reset_index(level=-1)
        table.insert(len(df.columns), str(level), table.pop(str(level)))
        return table
    columns = result.to_frame() if isinstance(result, pd.Series) else result
    taken = {name: f"{name}_{command.replace('-', '_')}" for name in columns if name in df.columns}
    return pd.concat([df, columns.rename(columns=taken)], axis=1)


def write(df: pd.DataFrame, path: str | None) -> None:
    """Write a frame as a table, atomically; None is CSV on the standard output."""
    if path is None:
        df.to_csv(sys.stdout, index=False)
        sys.stdout.flush()
        return
    with atomic_write(os.path.abspath(path)) as fd, open(fd, "wb", closefd=False) as file:
        _WRITERS[_suffix(path)](df, file)


def _suffix(path: str, *, compressed: bool = False) -> str:
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if compressed and suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
