"""What is said about images that could not be read: the table, the warning, the error, and what would help."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from pandas_imgproc.array import ImageArray
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.errors import (
    FAILURE_KINDS,
    Failure,
    NoReadableImageError,
    UnreadableImageError,
    UnreadableImageWarning,
    did_you_mean,
    format_row,
    mentions_host,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.source import Source

Errors = Literal["warn", "coerce", "raise"]

_FAILURES_HINT = "The table of them is result.img.failures; errors='coerce' is silent, errors='raise' stops."
"""The last line of the warning."""

_COERCE_HINT = "errors='coerce' gives missing values instead of this error."

MAX_SCANNED_ENTRIES = 2000
"""Folders and files that are looked at, at most, to find where a missing path would be found."""


def check_errors(errors: object) -> Errors:
    """Return `errors`, or raise a ValueError that names the legal values."""
    if errors not in get_args(Errors):
        raise ValueError(f"errors={errors!r} is not one of {', '.join(map(repr, get_args(Errors)))}")
    return errors  # type: ignore[return-value]


def apply_errors_policy(
    errors: Errors, status: np.ndarray[Any, Any], failures: Sequence[Failure], index: pd.Index[Any], source: Source
) -> None:
    """Do with the failures of a call what `errors` says.

    Raises
    ------
    UnreadableImageError
        For the first failure, with ``errors="raise"``.
    NoReadableImageError
        If none of at least two images could be read, with ``errors="warn"``.

    Warns
    -----
    UnreadableImageWarning
        With the counts by kind and the first three failures, with ``errors="warn"``.
    """
    if not failures or errors == "coerce":
        return
    if errors == "raise":
        first = failures[0]
        raise UnreadableImageError(first["kind"], f"{_where(first, index)}: {first['message']}")
    if len(failures) > 1 and not (status == 0).any():
        raise NoReadableImageError(_none_read(failures, index, source))
    warnings.warn(_some_not_read(failures, len(status), index), UnreadableImageWarning, stacklevel=_users_frame())


def apply_errors_policy_for_partition(
    errors: Errors, name: str, n: int, failures: Sequence[Failure], index: pd.Index[Any]
) -> None:
    """Do with the failures of one partition of a Dask frame what `errors` says, where it is computed.

    Raises
    ------
    UnreadableImageError
        For the first failure, with ``errors="raise"``.

    Warns
    -----
    UnreadableImageWarning
        With the counts by kind and the first failure, with ``errors="warn"``.
    """
    if not failures or errors == "coerce":
        return
    first = f"{_where(failures[0], index)}: {failures[0]['message']}"
    if errors == "raise":
        raise UnreadableImageError(failures[0]["kind"], f"{name}: in its partition {first}")
    said = "gave no answer" if _are_the_functions(failures) else "could not be read"
    worker_rpc.warn_on_client(
        UnreadableImageWarning(
            f"{name}: {len(failures):,} of {n:,} images of a partition {said} ({_counts(failures)}); "
            f"in its partition the first is {first}. "
            "The table of all is result.img.failures; errors='coerce' is silent."
        )
    )


def _where(failed: Failure, index: pd.Index[Any]) -> str:
    return f"{format_row(failed['position'], index[failed['position']])}, {failed['path']!r}"


def _counts(failures: Sequence[Failure]) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in Counter(f["kind"] for f in failures).most_common())


def _some_not_read(failures: Sequence[Failure], n: int, index: pd.Index[Any]) -> str:
    said = "gave no answer" if _are_the_functions(failures) else "could not be read"
    lines = [f"{len(failures):,} of {n:,} images {said} and are missing values ({_counts(failures)}):"]
    lines += [f"  {_where(failed, index)}: {failed['message']}" for failed in failures[:3]]
    if len(failures) > 3:
        lines.append(f"  and {len(failures) - 3:,} more")
    lines.append(_FAILURES_HINT)
    return "\n".join(lines)


def _are_the_functions(failures: Sequence[Failure]) -> bool:
    """Return whether it is the user's function that fails, and not the images."""
    return any(failed["kind"] == "function" for failed in failures)


def _none_read(failures: Sequence[Failure], index: pd.Index[Any], source: Source) -> str:
    first = failures[0]
    said = "gave an answer" if _are_the_functions(failures) else "could be read"
    text = f"none of {len(failures):,} images {said} ({_counts(failures)}); the first was "
    text += f"{_where(first, index)}: {first['message']}"
    if _are_the_functions(failures):
        return f"{text}\n{_COERCE_HINT}"
    if first["kind"] == "missing":
        text += f"\n{_where_looked(source)}"
    hint = _of_hosts(first, source) if mentions_host(first["message"]) else None
    if hint is None and first["kind"] in ("missing", "invalid_path", "not_a_file"):
        hint = suggest_location(first["path"].removesuffix(source.suffix or ""), source)
    is_there = first["kind"] in ("permission", "remote", "timeout", "worker_died")
    return f"{text}\n{hint or (_COERCE_HINT if is_there else f'Is this the column of images? {_COERCE_HINT}')}"


