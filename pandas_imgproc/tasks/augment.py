"""Tasks of `augment`: random variants of each image, as pixels or as files."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from PIL import Image

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks.base import Task
from pandas_imgproc.tasks.rng import isolate_dask_rng, seeded
from pandas_imgproc.tasks.save import FileTask
from pandas_imgproc.tasks.user_function import as_image_array, load_pixels, store_result, user_code
from pandas_imgproc.tasks.user_instance import build_instance

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

# Without it, Albumentations requests its newest version number from the network at import, in every worker.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Augment(Task):
    """Random variants of each image.

    Attributes
    ----------
    transform : callable
        Of Albumentations, of torchvision, or a function of pixels (see `calling_convention`).
    n : int
        Number of variants of each image.
    decode_options : DecodeOptions
        Options of the decoded image that the transform receives.
    seed : int
        First part of the key of the random numbers.
    keep_original : bool
        Whether variant 0 is the image itself.
    shape : tuple of int, optional
        (height, width, channels) of all variants, if declared.
    """

    transform: Callable[..., Any]
    n: int
    decode_options: codec.DecodeOptions
    seed: int = 0
    keep_original: bool = False
    shape: tuple[int, int, int] | None = None
    name = "augment"
    uses_position = True
    needs_cluster = True
    mixed_shapes_hint = (
        "one column holds images of one shape: give size=(width, height), let the transform keep or set the shape, "
        "or write files with to="
    )

    @property
    def n_outputs(self) -> int:
        """Number of variants of each image."""
        return self.n

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return each label n times, with the number of the variant."""
        return variant_index(index, self.n)

    @property
    def user_functions(self) -> tuple[Callable[..., Any], ...]:
        """Transform or class of the user."""
        return (self.transform,)

    def build(self) -> Self:
        """Return the task with an instance in place of a class, which one thread at a time calls: see `seeded`."""
        isolate_dask_rng()
        return dataclasses.replace(self, transform=build_instance(self.transform))

    def clone_for_thread(self) -> Self:
        """Return the task with a copy of the transform, whose generator must not be shared by threads."""
        isolate_dask_rng()
        return dataclasses.replace(self, transform=copy.deepcopy(self.transform))

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded image, of a copy and of the variants."""
        return (2 + self.n) * self.decode_options.nbytes

    def allocate(self, n: int) -> Values:
        """Return n black images, or an array of objects if the shape is not declared."""
        return np.full(n, None, dtype=object) if self.shape is None else np.zeros((n, *self.shape), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Decode one image and write its variants into ``out``."""
        pixels, call = load_pixels(file.data(), self.decode_options), calling_convention(self.transform)
        for variant in range(self.n):
            is_original = self.keep_original and variant == 0
            image = pixels.copy() if is_original else self._transform(call, pixels.copy(), position, variant)
            store_result(out, variant, image)

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters as JSON-serializable values, with those of Albumentations' transforms."""
        to_dict = getattr(self.transform, "to_dict", None)
        parameters = {"transform": json.loads(json.dumps(to_dict(), default=str))} if to_dict else {}
        return super().fingerprint() | parameters

    def _transform(self, call: Callable[..., Any], pixels: Pixels, position: int, variant: int) -> Pixels:
        with timed("function"), seeded(self.transform, self.seed, position, variant) as rng, user_code():
            result = call(pixels, rng)
        image = as_image_array(result["image"] if isinstance(result, Mapping) and "image" in result else result)
        if image is None:
            raise UserFunctionError(
                f"the transform returned {type(result).__name__}, not an image of 1, 3 or 4 channels"
            )
        return image

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return the Series named ``image``, each row n times, with the level ``variant`` in its index."""
        if values.dtype == object:  # no row has a result: the shape is a guess
            width, height = self.decode_options.size or (1, 1)
            values = np.zeros((len(values), height, width, codec.CHANNELS[self.decode_options.mode]), dtype=np.uint8)
        images = ImageArray(values, np.repeat(status, self.n), failures)
        return pd.Series(images, index=self.index(index), name="image", copy=False)


@dataclass(frozen=True)
class SaveAugmented(FileTask):
    """Encoded files of the random variants that another task computes."""

    variants: Augment
    encode_options: codec.EncodeOptions
    name = "augment"
    needs_cluster = True

    n_outputs = property(operator.attrgetter("variants.n_outputs"))
    nbytes_per_row = property(operator.attrgetter("variants.nbytes_per_row"))

    def index(self, index: pd.Index[Any]) -> pd.Index[Any]:
        """Return each label n times, with the number of the variant."""
        return self.variants.index(index)

    def check_installed(self) -> None:
        """Raise a MissingExtraError if this process lacks a package with which the caller expects the results."""
        self.variants.check_installed()

    user_functions = property(operator.attrgetter("variants.user_functions"))
    readers = property(operator.attrgetter("variants.readers"))

    def build(self) -> Self:
        """Return the task with an instance of the transform's class."""
        return dataclasses.replace(self, variants=self.variants.build())

    def clone_for_thread(self) -> Self:
        """Return the task with a copy of the transform."""
        return dataclasses.replace(self, variants=self.variants.clone_for_thread())

    def fill(self, out: Values, position: int, file: InputFile) -> None:
        """Decode one image and encode its variants into ``out``."""
        images = self.variants.allocate(self.n_outputs)
        self.variants.fill(images, position, file)
        for variant, pixels in enumerate(images):
            out[variant] = encode_variant(pixels, self.encode_options, file.target)


