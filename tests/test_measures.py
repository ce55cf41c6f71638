"""Each measure against its formula, written out again at full precision, and against other packages."""

from __future__ import annotations

import colorsys
import hashlib
import math
import re

import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, every_image, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc import codec
from pandas_imgproc.features import HASHES, HEADER, color, detail, dominant, feature_names, hashes

# Relative, of float64: the formulas are the same, the order of sums is not.
CLOSE = 1e-9

SCENES = {
    "scene": np.asarray(scene(120, 90)),
    "tall": np.asarray(scene(31, 200, 5)),
    "row": np.asarray(scene(64, 1, 2)),
    "noise": np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8),
    "one pixel": np.array([[[200, 100, 50]]], dtype=np.uint8),
    "black": np.zeros((20, 30, 3), np.uint8),
    "white": np.full((20, 30, 3), 255, np.uint8),
    "one colour": np.full((20, 30, 3), (17, 130, 201), np.uint8),
    "grey": np.repeat(np.asarray(scene(40, 30).convert("L"))[..., np.newaxis], 3, axis=2),
}


@pytest.fixture(params=list(SCENES))
def pixels(request):
    return SCENES[request.param]


@pytest.fixture
def grey(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"))


def close(value):
    return pytest.approx(value, rel=CLOSE, abs=1e-9)


def channels(pixels):
    return np.moveaxis(pixels.astype(np.longdouble), -1, 0)


def test_brightness(pixels):
    red, green, blue = (plane.mean() for plane in channels(pixels))
    assert color.brightness(pixels) == close(math.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2) / 255)


def test_brightness_percentiles(pixels):
    red, green, blue = channels(pixels)
    each = np.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2).astype(float) / 255
    assert color.brightness_percentiles(pixels) == close(np.percentile(each, [1, 5, 50, 95, 99]).tolist())


def test_means_and_deviations(pixels):
    planes = channels(pixels)
    expected = [plane.mean() for plane in planes] + [plane.std() for plane in planes]
    assert color.channel_statistics(pixels) == close([float(value) for value in expected])


def test_hue_is_the_circular_mean_weighted_by_chroma(pixels):
    red, green, blue = channels(pixels)
    vectors = (red - green / 2 - blue / 2) + 1j * (green - blue) * np.sqrt(np.longdouble(3)) / 2
    total = complex(vectors.sum())
    found = color.hue(pixels)
    if abs(total) < 1e-6:
        assert found is None
    else:
        assert found == close(math.degrees(math.atan2(total.imag, total.real)) % 360)


@pytest.mark.parametrize(("colour", "degrees"), [("red", 0), ("yellow", 60), ("lime", 120), ("blue", 240)])
def test_hue_of_pure_colours_is_the_one_everybody_knows(colour, degrees):
    assert color.hue(np.asarray(Image.new("RGB", (4, 4), colour))) == close(degrees)


def test_saturation(pixels):
    expected = [colorsys.rgb_to_hsv(*pixel)[1] for pixel in pixels.reshape(-1, 3).tolist()]
    assert color.saturation(pixels) == close(math.fsum(expected) / len(expected))


def test_colorfulness(pixels):
    red, green, blue = channels(pixels)
    rg, yb = red - green, (red + green) / 2 - blue
    expected = np.sqrt(rg.var() + yb.var()) + np.longdouble(0.3) * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert color.colorfulness(pixels) == close(float(expected))


def test_dullness_and_whiteness(pixels):
    flat = pixels.reshape(-1, 3)
    assert color.dullness(pixels) == close(float((flat <= 20).all(axis=1).mean()))
    assert color.whiteness(pixels) == close(float((flat >= 240).all(axis=1).mean()))


def test_dullness_and_whiteness_have_their_levels():
    levels = np.array([[[20, 20, 20], [21, 20, 20], [240, 240, 240], [240, 239, 255]]], dtype=np.uint8)
    assert color.dullness(levels) == 0.25
    assert color.whiteness(levels) == 0.25


