"""Task `augment` with masks and boxes: what belongs to an image is transformed with it."""

from __future__ import annotations

import sys
import warnings

import albumentations as A  # noqa: N812  as in its documentation
import cloudpickle
import cv2
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import oriented
from PIL import Image

from pandas_imgproc import JournalError

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N, NAMES = 8, ["label", "one", "two", "three"]
COLORS = np.array([[0, 0, 0], [250, 30, 30], [30, 250, 30], [30, 30, 250]], dtype="uint8")
SPATIAL = A.Compose(
    [
        A.HorizontalFlip(),
        A.VerticalFlip(),
        A.Rotate(45, p=1, border_mode=cv2.BORDER_CONSTANT),
        A.ElasticTransform(p=1, border_mode=cv2.BORDER_CONSTANT),
        A.RandomBrightnessContrast(0.05, 0.05, p=1),
    ]
)


def class_ids(k=0, size=(120, 90)):
    ids = np.zeros(size[::-1], "uint8")
    ids[10 + k : 50, 20:70] = 1
    ids[40:80, 50 + k : 110] = 2
    ids[5:20, 90:115] = 3
    return ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for k in range(N):
        Image.fromarray(COLORS[class_ids(k)]).save(folder / f"{k}.png")
        Image.fromarray(class_ids(k)).save(folder / f"{k}_mask.png")
    Image.fromarray(class_ids(0, (60, 90))).save(folder / "small_mask.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def frame(folder):
    paths = {
        "image_path": [f"{folder}/{k}.png" for k in range(N)],
        "mask_path": [f"{folder}/{k}_mask.png" for k in range(N)],
    }
    return pd.DataFrame({**paths, "label": range(N)}, index=list("abcdefgh"))


def ids_by_color(pixels):
    return ((pixels[..., None, :].astype(int) - COLORS) ** 2).sum(-1).argmin(-1)


def unchanged(**sample):
    return sample


# ---- masks


def test_pixels_match_their_classes_inline_and_on_workers(frame, managed_cluster):
    def variants(**options):
        aug = frame.img.augment("image_path", SPATIAL, n=3, size=(100, 80), masks="mask_path", **options)
        return aug["image"].img.to_numpy(), aug["mask"].img.to_numpy()

    images, masks = variants()
    assert masks.shape == (3 * N, 80, 100, 1)
    assert np.unique(masks).tolist() == [0, 1, 2, 3]
    assert len({mask.tobytes() for mask in masks}) == 3 * N
    # An image is interpolated between two colors at the border of two classes.
    assert (ids_by_color(images) == masks[..., 0]).mean() > 0.97
    for same, expected in zip(variants(npartitions=4), (images, masks), strict=True):
        assert np.array_equal(same, expected)


def test_frame_is_exploded_with_image_and_mask(frame):
    aug = frame.img.augment("image_path", SPATIAL, n=2, masks="mask_path")
    assert aug.columns.tolist() == ["image_path", "mask_path", "label", "image", "mask"]
    assert aug.index.tolist() == [(label, k) for label in "abcdefgh" for k in range(2)]
    plain = frame.img.augment("image_path", SPATIAL, n=2)
    assert np.array_equal(aug["image"].img.to_numpy(), plain["image"].img.to_numpy())


def test_original_and_series_and_lists(frame):
    column, masks = frame["image_path"], [frame["mask_path"], frame["mask_path"]]
    aug = column.img.augment(SPATIAL, n=2, masks=masks, keep_original=True)
    assert aug.columns.tolist() == ["image", "mask_0", "mask_1"]
    assert np.array_equal(aug["mask_0"].img.to_numpy(), aug["mask_1"].img.to_numpy())
    original = aug.xs(0, level="variant")
    assert np.array_equal(original["mask_0"].img.to_numpy()[..., 0], [class_ids(k) for k in range(N)])
    assert np.array_equal(original["image"].img.to_numpy(), [COLORS[class_ids(k)] for k in range(N)])


def test_function_is_called_by_keyword(frame):
    def flipped(image, mask, rng):
        step = -1 if rng.random() < 0.5 else 1
        return {"image": image[:, ::step], "mask": mask[:, ::step]}

    def both(image, masks):
        assert [mask.shape for mask in masks] == [image.shape[:2]] * 2
        return {"image": image, "masks": [masks[0], 255 - masks[1]]}

    aug = frame.img.augment("image_path", flipped, n=4, masks="mask_path")
    images, masks = aug["image"].img.to_numpy(), aug["mask"].img.to_numpy()[..., 0]
    assert np.array_equal(COLORS[masks], images)
    assert len({mask.tobytes() for mask in masks}) > N
    pair = frame.img.augment("image_path", both, n=1, masks=["mask_path", "mask_path"])
    assert np.array_equal(pair["mask_1"].img.to_numpy(), 255 - pair["mask_0"].img.to_numpy())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda image, mask: image, "returned ndarray, not a dict with 'image', 'mask'"),
        (lambda image, mask: {"image": image}, "a dict without 'mask'"),
        (lambda image, mask: {"image": image, "mask": mask[1:]}, "a mask of shape (89, 120) for an image of (90, 120)"),
        (lambda image, mask: {"image": image, "mask": mask / 2}, "a mask of float64, not of class ids"),
        (lambda image, mask: {"image": None, "mask": mask}, "returned NoneType, not an image"),
    ],
)
def test_wrong_result_is_a_failure_of_the_function(frame, returned, message):
    aug = frame[:1].img.augment("image_path", returned, n=1, masks="mask_path", errors="coerce")
    (failed,) = aug["mask"].img.failures.itertuples()
    assert failed.kind == "function"
    assert message in failed.message
    assert failed.path == frame["image_path"].iloc[0]


