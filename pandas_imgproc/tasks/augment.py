"""Random variants of each image."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from PIL import Image

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray
from pandas_imgproc.tasks.base import Task
from pandas_imgproc.tasks.rng import isolate_dask_rng, seeded
from pandas_imgproc.tasks.save import FileTask
from pandas_imgproc.tasks.user_function import (
    UserFunctionError,
    as_image_array,
    explain,
    load_pixels,
    store_result,
    user_code,
)

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure, FailureKind
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

# Albumentations asks the network for a newer version when it is imported, in every worker, unless it is told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Pixels = np.ndarray[Any, np.dtype[Any]]
Convention = Callable[[Any, Pixels, np.random.Generator], Any]


@dataclass(frozen=True)
class Augment(Task):
    """Variants that a transform makes of each image.

    Attributes
    ----------
    transform : callable
        As Albumentations', torchvision's, or a function of pixels (see `convention`).
    n : int
        Variants of each image.
    decode_options : DecodeOptions
        How images become pixels.
    seed : int
        What the random numbers begin with.
    keep_original : bool
        Whether variant 0 is the image itself.
    shape : tuple of int, optional
        (height, width, channels) of all variants, where it must be known before the first.
    """

    transform: Callable[..., Any]
    n: int
    decode_options: codec.DecodeOptions
    seed: int = 0
    keep_original: bool = False
    shape: tuple[int, int, int] | None = None
    name: ClassVar[str] = "augment"
    uses_position: ClassVar[bool] = True
    needs_cluster: ClassVar[bool] = True
    mixed_shapes_hint: ClassVar[str] = (
        "one column holds images of one shape: give size=(width, height), let the transform keep or set the shape, "
        "or write files with to="
    )

    @property
    def n_outputs(self) -> int:  # noqa: D102  see Task
        return self.n

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return each label n times, with the number of the variant."""
        return variant_index(index, self.n)

    def clone_for_partition(self) -> Self:
        """Return a task with a transform of its own: its random generator is not for several threads."""
        isolate_dask_rng()
        return dataclasses.replace(self, transform=copy.deepcopy(self.transform))

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the pixels of one row, on their way."""
        return (2 + self.n) * self.decode_options.nbytes

    def allocate(self, n: int) -> Values:
        """Return n black images, or room for n objects where the shape is what the transform makes."""
        return np.full(n, None, dtype=object) if self.shape is None else np.zeros((n, *self.shape), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Decode one image, and make its variants."""
        pixels, call = load_pixels(file.data(), self.decode_options), convention(self.transform)
        for variant in range(self.n):
            original = self.keep_original and variant == 0
            store_result(
                out, variant, pixels.copy() if original else self._variant(call, pixels.copy(), position, variant)
            )

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes this task equal to another; all that Albumentations' transforms are made of."""
        whole = getattr(self.transform, "to_dict", None)
        return super().fingerprint() | ({"transform": json.loads(json.dumps(whole(), default=str))} if whole else {})

    def _variant(self, call: Convention, pixels: Pixels, position: int, variant: int) -> Pixels:
        with timed("function"), seeded(self.transform, self.seed, position, variant) as rng, user_code():
            result = call(self.transform, pixels, rng)
        made = as_image_array(result["image"] if isinstance(result, Mapping) and "image" in result else result)
        if made is None:
            raise UserFunctionError(
                f"the transform returned {type(result).__name__}, not an image of 1, 3 or 4 channels"
            )
        return made

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why a row has no variants."""
        return explain(exc)

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return the Series named ``image``, each row n times, with the level ``variant`` in its index."""
        if values.dtype == object:  # nobody has seen an image: the shape is a guess
            width, height = self.decode_options.size or (1, 1)
            values = np.zeros((len(values), height, width, codec.CHANNELS[self.decode_options.mode]), dtype=np.uint8)
        images = ImageArray(values, np.repeat(status, self.n), failures)
        return pd.Series(images, index=self.index(index), name="image", copy=False)


@dataclass(frozen=True)
class SaveAugmented(FileTask):
    """The same variants as the bytes of files.

    Attributes
    ----------
    variants : Augment
        How they are made.
    encode_options : EncodeOptions
        How they become files; the row's target says the format where this does not.
    """

    variants: Augment
    encode_options: codec.EncodeOptions
    name: ClassVar[str] = "augment"
    needs_cluster: ClassVar[bool] = True

    @property
    def n_outputs(self) -> int:  # noqa: D102  see Task
        return self.variants.n

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return each label n times, with the number of the variant."""
        return self.variants.index(index)

    def clone_for_partition(self) -> Self:
        """Return a task with a transform of its own."""
        return dataclasses.replace(self, variants=self.variants.clone_for_partition())

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the pixels of one row, on their way."""
        return self.variants.nbytes_per_row

    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Decode one image, and make the files of its variants."""
        made = self.variants.allocate(self.n_outputs)
        self.variants.fill(made, position, file)
        for variant, pixels in enumerate(made):
            if pixels.dtype != np.uint8:
                raise UserFunctionError(f"the transform returned pixels of {pixels.dtype}; files hold uint8")
            out[variant] = codec.encode(_pil(pixels), self.encode_options, file.target or "")

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why a row has no variants."""
        return explain(exc)


def variant_index(index: pd.Index[Any], n: int) -> pd.MultiIndex:
    """Return an index with each label n times, and the number of the variant as its last level.

    Examples
    --------
    >>> variant_index(pd.Index(["a", "b"], name="id"), 2).tolist()
    [('a', 0), ('a', 1), ('b', 0), ('b', 1)]
    """
    levels = [index.get_level_values(k).repeat(n) for k in range(index.nlevels)]
    variants = np.tile(np.arange(n), len(index))
    return pd.MultiIndex.from_arrays([*levels, variants], names=[*index.names, "variant"])


def convention(transform: Callable[..., Any]) -> Convention:
    """Return how a transform is called.

    Albumentations takes ``image=``, torchvision a PIL image; a function takes the pixels, or a PIL image if its
    first argument is annotated as one, and the generator if it has an argument ``rng``.

    Returns
    -------
    callable
        Of the transform, the pixels and a generator.
    """
    family = {kind.__module__.partition(".")[0] for kind in type(transform).__mro__}
    if "albumentations" in family:
        return _by_name
    if "torchvision" in family:
        return _as_pil
    parameters = _parameters(transform)
    first = parameters[0] if parameters else None
    if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
        return _by_name
    as_pil = first.annotation is not first.empty and "Image" in str(first.annotation)
    if any(parameter.name == "rng" for parameter in parameters):
        return _as_pil_with_rng if as_pil else _with_rng
    return _as_pil if as_pil else _plain


def _parameters(transform: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(transform).parameters.values())
    except (TypeError, ValueError):  # made in C
        return [inspect.Parameter("pixels", inspect.Parameter.POSITIONAL_ONLY)]


def _plain(transform: Any, pixels: Pixels, rng: np.random.Generator) -> Any:  # noqa: ARG001  one form for all
    return transform(pixels)


def _with_rng(transform: Any, pixels: Pixels, rng: np.random.Generator) -> Any:
    return transform(pixels, rng=rng)


def _by_name(transform: Any, pixels: Pixels, rng: np.random.Generator) -> Any:  # noqa: ARG001  one form for all
    return transform(image=pixels)


def _as_pil(transform: Any, pixels: Pixels, rng: np.random.Generator) -> Any:  # noqa: ARG001  one form for all
    return transform(_pil(pixels))


def _as_pil_with_rng(transform: Any, pixels: Pixels, rng: np.random.Generator) -> Any:
    return transform(_pil(pixels), rng=rng)


def _pil(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
