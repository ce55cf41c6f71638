"""Random variants: the long frame, the same numbers whatever runs it, every convention, and files."""

from __future__ import annotations

import random
import sys
import threading

import albumentations
import cloudpickle
import dask
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of, scene
from PIL import Image, ImageFilter

import pandas_imgproc
from pandas_imgproc import NoReadableImageError
from pandas_imgproc.tasks import augment
from pandas_imgproc.tasks.fingerprint import function_fingerprint
from pandas_imgproc.tasks.user_function import load_pixels

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augment")
    for number in range(N):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    for number in range(8):
        scene(40, 30, number).save(folder / f"photo{number}.png")
    for number in range(4):
        scene(60 + 10 * number, 50, number).save(folder / f"scene{number}.jpg")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def frame(folder):
    paths = [str(folder / f"{number}.png") for number in range(N)]
    return pd.DataFrame({"image_path": paths, "label": range(N)}, index=np.arange(N) % 7)


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def noisy(pixels, rng):
    return np.clip(pixels + rng.normal(0, 1, pixels.shape), 0, 255).astype("uint8")


def from_everywhere(pixels):
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
TRANSFORMS = {"albumentations": COMPOSITION, "rng": noisy, "globals": from_everywhere, "pil": blurred}


def test_the_long_frame(frame):
    aug = frame.img.augment("image_path", noisy, n=3)
    assert aug.columns.tolist() == ["image_path", "label", "image"]
    assert aug["label"].tolist() == [k // 3 for k in range(3 * N)]
    assert aug.index.names == [None, "variant"]
    assert aug.index.get_level_values(0).tolist() == frame.index.repeat(3).tolist()
    assert aug.index.get_level_values("variant").tolist() == [0, 1, 2] * N
    assert [row_of(image) for image in aug["image"].img.to_numpy()] == aug["label"].tolist()


def test_a_column_gives_a_column(frame):
    column = frame["image_path"].img.augment(noisy, n=2, size=(12, 8))
    assert column.name == "image"
    assert column.img.to_numpy().shape == (2 * N, 8, 12, 3)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_pixels_whatever_runs_it(folder, own_cluster, name):
    n = 24
    frame = pd.DataFrame({"image_path": [str(folder / f"photo{k % 8}.png") for k in range(n)]})

    def pixels(**options):
        aug = frame.img.augment("image_path", TRANSFORMS[name], n=2, seed=5, **options)
        return aug["image"].img.to_numpy()

    expected = pixels()
    assert len({image.tobytes() for image in expected}) > n
    assert np.array_equal(pixels(npartitions=1), expected)
    assert np.array_equal(pixels(npartitions=7), expected)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(pixels(), expected)
    assert not np.array_equal(frame.img.augment("image_path", TRANSFORMS[name], n=2)["image"].img.to_numpy(), expected)
    # a variant depends on its number, not on how many there are
    more = frame.img.augment("image_path", TRANSFORMS[name], n=3, seed=5)["image"].img.to_numpy()
    assert np.array_equal(more.reshape(n, 3, 30, 40, 3)[:, :2], expected.reshape(n, 2, 30, 40, 3))


def test_the_callers_own_random_numbers_go_on_undisturbed(frame):
    with dask.config.set(scheduler="synchronous"):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        expected = random.random(), np.random.rand()  # noqa: NPY002
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        frame.img.augment("image_path", from_everywhere, n=1)
        assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def test_each_image_is_read_and_decoded_once(frame, monkeypatch):
    opened = []
    real = load_pixels
    monkeypatch.setattr(
        augment, "load_pixels", lambda data, decode_options: opened.append(1) or real(data, decode_options)
    )
    with dask.config.set(scheduler="synchronous"):
        frame.img.augment("image_path", noisy, n=5)
    assert len(opened) == N


def test_the_original_may_be_variant_0(frame):
    aug = frame[:4].img.augment("image_path", noisy, n=3, keep_original=True)
    originals = frame[:4].img.map("image_path", lambda pixels: pixels)
    assert np.array_equal(aug["image"].xs(0, level="variant").img.to_numpy(), originals.img.to_numpy())
    without = frame[:4].img.augment("image_path", noisy, n=3)
    assert np.array_equal(aug["image"].img.to_numpy()[1], without["image"].img.to_numpy()[1])


def test_broken_images_are_missing_n_times(frame, folder):
    paths = pd.Series([str(folder / "broken.png"), str(folder / "1.png"), None])
    column = paths.img.augment(noisy, n=2, errors="coerce")
    assert column.isna().tolist() == [True, True, False, False, True, True]
    assert column.img.failure_kind.tolist()[:2] == ["unidentified", "unidentified"]


def test_all_broken_and_empty(folder):
    paths = pd.Series([str(folder / "broken.png")] * 2)
    assert paths.img.augment(noisy, n=2, size=8, errors="coerce").dtype.shape == (8, 8, 3)
    with pytest.raises(NoReadableImageError, match="none of 2"):
        paths.img.augment(noisy)
    assert len(paths[:0].img.augment(noisy, n=3)) == 0


def test_several_sizes_are_an_error_that_says_what_to_do(folder):
    paths = pd.Series([str(folder / f"scene{k}.jpg") for k in range(4)])
    with pytest.raises(ValueError, match=r"shape \(50, \d0, 3\) and one of uint8 and shape.*give size=.*to="):
        paths.img.augment(noisy)


def test_files_of_any_size(folder, tmp_path):
    frame = pd.DataFrame({"image_path": [str(folder / f"scene{k}.jpg") for k in range(4)], "label": list("abab")})
    aug = frame.img.augment("image_path", COMPOSITION, n=2, to=f"{tmp_path}/{{label}}/{{stem}}-{{variant}}.png")
    assert aug["path"].iloc[3] == f"{tmp_path}/b/scene1-1.png"
    assert [opened(path).shape[1::-1] for path in aug["path"]] == [(60 + 10 * (k // 2), 50) for k in range(8)]
    pixels = frame[:1].img.augment("image_path", COMPOSITION, n=2)["image"].img.to_numpy()
    assert np.array_equal(opened(aug["path"].iloc[1]), pixels[1])


def test_files_are_made_once(frame, tmp_path):
    first = frame.img.augment("image_path", COMPOSITION, n=2, to=tmp_path)
    stamps = [(tmp_path / path).stat().st_mtime_ns for path in first["path"]]
    again = frame.img.augment("image_path", COMPOSITION, n=2, to=tmp_path)
    assert again["path"].tolist() == first["path"].tolist()
    assert [(tmp_path / path).stat().st_mtime_ns for path in first["path"]] == stamps
    for options in ({"seed": 1}, {"transform": albumentations.Compose([albumentations.HorizontalFlip(p=1)])}):
        with pytest.raises(ValueError, match=r"(seed was 0 and is 1|transform|p was)"):
            frame.img.augment("image_path", **{"transform": COMPOSITION, "n": 2, "to": tmp_path, **options})


def test_variants_need_names_of_their_own(frame, tmp_path):
    with pytest.raises(ValueError, match=r"two variants of row 0 .* would both be written to .* such as \{variant\}"):
        frame.img.augment("image_path", noisy, n=2, to=f"{tmp_path}/{{stem}}.png")


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (lambda pixels: None, "the transform returned NoneType, not an image"),
        (lambda pixels: pixels[:, :, :2], "not an image of 1, 3 or 4 channels"),
        (lambda pixels: 1 / 0, r"ZeroDivisionError: division by zero \(<lambda>, line \d+ of test_augment.py\)"),
    ],
)
def test_what_is_wrong_with_a_transform_is_told(frame, transform, says):
    with pytest.raises(NoReadableImageError, match=says):
        frame.img.augment("image_path", transform)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"transform": 3}, TypeError, "transform=3 cannot be called"),
        ({"n": 0}, ValueError, "n=0 is not a whole number from 1 up"),
        ({"n": 2.5}, TypeError, "n=2.5 is not a whole number"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"keep_original": 1}, TypeError, "keep_original=1"),
        ({"transform": threading.Lock().acquire}, TypeError, "cannot be sent"),
    ],
)
def test_wrong_arguments_are_told_at_once(frame, arguments, error, says):
    with pytest.raises(error, match=says):
        frame.img.augment("image_path", **{"transform": noisy, **arguments})


def test_a_function_is_known_by_its_code():
    factor = 2
    first = function_fingerprint(lambda pixels: pixels * factor)
    factor = 3
    assert function_fingerprint(lambda pixels: pixels * factor) != first
    assert function_fingerprint(noisy) != function_fingerprint(from_everywhere)
    assert "0x" not in function_fingerprint(threading.Lock())


def test_workers_do_not_ask_the_network(own_cluster):
    import os

    asked = own_cluster.submit(lambda: __import__("pandas_imgproc") and os.environ["NO_ALBUMENTATIONS_UPDATE"])
    assert asked.result() == "1"
    assert pandas_imgproc
