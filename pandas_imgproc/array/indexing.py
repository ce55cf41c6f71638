"""What may stand between the brackets: one row, a slice, or an array that selects rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.indexers import check_array_indexer

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray

    from pandas_imgproc.array.scalar import Pixels


def validate_indexer(array: ExtensionArray, item: Any) -> int | slice | Pixels:
    """Return a key as an integer, a slice, or an array of positions or booleans.

    Raises
    ------
    IndexError
        When it is none, or a mask of another length.
    """
    item = _without_ellipsis(item) if isinstance(item, tuple) else item
    if item is Ellipsis:
        return slice(None)
    if isinstance(item, slice):
        return item
    if pd.api.types.is_integer(item):
        return int(item)
    if not pd.api.types.is_list_like(item):
        message = (
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
            f"arrays are valid indices, got {item!r}"
        )
        raise IndexError(message)
    key: Pixels = check_array_indexer(array, item)
    return key


def _without_ellipsis(item: tuple[Any, ...]) -> Any:
    rest = [part for part in item if part is not Ellipsis]
    if len(rest) > 1 or len(item) - len(rest) > 1:
        message = f"too many indices for an image array: it has one dimension, got {item!r}"
        raise IndexError(message)
    return rest[0] if rest else Ellipsis
