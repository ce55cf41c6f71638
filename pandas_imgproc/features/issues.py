"""What may be wrong with images, told from their features.

The definitions and thresholds are cleanvision's (version 0.3.6, https://github.com/cleanlab/cleanvision), except that
features are of the working size, and that an image of equal channels is grey however it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from pandas_imgproc.features.duplicates import group_ids


@dataclass(frozen=True)
class Thresholds:
    """When something is an issue.

    Attributes
    ----------
    dark : float
        An image is dark if its 99th percentile of brightness is below.
    light : float
        An image is light if its 5th percentile of brightness is above 1 less this.
    blurry : float
        An image is blurry if its sharpness is below.
    low_information : float
        An image has little information if a tenth of its entropy in bits is below.
    odd_size : float
        A size is odd if sqrt(area) is further from the quartiles of all than so many times their distance.
    odd_aspect_ratio : float
        An aspect ratio is odd if the shorter edge / the longer edge is below.
    max_distance : int
        Two images are duplicates if their phash differs in at most so many bits.
    """

    dark: float = 0.32
    light: float = 0.05
    blurry: float = 0.29
    low_information: float = 0.3
    odd_size: float = 3.0
    odd_aspect_ratio: float = 0.35
    max_distance: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value >= 0:
                raise ValueError(f"{each.name}={value!r} is not a number from 0 up")


Columns = dict[str, "pd.Series[Any]"]


def _dark(of: Columns, limits: Thresholds) -> Any:
    return of["brightness_p99"] < limits.dark


def _light(of: Columns, limits: Thresholds) -> Any:
    return 1 - of["brightness_p05"] < limits.light


def _blurry(of: Columns, limits: Thresholds) -> Any:
    return of["sharpness"] < limits.blurry


def _low_information(of: Columns, limits: Thresholds) -> Any:
    return of["entropy"] / 10 < limits.low_information


def _odd_size(of: Columns, limits: Thresholds) -> Any:
    edges = (of["width"] * of["height"]) ** 0.5
    low, high = edges.quantile([0.25, 0.75]) if edges.notna().any() else (0.0, 0.0)
    reach = limits.odd_size * (high - low)
    return (edges < low - reach) | (edges > high + reach)


def _odd_aspect_ratio(of: Columns, limits: Thresholds) -> Any:
    ratio = of["width"] / of["height"]
    return np.minimum(ratio, 1 / ratio) < limits.odd_aspect_ratio


def _grayscale(of: Columns, limits: Thresholds) -> Any:  # noqa: ARG001  nothing to choose
    return of["is_grayscale"] == 1


def _duplicate(of: Columns, limits: Thresholds) -> Any:
    groups = pd.Series(group_ids(of["phash"].array, limits.max_distance))
    return groups.duplicated(keep=False).set_axis(of["phash"].index)


_ISSUES: dict[str, tuple[tuple[str, ...], Callable[[Columns, Thresholds], Any]]] = {
    "is_dark": (("brightness_p99",), _dark),
    "is_light": (("brightness_p05",), _light),
    "is_blurry": (("sharpness",), _blurry),
    "is_low_information": (("entropy",), _low_information),
    "is_odd_size": (("width", "height"), _odd_size),
    "is_odd_aspect_ratio": (("width", "height"), _odd_aspect_ratio),
    "is_grayscale": (("is_grayscale",), _grayscale),
    "is_duplicate": (("phash",), _duplicate),
}

ISSUES = tuple(_ISSUES)
"""The issues that are looked for."""


def select_issues(include: Any) -> tuple[str, ...]:
    """Return the issues that are asked for; None asks for all.

    Raises
    ------
    ValueError, TypeError
        If one is not known.
    """
    if include is None:
        return ISSUES
    names = (include,) if isinstance(include, str) else tuple(include) if isinstance(include, Iterable) else None
    if names is None:
        raise TypeError(f"include={include!r:.200} is not a list of issues, such as ['is_dark', 'is_blurry']")
    wrong = [name for name in names if name not in _ISSUES]
    if wrong or not names:
        named = f"{wrong[0]!r}, which is no issue" if wrong else "no issue"
        raise ValueError(f"include names {named}; known are {', '.join(ISSUES)}")
    return tuple(dict.fromkeys(names))


def required_features(issues: Iterable[str]) -> tuple[str, ...]:
    """Return the features that some issues are told from.

    Examples
    --------
    >>> required_features(["is_odd_size", "is_dark"])
    ('width', 'height', 'brightness_p99')
    """
    return tuple(dict.fromkeys(name for issue in issues for name in _ISSUES[issue][0]))


def is_row_wise(issues: Iterable[str]) -> bool:
    """Return whether issues are told from each row alone, and not by comparing rows.

    Examples
    --------
    >>> is_row_wise(["is_dark"]), is_row_wise(["is_dark", "is_duplicate"])
    (True, False)
    """
    return not {"is_odd_size", "is_duplicate"} & set(issues)


def find_issues(features: pd.DataFrame, issues: Iterable[str], limits: Thresholds) -> pd.DataFrame:
    """Return a nullable boolean column for each issue, with the index of the features; missing where they are.

    Raises
    ------
    KeyError
        If the features are not in the frame.

    Examples
    --------
    >>> features = pd.DataFrame({"brightness_p99": [0.2, 0.9, None]})
    >>> find_issues(features, ["is_dark"], Thresholds())["is_dark"].tolist()
    [True, False, <NA>]
    """
    issues = tuple(issues)
    needed = required_features(issues)
    missing = [name for name in needed if name not in features.columns]
    if missing:
        raise KeyError(
            f"the frame has no column {', '.join(map(repr, missing))}, which the issues are told from; name the column "
            "of images, make them with .img.features(column, include=[…]), or say which issues are wanted: include="
        )
    found = {}
    for issue in issues:
        names, rule = _ISSUES[issue]
        unknown = features[list(names)].isna().any(axis=1).to_numpy()
        of = {name: _plain(features[name]) for name in names}
        flags = np.asarray(rule(of, limits), dtype=bool)
        found[issue] = pd.arrays.BooleanArray(flags, unknown)
    answer = pd.DataFrame(found, index=features.index)
    answer.attrs["failures"] = features.attrs.get("failures", ())
    return answer


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers as floats; hashes, which floats cannot hold, as they are."""
    return column if column.name == "phash" else column.astype("float64")