def test_failure_names_the_file_and_image_and_mask_are_missing(frame, folder):
    frame = frame[:6].copy()
    frame.loc["a", "image_path"] = f"{folder}/broken.png"
    frame.loc["b", "mask_path"] = f"{folder}/broken.png"
    frame.loc["c", "mask_path"] = f"{folder}/gone.png"
    frame.loc["d", "mask_path"] = f"{folder}/small_mask.png"
    frame.loc["e", "mask_path"] = None
    for size in (None, 64):
        aug = frame.img.augment("image_path", SPATIAL, n=1, size=size, masks="mask_path", errors="coerce")
        for name in ("image", "mask"):
            assert aug[name].isna().tolist() == [True, True, True, True, True, False]
        failures = aug["image"].img.failures
        assert failures["kind"].tolist() == ["unidentified", "unidentified", "missing", "unsupported"]
        assert [path.rpartition("/")[2] for path in failures["path"]] == [
            "broken.png",
            "broken.png",
            "gone.png",
            "small_mask.png",
        ]
        assert failures["message"].iloc[3] == "the mask has 60 x 90 pixels, and the upright image 120 x 90"
        assert aug["mask"].img.failures.equals(failures)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_mask_has_the_size_and_fit_of_the_upright_image(tmp_path, fit):
    (tmp_path / "a.jpg").write_bytes(oriented(Image.fromarray(COLORS[class_ids()]), 6, quality=95, subsampling=0))
    Image.fromarray(class_ids()).save(tmp_path / "a.png")
    frame = pd.DataFrame({"image": [f"{tmp_path}/a.jpg"], "mask_path": [f"{tmp_path}/a.png"]})
    options = {"size": (60, 60), "fit": fit, "background": "black"}
    aug = frame["image"].img.augment(unchanged, n=1, masks=frame["mask_path"], **options)
    mask = aug["mask"].img.to_numpy()[0, ..., 0]
    assert (ids_by_color(aug["image"].img.to_numpy()[0]) == mask).mean() > 0.93
    assert np.unique(mask).tolist() == [0, 1, 2, 3]


