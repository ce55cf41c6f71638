"""Images that lie in folders become a frame."""

from __future__ import annotations

import functools
import glob
import os
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.sinks.manifest import derived_files
from pandas_imgproc.source import paths_to_series

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGITS = re.compile(r"(\d+)")


def from_glob(pattern: str | os.PathLike[str], *, storage_options: dict[str, Any] | None = None) -> pd.DataFrame:
    """Return a frame of the images that a pattern matches, or that a folder holds.

    Parameters
    ----------
    pattern : path
        A pattern such as ``"photos/**/*.jpg"``: every file that it matches, ``**`` means any folders. Or a folder:
        every file in it and below it whose suffix is that of an image. Or a URL of either that fsspec can list,
        ``"s3://bucket/photos"``. Hidden files and folders are left out, and so are files that `save_resized` and its
        like made of others that are found: thumbnails beside their images. Found alone, they are images.
    storage_options : dict, optional
        For fsspec, as in `pandas.read_csv`.

    Returns
    -------
    DataFrame
        ``image_path`` (str), in natural order: ``img2.jpg`` before ``img10.jpg``; and ``label`` (category, in natural
        order), the name of the folder that each lies in.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no file matches.
    JournalError
        If what says which files of a folder were made here is damaged.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("cat/img10.jpg", "cat/img2.jpg", "dog/img1.jpg", "dog/notes.txt"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     (folder / name).touch()
    >>> df = from_glob(folder)
    >>> df["image_path"].str.removeprefix(str(folder)).tolist()
    ['/cat/img2.jpg', '/cat/img10.jpg', '/dog/img1.jpg']
    >>> df["label"].tolist(), df["label"].cat.codes.tolist()
    (['cat', 'cat', 'dog'], [0, 0, 1])
    """
    if not isinstance(pattern, str | os.PathLike) or not isinstance(os.fspath(pattern), str):
        raise TypeError(f"pattern={pattern!r} is not a folder such as 'photos', or a pattern such as 'photos/*.jpg'")
    text = os.fspath(pattern)
    if "://" in text:
        found = _elsewhere(text, storage_options or {})
    elif storage_options:
        raise ValueError(f"storage_options={storage_options!r:.60} are for URLs, and pattern={text!r} is none")
    else:
        found = _here(os.path.expanduser(text))
        made = derived_files(found)
        found = [path for path in found if path not in made]
    if not found:
        raise FileNotFoundError(f"pattern={text!r} matches no image")
    paths = sorted(found, key=natural_sort_key)
    labels = [path.replace(os.sep, "/").rpartition("/")[0].rpartition("/")[2] for path in paths]
    labels = [label or os.path.basename(os.getcwd()) for label in labels]
    folders = pd.CategoricalDtype(pd.Index(paths_to_series(sorted(set(labels), key=natural_sort_key))))
    label: pd.Series[Any] = pd.Series(labels, dtype=folders)
    return pd.DataFrame({"image_path": paths_to_series(paths), "label": label})


def natural_sort_key(text: str) -> tuple[Any, ...]:
    """Return what sorts texts as a person does: numbers by their value, folder by folder.

    Examples
    --------
    >>> sorted(["img10", "img2", "Img1", "img/3"], key=natural_sort_key)
    ['img/3', 'Img1', 'img2', 'img10']
    """
    parts = [_DIGITS.split(part.casefold()) for part in text.split("/")]
    return [[int(piece) if k % 2 else piece for k, piece in enumerate(part)] for part in parts], text


def is_image_path(path: str) -> bool:
    """Return whether the suffix of a file is that of an image."""
    return os.path.splitext(path)[1].lower() in codec.READ_SUFFIXES


def _here(text: str) -> list[str]:
    if os.path.isdir(text):
        return [path for path in _files_below(text) if is_image_path(path)]
    if not glob.has_magic(text) and not os.path.exists(text):
        raise FileNotFoundError(f"pattern={text!r}: there is no such folder")
    found = [path for path in glob.glob(text, recursive=True) if not os.path.isdir(path)]
    return _each_folder_once(found) if "**" in text else found


def _each_folder_once(paths: list[str]) -> list[str]:
    """Leave out what is found again behind a link to a folder: one that leads up is followed forty times."""
    real = functools.cache(os.path.realpath)
    ways: dict[str, str] = {}
    for path in sorted(paths, key=len):
        folder, name = os.path.split(path)
        ways.setdefault(os.path.join(real(folder), name), path)
    return list(ways.values())


def _files_below(top: str) -> Iterator[str]:
    """Yield the files below a folder, also behind links to folders, but each folder once."""
    seen = set()
    for folder, below, names in os.walk(top, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in names if not name.startswith("."))


def _elsewhere(url: str, storage_options: dict[str, Any]) -> list[str]:
    import fsspec  # costs 0.1 s

    fs, path = fsspec.core.url_to_fs(url, **storage_options)
    if glob.has_magic(path):
        return [fs.unstrip_protocol(found) for found in fs.glob(path) if not _is_hidden(found, path)]
    found = [name for name in fs.find(path) if is_image_path(name) and not _is_hidden(name, path)]
    if not found and not fs.exists(path):
        raise FileNotFoundError(f"pattern={url!r}: there is no such folder")
    return [fs.unstrip_protocol(name) for name in found]


def _is_hidden(found: str, asked: str) -> bool:
    """Return whether a part of a path is hidden, other than those that were asked for."""
    return any(part.startswith(".") for part in set(found.split("/")).difference(asked.split("/")))