def encode_variant(pixels: Pixels, options: codec.EncodeOptions, target: str | None) -> bytes:
    """Return the encoded file of a variant; raise a UserFunctionError if files cannot hold its pixels."""
    if pixels.dtype != np.uint8:
        raise UserFunctionError(f"the transform returned pixels of {pixels.dtype}; files hold uint8")
    return codec.encode(to_pil(pixels), options, target or "")


def variant_index(index: pd.Index[Any], n: int) -> pd.MultiIndex:
    """Return an index with each label n times, and the number of the variant as its last level.

    Examples
    --------
    >>> variant_index(pd.Index(["a", "b"], name="id"), 2).tolist()
    [('a', 0), ('a', 1), ('b', 0), ('b', 1)]
    """
    unnamed = index.set_names([None] * index.nlevels)  # an integer name would be taken for a position
    levels = [unnamed.get_level_values(level).repeat(n) for level in range(index.nlevels)]
    variants = np.tile(np.arange(n), len(index))
    return pd.MultiIndex.from_arrays([*levels, variants], names=[*index.names, "variant"])


def calling_convention(transform: Callable[..., Any]) -> Callable[[Pixels, np.random.Generator], Any]:
    """Return a function of pixels and a generator that calls a transform according to its signature.

    Albumentations takes ``image=``, torchvision a PIL image; a function takes the pixels, or a PIL image if its
    first argument is annotated as one, and the generator if it has an argument ``rng``.
    """
    family = {cls.__module__.partition(".")[0] for cls in type(transform).__mro__}
    if "torchvision" in family:
        return lambda pixels, _: transform(to_pil(pixels))
    parameters = [] if "albumentations" in family else _parameters(transform)
    if not parameters or parameters[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        return lambda pixels, _: transform(image=pixels)
    annotation = parameters[0].annotation
    takes_pil = annotation is not inspect.Parameter.empty and "Image" in str(annotation)
    convert: Callable[[Pixels], Any] = to_pil if takes_pil else np.asarray
    if any(parameter.name == "rng" for parameter in parameters):
        return lambda pixels, rng: transform(convert(pixels), rng=rng)
    return lambda pixels, _: transform(convert(pixels))


def _parameters(transform: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(transform).parameters.values())
    except (TypeError, ValueError):  # written in C
        return [inspect.Parameter("pixels", inspect.Parameter.POSITIONAL_ONLY)]


def to_pil(pixels: Pixels) -> Image.Image:
    """Return pixels of shape (height, width, channels) as an image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