def test_files_of_images_and_masks(frame, folder, tmp_path):
    to = {"image": f"{tmp_path}/{{stem}}_{{variant}}.jpg", "mask": f"{tmp_path}/{{stem}}_{{variant}}_mask.png"}
    frame = frame.copy()
    frame.loc["c", "mask_path"] = f"{folder}/small_mask.png"

    def write():
        return frame.img.augment("image_path", SPATIAL, n=2, masks="mask_path", to=to, quality=95, errors="coerce")

    files = write()
    assert files["image"].isna().tolist() == files["mask"].isna().tolist() == [k in (4, 5) for k in range(2 * N)]
    assert files["mask"].iloc[3] == f"{tmp_path}/1_1_mask.png"
    assert {failure["kind"] for failure in files.attrs["failures"]} == {"unsupported"}
    memory = frame.img.augment("image_path", SPATIAL, n=2, masks="mask_path", errors="coerce").dropna()
    for row, path in zip(memory["mask"], files["mask"].dropna(), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(row)[..., 0])
    for row, path in zip(memory["image"], files["image"].dropna(), strict=True):
        assert np.abs(np.asarray(Image.open(path)).astype(int) - np.asarray(row)).mean() < 12

    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix in (".jpg", ".png")}
    (tmp_path / "1_1_mask.png").unlink()
    Image.fromarray(class_ids(7)).save(folder / "0_mask.png")  # another mask: the image is written with it
    try:
        assert write().equals(files)
    finally:
        Image.fromarray(class_ids(0)).save(folder / "0_mask.png")
    written = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert written == {f"{k}_{v}{end}" for k in (0, 1) for v in (0, 1) for end in (".jpg", "_mask.png")}
    with pytest.raises(JournalError):
        frame.img.augment("image_path", SPATIAL, n=2, seed=1, masks="mask_path", to=to, quality=95, errors="coerce")


def test_folders_of_images_and_masks(frame, tmp_path):
    to = {"image": tmp_path / "images", "mask": tmp_path / "masks"}
    files = frame.img.augment("image_path", unchanged, n=1, masks="mask_path", to=to)
    assert files["mask"].iloc[0] == f"{tmp_path}/masks/0_0.png"
    images = frame.img.augment("image_path", A.NoOp(), n=1, to={"image": tmp_path / "alone"})
    assert images["image"].iloc[0] == f"{tmp_path}/alone/0_0.png"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": "mask_path", "to": "x"}, "masks= needs one for each: to={'image': …, 'mask': …}"),
        ({"masks": "mask_path", "to": {"image": "x"}}, "the keys ['image'], and the variants are ['image', 'mask']"),
        ({"masks": "mask_path", "to": {"image": "{stem}_{variant}.png", "mask": "{stem}_{variant}.jpg"}}, "JPEG files"),
        ({"masks": "mask_path", "to": {"image": "x/{stem}_{variant}.png", "mask": "x/{stem}_{variant}.png"}}, "both"),
        ({"masks": "mask_path", "out": "x.npy"}, "out= stores one column"),
        ({"masks": "nothing"}, "no column 'nothing'"),
        ({"group": "label"}, "give boxes= too"),
        ({"boxes": ["label"]}, "must name four columns"),
        ({"boxes": "bbox"}, "becomes four by df[['x', 'y', 'w', 'h']] = df['bbox'].tolist()"),
        ({"boxes": ["label"] * 4}, "must name four columns"),
        ({"boxes": ["image_path", "one", "label", "two"]}, "holds no numbers"),
        ({"boxes": NAMES, "box_format": "yolo"}, "box_format='yolo' is not one of"),
        ({"boxes": NAMES, "box_unit": "%"}, "box_unit='%' is not one of"),
        ({"boxes": NAMES, "group": "one"}, "rows 0 and 1 are of one image by group='one'"),
    ],
)
def test_wrong_argument_raises_before_anything_is_read(frame, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError, KeyError)) as raised:
        frame.assign(one=1, two=2, three=3).img.augment("image_path", unchanged, n=1, **options)
    assert message in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_taken_names_are_refused(frame):
    with pytest.raises(ValueError, match="a column 'mask'"):
        frame.assign(mask=1).img.augment("image_path", unchanged, n=1, masks="mask_path")


def test_mask_as_image_warns_of_steps_that_mix_its_classes(frame):
    mixing = [SPATIAL, A.Rotate(), A.Compose([A.OneOf([A.GaussianBlur()])])]
    safe = [A.HorizontalFlip(), A.Rotate(interpolation=cv2.INTER_NEAREST), A.Compose([A.RandomCrop(8, 8)]), lambda p: p]
    for transform in mixing:
        with pytest.warns(UserWarning, match=r"mode='P' gives the transform class numbers .*masks="):
            frame[:1].img.augment("mask_path", transform, n=1, mode="P")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transform in safe:
            frame[:1].img.augment("mask_path", transform, n=1, mode="P")


