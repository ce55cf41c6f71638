"""Engines: the choice in the caller, the packages that it needs, and the same bytes wherever a row runs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from decoding import opened, pixels
from image_factory import encoded, in_mode, oriented, scene
from PIL import Image

from pandas_imgproc import JournalError, MissingExtraError, codec, load_image, read_result
from pandas_imgproc.codec import engine as engines


def options(**given):
    return codec.decode_options(8, **given)


def test_engine_is_resolved_in_the_caller():
    assert options().engine == options(engine="simd").engine == "simd"
    assert options(engine="pillow").engine == options(reducing_gap=None).engine == "pillow"
    assert options() == options(engine="simd")
    assert "engine='simd'" in repr(options())
    assert options(resample="nearest") == options(resample="nearest", engine="simd")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"engine": "fast"}, ValueError, "engine='fast' is not one of 'auto', 'simd', 'pillow'"),
        ({"engine": None}, ValueError, "engine=None"),
        ({"engine": "simd", "reducing_gap": None}, ValueError, "reducing_gap=None asks for Pillow's bytes"),
    ],
)
def test_engine_is_checked(given, error, words):
    with pytest.raises(error, match=words):
        options(**given)


@pytest.mark.parametrize(("module", "package"), [("cykooz_resizer", "cykooz-resizer"), ("simplejpeg", "simplejpeg")])
def test_without_a_package_auto_is_pillow_and_simd_an_error(module, package, monkeypatch):
    data = encoded(scene(640, 480), "JPEG")
    expected = pixels(data, 50, engine="pillow")
    monkeypatch.setitem(sys.modules, module, None)  # the import raises, as on a platform without a wheel
    assert options().engine == "pillow"
    assert np.array_equal(pixels(data, 50), expected)
    column = pd.Series([data]).img
    assert np.array_equal(column.load_resized(50)[0], expected)
    for call in (column.load_resized, lambda *a, **k: load_image(data, *a, **k)):
        with pytest.raises(MissingExtraError, match=f"engine='simd' needs {package}.*pip install {package}"):
            call(50, engine="simd")


def test_engine_pillow_and_exact_are_pillows_bytes():
    image = scene(640, 480)
    for data in (encoded(image, "JPEG"), encoded(image)):
        assert np.array_equal(pixels(data, (90, 60), reducing_gap=None), opened(data).resize((90, 60)))
        thumbnail = opened(data)
        thumbnail.thumbnail((80, 60))
        assert np.array_equal(pixels(data, (80, 60), engine="pillow"), thumbnail)
        assert not np.array_equal(pixels(data, (80, 60)), thumbnail)


def test_methods_that_decode_take_engine(tmp_path):
    files = pd.Series([encoded(scene(300, 200), "JPEG")])
    img = files.img
    calls = [
        lambda **o: img.load_resized(4, **o),
        lambda **o: img.features(["brightness"], **o),
        lambda **o: img.hash("phash", **o),
        lambda **o: img.duplicate_groups(**o),
        lambda **o: img.issues(["is_dark"], **o),
        lambda **o: img.map(np.mean, size=8, **o),
        lambda **o: img.augment(lambda pixels: pixels, 1, size=8, **o),
        lambda **o: img.save_resized(f"{tmp_path}/{{position}}.png", 8, overwrite=True, **o),
        lambda **o: img.save_thumbnails(f"{tmp_path}/{{position}}_t.png", 8, overwrite=True, **o),
    ]
    for call in calls:
        for engine in engines.ENGINES:
            call(engine=engine)
        with pytest.raises(ValueError, match="engine='x' is not one of"):
            call(engine="x")
    assert load_image(files[0], 4, engine="pillow").shape == (4, 4, 3)


def test_features_and_hashes_do_not_depend_on_the_engine():
    files = pd.Series([encoded(scene(300, 200), "JPEG"), encoded(scene(90, 70)), oriented(scene(200, 300), 6)])
    names = ["brightness", "blur", "phash", "dhash", "ahash", "pixel_md5", "sharpness"]
    simd, pillow = (files.img.features(names, engine=e) for e in ("simd", "pillow"))
    pd.testing.assert_frame_equal(simd, pillow)


def test_job_does_not_continue_with_another_engine(tmp_path):
    path, files = tmp_path / "x.npy", pd.Series([encoded(scene(300, 200), "JPEG")] * 2)
    files.img.load_resized(4, out=path)
    with pytest.raises(JournalError, match="engine was 'simd' and is 'pillow'"):
        files.img.load_resized(4, out=path, engine="pillow")
    files.img.load_resized(4, out=path, engine="simd")
    files.img.load_resized(4, out=path, engine="pillow", overwrite=True)
    assert read_result(path).notna().all()
    to = f"{tmp_path}/{{position}}.jpg"
    files.img.save_thumbnails(to, 8)
    with pytest.raises(JournalError, match="engine was 'simd' and is 'pillow'"):
        files.img.save_thumbnails(to, 8, engine="pillow")


def test_worker_without_a_package_is_an_error_of_the_call(monkeypatch):
    from pandas_imgproc.kernel import NullLedger, run_partition
    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Augment, LoadResized, Measure, SaveAugmented, Verify

    simd = codec.decode_options(8)
    encode = codec.encode_options("PNG", 75)
    tasks = [LoadResized(simd), Measure("features", (), simd, None, ()), SaveAugmented(Augment(max, 1, simd), encode)]
    partition = PartitionInput(range(1), [encoded(scene(30, 20), "JPEG")])
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    for task in tasks:
        with pytest.raises(MissingExtraError, match=r"the caller's engine='simd', on host .* or pass engine='pillow'"):
            run_partition(task, partition, Source(), NullLedger(), codec.PillowSettings.current())
    task = Verify(dataclasses.replace(simd, size=None, engine="pillow"))
    assert not run_partition(task, partition, Source(), NullLedger(), codec.PillowSettings.current()).failures


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    data = [encoded(scene(300 + k, 200, seed=k), "JPEG", quality=80, progressive=bool(k % 2)) for k in range(6)]
    data += [encoded(in_mode(scene(150, 90, seed=k), mode), "PNG") for k, mode in enumerate(("RGB", "L", "RGBA", "P"))]
    data += [oriented(scene(301, 203), 6), data[0][: len(data[0]) // 2], encoded(scene(90, 50), "WEBP")]
    for k, file in enumerate(data):
        (folder / f"{k}.img").write_bytes(file)
    return pd.Series([f"{folder}/{k}.img" for k in range(len(data))])


@pytest.mark.parametrize("given", [{}, {"fit": "crop", "resample": "lanczos"}, {"mode": "RGBA", "fit": "pad"}], ids=str)
def test_bytes_are_equal_inline_and_on_clusters(files, given, managed_cluster):
    results = []
    for config in ({"scheduler": "synchronous"}, {"scheduler": "threads"}, {}):
        with dask.config.set(config):
            results.append(files.img.load_resized(48, errors="coerce", npartitions=None if config else 5, **given))
    for other in results[1:]:
        pd.testing.assert_series_equal(results[0].img.failure_kind, other.img.failure_kind)
        assert np.array_equal(*(result.img.to_numpy(na_value=7) for result in (results[0], other)))
    expected = [load_image(path, 48, **given) for path in files[results[0].notna()]]
    assert np.array_equal(results[0].dropna().img.to_numpy(), np.stack(expected))
    pillow = files.img.load_resized(48, errors="coerce", engine="pillow", **given)
    pd.testing.assert_series_equal(results[0].img.failures["message"], pillow.img.failures["message"])


def test_thumbnails_are_made_by_the_engine(files, tmp_path):
    thumbnail = codec.decode_options(64, fit="thumbnail", reducing_gap=1.5, allow_any_size=True)
    assert thumbnail.engine == "simd"
    paths = files[:4].img.save_thumbnails(f"{tmp_path}/{{position}}.png", 64)
    for path, name in zip(paths, files, strict=False):
        with Image.open(path) as saved:
            assert np.array_equal(saved, codec.load(Path(name).read_bytes(), thumbnail))
