"""Task `augment`: the long frame, reproducible numbers, calling conventions, and files."""

from __future__ import annotations

import random
import sys
import threading

import albumentations
import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from image_factory import row_image, row_of, scene
from PIL import Image, ImageFilter

import pandas_imgproc
from pandas_imgproc import NoReadableImageError, UserFunctionError
from pandas_imgproc.tasks import augment
from pandas_imgproc.tasks.user_function import load_pixels

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augment")
    for row in range(N):
        row_image(row, (24, 16)).save(folder / f"{row}.png")
    for row in range(8):
        scene(40, 30, row).save(folder / f"photo{row}.png")
    for row in range(4):
        scene(60 + 10 * row, 50, row).save(folder / f"scene{row}.jpg")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def frame(folder):
    paths = [str(folder / f"{row}.png") for row in range(N)]
    return pd.DataFrame({"image_path": paths, "label": range(N)}, index=np.arange(N) % 7)


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def noisy(pixels, rng):
    return np.clip(pixels + rng.normal(0, 1, pixels.shape), 0, 255).astype("uint8")


def with_global_generators(pixels):
    numbers = random.randrange(3), np.random.randint(3), np.random.rand() * 3  # noqa: NPY002
    return np.clip(pixels.astype(int) + np.array(numbers, dtype=int), 0, 255).astype("uint8")


def blurred(image: Image.Image, rng):
    assert isinstance(image, Image.Image)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))


COMPOSITION = albumentations.Compose(
    [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.GaussianBlur(p=0.5),
        albumentations.ElasticTransform(p=0.3),
        albumentations.RandomBrightnessContrast(0.02, 0.02, p=0.5),
    ]
)
TRANSFORMS = {"albumentations": COMPOSITION, "rng": noisy, "globals": with_global_generators, "pil": blurred}