def test_dask_frame_has_the_same_masks(frame):
    ddf = dd.from_pandas(frame, npartitions=3, sort=False)
    lazy = ddf.img.augment("image_path", SPATIAL, n=2, size=(60, 40), masks="mask_path")
    assert lazy.dtypes["mask"].shape == (40, 60, 1)
    expected = frame.img.augment("image_path", SPATIAL, n=2, size=(60, 40), masks="mask_path")
    computed = lazy.compute(scheduler="synchronous")
    assert computed.columns.tolist() == expected.columns.tolist()
    for name in ("image", "mask"):
        assert np.array_equal(computed[name].img.to_numpy(), expected[name].img.to_numpy())
    with pytest.raises(ValueError, match="boxes= is for pandas"):
        ddf.img.augment("image_path", unchanged, n=1, size=8, boxes=NAMES)
    with pytest.raises(ValueError, match=r"to=\{…\} is for pandas"):
        ddf.img.augment("image_path", unchanged, n=1, masks="mask_path", to={"image": "a", "mask": "b"})


# ---- boxes


@pytest.fixture
def boxes(folder):
    """Return a row for each rectangle of one color of the images, of which two are in front of others."""
    rows = [
        (f"{folder}/{k}.png", k, *box, name)
        for k in range(3)
        for name, box in {1: (20, 10 + k, 50, 40 - k), 2: (50 + k, 40, 60 - k, 40), 3: (90, 5, 25, 15)}.items()
    ]
    rows = [rows[i] for i in (0, 3, 1, 6, 4, 2, 5, 7, 8)]  # the rows of an image are no neighbors
    return pd.DataFrame(rows, columns=["image_path", "image_id", "x", "y", "w", "h", "name"])


def extent(pixels, name):
    y, x = np.nonzero(ids_by_color(pixels) == name)
    return [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]


