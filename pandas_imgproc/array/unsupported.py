"""What images do not have, said in a sentence: an order and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
from pandas.api.extensions import ExtensionArray

from pandas_imgproc.array.scalar import raise_unordered

if TYPE_CHECKING:
    from collections.abc import Callable

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod", "and", "or", "xor", "matmul")
_WITHOUT_REVERSE = ("lt", "le", "gt", "ge", "neg", "pos", "abs", "invert")


def raise_unsupported(name: str) -> NoReturn:
    """Raise the TypeError of everything that computes."""
    message = f"an image column does not support operation '{name}': compute on series.img.to_numpy()"
    raise TypeError(message)


class UnsupportedOpsMixin(ExtensionArray):
    """An extension array that cannot be sorted, summed or added to, and says what to do instead."""

    def _values_for_argsort(self) -> NoReturn:
        raise_unordered()

    def argsort(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        raise_unordered()

    def searchsorted(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        raise_unordered()

    def _rank(self, *_: Any, **__: Any) -> NoReturn:
        raise_unordered()

    def _accumulate(self, name: str, **_: Any) -> NoReturn:
        raise_unsupported(name)

    def _reduce(self, name: str, **_: Any) -> Any:
        # Counting is no arithmetic: it asks for nothing but what is missing.
        return int((~self.isna()).sum()) if name == "count" else raise_unsupported(name)


def _refusal(name: str) -> Callable[[UnsupportedOpsMixin, Any], Any]:
    def refuse(self: UnsupportedOpsMixin, other: Any = None) -> Any:  # noqa: ARG001
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            # pandas takes the array out of them and asks again.
            return NotImplemented
        raise_unsupported(name)

    refuse.__name__ = name
    return refuse


for _name in (*_OPERATORS, *_WITHOUT_REVERSE):
    setattr(UnsupportedOpsMixin, f"__{_name}__", _refusal(f"__{_name}__"))
for _name in _OPERATORS:
    setattr(UnsupportedOpsMixin, f"__r{_name}__", _refusal(f"__r{_name}__"))