def test_augment_of_frame_explodes_rows(frame):
    aug = frame.img.augment("image_path", noisy, n=3)
    assert aug.columns.tolist() == ["image_path", "label", "image"]
    assert aug["label"].tolist() == [k // 3 for k in range(3 * N)]
    assert aug.index.names == [None, "variant"]
    assert aug.index.get_level_values(0).tolist() == frame.index.repeat(3).tolist()
    assert aug.index.get_level_values("variant").tolist() == [0, 1, 2] * N
    assert [row_of(image) for image in aug["image"].img.to_numpy()] == aug["label"].tolist()


def test_augment_of_series_is_series(frame):
    column = frame["image_path"].img.augment(noisy, n=2, size=(12, 8))
    assert column.name == "image"
    assert column.img.to_numpy().shape == (2 * N, 8, 12, 3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_variants_are_equal_on_every_scheduler(folder, managed_cluster, name):
    n = 16
    frame = pd.DataFrame({"image_path": [str(folder / f"photo{k % 8}.png") for k in range(n)]})

    def pixels(**options):
        aug = frame.img.augment("image_path", TRANSFORMS[name], n=2, seed=5, **options)
        return aug["image"].img.to_numpy()

    expected = pixels()
    assert len({image.tobytes() for image in expected}) > n
    assert np.array_equal(pixels(npartitions=7), expected)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(pixels(), expected)
        unseeded = frame.img.augment("image_path", TRANSFORMS[name], n=2)["image"].img.to_numpy()
        assert not np.array_equal(unseeded, expected)
        # a variant depends on its number, not on the number of variants
        more = frame.img.augment("image_path", TRANSFORMS[name], n=3, seed=5)["image"].img.to_numpy()
    assert np.array_equal(more.reshape(n, 3, 30, 40, 3)[:, :2], expected.reshape(n, 2, 30, 40, 3))


def test_random_state_of_caller_is_restored(frame):
    with dask.config.set(scheduler="synchronous"):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        expected = random.random(), np.random.rand()  # noqa: NPY002
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        frame.img.augment("image_path", with_global_generators, n=1)
        assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_image_is_decoded_once_for_all_variants(frame, monkeypatch):
    decoded = []
    real = load_pixels
    monkeypatch.setattr(
        augment, "load_pixels", lambda data, decode_options: decoded.append(1) or real(data, decode_options)
    )
    with dask.config.set(scheduler="synchronous"):
        frame.img.augment("image_path", noisy, n=5)
    assert len(decoded) == N


def test_keep_original_adds_variant_0(frame):
    aug = frame[:4].img.augment("image_path", noisy, n=3, keep_original=True)
    originals = frame[:4].img.map("image_path", lambda pixels: pixels)
    assert np.array_equal(aug["image"].xs(0, level="variant").img.to_numpy(), originals.img.to_numpy())
    without = frame[:4].img.augment("image_path", noisy, n=3)
    assert np.array_equal(aug["image"].img.to_numpy()[1], without["image"].img.to_numpy()[1])


def test_broken_image_is_missing_n_times(frame, folder):
    paths = pd.Series([str(folder / "broken.png"), str(folder / "1.png"), None])
    column = paths.img.augment(noisy, n=2, errors="coerce")
    assert column.isna().tolist() == [True, True, False, False, True, True]
    assert column.img.failure_kind.tolist()[:2] == ["unidentified", "unidentified"]


def test_augment_of_broken_or_empty_column_has_shape_or_raises(folder):
    paths = pd.Series([str(folder / "broken.png")] * 2)
    assert paths.img.augment(noisy, n=2, size=8, errors="coerce").dtype.shape == (8, 8, 3)
    with pytest.raises(NoReadableImageError, match="none of 2"):
        paths.img.augment(noisy)
    assert len(paths[:0].img.augment(noisy, n=3)) == 0


def test_variants_of_several_sizes_raise_with_advice(folder):
    paths = pd.Series([str(folder / f"scene{k}.jpg") for k in range(4)])
    with pytest.raises(ValueError, match=r"shape \(50, \d0, 3\), row \d an image of uint8 and shape.*give size=.*to="):
        paths.img.augment(noisy)


def test_saved_variants_may_have_any_size(folder, tmp_path):
    frame = pd.DataFrame({"image_path": [str(folder / f"scene{k}.jpg") for k in range(4)], "label": list("abab")})
    aug = frame.img.augment("image_path", COMPOSITION, n=2, to=f"{tmp_path}/{{label}}/{{stem}}-{{variant}}.png")
    assert aug["path"].iloc[3] == f"{tmp_path}/b/scene1-1.png"
    assert [opened(path).shape[1::-1] for path in aug["path"]] == [(60 + 10 * (k // 2), 50) for k in range(8)]
    pixels = frame[:1].img.augment("image_path", COMPOSITION, n=2)["image"].img.to_numpy()
    assert np.array_equal(opened(aug["path"].iloc[1]), pixels[1])


def test_saved_variants_are_written_once(frame, tmp_path):
    first = frame.img.augment("image_path", COMPOSITION, n=2, to=tmp_path)
    modified = [(tmp_path / path).stat().st_mtime_ns for path in first["path"]]
    second = frame.img.augment("image_path", COMPOSITION, n=2, to=tmp_path)
    assert second["path"].tolist() == first["path"].tolist()
    assert [(tmp_path / path).stat().st_mtime_ns for path in first["path"]] == modified
    for options in ({"seed": 1}, {"transform": albumentations.Compose([albumentations.HorizontalFlip(p=1)])}):
        with pytest.raises(ValueError, match=r"(seed was 0 and is 1|transform|p was)"):
            frame.img.augment("image_path", **{"transform": COMPOSITION, "n": 2, "to": tmp_path, **options})


def test_output_path_without_variant_raises(frame, tmp_path):
    with pytest.raises(ValueError, match=r"two variants of row 0.* would both be written to .* such as \{variant\}"):
        frame.img.augment("image_path", noisy, n=2, to=f"{tmp_path}/{{stem}}.png")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda pixels: None, "the transform returned NoneType, not an image"),
        (lambda pixels: pixels[:, :, :2], "not an image of 1, 3 or 4 channels"),
        (lambda pixels: 1 / 0, r"ZeroDivisionError: division by zero \(<lambda>, line \d+ of test_augment.py\)"),
    ],
)
def test_transform_with_unusable_result_raises(frame, transform, message):
    with pytest.raises(UserFunctionError, match=message):
        frame.img.augment("image_path", transform)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"transform": 3}, TypeError, "transform=3 cannot be called"),
        ({"n": 0}, ValueError, "n=0 is not a whole number from 1 up"),
        ({"n": 2.5}, TypeError, "n=2.5 is not a whole number"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"keep_original": 1}, TypeError, "keep_original=1"),
        ({"transform": threading.Lock().acquire}, TypeError, "cannot be sent"),
    ],
)
def test_augment_with_wrong_arguments_raises(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        frame.img.augment("image_path", **{"transform": noisy, **arguments})


def test_workers_import_albumentations_without_network(managed_cluster):
    import os

    future = managed_cluster.submit(lambda: __import__("pandas_imgproc") and os.environ["NO_ALBUMENTATIONS_UPDATE"])
    assert future.result() == "1"
    assert pandas_imgproc


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        (lambda frame: frame.rename_axis("variant"), None, "the index has a level 'variant'"),
        (lambda frame: frame.set_index("label", append=True).rename_axis(["a", "variant"]), None, "level 'variant'"),
        (lambda frame: frame.assign(variant=1), None, "a column 'variant'"),
        (lambda frame: frame.assign(variant=1), "x/{stem}_{variant}.png", "a column 'variant'"),
        (lambda frame: frame.assign(image=frame["image_path"]), None, "a column 'image'"),
        (lambda frame: frame.assign(path=1), "x", "a column 'path'"),
    ],
)
@pytest.mark.parametrize("kind", ["pandas", "dask"])
def test_name_that_the_frame_has_is_not_replaced_without_a_word(
    frame, tmp_path, monkeypatch, change, to, message, kind
):
    monkeypatch.chdir(tmp_path)
    changed = change(frame)
    if kind == "dask":
        if changed.index.nlevels > 1:
            pytest.skip("Dask has one level")
        changed = dd.from_pandas(changed.sort_index(), npartitions=2)
    with pytest.raises(ValueError, match=message):
        changed.img.augment("image_path", noisy, n=2, size=8, to=to)
    assert not list(tmp_path.iterdir())


