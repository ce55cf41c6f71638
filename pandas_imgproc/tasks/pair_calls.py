"""Calls of a transform on an image together with its masks and boxes, by the conventions of each library."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks.box_format import clip, from_corners, sides, to_corners
from pandas_imgproc.tasks.user_function import as_image_array

if TYPE_CHECKING:
    Pixels = np.ndarray[Any, np.dtype[Any]]
    PairCall = Callable[["Sample", np.random.Generator], "Sample"]

_CORNERS_OF = {"coco": ("xywh", False), "pascal_voc": ("xyxy", False), "yolo": ("cxcywh", True),
               "albumentations": ("xyxy", True)}  # fmt: skip
"""For the name of a format in Albumentations: that of the package, and whether its numbers are fractions."""


_OF_COLORS = {"ImageOnlyTransform", "ColorJitter", "GaussianBlur", "GaussianNoise", "Normalize"}
"""Classes of transforms that change the levels of pixels: the base of those in Albumentations, and torchvision's."""


@dataclass(frozen=True)
class Sample:
    """Image with all that is transformed with it.

    Attributes
    ----------
    image : ndarray, shape (height, width, channels)
    masks : tuple of ndarray of uint8, shape (height, width)
        Class ids of the pixels.
    boxes : ndarray of float64, shape (k, 4), optional
        Left, top, right and bottom in pixels; NaN for a box without a part in the image.
    """

    image: Pixels
    masks: tuple[Pixels, ...] = ()
    boxes: Pixels | None = None

    def copy(self) -> Sample:
        """Return a sample that a transform may change."""
        return Sample(self.image.copy(), tuple(mask.copy() for mask in self.masks), self.boxes)


@dataclass(frozen=True)
class PairForm:
    """Form in which a transform is given masks and boxes.

    Attributes
    ----------
    n_masks : int
        Number of masks.
    has_mask_list : bool
        Whether masks are a list, even if it is one.
    box_format : {"xywh", "xyxy", "cxcywh"}
        Of the boxes of a function of the user.
    is_fraction : bool
        Whether these are fractions of the sides.
    """

    n_masks: int = 0
    has_mask_list: bool = False
    box_format: str = "xywh"
    is_fraction: bool = False

    def arguments(self, masks: tuple[Any, ...]) -> dict[str, Any]:
        """Return masks as keyword arguments."""
        return {} if not self.n_masks else {"masks": list(masks)} if self.has_mask_list else {"mask": masks[0]}

    def masks_in(self, result: Mapping[str, Any]) -> list[Any]:
        """Return the masks in the result of a transform."""
        if not self.n_masks:
            return []
        masks = list(_item(result, "masks")) if self.has_mask_list else [_item(result, "mask")]
        if len(masks) != self.n_masks:
            raise UserFunctionError(f"the transform returned {len(masks)} masks, and was given {self.n_masks}")
        return masks


def family_of(transform: Any) -> str:
    """Return the library of a transform: "albumentations", "torchvision" or "", for a function of the user."""
    packages = {cls.__module__.partition(".")[0] for cls in type(transform).__mro__}
    return next((name for name in ("albumentations", "torchvision") if name in packages), "")


def mixing_step(transform: Any) -> str | None:
    """Return the name of a step of a library's transform that makes other class ids of those in a mask, if it has one.

    A function of the user is not judged.
    """
    family = family_of(transform)
    for step in _steps(transform) if family else ():
        name = type(step).__name__
        interpolation = getattr(step, "interpolation", None)
        if interpolation is not None and str(getattr(interpolation, "value", interpolation)) not in ("0", "nearest"):
            return f"{name} with interpolation={interpolation}"
        parents = {cls.__name__ for cls in type(step).__mro__}
        if not parents.isdisjoint(_OF_COLORS) or type(step).__module__.endswith("transforms.v2._color"):
            return name
    return None


def _steps(transform: Any) -> list[Any]:
    steps = getattr(transform, "transforms", None)
    return [transform] if not isinstance(steps, list | tuple) else [one for step in steps for one in _steps(step)]


def with_box_params(transform: Any) -> Any:
    """Return a transform of Albumentations that takes boxes, around one that does not; any other unchanged."""
    if family_of(transform) != "albumentations" or "bboxes" in getattr(transform, "processors", {}):
        return transform
    albumentations = importlib.import_module("albumentations")
    return albumentations.Compose([transform], bbox_params=albumentations.BboxParams(format="pascal_voc"))


def pair_call(transform: Callable[..., Any], form: PairForm) -> PairCall:
    """Return a function of a sample and a generator that calls a transform, and returns the checked sample."""
    call = {"albumentations": _call_albumentations, "torchvision": _call_torchvision}.get(
        family_of(transform), _call_function
    )
    return lambda sample, rng: _validated(*call(transform, form, sample, rng), form)


_Result = tuple[Any, list[Any], Any]


