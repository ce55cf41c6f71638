"""Detection of problems with images from their features.

The definitions and thresholds are cleanvision's (version 0.3.6, https://github.com/cleanlab/cleanvision), except that
features are of the working size, and that an image of equal channels is grayscale whichever the mode of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pandas_imgproc.features.duplicates import group_ids


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the issues.

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
        A size is odd if sqrt(area) is outside the quartiles of all images by more than so many times their distance.
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
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value >= 0:
                raise ValueError(f"{name}={value!r} is not a number from 0 up")


Columns = dict[str, "pd.Series[Any]"]
Rule = Callable[[Columns, Thresholds], Any]


def _is_dark(features: Columns, thresholds: Thresholds) -> Any:
    return features["brightness_p99"] < thresholds.dark


def _is_light(features: Columns, thresholds: Thresholds) -> Any:
    return 1 - features["brightness_p05"] < thresholds.light


def _is_blurry(features: Columns, thresholds: Thresholds) -> Any:
    return features["sharpness"] < thresholds.blurry


def _is_low_information(features: Columns, thresholds: Thresholds) -> Any:
    return features["entropy"] / 10 < thresholds.low_information


def _is_odd_size(features: Columns, thresholds: Thresholds) -> Any:
    edges = (features["width"] * features["height"]) ** 0.5
    low, high = edges.quantile([0.25, 0.75]) if edges.notna().any() else (0.0, 0.0)
    margin = thresholds.odd_size * (high - low)
    return (edges < low - margin) | (edges > high + margin)


def _is_odd_aspect_ratio(features: Columns, thresholds: Thresholds) -> Any:
    ratio = features["width"] / features["height"]
    return np.minimum(ratio, 1 / ratio) < thresholds.odd_aspect_ratio


def _is_grayscale(features: Columns, _: Thresholds) -> Any:
    return features["is_grayscale"] == 1


def _is_duplicate(features: Columns, thresholds: Thresholds) -> Any:
    groups = pd.Series(group_ids(features["phash"].array, thresholds.max_distance))
    return groups.duplicated(keep=False).set_axis(features["phash"].index)


_ISSUE_RULES: dict[str, tuple[tuple[str, ...], Rule]] = {
    "is_dark": (("brightness_p99",), _is_dark),
    "is_light": (("brightness_p05",), _is_light),
    "is_blurry": (("sharpness",), _is_blurry),
    "is_low_information": (("entropy",), _is_low_information),
    "is_odd_size": (("width", "height"), _is_odd_size),
    "is_odd_aspect_ratio": (("width", "height"), _is_odd_aspect_ratio),
    "is_grayscale": (("is_grayscale",), _is_grayscale),
    "is_duplicate": (("phash",), _is_duplicate),
}

ISSUES = tuple(_ISSUE_RULES)
"""Names of the issues."""


def select_issues(include: Any) -> tuple[str, ...]:
    """Return the names of the requested issues; None requests all.

    Raises
    ------
    ValueError, TypeError
        If `include` has an unknown name or none, or is not a list.
    """
    if include is None:
        return ISSUES
    names = (include,) if isinstance(include, str) else tuple(include) if isinstance(include, Iterable) else None
    if names is None:
        raise TypeError(f"include={include!r:.200} is not a list of issues, such as ['is_dark', 'is_blurry']")
    unknown = [name for name in names if name not in _ISSUE_RULES]
    if unknown or not names:
        problem = f"{unknown[0]!r}, which is not an issue" if unknown else "no issue"
        raise ValueError(f"include names {problem}; known are {', '.join(ISSUES)}")
    return tuple(dict.fromkeys(names))


def required_features(issues: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the features from which some issues are derived.

    Examples
    --------
    >>> required_features(["is_odd_size", "is_dark"])
    ('width', 'height', 'brightness_p99')
    """
    return tuple(dict.fromkeys(name for issue in issues for name in _ISSUE_RULES[issue][0]))


def computable(issues: Iterable[str], columns: Iterable[Any]) -> tuple[str, ...]:
    """Return the issues that can be derived from some columns of features.

    Examples
    --------
    >>> computable(["is_dark", "is_duplicate"], ["brightness_p99", "width"])
    ('is_dark',)
    """
    known = set(columns)
    return tuple(issue for issue in issues if known.issuperset(_ISSUE_RULES[issue][0]))


def is_row_wise(issues: Iterable[str]) -> bool:
    """Return whether issues are derived from each row alone, without a comparison of rows.

    Examples
    --------
    >>> is_row_wise(["is_dark"]), is_row_wise(["is_dark", "is_duplicate"])
    (True, False)
    """
    return not {"is_odd_size", "is_duplicate"} & set(issues)


def find_issues(features: pd.DataFrame, issues: Iterable[str], thresholds: Thresholds) -> pd.DataFrame:
    """Return a nullable boolean column for each issue, missing where a feature is, with the index of the features.

    Raises
    ------
    KeyError
        If the frame lacks a column of features.

    Examples
    --------
    >>> features = pd.DataFrame({"brightness_p99": [0.2, 0.9, None]})
    >>> find_issues(features, ["is_dark"], Thresholds())["is_dark"].tolist()
    [True, False, <NA>]
    """
    issues = tuple(issues)
    lacking = [name for name in required_features(issues) if name not in features.columns]
    if lacking:
        raise KeyError(
            f"the frame has no column {', '.join(map(repr, lacking))}, from which the issues are derived; name the "
            "column of images, compute the features with .img.features(column, include=[…]), or select other issues: "
            "include="
        )
    columns = {issue: _apply_rule(features, *_ISSUE_RULES[issue], thresholds) for issue in issues}
    result = pd.DataFrame(columns, index=features.index)
    result.attrs["failures"] = features.attrs.get("failures", ())
    return result


def _apply_rule(features: pd.DataFrame, names: tuple[str, ...], rule: Rule, thresholds: Thresholds) -> Any:
    missing = features[list(names)].isna().any(axis=1).to_numpy()
    flags = np.asarray(rule({name: _to_float(features[name]) for name in names}, thresholds), dtype=bool)
    return pd.arrays.BooleanArray(flags, missing)


def _to_float(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as floats, except hashes, which need 64 bits."""
    return column if column.name == "phash" else column.astype("float64")
