"""Operations that images do not support: order and arithmetic. Each raises a TypeError that names the alternative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
from pandas.api.extensions import ExtensionArray

from pandas_imgproc.array.scalar import raise_unordered

if TYPE_CHECKING:
    from collections.abc import Callable

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod", "and", "or", "xor", "matmul")
_WITHOUT_REVERSE = ("lt", "le", "gt", "ge", "neg", "pos", "abs", "invert")


def raise_unsupported(name: str, hint: str = "") -> NoReturn:
    """Raise the TypeError of a computation on the column."""
    raise TypeError(f"an image column does not support operation '{name}': compute on series.img.to_numpy(){hint}")


class UnsupportedOpsMixin(ExtensionArray):
    """Mixin of an extension array without order and arithmetic."""

    def _values_for_argsort(self) -> NoReturn:
        raise_unordered()

    def argsort(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        raise_unordered()

    def searchsorted(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        raise_unordered()

    def _quantile(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "images have no order, so the column has no quantiles; of each pixel: "
            "np.quantile(series.img.to_numpy(), q, axis=0), and .median() is one"
        )

    def _rank(self, *_: Any, **__: Any) -> NoReturn:
        raise_unordered()

    def _accumulate(self, name: str, **_: Any) -> NoReturn:
        raise_unsupported(name)


def _make_unsupported(name: str) -> Callable[[UnsupportedOpsMixin, Any], Any]:
    def operator(self: UnsupportedOpsMixin, other: Any = None) -> Any:  # noqa: ARG001
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            # pandas extracts the array and calls again.
            return NotImplemented
        raise_unsupported(name)

    operator.__name__ = name
    return operator


for _name in (*_OPERATORS, *_WITHOUT_REVERSE):
    setattr(UnsupportedOpsMixin, f"__{_name}__", _make_unsupported(f"__{_name}__"))
for _name in _OPERATORS:
    setattr(UnsupportedOpsMixin, f"__r{_name}__", _make_unsupported(f"__r{_name}__"))