FORMS = {
    "coco": ("xywh", "pixel", lambda x, y, w, h: (x, y, w, h)),
    "voc": ("xyxy", "pixel", lambda x, y, w, h: (x, y, x + w, y + h)),
    "yolo": ("cxcywh", "fraction", lambda x, y, w, h: ((x + w / 2) / 120, (y + h / 2) / 90, w / 120, h / 90)),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("params", [None, "coco", "pascal_voc", "yolo", "albumentations"])
def test_boxes_are_moved_with_their_image(boxes, name, params):
    box_format, unit, convert = FORMS[name]
    flips = [A.HorizontalFlip(), A.Transpose(), A.VerticalFlip()]
    transform = A.Compose(flips, bbox_params=params and A.BboxParams(params, label_fields=["kind"][: params != "coco"]))
    table = boxes.copy()
    table[["a", "b", "c", "d"]] = [convert(*box) for box in boxes[["x", "y", "w", "h"]].to_numpy()]
    n = 4
    aug = table.img.augment(
        "image_path", transform, n=n, size=90, boxes=["a", "b", "c", "d"], group="image_id", box_format=box_format,
        box_unit=unit,
    )  # fmt: skip
    assert aug.index.tolist() == [(row, v) for row in boxes.index for v in range(n)]
    assert aug["name"].tolist() == boxes["name"].repeat(n).tolist()
    assert len({image.tobytes() for image in aug["image"].img.to_numpy()}) > 3
    scale = 1 if unit == "pixel" else 90
    for row in aug.itertuples():
        found = np.array(extent(np.asarray(row.image), row.name))
        box = scale * np.array([row.a, row.b, row.c, row.d])
        expected = {"xywh": found, "xyxy": np.r_[found[:2], found[:2] + found[2:]],
                    "cxcywh": np.r_[found[:2] + found[2:] / 2, found[2:]]}[box_format]  # fmt: skip
        assert np.abs(box - expected).max() <= 1.5


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_boxes_follow_the_resize(boxes, fit):
    options = {"boxes": ["x", "y", "w", "h"], "group": "image_id", "size": (60, 60), "fit": fit, "background": "black"}
    aug = boxes.img.augment("image_path", unchanged, n=1, **options)
    for row in aug.itertuples():
        found = extent(np.asarray(row.image), row.name)
        assert np.abs(np.array([row.x, row.y, row.w, row.h]) - found).max() <= 1.5


def test_box_outside_is_missing_and_its_row_stays(boxes):
    crop = A.Compose([A.Crop(0, 0, 60, 60)], bbox_params=A.BboxParams("coco"))
    aug = boxes.img.augment("image_path", crop, n=1, boxes=["x", "y", "w", "h"], group="image_id")
    assert len(aug) == len(boxes)
    is_outside = aug["name"] == 3
    assert aug["x"].isna().tolist() == is_outside.tolist()
    assert aug["image"].notna().all()
    first = aug.iloc[0]
    assert [first.x, first.y, first.w, first.h] == [20, 10, 40, 40]

    def away(image, bboxes):
        assert bboxes.shape == (3, 4)
        bboxes[1] = (500, 500, 5, 5)
        return {"image": image, "bboxes": bboxes}

    moved = boxes.img.augment("image_path", away, n=1, boxes=["x", "y", "w", "h"])
    assert moved["w"].isna().tolist() == [name == 2 for name in boxes["name"]]
    odd = boxes.assign(w=boxes["w"].where(boxes["name"] != 2), h=boxes["h"].where(boxes["name"] != 3, -1))
    kept = odd.img.augment("image_path", crop, n=1, boxes=["x", "y", "w", "h"])
    assert kept["x"].isna().tolist() == [name != 1 for name in boxes["name"]]


def test_rows_without_a_group_are_missing_and_levels_are_groups(boxes):
    options = {"n": 1, "size": 30, "boxes": ["x", "y", "w", "h"]}
    expected = boxes.img.augment("image_path", unchanged, group="image_id", **options)
    level = boxes.set_index("image_id").img.augment("image_path", unchanged, group="image_id", **options)
    assert np.array_equal(level[["x", "y", "w", "h"]], expected[["x", "y", "w", "h"]])
    is_known = boxes.index.isin([0, 2, 4])
    assert boxes.loc[~is_known, "image_path"].nunique() > 1
    some = boxes.assign(image_id=boxes["image_id"].where(is_known))
    aug = some.img.augment("image_path", unchanged, group="image_id", **options)
    assert aug["image"].notna().tolist() == aug["x"].notna().tolist() == is_known.tolist()
    assert len(aug["image"].img.failures) == 0
    assert aug["x"].iloc[0] == expected["x"].iloc[0]


@pytest.mark.filterwarnings("error")
def test_columns_of_several_levels_and_one_named_boxes(boxes):
    options = {"n": 1, "size": 30}
    expected = boxes.img.augment("image_path", unchanged, boxes=["x", "y", "w", "h"], **options)
    levels = pd.concat({"a": boxes}, axis=1)
    names = [("a", name) for name in ("x", "y", "w", "h")]
    aug = levels.img.augment(("a", "image_path"), unchanged, boxes=names, **options)
    assert np.array_equal(aug[names], expected[["x", "y", "w", "h"]])
    named = boxes.assign(boxes=range(len(boxes))).img.augment(
        "image_path", unchanged, boxes=["x", "y", "w", "h"], **options
    )
    assert named["boxes"].tolist() == list(range(len(boxes)))


@pytest.mark.parametrize("to", [None, "{stem}_{variant}.png"])
def test_empty_table_of_boxes(boxes, to):
    aug = boxes.iloc[:0].img.augment("image_path", unchanged, n=2, size=30, boxes=["x", "y", "w", "h"], to=to)
    assert len(aug) == 0
    assert aug.columns.tolist() == [*boxes.columns, "image" if to is None else "path"]


def test_boxes_in_fractions_as_pixels_are_a_warning(boxes):
    names = ["x", "y", "w", "h"]
    table = boxes.assign(**{name: boxes[name] / 120 for name in names})
    with pytest.warns(UserWarning, match="boxes= holds numbers from 0 to 1 alone, .* need box_unit='fraction'"):
        table.img.augment("image_path", unchanged, n=1, size=30, boxes=names)


def test_images_are_those_of_a_frame_of_images(boxes, managed_cluster):
    transform = A.Compose([A.HorizontalFlip(), A.RandomCrop(50, 50)], bbox_params=A.BboxParams("coco"))
    options = {"n": 2, "seed": 3, "boxes": ["x", "y", "w", "h"], "group": "image_id"}
    aug = boxes.img.augment("image_path", transform, **options)
    again = boxes.img.augment("image_path", transform, npartitions=2, **options)
    assert again.drop(columns="image").equals(aug.drop(columns="image"))
    assert np.array_equal(again["image"].img.to_numpy(), aug["image"].img.to_numpy())
    images = boxes.drop_duplicates("image_id").img.augment("image_path", A.Compose(transform.transforms), n=2, seed=3)
    first = aug.loc[[0, 1, 3]]
    assert np.array_equal(first["image"].img.to_numpy(), images["image"].img.to_numpy())


def test_files_of_images_with_boxes(boxes, tmp_path):
    transform = A.Compose([A.HorizontalFlip(), A.RandomCrop(50, 50)], bbox_params=A.BboxParams("coco"))
    columns = ["x", "y", "w", "h"]
    aug = boxes.img.augment("image_path", transform, n=2, boxes=columns, group="image_id")
    to = f"{tmp_path}/{{image_id}}_{{variant}}.png"
    files = boxes.img.augment("image_path", transform, n=2, boxes=columns, group="image_id", to=to)
    assert files["path"].tolist() == [f"{tmp_path}/{i}_{v}.png" for i in boxes["image_id"] for v in range(2)]
    assert files[columns].equals(aug[columns])
    for image, path in zip(aug["image"], files["path"], strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(image))


def test_masks_and_boxes_together(boxes, folder):
    table = boxes.assign(mask_path=[f"{folder}/{k}_mask.png" for k in boxes["image_id"]])
    transform = A.Compose([A.HorizontalFlip(), A.RandomCrop(70, 70)], bbox_params=A.BboxParams("coco"))
    aug = table.img.augment("image_path", transform, n=2, boxes=["x", "y", "w", "h"], masks="mask_path")
    assert np.array_equal(ids_by_color(aug["image"].img.to_numpy()), aug["mask"].img.to_numpy()[..., 0])
    for row in aug[aug["name"] != 1].dropna(subset=["x"]).itertuples():  # another is in front of it
        assert np.abs(np.array([row.x, row.y, row.w, row.h]) - extent(np.asarray(row.image), row.name)).max() <= 0.01


def test_images_and_masks_of_readers(boxes, tmp_path):
    calls = []

    def read(data):
        calls.append(1)
        return np.frombuffer(data, np.uint8).reshape((90, 120, -1))

    table = boxes.assign(image_path=[f"{tmp_path}/{k}.raw" for k in boxes["image_id"]])
    table["mask_path"] = [f"{tmp_path}/{k}_mask.raw" for k in boxes["image_id"]]
    for k in range(3):
        (tmp_path / f"{k}.raw").write_bytes(COLORS[class_ids(k)].tobytes())
        (tmp_path / f"{k}_mask.raw").write_bytes(class_ids(k).tobytes())
    options = {"boxes": ["x", "y", "w", "h"], "masks": "mask_path", "readers": {".raw": read}}
    with dask.config.set(scheduler="synchronous"):
        aug = table.img.augment("image_path", A.HorizontalFlip(p=1), n=1, **options)
    assert len(calls) == 6
    assert np.array_equal(ids_by_color(aug["image"].img.to_numpy()), aug["mask"].img.to_numpy()[..., 0])
    assert aug["x"].tolist() == (120 - boxes["x"] - boxes["w"]).tolist()


# ---- torchvision


def test_torchvision_transforms_images_masks_and_boxes(frame, boxes):
    pytest.importorskip("torchvision")
    from torchvision.transforms import v2

    spatial = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomRotation(30), v2.ColorJitter(0.05)])
    aug = frame.img.augment("image_path", spatial, n=2, masks="mask_path")
    images, masks = aug["image"].img.to_numpy(), aug["mask"].img.to_numpy()[..., 0]
    assert (ids_by_color(images) == masks).mean() > 0.97
    assert np.unique(masks).tolist() == [0, 1, 2, 3]
    cropped = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(60), v2.SanitizeBoundingBoxes()])
    moved = boxes.img.augment("image_path", cropped, n=3, boxes=["x", "y", "w", "h"], group="image_id")
    assert 0 < moved["x"].isna().sum() < len(moved)
    for row in moved.dropna(subset=["x"]).itertuples():
        assert np.abs(np.array([row.x, row.y, row.w, row.h]) - extent(np.asarray(row.image), row.name)).max() <= 1
    with pytest.warns(UserWarning, match=r"ColorJitter"):
        frame[:1].img.augment("mask_path", v2.ColorJitter(0.5), n=1, mode="P")
