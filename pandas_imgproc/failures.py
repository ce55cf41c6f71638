"""Error policy: the table, the warning and the exception for images that could not be read, with suggestions."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import pandas as pd

from pandas_imgproc import location_hints
from pandas_imgproc._labels import label_from_json, to_index
from pandas_imgproc._text import MAX_QUOTED_CHARS, truncate_path
from pandas_imgproc.array import ImageArray
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.errors import (
    FAILURE_KINDS,
    Failure,
    MissingImagesError,
    NoReadableImageError,
    UnreadableImageError,
    UnreadableImageWarning,
    UserFunctionError,
    UserFunctionWarning,
    did_you_mean,
    format_row,
    mentions_host,
)
from pandas_imgproc.location_hints import MAX_SCANNED_ENTRIES, scandir
from pandas_imgproc.source import is_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.source import Source

Errors = Literal["warn", "coerce", "raise"]

_FAILURES_HINT = "The table of them is result.img.failures; errors='coerce' is silent, errors='raise' stops."
"""Last line of the warning."""

_COERCE_HINT = "errors='coerce' gives missing values instead of this error."


def apply_errors_policy(
    errors: Errors,
    status: np.ndarray[Any, Any],
    failures: Sequence[Failure],
    index: pd.Index[Any],
    source: Source,
    cause: BaseException | None = None,
) -> None:
    """Ignore, raise or warn of the failures of a call, according to `errors`.

    Parameters
    ----------
    errors : {"warn", "coerce", "raise"}
    status : ndarray of int
        Status of each row.
    failures : sequence of dict
        Failures in the order of the rows.
    index : Index
    source : Source
    cause : BaseException, optional
        Exception of the user's function in the first row on which it failed.

    Raises
    ------
    UnreadableImageError
        For the first failure, with ``errors="raise"``.
    NoReadableImageError
        If none of at least two images could be read, with ``errors="warn"``.
    UserFunctionError
        In place of both, if the user's function failed.
    """
    if not failures or errors == "coerce":
        return
    if errors == "raise":
        _raise_failure(failures[0], _format_failure(failures[0], index), cause)
    of_function = [failed for failed in failures if failed["kind"] == "function"]
    if len(failures) > 1 and not (status == 0).any():
        text = _all_failed_text(failures, index, source)
        if of_function:
            raise UserFunctionError(text) from cause
        raise NoReadableImageError(text)
    _warn([failed for failed in failures if failed["kind"] != "function"], len(status), index)
    _warn(of_function, len(status), index)


def _raise_failure(failed: Failure, text: str, cause: BaseException | None = None) -> NoReturn:
    if failed["kind"] == "function":
        raise UserFunctionError(text) from cause
    raise UnreadableImageError(failed["kind"], text)


def _warn(failures: Sequence[Failure], n: int, index: pd.Index[Any]) -> None:
    """Warn of failures of images, or of those of the user's function."""
    if failures:
        text = _warning_text(failures, n, index, "are missing values", _FAILURES_HINT)
        warnings.warn(text, _warning_class(failures), stacklevel=find_stack_level())


def _warning_class(failures: Sequence[Failure]) -> type[Warning]:
    of_function = any(failed["kind"] == "function" for failed in failures)
    return UserFunctionWarning if of_function else UnreadableImageWarning


@dataclass(frozen=True)
class Skipped:
    """Rows without an image of one pass over a column, as the pass leaves them out or fills them.

    Parameters
    ----------
    failures : sequence of dict
    n : int
        Rows of the pass.
    n_missing : int
        Rows without an image, those without a path included.
    index : Index
        Index of the column.
    source : Source
        Source of the images.
    """

    failures: Sequence[Failure]
    n: int
    n_missing: int
    index: pd.Index[Any]
    source: Source

    def check_any_readable(self) -> None:
        """Raise a NoReadableImageError if none of at least two images could be read."""
        if len(self.failures) > 1 and self.n_missing == self.n:
            raise NoReadableImageError(_all_failed_text(self.failures, self.index, self.source, coerce_hint=""))

    def warn(self, outcome: str, hint: str) -> None:
        """Warn of the failures."""
        text = _warning_text(self.failures, self.n, self.index, outcome, hint)
        warnings.warn(text, UnreadableImageWarning, stacklevel=find_stack_level())

    def raise_for_row(self, position: int) -> NoReturn:
        """Raise the failure of a row as an UnreadableImageError, or a MissingImagesError if it has no path."""
        raise_for_row(position, self.failures, self.index)


