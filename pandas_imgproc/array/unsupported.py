"""What images do not have, said in a sentence: an order and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
from pandas.api.extensions import ExtensionArray

from pandas_imgproc.array.scalar import refuse_order

if TYPE_CHECKING:
    from collections.abc import Callable

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod", "and", "or", "xor", "matmul")
_WITHOUT_REVERSE = ("lt", "le", "gt", "ge", "neg", "pos", "abs", "invert")


def refuse_operation(name: str) -> NoReturn:
    """Raise the TypeError of everything that computes."""
    message = f"an image column does not support operation '{name}': compute on series.img.to_numpy()"
    raise TypeError(message)


class Refusals(ExtensionArray):
    """An extension array that cannot be sorted, summed or added to, and says what to do instead."""

    def _values_for_argsort(self) -> NoReturn:
        refuse_order()

    def argsort(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        refuse_order()

    def searchsorted(self, *_: Any, **__: Any) -> NoReturn:
        """Raise TypeError: images have no order."""
        refuse_order()

    def _rank(self, *_: Any, **__: Any) -> NoReturn:
        refuse_order()

    def _accumulate(self, name: str, **_: Any) -> NoReturn:
        refuse_operation(name)

    def _reduce(self, name: str, **_: Any) -> Any:
        # Counting is no arithmetic: it asks for nothing but what is missing.
        return int((~self.isna()).sum()) if name == "count" else refuse_operation(name)


def _refusal(name: str) -> Callable[[Refusals, Any], Any]:
    def refuse(self: Refusals, other: Any = None) -> Any:  # noqa: ARG001
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            # pandas takes the array out of them and asks again.
            return NotImplemented
        refuse_operation(name)

    refuse.__name__ = name
    return refuse


for _name in (*_OPERATORS, *_WITHOUT_REVERSE):
    setattr(Refusals, f"__{_name}__", _refusal(f"__{_name}__"))
for _name in _OPERATORS:
    setattr(Refusals, f"__r{_name}__", _refusal(f"__r{_name}__"))
