"""Indexers of an image array: one position, a slice, or an array of positions or booleans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.indexers import check_array_indexer

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray

    from pandas_imgproc.array.scalar import Pixels


def validate_indexer(array: ExtensionArray, item: Any) -> int | slice | Pixels:
    """Return an indexer as an integer, a slice, or an array of positions or booleans."""
    item = _without_ellipsis(item) if isinstance(item, tuple) else item
    if item is Ellipsis:
        return slice(None)
    if isinstance(item, slice):
        return item
    if pd.api.types.is_integer(item):
        return int(item)
    if not pd.api.types.is_list_like(item):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
            f"arrays are valid indices, got {item!r}"
        )
    indexer: Pixels = check_array_indexer(array, item)
    return indexer


def _without_ellipsis(items: tuple[Any, ...]) -> Any:
    indexers = [item for item in items if item is not Ellipsis]
    if len(indexers) > 1 or len(items) - len(indexers) > 1:
        raise IndexError(f"too many indices for an image array: it has one dimension, got {items!r}")
    return indexers[0] if indexers else Ellipsis