def _where_looked(source: Source) -> str:
    if not source.is_local_dir:
        return f"Looked in {source.redacted_root!r}."
    folder = Path(source.root or "").absolute()
    if folder.is_dir():
        return f"Looked in {str(folder)!r}."
    beside = [entry.name for entry in _entries(folder.parent, MAX_SCANNED_ENTRIES) if entry.is_dir()]
    return f"There is no folder {str(folder)!r}; {did_you_mean(folder.name, beside)}"


def _of_hosts(failed: Failure, source: Source) -> str | None:
    """Return the sentence that tells what workers of another host need; None where the file is missing here too."""
    here = source.is_local_dir and _exists(Path(source.root or "") / f"{failed['path']}")
    if not here:
        return None
    return (
        f"It is there on this host, {socket.gethostname()!r}: workers must see the same files under the same paths, "
        "or be given URLs."
    )


def suggest_location(name: str, source: Source) -> str | None:
    """Return the sentence that names the ``root=`` or ``suffix=`` with which a path would be found.

    Parameters
    ----------
    name : str
        What stands in the column.
    source : Source
        How it was looked for.
    """
    if "://" in name or "\0" in name or not source.is_local_dir:
        return None
    wanted = name + (source.suffix or "")
    for folder in _folders(Path(source.root or ".")):
        if not Path(name).is_absolute() and _exists(folder / wanted):
            return f"It would be found with root={str(folder)!r}."
        ending = None if source.suffix else _ending(folder / wanted)
        if ending:
            at = "" if folder == Path(source.root or ".") else f"root={str(folder)!r} and "
            return f"It would be found with {at}suffix={ending!r}."
    return None


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _ending(path: Path) -> str | None:
    """Return what follows the name in the name of a file beside it."""
    try:
        names = sorted(entry.name for entry in os.scandir(path.parent) if entry.name.startswith(f"{path.name}."))
    except (OSError, ValueError):
        return None
    return names[0][len(path.name) :] if names else None


def _folders(top: Path) -> Iterator[Path]:
    """Yield a folder and those below it, the nearest first, then those above and beside; not endlessly many."""
    yield top
    looked_at = 0
    level = [top]
    while level and looked_at < MAX_SCANNED_ENTRIES:
        below: list[Path] = []
        for folder in level:
            entries = _entries(folder, MAX_SCANNED_ENTRIES - looked_at)
            looked_at += len(entries)
            below += sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
        yield from below
        level = below
    yield from list(top.absolute().parents)[:2]


def _entries(folder: Path, most: int) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry, _ in zip(entries, range(most), strict=False)]
    except OSError:
        return []


def _users_frame() -> int:
    """Return the stack level of the line that called this library, where a warning belongs."""
    package = str(Path(__file__).parent)
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    return level


def failures_frame(values: pd.Series[Any] | pd.DataFrame) -> pd.DataFrame:
    """Return why rows of an answer have no image.

    Returns
    -------
    DataFrame
        Index: the labels of the failed rows. Columns: ``position`` (int64, in the frame of the call that read
        them), ``path`` (str), ``kind`` (category), ``message`` (str).

    Notes
    -----
    An image column tells of the rows it holds. Other answers tell of the call that made them, also after rows
    were selected.
    """
    if isinstance(values, pd.Series) and isinstance(values.array, ImageArray):
        array = values.array
        rows = np.flatnonzero(array.status > 0)
        return _table([array.failures[code - 1] for code in array.status[rows]], values.index[rows])
    failures = values.attrs.get("failures", ())
    return _table(failures, _labels([failed["label"] for failed in failures], values.index))


def _labels(labels: list[Any], like: pd.Index[Any]) -> pd.Index[Any]:
    """Return labels as the index they were taken from had them."""
    if not labels:
        return like[:0]
    if isinstance(like, pd.MultiIndex):
        return pd.MultiIndex.from_tuples([tuple(label) for label in labels], names=like.names)
    found: pd.Index[Any] = pd.Index(labels, name=like.name).astype(like.dtype)
    return found


def _table(failures: Sequence[Failure], labels: pd.Index[Any]) -> pd.DataFrame:
    columns = {
        "position": np.array([failed["position"] for failed in failures], dtype=np.int64),
        "path": pd.Series([failed["path"] for failed in failures], dtype="str").array,
        "kind": pd.Categorical([failed["kind"] for failed in failures], categories=list(FAILURE_KINDS)),
        "message": pd.Series([failed["message"] for failed in failures], dtype="str").array,
    }
    return pd.DataFrame(columns, index=labels)