def raise_for_row(position: int, failures: Sequence[Failure], index: pd.Index[Any]) -> NoReturn:
    """Raise the failure of a row as an UnreadableImageError, or a MissingImagesError if it has none."""
    failed = next((item for item in failures if item["position"] == position), None)
    if failed is None:
        raise MissingImagesError(
            f"{format_row(position, index[position])} has no image and no path; missing='skip' leaves such rows out"
        )
    raise UnreadableImageError(failed["kind"], _format_failure(failed, index))


def apply_errors_policy_for_partition(
    errors: Errors,
    name: str,
    n: int,
    failures: Sequence[Failure],
    index: pd.Index[Any],
    cause: BaseException | None = None,
) -> None:
    """Ignore, raise or warn of the failures of one partition of a Dask frame, in the process that computes it."""
    if not failures or errors == "coerce":
        return
    if errors == "raise":
        _raise_failure(failures[0], f"{name}: in its partition {_format_failure(failures[0], index)}", cause)
    for are_of_function in (False, True):
        some = [failed for failed in failures if (failed["kind"] == "function") == are_of_function]
        if some:
            worker_rpc.warn_on_client(_warning_class(some)(_partition_warning_text(name, n, some, index)))


def _partition_warning_text(name: str, n: int, failures: Sequence[Failure], index: pd.Index[Any]) -> str:
    return (
        f"{name}: {len(failures):,} of {n:,} images of a partition {_problem(failures)} ({count_kinds(failures)}); "
        f"in its partition the first is {_format_failure(failures[0], index)}. "
        "The table of all is result.img.failures; errors='coerce' is silent."
    )


def _format_failure(failed: Failure, index: pd.Index[Any]) -> str:
    row = format_row(failed["position"], index[failed["position"]])
    return f"{row}, {truncate_path(failed['path'], MAX_QUOTED_CHARS)!r}: {failed['message']}"


def count_kinds(failures: Sequence[Failure]) -> str:
    """Return the numbers of failures by kind, as messages list them."""
    counts = Counter(failed["kind"] for failed in failures)
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items(), key=lambda item: -item[1]))


def _problem(failures: Sequence[Failure]) -> str:
    return "gave no result" if _concern_functions(failures) else "could not be read"


def _concern_functions(failures: Sequence[Failure]) -> bool:
    """Return whether not only reading failed: the user's function, or a process, for whichever of the two."""
    return any(failed["kind"] in ("function", "worker_died") for failed in failures)


def _warning_text(failures: Sequence[Failure], n: int, index: pd.Index[Any], outcome: str, hint: str) -> str:
    lines = [f"{len(failures):,} of {n:,} images {_problem(failures)} and {outcome} ({count_kinds(failures)}):"]
    lines += [f"  {_format_failure(failed, index)}" for failed in failures[:3]]
    if len(failures) > 3:
        lines.append(f"  and {len(failures) - 3:,} more")
    return "\n".join([*lines, hint])


def _all_failed_text(
    failures: Sequence[Failure], index: pd.Index[Any], source: Source, coerce_hint: str = _COERCE_HINT
) -> str:
    outcome = "gave a result" if _concern_functions(failures) else "could be read"
    text = f"none of {len(failures):,} images {outcome} ({count_kinds(failures)}); "
    text += f"the first was {_format_failure(failures[0], index)}\n"
    if _concern_functions(failures):
        return text + coerce_hint
    if failures[0]["kind"] == "missing" and "://" not in failures[0]["path"]:
        text += f"{_search_path(source)}\n"
    return (text + _hint(failures[0], source, coerce_hint)).rstrip()