def _call_albumentations(transform: Any, form: PairForm, sample: Sample, _: np.random.Generator) -> _Result:
    arguments: dict[str, Any] = {"image": sample.image, **form.arguments(sample.masks)}
    if sample.boxes is None:
        result = transform(**arguments)
        return result["image"], form.masks_in(result), None
    params = transform.processors["bboxes"].params
    box_format, is_fraction = _CORNERS_OF[params.format]
    ids = np.flatnonzero(~np.isnan(sample.boxes[:, 0]))
    scale = sides(sample.image.shape) if is_fraction else 1.0
    numbers = from_corners(sample.boxes[ids], box_format) / scale
    # The fifth number is the box's own: transforms drop boxes. Fields of labels are the user's, and return unused.
    arguments |= {"bboxes": np.column_stack([numbers, ids]), **dict.fromkeys(params.label_fields or (), ids)}
    result = transform(**arguments)
    found = np.asarray(result["bboxes"], dtype=float).reshape(-1, 5)
    boxes = np.full_like(sample.boxes, np.nan)
    scale = sides(np.shape(result["image"])) if is_fraction else 1.0
    boxes[found[:, 4].astype(int)] = to_corners(found[:, :4] * scale, box_format)
    return result["image"], form.masks_in(result), boxes


def _call_torchvision(transform: Any, form: PairForm, sample: Sample, _: np.random.Generator) -> _Result:  # noqa: ARG001
    torch, tv_tensors = sys.modules["torch"], _import_tv_tensors(transform)
    inputs: dict[str, Any] = {
        "image": tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))),
        "masks": [tv_tensors.Mask(torch.from_numpy(mask)) for mask in sample.masks],
    }
    if sample.boxes is not None:
        ids = np.flatnonzero(~np.isnan(sample.boxes[:, 0]))
        corners = torch.from_numpy(sample.boxes[ids].astype(np.float32))
        inputs["boxes"] = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=sample.image.shape[:2])
        inputs["labels"] = torch.from_numpy(ids)  # SanitizeBoundingBoxes drops those of the boxes that it drops
    result = transform(inputs)
    boxes = None
    if sample.boxes is not None:
        boxes = np.full_like(sample.boxes, np.nan)
        boxes[np.asarray(result["labels"])] = np.asarray(result["boxes"], dtype=float).reshape(-1, 4)
    return result["image"], result["masks"], boxes


def _import_tv_tensors(transform: Any) -> Any:
    if ".v2" not in type(transform).__module__:
        raise UserFunctionError("masks and boxes need transforms of torchvision.transforms.v2; these are older ones")
    return importlib.import_module("torchvision.tv_tensors")


def _call_function(transform: Any, form: PairForm, sample: Sample, rng: np.random.Generator) -> _Result:
    arguments: dict[str, Any] = {"image": sample.image, **form.arguments(sample.masks)}
    if _takes_rng(transform):
        arguments["rng"] = rng
    if sample.boxes is not None:
        scale = sides(sample.image.shape) if form.is_fraction else 1.0
        arguments["bboxes"] = from_corners(sample.boxes, form.box_format) / scale
    result = transform(**arguments)
    if not isinstance(result, Mapping):
        names = ", ".join(repr(name) for name in arguments if name != "rng")
        raise UserFunctionError(f"the transform returned {type(result).__name__}, not a dict with {names}")
    image = _item(result, "image")
    if sample.boxes is None:
        return image, form.masks_in(result), None
    scale = sides(np.shape(image)) if form.is_fraction else 1.0
    boxes = np.asarray(_item(result, "bboxes"), dtype=float)
    if boxes.shape != sample.boxes.shape:
        message = f"the transform returned bboxes of shape {boxes.shape}, and was given {sample.boxes.shape}"
        raise UserFunctionError(f"{message}: a box that leaves the image is a row of NaN")
    return image, form.masks_in(result), to_corners(boxes * scale, form.box_format)


def _takes_rng(transform: Callable[..., Any]) -> bool:
    try:
        return "rng" in inspect.signature(transform).parameters
    except (TypeError, ValueError):  # written in C
        return False


def _item(result: Mapping[str, Any], name: str) -> Any:
    if name not in result:
        raise UserFunctionError(f"the transform returned a dict without {name!r}; it has {list(result)!r:.100}")
    return result[name]


def _validated(image: Any, masks: list[Any], boxes: Any, form: PairForm) -> Sample:  # noqa: ARG001
    pixels = as_image_array(image)
    if pixels is None:
        raise UserFunctionError(f"the transform returned {type(image).__name__}, not an image of 1, 3 or 4 channels")
    checked = tuple(_validated_mask(mask, pixels.shape) for mask in masks)
    if boxes is not None:
        # To a thousandth of a pixel, and no box of less: libraries compute boxes as fractions, in 32 bits.
        boxes = clip(np.round(boxes, 3), pixels.shape)
    return Sample(pixels, checked, boxes)


def _validated_mask(mask: Any, shape: tuple[int, ...]) -> Pixels:
    ids = np.asarray(mask)
    ids = ids[:, :, 0] if ids.ndim == 3 and ids.shape[2] == 1 else ids
    if ids.shape != shape[:2]:
        raise UserFunctionError(f"the transform returned a mask of shape {ids.shape} for an image of {shape[:2]}")
    if ids.dtype.kind not in "bui" or int(ids.min()) < 0 or int(ids.max()) > 255:
        raise UserFunctionError(f"the transform returned a mask of {ids.dtype}, not of class ids from 0 to 255")
    return np.ascontiguousarray(ids, dtype=np.uint8)
