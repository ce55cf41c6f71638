"""Contact sheet as an image: tiles, failures, captions and bounds."""

import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, row_image, row_of
from PIL import Image, ImageColor

from pandas_imgproc import errors
from pandas_imgproc.accessor.display import contact_sheet, text_layout
from pandas_imgproc.array import ImageArray, ImageCell

BACKGROUND, FAILURE, MISSING = (
    ImageColor.getrgb(x) for x in (contact_sheet.BACKGROUND, contact_sheet.FAILURE_FILL, contact_sheet.MISSING_FILL)
)


def tile_of(sheet, position, *, columns=8, side=128, lines=0, head=0):
    """Cut a tile out of a sheet, by arithmetic independent of SheetLayout."""
    row, column = divmod(position, columns)
    left = contact_sheet.MARGIN + column * (max(side, 96) + contact_sheet.GAP)
    top = head + contact_sheet.MARGIN + row * (side + contact_sheet.GAP + 2 + contact_sheet.LINE_HEIGHT * lines)
    return sheet.crop((left, top, left + max(side, 96), top + side))


def color(tile):
    return tile.getpixel((tile.width // 2, tile.height - 12))


def differs(left, right):
    return left.size != right.size or left.tobytes() != right.tobytes()


def failed(kind="truncated", message="the file ends too early", position=0):
    return errors.failure(position, "a.jpg", kind, message)


@pytest.fixture
def column():
    """Return twenty images with the color of their row; row 3 is missing, rows 7 and 11 are failures."""
    pixels = np.stack([np.asarray(row_image(row, (64, 64))) for row in range(20)])
    status = np.zeros(20, dtype="int32")
    status[[3, 7, 11]] = -1, 1, 2
    return ImageArray(pixels, status, [failed(), failed("empty", "the file has no bytes")])


def test_contact_sheet_draws_each_image_and_failure_on_its_tile(column):
    sheet = contact_sheet.contact_sheet(column, title="Twenty", captions=contact_sheet.make_captions(pd.RangeIndex(20)))
    for row in range(20):
        tile = tile_of(sheet, row, lines=1, head=30)
        if row in (7, 11):
            assert color(tile) == FAILURE
        elif row == 3:
            assert color(tile) == MISSING
        else:
            assert row_of(np.asarray(tile)) == row


def test_contact_sheet_of_series_ignores_index(column):
    shuffled = pd.Series(column, index=list(range(20))[::-1])
    assert not differs(contact_sheet.contact_sheet(shuffled), contact_sheet.contact_sheet(column))


def test_failure_reasons_follow_filtered_rows(column):
    reasons = contact_sheet.failure_reasons(column[[11, 0, 3, 7]])
    assert [reason and reason["kind"] for reason in reasons] == ["empty", None, None, "truncated"]
    assert contact_sheet.failure_reasons([None, np.zeros((2, 2))]) == [None, None]


def test_failure_tile_shows_message():
    first, second = (
        contact_sheet.contact_sheet([None], reasons=[failed(message=text)]) for text in ("short", "another")
    )
    assert differs(first, second)
    assert differs(contact_sheet.contact_sheet([None], reasons=[failed()]), contact_sheet.contact_sheet([None]))


def test_tile_enlarges_with_sharp_pixels_and_reduces_with_lanczos():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype="uint8")
    sheet = contact_sheet.contact_sheet(ImageArray(noise[None]))
    np.testing.assert_array_equal(np.asarray(tile_of(sheet, 0)), noise.repeat(2, axis=0).repeat(2, axis=1))
    large = Image.fromarray(noise).resize((1000, 500))
    tile = np.asarray(tile_of(contact_sheet.contact_sheet([large]), 0)).astype(int)
    assert (tile[:30] == BACKGROUND).all()  # twice as wide as high: centered, not cropped
    assert np.abs(tile[32:96] - np.asarray(large.resize((128, 64), Image.Resampling.LANCZOS))).mean() < 3


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((60, 60), 51, dtype="uint8"),
        np.full((60, 60, 1), 51, dtype="uint8"),
        np.full((60, 60, 3), 51, dtype="uint8"),
        np.full((60, 60, 3), 51 * 257, dtype="uint16"),
        np.full((60, 60, 3), 0.2, dtype="float32"),
        np.full((60, 60, 1), 51.0),
        np.full((60, 60, 1), 51, dtype="int64"),
    ],
    ids=lambda pixels: f"{pixels.dtype}-{pixels.shape}",
)
@pytest.mark.parametrize("kind", [ImageCell, np.asarray])
def test_tile_scales_any_dtype_to_brightness(pixels, kind):
    assert color(tile_of(contact_sheet.contact_sheet([kind(pixels)]), 0)) == (51, 51, 51)


def test_tile_stretches_values_out_of_range_and_ignores_nan():
    pixels = np.full((60, 60), -1000.0)
    pixels[30:] = 5000
    pixels[0, 0] = np.nan
    tile = tile_of(contact_sheet.contact_sheet([pixels]), 0)
    assert (tile.getpixel((64, 20)), color(tile)) == ((0, 0, 0), (255, 255, 255))
    assert color(tile_of(contact_sheet.contact_sheet([np.eye(60, dtype=bool)]), 0)) in ((0, 0, 0), (255, 255, 255))