def _hint(failed: Failure, source: Source, coerce_hint: str) -> str:
    kind, hint = failed["kind"], None
    if mentions_host(failed["message"]):
        hint = _missing_on_worker_hint(failed, source)
    if hint is None and kind in ("missing", "invalid_path", "not_a_file"):
        hint = location_hints.suggest(failed["path"].removesuffix(source.suffix or ""), source)
    if failed["message"].startswith("the archive cannot be read"):
        hint = f"Is root={source.redacted_root!r} an archive? {_COERCE_HINT}"
    if failed["message"].startswith("the archive: there is no such file"):
        hint = f"Is root={source.redacted_root!r} the path of the archive? {_COERCE_HINT}"
    is_image = kind in ("permission", "remote", "timeout", "worker_died")
    return hint or (coerce_hint if is_image else f"Is this the column of images? {coerce_hint}")


def _search_path(source: Source) -> str:
    if not source.is_local_dir:
        return f"Looked in {source.redacted_root!r}."
    folder = Path(source.root or "").absolute()
    if folder.is_dir():
        return f"Looked in {str(folder)!r}."
    expanded = os.path.expandvars(source.root or "")
    if os.path.isdir(expanded):
        return f"There is no folder {str(folder)!r}; root={expanded!r} is there: variables are not replaced."
    siblings = [entry.name for entry in scandir(folder.parent, MAX_SCANNED_ENTRIES) if is_dir(entry)]
    return f"There is no folder {str(folder)!r}; {did_you_mean(folder.name, siblings)}"


def _missing_on_worker_hint(failed: Failure, source: Source) -> str | None:
    """Return a hint about shared paths, if the file that a worker misses exists on this host."""
    if not source.is_local_dir or not os.path.isfile(os.path.join(source.root or "", failed["path"])):
        return None
    return (
        f"It is there on this host, {socket.gethostname()!r}: workers must see the same files under the same paths, "
        "or be given URLs."
    )


def find_stack_level() -> int:
    """Return the stack level of the user's line that called this library, maybe through a pipeline of scikit-learn."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_globals.get("__name__") or ""):
        level, frame = level + 1, frame.f_back
    return level


def _is_between(module: str) -> bool:
    """Return whether a warning of this module's lines is of no use to the user."""
    return module.partition(".")[0] in (__package__, "sklearn", "joblib")


def failures_frame(values: pd.Series[Any] | pd.DataFrame) -> pd.DataFrame:
    """Return the table of the failed rows of a result (see `Series.img.failures`).

    An image column lists the failures of its own rows. Other results list those of the call that returned them, also
    after rows were selected.
    """
    if isinstance(values, pd.Series) and isinstance(values.array, ImageArray):
        array = values.array
        rows = np.flatnonzero(array.status > 0)
        return _to_frame([array.failures[code - 1] for code in array.status[rows]], values.index[rows])
    failures = values.attrs.get("failures", ())
    return _to_frame(failures, to_index([label_from_json(failed["label"]) for failed in failures], values.index))


def failures_table(failures: Sequence[Failure], index: pd.Index[Any]) -> pd.DataFrame:
    """Return the table of failures of a column with this index, in the order of its rows."""
    ordered = sorted(failures, key=lambda failed: failed["position"])
    return _to_frame(ordered, index[[failed["position"] for failed in ordered]])


def _to_frame(failures: Sequence[Failure], labels: pd.Index[Any]) -> pd.DataFrame:
    columns = {
        "position": np.array([failed["position"] for failed in failures], dtype=np.int64),
        "path": pd.Series([failed["path"] for failed in failures], dtype="str").array,
        "kind": pd.Categorical([failed["kind"] for failed in failures], categories=list(FAILURE_KINDS)),
        "message": pd.Series([failed["message"] for failed in failures], dtype="str").array,
    }
    return pd.DataFrame(columns, index=labels)
