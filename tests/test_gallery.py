"""Contact sheets: every image at its place, every reason told, never larger than promised."""

import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, row_image, row_of
from PIL import Image, ImageColor

from pandas_imgproc import errors
from pandas_imgproc.accessor.display import contact_sheet
from pandas_imgproc.array import ImageArray, ImageCell

PAPER, WARNING, EMPTY = (
    ImageColor.getrgb(x) for x in (contact_sheet.PAPER, contact_sheet.WARNING, contact_sheet.EMPTY)
)


def tile_of(sheet, number, *, columns=8, side=128, lines=0, head=0):
    """Cut a tile out of a sheet, by the arithmetic of its docstring and none of its code."""
    row, column = divmod(number, columns)
    left = contact_sheet.MARGIN + column * (max(side, 96) + contact_sheet.GAP)
    top = head + contact_sheet.MARGIN + row * (side + contact_sheet.GAP + 2 + contact_sheet.LINE * lines)
    return sheet.crop((left, top, left + max(side, 96), top + side))


def colour(tile):
    return tile.getpixel((tile.width // 2, tile.height - 12))


def differs(one, other):
    return one.size != other.size or one.tobytes() != other.tobytes()


def failed(kind="truncated", message="the file ends too early", position=0):
    return errors.failure(position, "a.jpg", kind, message)


@pytest.fixture
def column():
    """Twenty images whose colour is their row; row 3 is missing without a reason, rows 7 and 11 with one."""
    block = np.stack([np.asarray(row_image(row, (64, 64))) for row in range(20)])
    status = np.zeros(20, dtype="int32")
    status[[3, 7, 11]] = -1, 1, 2
    return ImageArray(block, status, [failed(), failed("empty", "the file has no bytes")])


def test_each_image_at_its_place_and_each_failure_in_its_own(column):
    sheet = contact_sheet.contact_sheet(column, title="Twenty", captions=contact_sheet.make_captions(pd.RangeIndex(20)))
    for row in range(20):
        tile = tile_of(sheet, row, lines=1, head=30)
        if row in (7, 11):
            assert colour(tile) == WARNING
        elif row == 3:
            assert colour(tile) == EMPTY
        else:
            assert row_of(np.asarray(tile)) == row


def test_a_series_is_shown_by_position_whatever_its_index(column):
    shuffled = pd.Series(column, index=list(range(20))[::-1])
    assert not differs(contact_sheet.contact_sheet(shuffled), contact_sheet.contact_sheet(column))


def test_reasons_of_an_array_are_its_own_also_after_a_filter(column):
    reasons = contact_sheet.failure_reasons(column[[11, 0, 3, 7]])
    assert [reason and reason["kind"] for reason in reasons] == ["empty", None, None, "truncated"]
    assert contact_sheet.failure_reasons([None, np.zeros((2, 2))]) == [None, None]


def test_the_message_is_on_the_tile():
    one, other = (contact_sheet.contact_sheet([None], reasons=[failed(message=text)]) for text in ("short", "another"))
    assert differs(one, other)
    assert differs(contact_sheet.contact_sheet([None], reasons=[failed()]), contact_sheet.contact_sheet([None]))


def test_small_images_stay_sharp_and_large_ones_are_reduced():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype="uint8")
    sheet = contact_sheet.contact_sheet(ImageArray(noise[None]))
    np.testing.assert_array_equal(np.asarray(tile_of(sheet, 0)), noise.repeat(2, axis=0).repeat(2, axis=1))
    large = Image.fromarray(noise).resize((1000, 500))
    tile = np.asarray(tile_of(contact_sheet.contact_sheet([large]), 0)).astype(int)
    assert (tile[:30] == PAPER).all()  # twice as wide as high: centred, nothing cut off
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
def test_any_numbers_are_shown_as_the_brightness_they_mean(pixels, kind):
    assert colour(tile_of(contact_sheet.contact_sheet([kind(pixels)]), 0)) == (51, 51, 51)


def test_numbers_out_of_range_are_stretched_and_nan_does_not_matter():
    pixels = np.full((60, 60), -1000.0)
    pixels[30:] = 5000
    pixels[0, 0] = np.nan
    tile = tile_of(contact_sheet.contact_sheet([pixels]), 0)
    assert (tile.getpixel((64, 20)), colour(tile)) == ((0, 0, 0), (255, 255, 255))
    assert colour(tile_of(contact_sheet.contact_sheet([np.eye(60, dtype=bool)]), 0)) in ((0, 0, 0), (255, 255, 255))


def test_transparency_is_chequered():
    clear = Image.new("RGBA", (128, 128), (255, 0, 0, 0))
    tile = tile_of(contact_sheet.contact_sheet([clear]), 0)
    assert {colour for _, colour in tile.getcolors()} == {(255, 255, 255), (228, 228, 228)}
    solid = Image.new("RGBA", (128, 128), (255, 0, 0, 255))
    assert tile_of(contact_sheet.contact_sheet([solid]), 0).getcolors() == [(128 * 128, (255, 0, 0))]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "I;16", "F"])
