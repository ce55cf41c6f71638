"""Transformers of scikit-learn: a column of images becomes features, or embeddings, inside of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_int
from pandas_imgproc.errors import MissingExtraError
from pandas_imgproc.features import select_features
from pandas_imgproc.features.registry import DEFAULT_DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas_imgproc.accessor import SeriesImageAccessor

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as exc:
    raise MissingExtraError("pandas_imgproc.sklearn needs scikit-learn: pip install 'pandas-imgproc[sklearn]'") from exc

__all__ = ["ImageEmbeddings", "ImageFeatures"]


class _ImageTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Transformer of one column of images into columns of float64."""

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002, N803  scikit-learn's names
        """Check the parameters and the column; nothing is learned.

        Parameters
        ----------
        X : Series, or DataFrame of one column
            Paths, URLs, encoded bytes or images.
        y : ignored

        Returns
        -------
        self
        """
        column = _to_column(X)
        self.n_features_in_ = 1
        self.feature_names_in_ = np.array([str(column.name)], dtype=object)
        self.feature_names_out_ = self._names()
        return self

    def transform(self, X: Any) -> pd.DataFrame:  # noqa: N803
        """Return the columns of the images, with the index of `X`.

        Parameters
        ----------
        X : Series, or DataFrame of one column

        Returns
        -------
        DataFrame of float64
            NaN where an image cannot be read.
        """
        check_is_fitted(self)
        return self._compute(_to_column(X).img).astype("float64")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the names of the columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of object
        """
        check_is_fitted(self)
        return np.array(self.feature_names_out_, dtype=object)

    def _names(self) -> list[str]:
        """Return the names of the columns, or raise if a parameter is wrong."""
        raise NotImplementedError

    def _compute(self, images: SeriesImageAccessor) -> pd.DataFrame:
        raise NotImplementedError

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "feature_names_out_")


class ImageFeatures(_ImageTransformer):
    """Transformer of a column of images into the columns of `DataFrame.img.features`.

    Parameters
    ----------
    include : str or list of str, optional
        Names of numeric features; by default those of `DataFrame.img.features`.
    size : int or None
        Working size: pixels of the longest edge at which pixels are measured.
    root, suffix : str, optional
        Of the paths, as in `DataFrame.img.load_resized`.
    errors : {"warn", "coerce", "raise"}
        Treatment of images that cannot be read.

    Examples
    --------
    >>> from PIL import Image
    >>> for color in ("red", "blue"):
    ...     Image.new("RGB", (30, 20), color).save(f"{color}.png")
    >>> paths = pd.Series(["red.png", "blue.png"], name="image_path")
    >>> ImageFeatures(["width", "brightness"]).fit_transform(paths).round(2)
       width  brightness
    0   30.0        0.49
    1   30.0        0.26
    """

    def __init__(
        self,
        include: str | Iterable[str] | None = None,
        *,
        size: int | None = 256,
        root: Any = None,
        suffix: str | None = None,
        errors: str = "warn",
    ) -> None:
        self.include, self.size, self.root, self.suffix, self.errors = include, size, root, suffix, errors

    def _names(self) -> list[str]:
        names, specs = select_features(self.include)
        dtypes = {name: spec.dtype for spec in specs for name in spec.names}
        others = [name for name in names if dtypes[name] not in DEFAULT_DTYPES]
        if others:
            raise ValueError(f"include names {others[0]!r}, which is not numeric; leave it out")
        return list(names)

    def _compute(self, images: SeriesImageAccessor) -> pd.DataFrame:
        options: Any = {"root": self.root, "suffix": self.suffix, "errors": self.errors}
        frame: pd.DataFrame = images.features(self.feature_names_out_, size=self.size, **options)
        return frame


class ImageEmbeddings(_ImageTransformer):
    """Transformer of a column of images into the vectors of a function of batches, as `DataFrame.img.map_batches`.

    Parameters
    ----------
    func : callable, or class
        Of images of uint8, shape (k, height, width, 3), that returns k vectors. A class is built once in a process.
    n_columns : int
        Length of the vectors.
    size : int or (width, height)
        Of the images.
    batch_size : int
        Images of a call.
    prefix : str
        Names of the columns before their number.
    root, suffix : str, optional
        Of the paths, as in `DataFrame.img.load_resized`.
    errors : {"warn", "coerce", "raise"}
        Treatment of images that cannot be read.
    run_on : {"workers", "caller"}
        Processes that call the function: ``"caller"`` for one that uses a GPU.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> def mean_color(images):
    ...     return images.mean(axis=(1, 2))
    >>> ImageEmbeddings(mean_color, n_columns=3, size=8).fit_transform(pd.Series(["red.png"]))
       emb_0  emb_1  emb_2
    0  255.0    0.0    0.0
    """

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        n_columns: int,
        size: int | tuple[int, int] = 224,
        batch_size: int = 64,
        prefix: str = "emb_",
        root: Any = None,
        suffix: str | None = None,
        errors: str = "warn",
        run_on: str = "workers",
    ) -> None:
        self.func, self.n_columns, self.size, self.batch_size = func, n_columns, size, batch_size
        self.prefix, self.root, self.suffix, self.errors, self.run_on = prefix, root, suffix, errors, run_on

    def _names(self) -> list[str]:
        return [f"{self.prefix}{k}" for k in range(check_int("n_columns", self.n_columns))]

    def _compute(self, images: SeriesImageAccessor) -> pd.DataFrame:
        options: Any = {"root": self.root, "suffix": self.suffix, "errors": self.errors, "run_on": self.run_on}
        frame: Any = images.map_batches(
            self.func, batch_size=self.batch_size, size=self.size, prefix=self.prefix, dtype="float32",
            n_columns=self.n_columns, **options,
        )  # fmt: skip
        result: pd.DataFrame = frame
        return result


def _to_column(X: Any) -> pd.Series[Any]:  # noqa: N803
    """Return the one column of a table, as scikit-learn passes it."""
    if isinstance(X, pd.Series):
        return X
    if isinstance(X, pd.DataFrame) and X.shape[1] == 1:
        return X.iloc[:, 0]
    if isinstance(X, pd.DataFrame):
        raise ValueError(
            f"one column of images is transformed, not {X.shape[1]}, {shorten(list(X.columns))}; pass one, as in "
            "df['image_path'], or select it in a ColumnTransformer: (ImageFeatures(), ['image_path'])"
        )
    values = np.asarray(X, dtype=object)
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 1):
        raise ValueError(f"one column of images is transformed, not an array of shape {values.shape}")
    return pd.Series(values.reshape(-1), name="image_path", dtype=object)