def test_tile_shows_transparency_as_checkerboard():
    clear = Image.new("RGBA", (128, 128), (255, 0, 0, 0))
    tile = tile_of(contact_sheet.contact_sheet([clear]), 0)
    assert {color for _, color in tile.getcolors()} == {(255, 255, 255), (228, 228, 228)}
    solid = Image.new("RGBA", (128, 128), (255, 0, 0, 255))
    assert tile_of(contact_sheet.contact_sheet([solid]), 0).getcolors() == [(128 * 128, (255, 0, 0))]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "I;16", "F"])
def test_tile_accepts_other_pillow_modes(mode):
    white = Image.new("RGB", (40, 40), "white")
    image = Image.new("I;16", (40, 40), 65535) if mode == "I;16" else white.convert(mode)
    assert color(tile_of(contact_sheet.contact_sheet([image]), 0, side=128)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("tile", "columns", "lines"),
    [(32, None, 0), (64, None, 2), (128, None, 9), (512, None, 2), (32, 1, 0), (512, 1, 9), (128, 3, 2)],
)
def test_contact_sheet_size_is_bounded_and_footer_counts_hidden(tile, columns, lines):
    images = [np.zeros((4, 4), dtype="uint8")] * 2000
    captions = [["text"] * lines] * 2000
    sheet = contact_sheet.contact_sheet(images, captions, tile=tile, columns=columns, title="long " * 200)
    assert sheet.width <= 2000
    assert sheet.height <= 4000
    foot = np.asarray(sheet)[-contact_sheet.LINE_HEIGHT - 4 :]
    assert (foot != BACKGROUND).any()


def test_contact_sheet_without_hidden_images_has_no_footer(column):
    assert (np.asarray(contact_sheet.contact_sheet(column))[-contact_sheet.MARGIN + 2 :] == BACKGROUND).all()


def test_contact_sheet_of_no_rows_is_small():
    assert contact_sheet.contact_sheet([], title="Nothing").width < 300
    assert contact_sheet.contact_sheet(ImageArray(np.zeros((0, 64, 64, 3), dtype="uint8"))).mode == "RGB"


@pytest.mark.parametrize(
    "text",
    ["", "寺院 😀", "a\nb\0c\ud800", "x" * 100_000, "مرحبا", "e\u0301" * 50, "Straße × 2 – “ok”"],  # noqa: RUF001
)
def test_any_text_stays_inside_its_tile(text):
    images = [np.zeros((60, 60, 3), dtype="uint8"), None]
    sheet = contact_sheet.contact_sheet(images, [[text, text], ""], [None, failed(message=text)], title=text)
    assert sheet.width <= 2000
    between = np.asarray(sheet)[
        60:, contact_sheet.MARGIN + 128 + 2 : contact_sheet.MARGIN + 128 + contact_sheet.GAP - 2
    ]
    assert (between == BACKGROUND).all()


@pytest.mark.parametrize("side", [32, 64, 128, 300])
@pytest.mark.parametrize("message", ["word " * 200, "/a/very/long/path" * 40])
def test_long_message_stays_inside_its_tile(side, message):
    sheet = np.array(contact_sheet.contact_sheet([None], reasons=[failed(message=message)], tile=side))
    width = max(side, 96)
    sheet[
        contact_sheet.MARGIN - 1 : contact_sheet.MARGIN + side + 1,
        contact_sheet.MARGIN - 1 : contact_sheet.MARGIN + width + 1,
    ] = BACKGROUND
    assert (sheet == BACKGROUND).all()


def test_wrap_preserves_every_word_or_ends_in_ellipsis():
    text = "the file ends too early: image file is truncated"
    assert " ".join(text_layout.wrap(text, 12, 112, 9)) == text
    lines = text_layout.wrap(text, 12, 112, 2)
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert "".join(text_layout.wrap("x" * 50, 12, 60, 99)) == "x" * 50
    assert text_layout.wrap(text, 12, 112, 0) == []


def test_captions_hold_label_and_titles():
    frame = pd.DataFrame(
        {"title": ["cup", None], "price": [1.5, np.nan]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    )
    assert contact_sheet.make_captions(frame.index, frame["title"], frame["price"]) == [
        ["a, 1", "cup", "1.5"],
        ["b, 2", "", ""],
    ]
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet.make_captions(frame.index, ["cup"])


def test_caption_may_be_one_string():
    image = [np.zeros((60, 60), dtype="uint8")]
    assert not differs(contact_sheet.contact_sheet(image, ["cup"]), contact_sheet.contact_sheet(image, [["cup"]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"captions": [["a"]]}, "captions must be one for each of the 2 images, got 1"),
        ({"reasons": [None] * 3}, "reasons must be one for each of the 2 images, got 3"),
        ({"tile": 8}, "tile=8 is not a whole number from 32 to 512"),
        ({"tile": "64"}, "tile='64' is not a whole number from 32 to 512"),
        ({"columns": 0}, "columns=0 is not a whole number from 1 to 13"),
        ({"columns": 2.5}, "columns=2.5 is not a whole number from 1 to 13"),
    ],
)
def test_contact_sheet_rejects_invalid_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        contact_sheet.contact_sheet([None, None], **arguments)


def test_contact_sheet_rejects_other_numbers_of_channels():
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels, got an array of shape \(4, 4, 2\)"):
        contact_sheet.contact_sheet([np.zeros((4, 4, 2))])


def test_contact_sheet_is_deterministic_and_small(column):
    first, second = (encoded(contact_sheet.contact_sheet(column, title="t")) for _ in range(2))
    assert first == second
    assert len(first) < 50_000