def test_contrast_and_entropy(grey):
    contrast, entropy = detail.contrast_and_entropy(grey)
    assert contrast == close(float((grey / np.longdouble(255)).std()))
    assert entropy == pytest.approx(Image.fromarray(grey).entropy(), rel=1e-6, abs=1e-9)  # Pillow has single precision


def test_blur_is_the_variance_of_scipy_s_laplacian(grey):
    ndimage = pytest.importorskip("scipy.ndimage")
    assert detail.blur(grey) == close(float(ndimage.laplace(grey.astype(float), mode="mirror").var()))


def test_sharpness_is_cleanvision_s_score(grey):
    from PIL import ImageFilter

    image = Image.fromarray(grey)
    ratio = max(image.size) / 64
    if ratio > 1:
        image = image.resize([max(int(edge // ratio), 1) for edge in image.size], Image.Resampling.BICUBIC)
    edges = np.asarray(image.filter(ImageFilter.FIND_EDGES)).astype(float).std()
    of_histogram = 1 - math.exp(-0.01 * np.std(image.histogram()))
    expected = 1 - math.exp(-0.01 * edges) + (of_histogram if of_histogram > 0.18 else 0)
    assert detail.sharpness(grey) == close(min(1, expected))


def plain_k_means(pixels):
    """K-means as the docstring tells it, one step after the other, in plain Python."""
    cells = {}
    for pixel in pixels[::4, ::4].reshape(-1, 3).tolist():
        cells.setdefault(tuple(level // 16 for level in pixel), []).append(pixel)
    means = [[sum(part) / len(found) for part in zip(*found, strict=True)] for _, found in sorted(cells.items())]
    weights = [len(found) for _, found in sorted(cells.items())]
    squared = lambda one, other: sum((a - b) ** 2 for a, b in zip(one, other, strict=True))  # noqa: E731
    centres = [means[weights.index(max(weights))]]
    while len(centres) < min(5, len(means)):
        away = [w * min(squared(mean, centre) for centre in centres) for mean, w in zip(means, weights, strict=True)]
        centres.append(means[away.index(max(away))])
    for step in range(11):
        nearest = [min(range(len(centres)), key=lambda k: squared(mean, centres[k])) for mean in means]
        if step == 10:
            break
        for k in range(len(centres)):
            own = [i for i, n in enumerate(nearest) if n == k]
            total = sum(weights[i] for i in own)
            if own:
                centres[k] = [sum(weights[i] * means[i][c] for i in own) / total for c in range(3)]
    sizes = [sum(w for w, n in zip(weights, nearest, strict=True) if n == k) for k in range(len(centres))]
    return centres[sizes.index(max(sizes))]


def test_dominant_colour(pixels):
    found = dominant.dominant_colour(pixels)
    assert found == pytest.approx(plain_k_means(pixels), rel=1e-6)
    assert found == dominant.dominant_colour(pixels)


def test_dominant_colour_is_that_of_the_largest_area():
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:, :40] = (200, 30, 90)
    assert dominant.dominant_colour(pixels) == close([200, 30, 90])


# ---- images for which a formula could divide by zero


@pytest.mark.parametrize(
    ("name", "brightness", "hue", "saturation", "is_grayscale"),
    [
        ("black", 0, math.nan, 0, True),
        ("white", 1, math.nan, 0, True),
        ("one pixel", None, math.degrees(math.atan2(math.sqrt(3) * 50, 250)), 0.75, False),
        ("one colour", None, None, None, False),
        ("grey", None, math.nan, 0, True),
    ],
)
def test_simple_images_have_defined_values(name, brightness, hue, saturation, is_grayscale):
    found = pd.Series([encoded(Image.fromarray(SCENES[name]), "PNG")]).img.features(feature_names()).iloc[0]
    numbers = found[list(feature_names("pixels", "grey"))].astype("float64").drop("hue")
    assert np.isfinite(numbers.to_numpy()).all()
    if name != "grey":
        flat = found[["std_r", "std_g", "std_b", "contrast", "entropy", "blur"]].astype("float64")
        assert (flat == 0).all()
        means = found[["mean_r", "mean_g", "mean_b"]].tolist()
        assert found[["dominant_r", "dominant_g", "dominant_b"]].tolist() == means == SCENES[name][0, 0].tolist()
    assert found["is_grayscale"] == is_grayscale
    expected = {"brightness": brightness, "hue": hue, "saturation": saturation}
    for column, value in expected.items():
        if value is not None:
            assert found[column] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert not found[["phash", "dhash", "ahash", "md5", "pixel_md5"]].isna().any()


# ---- hashes


def symmetric(n):
    half = np.asarray(scene(40, 60, n))
    return Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))


def hashed_images():
    yield from ((name, Image.fromarray(array)) for name, array in SCENES.items())
    # Half of their frequencies are zero but for rounding: every last bit of the transform counts.
    yield from ((f"symmetric {n}", symmetric(n)) for n in range(12))
    yield from ((f"level {level}", Image.new("RGB", (37, 23), (level, level, level))) for level in range(0, 256, 15))
    for name, mode, data in every_image((90, 70), 3):
        if mode != "F":  # whose white is not known
            yield f"{name} {mode}", codec.load(data, codec.decode_options())


def test_hashes_are_those_of_imagehash_bit_for_bit():
    imagehash = pytest.importorskip("imagehash")
    theirs = {"phash": imagehash.phash, "dhash": imagehash.dhash, "ahash": imagehash.average_hash}
    for name, image in hashed_images():
        grey = np.asarray(image.convert("L"))
        for kind, function in theirs.items():
            assert getattr(hashes, kind)(grey) == int(str(function(image)), 16), f"{kind} of {name}"


def test_the_cosine_transform_is_scipy_s_to_the_last_bit():
    fftpack = pytest.importorskip("scipy.fftpack")
    rng = np.random.default_rng(0)
    for rows in rng.integers(0, 256, (50, 32, 32)).astype(float):
        assert np.array_equal(hashes.cosines(rows), fftpack.dct(rows, axis=1))


def test_md5_of_files_and_of_pixels(tmp_path):
    image = scene(40, 30)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    image.save(tmp_path / "c.ppm")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "d.png")
    paths = pd.Series([str(tmp_path / name) for name in ("a.png", "b.bmp", "c.ppm", "d.png")])
    files = [hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in ("a.png", "b.bmp", "c.ppm", "d.png")]
    assert paths.img.hash("md5").tolist() == files
    pixel = paths.img.hash("pixel_md5").tolist()
    assert pixel[0] == pixel[1] == pixel[2] == files[2]
    assert pixel[3] != pixel[0]


def test_black_images_of_other_shapes_are_not_the_same_pixels():
    black = [encoded(Image.new("RGB", size), "PNG") for size in ((20, 10), (10, 20))]
    assert pd.Series(black).img.hash("pixel_md5").nunique() == 2


# ---- the registry


@pytest.fixture
def forgotten():
    """Forget the measure "corner" after the test."""
    yield
    pandas_imgproc.unregister_feature("corner")


def test_one_s_own_measure_is_a_column_like_the_others(forgotten):
    @pandas_imgproc.register_feature("corner", "corner_g", dtype="Int64")
    def corner(pixels):
        assert pixels.flags.c_contiguous
        return pixels[0, 0, 0], None

    frame = pd.Series([encoded(Image.new("RGB", (400, 8), (9, 8, 7)), "PNG")]).img.features(["corner_g", "corner"])
    assert frame.dtypes.astype(str).tolist() == ["Int64", "Int64"]
    assert frame["corner"].tolist() == [9]
    assert frame["corner_g"].isna().all()
    assert feature_names()[-2:] == ("corner", "corner_g")


@pytest.mark.parametrize(
    ("reads", "seen"),
    [
        ("pixels", (102, 256, 3)),
        ("grey", (102, 256)),
        ("full", (400, 1000, 3)),
        ("full_grey", (400, 1000)),
        ("bytes", "bytes"),
        ("header", "Header"),
    ],
)
def test_a_measure_is_given_what_it_reads(forgotten, reads, seen):
    @pandas_imgproc.register_feature("corner", dtype="string", input=reads)
    def corner(given):
        return str(given.shape) if isinstance(given, np.ndarray) else type(given).__name__

    data = encoded(Image.new("RGB", (1000, 400)), "PNG")
    assert pd.Series([data]).img.features("corner")["corner"].tolist() == [str(seen)]


@pytest.mark.parametrize(
    ("answer", "dtype", "message"),
    [
        (lambda _: 1 / 0, "float64", "ZeroDivisionError: division by zero (<lambda>, line"),
        (lambda pixels: pixels, "float64", "array of shape"),
        (lambda _: 2.5, "Int64", "no whole number"),
        (lambda _: -1, "UInt64", "OverflowError"),
        (lambda _: "red", "float64", "could not convert"),
    ],
)
def test_what_one_s_own_measure_raises_costs_the_row_and_is_called_function(forgotten, answer, dtype, message):
    pandas_imgproc.register_feature("corner", dtype=dtype)(answer)
    frame = pd.Series([encoded(scene(8, 8)), None]).img.features(["width", "corner"], errors="coerce")
    assert frame.isna().all(axis=None)
    assert frame.img.failures["kind"].tolist() == ["function"]
    assert message in frame.img.failures["message"].iloc[0]


def test_a_failure_of_one_s_own_measure_names_its_file(forgotten):
    pandas_imgproc.register_feature("corner")(lambda _: 1 / 0)
    frame = pd.Series([encoded(scene(8, 8)), None]).img.features(["corner"], errors="coerce", npartitions=1)
    message = frame.img.failures["message"].iloc[0]
    assert re.fullmatch(r"ZeroDivisionError: division by zero \(<lambda>, line \d+ of test_measures.py\)", message)


def test_a_text_is_cut_between_characters(forgotten):
    pandas_imgproc.register_feature("corner", dtype="string", max_bytes=4)(lambda _: "aéé")
    assert pd.Series([encoded(scene(8, 8))]).img.features("corner")["corner"].tolist() == ["aé"]


def test_one_s_own_measure_travels_to_the_workers_with_its_module(forgotten, own_cluster, tmp_path, monkeypatch):
    (tmp_path / "own_measures.py").write_text(
        "import pandas_imgproc\nLEVEL = 7\ndef twice(x): return 2 * x\n"
        "@pandas_imgproc.register_feature('corner', dtype='Int64')\ndef corner(pixels): return twice(LEVEL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # of this process: the workers are up already and do not know it
    import own_measures  # noqa: F401

    frame = pd.Series([encoded(scene(8, 8, n)) for n in range(4)]).img.features(["corner", "width"], npartitions=2)
    assert frame["corner"].tolist() == [14] * 4
    assert frame["width"].tolist() == [8] * 4


@pytest.mark.parametrize(
    ("arguments", "options", "error", "said"),
    [
        ((), {}, TypeError, "names of columns"),
        (("corner", "corner"), {}, ValueError, "twice"),
        (("blur",), {}, ValueError, "a measure of the library"),
        (("corner",), {"dtype": "complex"}, ValueError, "dtype='complex' is not one of"),
        (("corner",), {"input": "file"}, ValueError, "input='file' is not one of"),
        (("corner",), {"max_bytes": 0}, ValueError, "max_bytes=0"),
    ],
)
def test_mistakes_of_the_decorator(arguments, options, error, said):
    with pytest.raises(error, match=said):
        pandas_imgproc.register_feature(*arguments, **options)


def test_the_decorator_wants_a_function():
    with pytest.raises(TypeError, match="decorates a function"):
        pandas_imgproc.register_feature("corner")(7)


def test_the_library_s_measures_are_not_forgotten():
    with pytest.raises(ValueError, match="of the library"):
        pandas_imgproc.unregister_feature("blur")


def test_every_measure_says_what_it_is():
    assert set(HEADER) | set(HASHES) < set(feature_names())
    assert feature_names()[:3] == ("width", "height", "area")
    assert len(feature_names()) == 45