def test_column_of_the_name_of_parts_is_not_replaced(frame, tmp_path):
    with pytest.raises(ValueError, match="a column 'part'"):
        frame.assign(part=1).img.augment("image_path", noisy, n=2, size=8, out=tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_image_column_is_replaced_by_its_variants(frame):
    images = frame.assign(image=frame.img.load_resized("image_path", size=8))
    augmented = images.img.augment("image", noisy, n=2, size=8)
    assert list(augmented.columns) == ["image_path", "label", "image"]
    assert len(augmented.reset_index()) == 2 * N
    with pytest.raises(ValueError, match="a column 'image'"):
        images.img.augment("image_path", noisy, n=2, size=8)


@pytest.mark.parametrize("kind", ["lists", "structs"])
def test_index_without_levels_in_pandas_is_refused_before_the_first_image(tmp_path, kind):
    row_image(0, (8, 8)).save(tmp_path / "0.png")
    labels = {
        "lists": pd.Series([[1], [2]]).array,
        "structs": pd.array([{"a": 1}, {"a": 2}], dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
    }
    paths = pd.Series([str(tmp_path / "0.png")] * 2, index=pd.Index(labels[kind]))
    with pytest.raises(TypeError, match="augment adds a level to the index, and pandas cannot make a level of"):
        paths.img.augment(lambda pixels: pixels, n=2, to=tmp_path / "{position}_{variant}.png")
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_columns_of_several_levels_keep_their_levels(frame):
    frame.columns = pd.MultiIndex.from_tuples([("a", "path"), ("b", "label")])
    augmented = frame.img.augment(("a", "path"), lambda pixels: pixels, n=2, size=8)
    assert augmented.columns.tolist() == [("a", "path"), ("b", "label"), ("image", "")]
    assert [row_of(np.asarray(image)) for image in augmented["image"]] == np.repeat(np.arange(N), 2).tolist()
