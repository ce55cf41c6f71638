"""Color profiles: the colors that a person sees, in each format and mode, and where numbers must stay as they are."""

from __future__ import annotations

import io
import logging
import zlib
from concurrent.futures import ThreadPoolExecutor

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import DISPLAY_P3, chunk, encoded, icc_profile, image_bytes, oriented, png, scene
from PIL import Image, ImageCms

import pandas_imgproc
from pandas_imgproc import JournalError, codec
from pandas_imgproc.codec import color_profile

ADOBE_GREEN, GREEN = (40, 160, 60), (0, 161, 47)
ADOBE = icc_profile()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


def by_pillow(image, profile=ADOBE, mode="RGB"):
    """Return an image in sRGB, by the call that a user of Pillow makes."""
    return ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode=mode)


def load(data, size=None, **options):
    return codec.load(data, codec.decode_options(size, allow_any_size=True, **options))


def pixels(data, size=None, **options):
    return np.asarray(load(data, size, **options)).astype(int)


@pytest.mark.parametrize("engine", ["simd", "pillow"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_adobe_green_is_green_in_each_format_mode_and_fit(name, engine):
    data = encoded(Image.new("RGB", (64, 48), ADOBE_GREEN), name, icc_profile=ADOBE, **LOSSLESS[name])
    for size, fit in ((None, "stretch"), (8, "stretch"), (8, "pad"), (100, "crop"), (9, "contain")):
        image = load(data, size, fit=fit, engine=engine)
        assert image.getpixel((image.width // 2, image.height // 2)) == GREEN
        assert "icc_profile" not in image.info
    assert load(data, 8, mode="RGBA", engine=engine).getpixel((4, 4)) == (*GREEN, 255)
    assert load(data, 8, mode="L", engine=engine).getpixel((4, 4)) == 100  # luma of GREEN
    assert np.abs(np.subtract(load(data, 8, color_profile="ignore").getpixel((4, 4)), ADOBE_GREEN)).max() <= 1


def test_padding_keeps_its_color():
    data = encoded(Image.new("RGB", (40, 10), ADOBE_GREEN), icc_profile=ADOBE)
    assert load(data, 20, fit="pad", background=ADOBE_GREEN).getpixel((0, 0)) == ADOBE_GREEN


def test_other_plugins_and_large_profiles():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    image = Image.new("RGB", (64, 64), ADOBE_GREEN)
    heic = encoded(image, "HEIF", icc_profile=ADOBE, quality=100)
    assert np.abs(pixels(heic, 8, formats=["HEIF"]) - GREEN).max() <= 6  # of its lossy compression
    avif = encoded(image, "AVIF", icc_profile=ADOBE, quality=100)
    assert np.abs(pixels(avif, 8) - GREEN).max() <= 2
    segments = encoded(image, "JPEG", icc_profile=icc_profile(extra=150_000), quality=100)
    assert segments.count(b"ICC_PROFILE\0") == 3
    assert np.abs(pixels(segments, 8) - GREEN).max() <= 1


@pytest.mark.parametrize("profile", [ADOBE, icc_profile(primaries=DISPLAY_P3, gamma=2.2)], ids=["adobe", "p3"])
def test_exact_pixels_are_those_of_pillow_after_the_resize(profile):
    photo = scene(160, 120)
    for name in ("PNG", "JPEG"):
        data = encoded(photo, name, icc_profile=profile)
        with Image.open(io.BytesIO(data)) as image:
            resized = image.resize((50, 40))
        expected = np.asarray(by_pillow(resized, profile)).astype(int)
        assert np.array_equal(pixels(data, (50, 40), reducing_gap=None), expected)
        assert np.array_equal(
            pixels(data, (50, 40), reducing_gap=None, mode="L")[..., None],
            np.asarray(by_pillow(resized, profile).convert("L"))[..., None],
        )
        assert np.abs(pixels(data, (50, 40)) - expected).mean() < 3
        assert np.abs(expected - np.asarray(resized)).mean() > 3


def test_enlarged_image_is_converted_before_the_resize():
    data = encoded(scene(60, 40), "PNG", icc_profile=ADOBE)
    with Image.open(io.BytesIO(data)) as image:
        expected = by_pillow(image).resize((80, 50))
    assert np.array_equal(pixels(data, (80, 50), reducing_gap=None), np.asarray(expected))


def test_engines_differ_by_the_rounding_of_the_resize_only():
    data = encoded(scene(160, 120), "JPEG", icc_profile=ADOBE)
    assert np.array_equal(pixels(data, engine="simd"), pixels(data, engine="pillow"))
    assert np.abs(pixels(data, 64, engine="simd") - pixels(data, 64, engine="pillow")).mean() < 1


def test_upright_image_has_its_colors():
    data = oriented(Image.new("RGB", (60, 40), ADOBE_GREEN), 6, "PNG", icc_profile=ADOBE)
    assert load(data).size == (60, 40)
    assert load(data, 8).getpixel((4, 4)) == GREEN


def test_gray_profile_and_gray_image_with_an_rgb_profile():
    levels = Image.frombytes("L", (16, 16), bytes(range(256)))
    for profile, source in ((icc_profile("GRAY", gamma=1.8), levels), (ADOBE, levels.convert("RGB"))):
        expected = np.asarray(by_pillow(source, profile, "RGB").convert("L")).astype(int)
        assert np.abs(expected - np.asarray(levels)).max() > 3
        for name in ("PNG", "TIFF"):
            data = encoded(levels, name, icc_profile=profile)
            assert np.array_equal(pixels(data, mode="L"), expected)
            assert np.array_equal(pixels(data), np.repeat(expected[..., None], 3, 2))
    jpeg = encoded(scene(200, 100).convert("L"), "JPEG", icc_profile=icc_profile("GRAY", gamma=1.8))
    dark = pixels(jpeg, 32, color_profile="ignore", mode="L").mean()
    assert pixels(jpeg, 32, mode="L").mean() > dark + 5  # without a change of the scale


def test_gray_with_transparency():
    image = Image.merge("LA", (Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 255)))
    data = encoded(image, icc_profile=icc_profile("GRAY", gamma=1.8))
    expected = by_pillow(Image.new("L", (1, 1), 100), icc_profile("GRAY", gamma=1.8), "RGB").getpixel((0, 0))
    assert load(data).getpixel((4, 4)) == expected
    assert load(data, mode="RGBA").getpixel((4, 4)) == (*expected, 255)
    assert load(data, background=None).getpixel((4, 4)) == expected


def test_cmyk_profile():
    profile, photo = icc_profile("CMYK"), scene(96, 64).convert("CMYK")
    expected = by_pillow(photo, profile)
    assert np.abs(np.asarray(expected).astype(int) - np.asarray(photo.convert("RGB"))).mean() > 5
    data = encoded(photo, "TIFF", icc_profile=profile)
    assert np.array_equal(pixels(data), np.asarray(expected))
    assert np.array_equal(pixels(data, mode="L"), np.asarray(expected.convert("L")))
    assert np.array_equal(pixels(data, mode="CMYK"), np.asarray(photo))  # the numbers that were asked for
    jpeg = encoded(photo, "JPEG", icc_profile=profile, quality=100, subsampling=0)
    assert np.abs(pixels(jpeg) - np.asarray(expected)).mean() < 2


def test_transparent_image_is_converted_and_its_background_is_not():
    image = Image.new("RGBA", (8, 8), (*ADOBE_GREEN, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    for source in (image, image.quantize(4)):
        data = encoded(source, icc_profile=ADOBE)
        shown = load(data, background=ADOBE_GREEN)
        assert (shown.getpixel((1, 1)), shown.getpixel((6, 1))) == (GREEN, ADOBE_GREEN)
        kept = load(data, mode="RGBA")
        assert (kept.getpixel((1, 1)), kept.getpixel((6, 1))[3]) == ((*GREEN, 255), 0)
    assert load(encoded(image, icc_profile=ADOBE), background=None).getpixel((1, 1)) == GREEN


def test_numbers_that_are_no_colors_stay():
    mask = Image.frombytes("P", (4, 4), bytes(range(16)))
    mask.putpalette([*ADOBE_GREEN * 16])
    assert pixels(encoded(mask, icc_profile=ADOBE), mode="P").ravel().tolist() == list(range(16))
    gray = encoded(Image.frombytes("L", (4, 4), bytes(range(16))), icc_profile=icc_profile("GRAY", gamma=1.0))
    assert pixels(gray, mode="P").ravel().tolist() == list(range(16))
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(ADOBE))
    for color, shape in ((0, (4, 4)), (2, (4, 4, 3)), (6, (4, 4, 4))):
        deep = png(np.full(shape, 20_000), 16, color)
        tagged = png(np.full(shape, 20_000), 16, color, extra=profile)
        assert Image.open(io.BytesIO(tagged)).info["icc_profile"] == ADOBE
        assert np.array_equal(pixels(tagged), pixels(deep))


def test_srgb_profile_of_any_name_changes_no_byte():
    for profile in (SRGB, SRGB.replace(b"sRGB", b"ABCD")):
        data = encoded(scene(90, 60), "JPEG", icc_profile=profile)
        plain = encoded(scene(90, 60), "JPEG")
        assert np.array_equal(pixels(data, 32), pixels(plain, 32))
        assert load(data, 32).info == {"icc_profile": profile}


def test_profile_that_does_not_describe_the_pixels_is_ignored():
    data = encoded(Image.new("RGB", (8, 8), ADOBE_GREEN), icc_profile=icc_profile("CMYK"))
    assert load(data).getpixel((4, 4)) == ADOBE_GREEN


@pytest.mark.parametrize("broken", [b"no profile at all", ADOBE[:200], ADOBE[:128] + bytes(400), bytes(70_000)])
def test_broken_profile_is_ignored_and_logged_once(broken, caplog):
    data = encoded(Image.new("RGB", (8, 8), ADOBE_GREEN), icc_profile=broken)
    color_profile._log_broken.cache_clear()
    with caplog.at_level(logging.WARNING, "pandas_imgproc"):
        for _ in range(3):
            assert load(data).getpixel((4, 4)) == ADOBE_GREEN
            color_profile._conversion.cache_clear()  # as if there were many other profiles in between
    (record,) = caplog.records
    assert record.message.startswith(f"a broken color profile of {len(broken)} bytes is ignored: ")


def test_threads_share_a_conversion():
    color_profile._conversion.cache_clear()
    files = [encoded(scene(300, 200, seed), icc_profile=ADOBE) for seed in range(8)]
    alone = [pixels(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, files * 3))
    assert all(np.array_equal(a, b) for a, b in zip(alone * 3, together, strict=True))


# ---- the methods


@pytest.fixture
def column(tmp_path):
    photo = scene(120, 90)
    photo.save(tmp_path / "wide.png", icc_profile=ADOBE)
    by_pillow(photo).save(tmp_path / "plain.png", icc_profile=None)
    photo.save(tmp_path / "numbers.png")
    return pd.Series([str(tmp_path / name) for name in ("wide.png", "plain.png", "numbers.png")])


def test_features_and_hashes_are_those_of_the_colors(column):
    names = ["brightness", "hue", "saturation", "phash", "pixel_md5"]
    seen = column.img.features(names)
    assert seen.loc[0].equals(seen.loc[1])
    assert not seen.loc[0].equals(seen.loc[2])
    ignored = column.img.features(names, color_profile="ignore")
    assert ignored.loc[0].equals(ignored.loc[2])
    assert column.img.duplicate_groups("pixels").tolist() == [0, 0, 1]
    assert column.img.duplicate_groups("pixels", color_profile="ignore").tolist() == [0, 1, 0]


def test_every_way_to_pixels_has_the_colors(column, tmp_path):
    def is_seen(first, second, third):
        return np.array_equal(first, second) and not np.array_equal(first, third)

    assert is_seen(*column.img.load_resized(16, reducing_gap=None).img.to_numpy()) is False  # the order of the steps
    assert is_seen(*column.img.map(lambda pixels: pixels).img.to_numpy())
    assert is_seen(*(np.array(Image.open(path)) for path in column.img.save_resized(tmp_path / "out", None)))
    lazy = dd.from_pandas(column, npartitions=1).img.map(
        lambda pixels: pixels, dtype=pandas_imgproc.ImageDtype("uint8", (90, 120, 3))
    )
    assert is_seen(*lazy.compute(scheduler="synchronous").img.to_numpy())
    images = pd.Series([Image.open(path) for path in column], dtype=object)
    assert is_seen(*images.img.map(lambda pixels: pixels).img.to_numpy())
    first, second = (np.array(pd.Series([column[k]], index=["a"]).img.show().image) for k in range(2))
    assert np.abs(first.astype(int) - second).max() <= 1
    assert np.array_equal(
        pandas_imgproc.load_image(column[0], 16, color_profile="ignore"), pandas_imgproc.load_image(column[2], 16)
    )


def test_saved_file_has_the_profile_of_its_pixels(column, tmp_path):
    def saved(**options):
        (path,) = column[:1].img.save_resized(tmp_path / str(len(options)), 20, overwrite=True, **options)
        with Image.open(path) as image:
            return image.info.get("icc_profile")

    assert saved() is None
    assert saved(color_profile="ignore") == ADOBE
    with Image.open(column.img.save_thumbnails(tmp_path / "t", 20, color_profile="ignore")[0]) as image:
        assert image.info.get("icc_profile") == ADOBE


def test_stored_job_is_of_its_color_profile(column, tmp_path):
    column.img.load_resized(8, out=tmp_path / "x.npy")
    with pytest.raises(JournalError, match="color_profile"):
        column.img.load_resized(8, out=tmp_path / "x.npy", color_profile="ignore")


def test_unknown_choice_is_named():
    with pytest.raises(ValueError, match="color_profile='adobe' is not one of 'srgb', 'ignore'"):
        pd.Series([image_bytes(1)]).img.load_resized(8, color_profile="adobe")