def test_pillows_other_modes_are_shown(mode):
    white = Image.new("RGB", (40, 40), "white")
    image = Image.new("I;16", (40, 40), 65535) if mode == "I;16" else white.convert(mode)
    assert colour(tile_of(contact_sheet.contact_sheet([image]), 0, side=128)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("tile", "columns", "lines"),
    [(32, None, 0), (64, None, 2), (128, None, 9), (512, None, 2), (32, 1, 0), (512, 1, 9), (128, 3, 2)],
)
def test_a_sheet_is_never_larger_than_promised_and_says_what_it_left_out(tile, columns, lines):
    images = [np.zeros((4, 4), dtype="uint8")] * 2000
    captions = [["text"] * lines] * 2000
    sheet = contact_sheet.contact_sheet(images, captions, tile=tile, columns=columns, title="long " * 200)
    assert sheet.width <= 2000
    assert sheet.height <= 4000
    foot = np.asarray(sheet)[-contact_sheet.LINE - 4 :]
    assert (foot != PAPER).any()


def test_nothing_is_said_to_be_left_out_where_all_is_shown(column):
    assert (np.asarray(contact_sheet.contact_sheet(column))[-contact_sheet.MARGIN + 2 :] == PAPER).all()


def test_no_rows_are_a_small_sheet():
    assert contact_sheet.contact_sheet([], title="Nothing").width < 300
    assert contact_sheet.contact_sheet(ImageArray(np.zeros((0, 64, 64, 3), dtype="uint8"))).mode == "RGB"


@pytest.mark.parametrize(
    "text",
    ["", "寺院 😀", "a\nb\0c\ud800", "x" * 100_000, "مرحبا", "e\u0301" * 50, "Straße × 2 – “ok”"],  # noqa: RUF001
)
def test_no_text_is_too_strange_and_none_leaves_its_tile(text):
    images = [np.zeros((60, 60, 3), dtype="uint8"), None]
    sheet = contact_sheet.contact_sheet(images, [[text, text], ""], [None, failed(message=text)], title=text)
    assert sheet.width <= 2000
    between = np.asarray(sheet)[
        60:, contact_sheet.MARGIN + 128 + 2 : contact_sheet.MARGIN + 128 + contact_sheet.GAP - 2
    ]
    assert (between == PAPER).all()


@pytest.mark.parametrize("side", [32, 64, 128, 300])
@pytest.mark.parametrize("message", ["word " * 200, "/a/very/long/path" * 40])
def test_a_long_message_stays_inside_its_tile(side, message):
    sheet = np.array(contact_sheet.contact_sheet([None], reasons=[failed(message=message)], tile=side))
    width = max(side, 96)
    sheet[
        contact_sheet.MARGIN - 1 : contact_sheet.MARGIN + side + 1,
        contact_sheet.MARGIN - 1 : contact_sheet.MARGIN + width + 1,
    ] = PAPER
    assert (sheet == PAPER).all()


def test_a_wrapped_message_keeps_every_word_or_says_that_there_is_more():
    text = "the file ends too early: image file is truncated"
    assert " ".join(contact_sheet._wrapped(text, 12, 112, 9)) == text
    cut = contact_sheet._wrapped(text, 12, 112, 2)
    assert len(cut) == 2
    assert cut[-1].endswith("…")
    assert "".join(contact_sheet._wrapped("x" * 50, 12, 60, 99)) == "x" * 50
    assert contact_sheet._wrapped(text, 12, 112, 0) == []


def test_captions_are_labels_and_titles():
    frame = pd.DataFrame(
        {"title": ["cup", None], "price": [1.5, np.nan]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    )
    assert contact_sheet.make_captions(frame.index, frame["title"], frame["price"]) == [
        ["a, 1", "cup", "1.5"],
        ["b, 2", "", ""],
    ]
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet.make_captions(frame.index, ["cup"])


def test_captions_of_one_line_need_no_list():
    image = [np.zeros((60, 60), dtype="uint8")]
    assert not differs(contact_sheet.contact_sheet(image, ["cup"]), contact_sheet.contact_sheet(image, [["cup"]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"captions": [["a"]]}, "captions must be one for each of the 2 images, got 1"),
        ({"reasons": [None] * 3}, "reasons must be one for each of the 2 images, got 3"),
        ({"tile": 8}, "tile=8 is not a whole number from 32 to 512"),
        ({"tile": "64"}, "tile='64' is not"),
        ({"columns": 0}, "columns=0 is not a whole number from 1 to 13"),
        ({"columns": 2.5}, "columns=2.5 is not"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet.contact_sheet([None, None], **arguments)


def test_an_image_of_no_image_s_shape_is_refused():
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels, got an array of shape \(4, 4, 2\)"):
        contact_sheet.contact_sheet([np.zeros((4, 4, 2))])


def test_a_sheet_is_the_same_each_time_and_a_small_file(column):
    one, other = (encoded(contact_sheet.contact_sheet(column, title="t")) for _ in range(2))
    assert one == other
    assert len(one) < 50_000
