"""Contents of saved files: pixels, formats, profiles, transparency; and the arguments of the methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from image_factory import in_mode, marked, oriented, png, row_image, row_of, scene
from PIL import Image, ImageCms
from saved_files import N, check_files, image_frame, pixels_of


@pytest.fixture
def frame(tmp_path):
    return image_frame(tmp_path / "images")


def profile_of(path):
    with Image.open(path) as image:
        return image.info.get("icc_profile")


@pytest.mark.parametrize("size", [128, (100, 30), (30, 100), 7, 1])
def test_thumbnails_equal_pillow(tmp_path, size):
    shapes = [(500, 375), (375, 500), (128, 128), (40, 30), (1000, 3), (3, 1000), (301, 127), (129, 129), (640, 480)]
    for number, shape in enumerate(shapes):
        scene(*shape).save(tmp_path / f"{number}.jpg")
    paths = pd.Series([f"{k}.jpg" for k in range(len(shapes))])
    quick = paths.img.save_thumbnails(f"{tmp_path}/quick/{{stem}}.png", size=size, root=tmp_path)
    exact = paths.img.save_thumbnails(f"{tmp_path}/exact/{{stem}}.png", size=size, root=tmp_path, reducing_gap=None)
    for row, source in enumerate(paths):
        with Image.open(tmp_path / source) as expected:
            expected.thumbnail((size, size) if isinstance(size, int) else size, reducing_gap=None)
            assert np.array_equal(pixels_of(exact[row]), np.asarray(expected))
            assert pixels_of(quick[row]).shape == pixels_of(exact[row]).shape
            assert np.abs(pixels_of(quick[row]).astype(int) - pixels_of(exact[row])).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_saved_file_is_upright_without_orientation_tag(tmp_path, orientation):
    upright = marked(211, 97)
    (tmp_path / "a.jpg").write_bytes(oriented(upright, orientation, quality=95))
    path = pd.Series([f"{tmp_path}/a.jpg"]).img.save_thumbnails(tmp_path / "out", size=64, quality=95)[0]
    upright.thumbnail((64, 64))
    with Image.open(path) as image:
        assert image.getexif().get(0x0112) is None
        assert image.size == upright.size
        assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 4


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_matching_color_profile_is_preserved(tmp_path, name):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    false = profile[:16] + b"CMYK" + profile[20:]
    row_image(0).save(tmp_path / "rgb.png", icc_profile=profile)
    row_image(0).save(tmp_path / "other.png", icc_profile=false)
    transparent = in_mode(row_image(0), "RGBA")
    transparent.save(tmp_path / "alpha.png", icc_profile=profile)
    for fit in ("stretch", "pad"):
        paths = pd.Series(["rgb.png", "other.png", "alpha.png"]).img.save_resized(
            tmp_path / fit, size=(20, 8), format=name, fit=fit, root=tmp_path
        )
        assert list(map(profile_of, paths)) == [profile, None, profile]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"])
def test_saved_file_has_requested_format(tmp_path, name):
    row_image(9, (64, 48)).save(tmp_path / "a.png")
    paths = pd.Series(["a.png"]).img.save_resized(tmp_path / "out", size=32, format=name.lower(), root=tmp_path)
    with Image.open(paths[0]) as image:
        assert image.format == name
        assert image.size == (32, 32)
        assert row_of(np.asarray(image.convert("RGB"))) == 9


def test_transparency_is_composited_or_preserved_by_mode(tmp_path):
    in_mode(Image.new("RGB", (64, 48), "red"), "RGBA").save(tmp_path / "a.png")
    paths = pd.Series(["a.png"])
    flat = paths.img.save_resized(tmp_path / "a", size=32, background="blue", root=tmp_path, format="JPEG", quality=95)
    rgba = paths.img.save_resized(tmp_path / "b", size=32, mode="RGBA", root=tmp_path)
    with Image.open(flat[0]) as image:
        assert image.mode == "RGB"
        assert np.abs(np.subtract(image.getpixel((1, 16)), (8, 0, 247))).max() < 16
    with Image.open(rgba[0]) as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema() == (4, 255)


def test_mask_preserves_class_numbers(tmp_path):
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    mask = Image.fromarray(levels).convert("P")
    mask.putdata(levels.ravel().tolist())
    mask.save(tmp_path / "a.png")
    paths = pd.Series(["a.png"]).img.save_resized(tmp_path / "out", size=None, mode="P", root=tmp_path)
    with Image.open(paths[0]) as image:
        assert np.asarray(image).tolist() == levels.tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "RGBA"}, ValueError, "JPEG files cannot hold mode='RGBA'; formats that can: PNG"),
        ({"mode": "CMYK"}, ValueError, "JPEG files cannot hold mode='CMYK'"),
        ({"quality": 0}, ValueError, "quality=0"),
        ({"quality": "high"}, TypeError, "quality='high'"),
        ({"format": "PSD"}, ValueError, "format='PSD' is not one of 'JPEG'"),
        ({"format": 3}, TypeError, "format=3"),
        ({"format": "PNG"}, ValueError, "names JPEG files such as .* and format='PNG'"),
        ({"fit": "cover"}, ValueError, "fit='cover' is not one of .*'thumbnail'"),
        ({"overwrite": "yes"}, TypeError, "overwrite='yes'"),
        ({"retry": "some"}, ValueError, "retry='some'"),
        ({"size": "128"}, TypeError, "size must be"),
    ],
)
def test_wrong_argument_raises_before_writing(frame, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{stem}}.jpg", **{"size": 8} | options)
    assert not (tmp_path / "out").exists()


def test_load_resized_refuses_fit_that_preserves_aspect(frame):
    for fit in ("thumbnail", "contain"):
        with pytest.raises(ValueError, match=f"fit='{fit}' keeps the aspect.*save_resized"):
            frame.img.load_resized("image_path", size=8, fit=fit)


def test_image_too_large_for_format_is_one_failure(frame, tmp_path):
    (tmp_path / "long.png").write_bytes(png(np.zeros((1, 70000), np.uint8), 8, 0))
    frame.loc["row 3", "image_path"] = str(tmp_path / "long.png")
    paths = frame.img.save_resized("image_path", f"{tmp_path}/out/{{stem}}.jpg", size=None, errors="coerce")
    check_files(paths, frame.index, missing=(3,))
    assert paths.img.failures["kind"].tolist() == ["unsupported"]
    assert "70000 x 1 pixels cannot be written as JPEG" in paths.img.failures["message"].iloc[0]


def test_save_writes_image_column(frame, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    frame.loc["row 3", "image_path"] = str(tmp_path / "bad.png")
    frame.loc["row 4", "image_path"] = None
    frame["image"] = frame.img.load_resized("image_path", size=8, errors="coerce")
    paths = frame["image"].img.save(tmp_path / "out", errors="coerce")
    check_files(paths, frame.index, missing=(3, 4))
    assert paths["row 5"] == f"{tmp_path}/out/row 5.png"
    assert paths.img.failures["kind"].to_dict() == {"row 3": "unidentified"}
    with Image.open(paths["row 5"]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(frame["image"].iloc[5]))
    check_files(frame.img.save("image", f"{tmp_path}/{{label}}/{{index}}.webp", errors="coerce"), frame.index, (3, 4))
    gray = frame["image_path"].img.load_resized(8, mode="L", errors="coerce").img.save(tmp_path / "l", errors="coerce")
    with Image.open(gray["row 5"]) as image:
        assert image.mode == "L"
    with pytest.raises(TypeError, match="not images"):
        frame["image_path"].img.save(tmp_path / "out")
    with pytest.raises(ValueError, match="would both be written"):
        frame["image"].set_axis(["same"] * N).img.save(tmp_path / "same")
