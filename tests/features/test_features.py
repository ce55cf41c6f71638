"""Each feature against its formula, written out again at full precision, and against other packages."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pandas as pd
import pytest
from feature_images import SCENES
from image_factory import encoded
from PIL import Image

from pandas_imgproc.features import color, detail, dominant, feature_names

# Relative, of float64: the formulas are the same, the order of sums is not.
CLOSE = 1e-9


@pytest.fixture(params=list(SCENES))
def pixels(request):
    return SCENES[request.param]


@pytest.fixture
def gray(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"))


def close(value):
    return pytest.approx(value, rel=CLOSE, abs=1e-9)


def channels(pixels):
    return np.moveaxis(pixels.astype(np.longdouble), -1, 0)


def test_brightness_equals_formula(pixels):
    red, green, blue = (plane.mean() for plane in channels(pixels))
    assert color.brightness(pixels) == close(math.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2) / 255)


def test_brightness_percentiles_equal_numpy(pixels):
    red, green, blue = channels(pixels)
    levels = np.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2).astype(float) / 255
    assert color.brightness_percentiles(pixels) == close(np.percentile(levels, [1, 5, 50, 95, 99]).tolist())


def test_channel_statistics_equal_numpy(pixels):
    planes = channels(pixels)
    expected = [plane.mean() for plane in planes] + [plane.std() for plane in planes]
    assert color.channel_statistics(pixels) == close([float(value) for value in expected])


def test_hue_is_chroma_weighted_circular_mean(pixels):
    red, green, blue = channels(pixels)
    vectors = (red - green / 2 - blue / 2) + 1j * (green - blue) * np.sqrt(np.longdouble(3)) / 2
    total = complex(vectors.sum())
    degrees = color.hue(pixels)
    if abs(total) < 1e-6:
        assert degrees is None
    else:
        assert degrees == close(math.degrees(math.atan2(total.imag, total.real)) % 360)


@pytest.mark.parametrize(("name", "degrees"), [("red", 0), ("yellow", 60), ("lime", 120), ("blue", 240)])
def test_hue_of_pure_colors_is_standard(name, degrees):
    assert color.hue(np.asarray(Image.new("RGB", (4, 4), name))) == close(degrees)


def test_saturation_equals_colorsys(pixels):
    expected = [colorsys.rgb_to_hsv(*pixel)[1] for pixel in pixels.reshape(-1, 3).tolist()]
    assert color.saturation(pixels) == close(math.fsum(expected) / len(expected))


def test_colorfulness_equals_formula(pixels):
    red, green, blue = channels(pixels)
    rg, yb = red - green, (red + green) / 2 - blue
    expected = np.sqrt(rg.var() + yb.var()) + np.longdouble(0.3) * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert color.colorfulness(pixels) == close(float(expected))


def test_dullness_and_whiteness_equal_formula(pixels):
    flat = pixels.reshape(-1, 3)
    assert color.dullness(pixels) == close(float((flat <= 20).all(axis=1).mean()))
    assert color.whiteness(pixels) == close(float((flat >= 240).all(axis=1).mean()))


def test_dullness_and_whiteness_include_their_levels():
    levels = np.array([[[20, 20, 20], [21, 20, 20], [240, 240, 240], [240, 239, 255]]], dtype=np.uint8)
    assert color.dullness(levels) == 0.25
    assert color.whiteness(levels) == 0.25


def test_contrast_and_entropy_equal_numpy_and_pillow(gray):
    contrast, entropy = detail.contrast_and_entropy(gray)
    assert contrast == close(float((gray / np.longdouble(255)).std()))
    assert entropy == pytest.approx(Image.fromarray(gray).entropy(), rel=1e-6, abs=1e-9)  # Pillow has single precision


def test_blur_is_variance_of_scipy_laplacian(gray):
    ndimage = pytest.importorskip("scipy.ndimage")
    assert detail.blur(gray) == close(float(ndimage.laplace(gray.astype(float), mode="mirror").var()))


def test_sharpness_equals_cleanvision(gray):
    from PIL import ImageFilter

    image = Image.fromarray(gray)
    ratio = max(image.size) / 64
    if ratio > 1:
        image = image.resize([max(int(edge // ratio), 1) for edge in image.size], Image.Resampling.BICUBIC)
    edges = np.asarray(image.filter(ImageFilter.FIND_EDGES)).astype(float).std()
    histogram_score = 1 - math.exp(-0.01 * np.std(image.histogram()))
    expected = 1 - math.exp(-0.01 * edges) + (histogram_score if histogram_score > 0.18 else 0)
    assert detail.sharpness(gray) == close(min(1, expected))


def plain_k_means(pixels):
    """Return the dominant color by k-means as the docstring defines it, in plain Python."""
    bins = {}
    for pixel in pixels[::4, ::4].reshape(-1, 3).tolist():
        bins.setdefault(tuple(level // 16 for level in pixel), []).append(pixel)
    means = [[sum(levels) / len(colors) for levels in zip(*colors, strict=True)] for _, colors in sorted(bins.items())]
    weights = [len(colors) for _, colors in sorted(bins.items())]
    squared = lambda u, v: sum((a - b) ** 2 for a, b in zip(u, v, strict=True))  # noqa: E731
    centers = [means[weights.index(max(weights))]]
    while len(centers) < min(5, len(means)):
        weighted = [
            w * min(squared(mean, center) for center in centers) for mean, w in zip(means, weights, strict=True)
        ]
        centers.append(means[weighted.index(max(weighted))])
    for step in range(11):
        nearest = [min(range(len(centers)), key=lambda k: squared(mean, centers[k])) for mean in means]
        if step == 10:
            break
        for k in range(len(centers)):
            members = [i for i, n in enumerate(nearest) if n == k]
            total = sum(weights[i] for i in members)
            if members:
                centers[k] = [sum(weights[i] * means[i][c] for i in members) / total for c in range(3)]
    sizes = [sum(w for w, n in zip(weights, nearest, strict=True) if n == k) for k in range(len(centers))]
    return centers[sizes.index(max(sizes))]


def test_dominant_color_equals_plain_k_means(pixels):
    first = dominant.dominant_color(pixels)
    assert first == pytest.approx(plain_k_means(pixels), rel=1e-6)
    assert first == dominant.dominant_color(pixels)


def test_dominant_color_is_that_of_largest_area():
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:, :40] = (200, 30, 90)
    assert dominant.dominant_color(pixels) == close([200, 30, 90])


# ---- degenerate images: a formula could divide by zero


@pytest.mark.parametrize(
    ("name", "brightness", "hue", "saturation", "is_grayscale"),
    [
        ("black", 0, math.nan, 0, True),
        ("white", 1, math.nan, 0, True),
        ("one pixel", None, math.degrees(math.atan2(math.sqrt(3) * 50, 250)), 0.75, False),
        ("one color", None, None, None, False),
        ("grey", None, math.nan, 0, True),
    ],
)
def test_features_of_degenerate_images_are_defined(name, brightness, hue, saturation, is_grayscale):
    features = pd.Series([encoded(Image.fromarray(SCENES[name]), "PNG")]).img.features(feature_names()).iloc[0]
    numbers = features[list(feature_names("pixels", "grey"))].astype("float64").drop("hue")
    assert np.isfinite(numbers.to_numpy()).all()
    if name != "grey":
        flat = features[["std_r", "std_g", "std_b", "contrast", "entropy", "blur"]].astype("float64")
        assert (flat == 0).all()
        means = features[["mean_r", "mean_g", "mean_b"]].tolist()
        assert features[["dominant_r", "dominant_g", "dominant_b"]].tolist() == means == SCENES[name][0, 0].tolist()
    assert features["is_grayscale"] == is_grayscale
    expected = {"brightness": brightness, "hue": hue, "saturation": saturation}
    for column, value in expected.items():
        if value is not None:
            assert features[column] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert not features[["phash", "dhash", "ahash", "md5", "pixel_md5"]].isna().any()
