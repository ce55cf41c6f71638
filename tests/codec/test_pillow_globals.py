"""Pillow's global settings: applied and restored, in threads too."""

from __future__ import annotations

import random
import threading
import warnings

from decoding import kind_of, pixels
from image_factory import encoded, in_mode, scene
from PIL import Image, ImageFile

from pandas_imgproc import codec


def test_pillow_settings_are_restored(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    before, filters = codec.PillowSettings.current(), list(warnings.filters)
    with codec.pillow_settings(codec.PillowSettings(None, True)):
        assert codec.PillowSettings.current() == codec.PillowSettings(None, True)
        with codec.pillow_settings(codec.PillowSettings(70, False)):
            assert Image.MAX_IMAGE_PIXELS == 70
        assert codec.PillowSettings.current() == codec.PillowSettings(None, True)
    assert codec.PillowSettings.current() == before
    assert warnings.filters == filters


def test_pillow_settings_leave_value_set_meanwhile(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with codec.pillow_settings(codec.PillowSettings.current()):
        Image.MAX_IMAGE_PIXELS = 6000
    assert Image.MAX_IMAGE_PIXELS == 6000


def test_pillow_settings_in_threads_are_restored():
    before, filters = codec.PillowSettings.current(), list(warnings.filters)
    started, errors = threading.Barrier(8), []
    data = encoded(scene(60, 50), "JPEG")

    def work(seed):
        rng = random.Random(seed)
        started.wait()
        for _ in range(50):
            with codec.pillow_settings(before):
                try:
                    assert pixels(data, rng.choice([4, 8])).shape[2] == 3
                except BaseException as error:  # a failure in a thread is not reported otherwise
                    errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert codec.PillowSettings.current() == before
    assert warnings.filters == filters


def test_pillow_settings_silence_only_pillow_warnings():
    palette = encoded(in_mode(scene(40, 30), "RGBA").quantize(), "PNG")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with codec.pillow_settings(codec.PillowSettings(1000, False)):
            pixels(palette, 8, background=None)
            warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["mine"]


def test_load_truncated_images_is_applied():
    data = encoded(scene(60, 50), "JPEG")[:-300]
    assert kind_of(data) == "truncated"
    with codec.pillow_settings(codec.PillowSettings(None, True)):
        assert pixels(data, 8).shape == (8, 8, 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
