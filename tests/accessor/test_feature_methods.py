"""Feature methods: `metadata`, `features`, `hash`, `duplicate_groups` and `issues` on frames and series."""

from __future__ import annotations

import inspect
import warnings
from itertools import pairwise
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, image_bytes, marked, oriented, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc import codec
from pandas_imgproc.features import HASH_FEATURES, HEADER_FEATURES, duplicates, feature_names
from pandas_imgproc.features.duplicates import group_ids
from pandas_imgproc.features.issues import ISSUES
from pandas_imgproc.tasks import Measure, measure

SOME = ["phash", "width", "brightness", "format", "md5", "is_grayscale", "hue"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of twelve images and a text file."""
    path = tmp_path_factory.mktemp("images")
    for n in range(12):
        scene(300 + 20 * n, 200, n).save(path / f"{n}.jpg")
    (path / "text.jpg").write_text("no image")
    return path


@pytest.fixture
def frame(folder):
    names = [f"{n}.jpg" for n in (3, 1, 4, 1, 5, 9, 2, 6)]
    names[2:2] = [None, "gone.jpg", "text.jpg"]
    return pd.DataFrame({"image_path": names, "label": 7}, index=list("abcabcabcab"))


def test_features_are_aligned_with_rows(frame, folder):
    found = frame.img.features("image_path", SOME, root=folder, errors="coerce")
    assert list(found.columns) == SOME
    assert found.index.tolist() == frame.index.tolist()
    numbers = [3, 1, None, None, None, 4, 1, 5, 9, 2, 6]
    expected = [pd.NA if number is None else 300 + 20 * number for number in numbers]
    assert found["width"].tolist() == expected
    missing = [value is pd.NA for value in expected]
    # MD5 is of any bytes, but a row that could not be measured has nothing at all
    assert found.isna().all(axis=1).tolist() == missing
    assert found.drop(columns="hue").notna().all(axis=1).tolist() == [not is_missing for is_missing in missing]
    dtypes = ["UInt64", "Int64", "float64", "category", "string", "boolean", "float64"]
    assert found.dtypes.astype(str).tolist() == dtypes
    assert found.img.failures["kind"].tolist() == ["missing", "unidentified"]
    assert found.img.failures.index.tolist() == ["a", "b"]


def test_features_are_assigned_and_joined_by_position(frame, folder):
    found = frame.img.features("image_path", ["width", "blur"], root=folder, errors="coerce")
    frame[found.columns] = found
    assert frame["width"].isna().sum() == 3
    assert len(pd.concat([frame, found], axis=1)) == len(frame)


@pytest.mark.parametrize("index", [pd.RangeIndex(0), pd.MultiIndex.from_tuples([], names=["a", "b"])])
def test_empty_frame_has_same_dtypes(index):
    empty = pd.DataFrame({"image_path": pd.Series([], dtype=object)}).set_axis(index, axis=0)
    one = pd.Series([encoded(scene(8, 8))]).img.features()
    found = empty.img.features("image_path")
    assert found.dtypes.equals(one.dtypes)
    assert list(empty.img.features("image_path", "all")) == list(feature_names())
    assert found.index.equals(index)
    assert empty.img.issues("image_path").dtypes.eq("boolean").all()
    assert empty.img.duplicate_groups("image_path").dtype == "Int64"


def test_default_features_are_a_matrix_without_gaps():
    gray = encoded(scene(20, 30).convert("L"), "PNG")
    columns = [
        pd.Series([encoded(scene(20, 30)), gray]),
        pd.Series([scene(20, 30), np.zeros((9, 9, 3), dtype=np.uint8)]),
        pd.Series([encoded(scene(20, 30))] * 2).img.load_resized(8),
    ]
    found = [column.img.features() for column in columns]
    assert all(f.dtypes.equals(found[0].dtypes) for f in found)
    assert all(dtype.kind in "biuf" for dtype in found[0].dtypes)
    assert all(f.notna().all(axis=None) for f in found)
    assert found[0]["orientation"].tolist() == [1, 1]
    assert not {"hue", "file_size", "mode", "camera", "taken_at", "phash"} & set(found[0])


def test_registered_features_are_default_if_they_are_numeric():
    pandas_imgproc.register_feature("corner", dtype="Int64")(lambda pixels: int(pixels[0, 0, 0]))
    pandas_imgproc.register_feature("word", dtype="string")(lambda pixels: "a")
    try:
        column = pd.Series([encoded(scene(8, 8))])
        assert "corner" in column.img.features()
        assert "word" not in column.img.features()
        assert "word" in column.img.features("all")
    finally:
        pandas_imgproc.unregister_feature("corner")
        pandas_imgproc.unregister_feature("word")
    with pytest.raises(ValueError, match=r"\('all'\) is the word for all features"):
        pandas_imgproc.register_feature("all")


def test_issues_of_default_features_name_what_they_lack(suspects):
    features = suspects.img.features()
    with pytest.warns(UserWarning, match=r"^without is_duplicate: the frame lacks 'phash'; add .*include=\['phash'\]"):
        found = features.img.issues()
    assert list(found) == [name for name in ISSUES if name != "is_duplicate"]
    assert found.equals(suspects.img.features("all").img.issues()[list(found)])
    with pytest.raises(KeyError, match="no column 'phash'"):
        features.img.issues(include="is_duplicate")
    with pytest.raises(KeyError, match="from which the issues are derived"):
        features[["mean_r"]].img.issues()


def test_features_are_equal_on_every_scheduler(frame, folder, managed_cluster):
    local = frame.img.features("image_path", feature_names(), root=folder, errors="coerce")
    on_cluster = frame.img.features("image_path", feature_names(), root=folder, errors="coerce", npartitions=3)
    with dask.config.set(scheduler="synchronous"):
        synchronous = frame.img.features("image_path", feature_names(), root=folder, errors="coerce")
    pd.testing.assert_frame_equal(local, on_cluster)
    pd.testing.assert_frame_equal(local, synchronous)


def test_features_of_many_rows_use_shared_memory(managed_cluster):
    inputs = [image_bytes(row % 1024, "PNG", (4, 4)) for row in range(1500)]
    task = Measure("features", ("width",), codec.decode_options(), None, ())
    found = pd.Series(inputs, index=np.arange(1500)[::-1]).img.features(["mean_r", "md5", "camera"], npartitions=4)
    assert not task.allocate(0).dtype.hasobject
    expected = [8 + 16 * (row % 1024 >> 8 & 15) for row in range(1500)]
    assert found["mean_r"].tolist() == expected
    assert found.index[0] == 1499
    assert found["md5"].nunique() == 1024


def test_image_is_read_and_decoded_once(folder, monkeypatch):
    decoded, opened = [], []
    load, read = measure.codec.load, pandas_imgproc.source.source.read_file
    monkeypatch.setattr(measure.codec, "load", lambda *args: decoded.append(1) or load(*args))
    monkeypatch.setattr(pandas_imgproc.source.source, "read_file", lambda path: opened.append(path) or read(path))
    paths = pd.Series([str(folder / f"{n}.jpg") for n in range(5)])
    paths.img.features(feature_names())
    assert (len(decoded), len(opened)) == (5, 5)
    paths.img.features(["width", "md5", "camera"])
    assert len(decoded) == 5


def test_feature_not_included_is_not_computed(folder, managed_cluster):
    pandas_imgproc.register_feature("corner")(lambda pixels: 1.0)
    pandas_imgproc.register_feature("other")(lambda pixels: 1 / 0)
    try:
        assert pd.Series([str(folder / "1.jpg")]).img.features(["corner", "width"]).columns.tolist() == [
            "corner",
            "width",
        ]
    finally:
        pandas_imgproc.unregister_feature("corner")
        pandas_imgproc.unregister_feature("other")


def test_default_features_are_all_but_hashes_and_those_that_images_lack(folder):
    found = pd.Series([str(folder / "1.jpg")]).img.features()
    others = {*HASH_FEATURES, "mode", "format", "camera", "taken_at", "hue", "file_size", "bytes_per_pixel"}
    assert list(found.columns) == [name for name in feature_names() if name not in others]
    assert list(found.columns[:4]) == list(HEADER_FEATURES[:4])


def test_feature_is_independent_of_included_columns():
    photo = pd.Series([encoded(scene(1600, 900), "JPEG")])
    together = photo.img.features(feature_names())
    for name in ("brightness", "blur", "sharpness", "dominant_r", "phash", "pixel_md5"):
        assert photo.img.features(name)[name].equals(together[name])


def test_working_size_limits_longest_edge(managed_cluster):
    pandas_imgproc.register_feature("shape", dtype="string")(lambda pixels: str(pixels.shape))
    sizes = [(256, 100), (257, 100), (500, 375), (300, 3000), (4000, 3), (5, 7)]
    photos = pd.Series([encoded(Image.new("RGB", size)) for size in sizes])
    try:
        seen = [photos.img.features("shape", size=size)["shape"].tolist() for size in (256, None, 100)]
    finally:
        pandas_imgproc.unregister_feature("shape")
    assert seen[0] == ["(100, 256, 3)", "(100, 256, 3)", "(192, 256, 3)", "(256, 26, 3)", "(1, 256, 3)", "(7, 5, 3)"]
    assert seen[1] == [str((height, width, 3)) for width, height in sizes]
    assert seen[2] == ["(39, 100, 3)", "(39, 100, 3)", "(75, 100, 3)", "(100, 10, 3)", "(1, 100, 3)", "(7, 5, 3)"]


def test_features_are_of_upright_image_on_white():
    image = scene(40, 30)
    upright = pd.Series([oriented(image, n, "PNG") for n in range(1, 9)])
    assert upright.img.hash("pixel_md5").nunique() == 1
    assert upright.img.hash("phash").nunique() == 1
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert pd.Series([encoded(clear)]).img.features("brightness")["brightness"].tolist() == [1]


def test_image_column_has_features():
    paths = pd.Series([encoded(scene(40, 30)), None, b"nothing"])
    images = paths.img.load_resized(16, errors="coerce")
    found = images.img.features(["mean_r", "width", "md5", "phash"], errors="coerce")
    assert found["mean_r"].iloc[0] == images.img.to_numpy(na_value=0)[0, ..., 0].mean()
    assert found["md5"].isna().all()  # there are no bytes
    assert found["phash"].isna().tolist() == [False, True, True]
    assert found.img.failures["kind"].tolist() == ["unidentified"]


def test_inputs_of_every_type_are_hashed(folder):
    paths = [folder / "1.jpg", str(folder / "1.jpg"), (folder / "1.jpg").read_bytes()]
    paths.append({"bytes": None, "path": str(folder / "1.jpg")})
    (folder / "größe.jpg").write_bytes((folder / "1.jpg").read_bytes())
    paths.append(folder / "größe.jpg")
    assert pd.Series(paths, dtype=object).img.hash("md5").nunique() == 1
    ids = pd.Series([1, 2])
    assert ids.img.metadata(root=folder, suffix=".jpg")["width"].tolist() == [320, 340]


def test_features_survive_parquet(frame, folder, tmp_path):
    found = frame.img.features("image_path", feature_names(), root=folder, errors="coerce").reset_index(drop=True)
    found.to_parquet(tmp_path / "x.parquet")
    read = pd.read_parquet(tmp_path / "x.parquet").drop(columns="camera")  # which no image has
    read["taken_at"] = read["taken_at"].astype("datetime64[s]")  # Parquet has no unit of seconds
    pd.testing.assert_frame_equal(read, found.drop(columns="camera"), check_categorical=False)


def test_errors_policy_of_metadata_and_features(frame, folder):
    with pytest.raises(pandas_imgproc.UnreadableImageError, match=r"gone\.jpg"):
        frame.img.metadata("image_path", root=folder, errors="raise")
    with pytest.warns(pandas_imgproc.UnreadableImageWarning, match="2 of 11"):
        frame.img.metadata("image_path", root=folder)
    with pytest.raises(pandas_imgproc.NoReadableImageError):
        frame.img.features("image_path")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.img.features("brightnes"), ValueError, "did you mean 'brightness"),
        (lambda s: s.img.features(["blur", "blur"]), ValueError, "'blur' twice"),
        (lambda s: s.img.features([]), ValueError, "names no feature"),
        (lambda s: s.img.features(7), TypeError, "include=7 is not a list"),
        (lambda s: s.img.features([7]), TypeError, "is not a list of names"),
        (lambda s: s.img.features(size=0), ValueError, "size=0"),
        (lambda s: s.img.features(size=(3, 4)), TypeError, r"size=\(3, 4\) is not a whole number"),
        (lambda s: s.img.features(errors="ignore"), ValueError, "errors='ignore'"),
        (lambda s: s.img.hash("whash"), ValueError, "kind='whash' is not one of 'phash'"),
        (lambda s: s.img.duplicate_groups("name"), ValueError, "method='name' is not one of"),
        (lambda s: s.img.duplicate_groups(max_distance=65), ValueError, "from 0 to 64"),
        (lambda s: s.img.duplicate_groups(max_distance=1.5), TypeError, "whole number from 0 to 64"),
        (lambda s: s.img.duplicate_groups("md5", 3), ValueError, "makes no sense with method='md5'"),
        (lambda s: s.img.issues("is_ugly"), ValueError, "'is_ugly', which is not an issue"),
        (lambda s: s.img.issues(dark="very"), ValueError, "dark='very'"),
        (lambda s: s.img.issues(dark=float("nan")), ValueError, "dark=nan"),
        (lambda s: s.astype("category").cat.codes.astype(float).img.duplicate_groups(), TypeError, "loses bits"),
    ],
)
def test_illegal_argument_raises_before_reading(call, error, message):
    with pytest.raises(error, match=message):
        call(pd.Series(["a.jpg", "b.jpg"]))


# ---- duplicates


def brute_force(hashes, distance):
    """Return the groups by the definition: every pair is compared, and pairs are followed."""
    groups, known = [], {}
    for i, first in enumerate(hashes):
        if first is None or i in known:
            continue
        known[i], stack = len(groups), [i]
        groups.append(i)
        while stack:
            current = hashes[stack.pop()]
            for j, other in enumerate(hashes):
                if j not in known and other is not None and (current ^ other).bit_count() <= distance:
                    known[j] = len(groups) - 1
                    stack.append(j)
    return [known.get(i, -1) for i in range(len(hashes))]


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 5, 8, 13, 20, 31, 32, 63, 64])
@pytest.mark.parametrize("bits", [64, 40, 12])
def test_group_ids_equal_brute_force(distance, bits):
    rng = np.random.default_rng(distance * 64 + bits)
    seeds = rng.integers(0, 2**bits, 40, dtype=np.uint64)
    hashes = [int(seeds[n]) for n in rng.integers(0, 40, 200)]
    hashes = [
        value ^ (1 << int(bit)) ^ (1 << int(other_bit))
        for value, bit, other_bit in zip(hashes, *rng.integers(0, 64, (2, 200)), strict=True)
    ]
    hashes[3] = hashes[50] = None
    found = group_ids(pd.array(hashes, dtype="UInt64"), distance).tolist()
    assert found == brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [1, 2, 4, 7])
def test_lsh_and_scan_find_same_groups(distance):
    rng = np.random.default_rng(distance)
    hashes = np.unique(
        rng.integers(0, 2**9, 300, dtype=np.uint64) << np.uint64(20) ^ rng.integers(0, 8, 300, dtype=np.uint64)
    )
    rng.shuffle(hashes)
    bands = [duplicates.extract_band(hashes, *edges) for edges in pairwise(duplicates._band_edges(distance + 1))]
    expected = brute_force(hashes.tolist(), distance)
    for roots in (
        duplicates._components_by_lsh(hashes, bands, distance),
        duplicates._components_by_scan(hashes, distance),
    ):
        assert pd.factorize(roots)[0].tolist() == expected


def test_union_preserves_pairs_with_common_root():
    parents = np.arange(6)
    duplicates._union(parents, np.array([3, 4, 1]), np.array([5, 5, 5]))
    assert len(set(duplicates._find_roots(parents, np.array([1, 3, 4, 5])).tolist())) == 1


def test_group_ids_follow_chains():
    chain = [(1 << n) - 1 for n in range(10)]
    assert set(group_ids(pd.array(chain, dtype="UInt64"), 1).tolist()) == {0}
    assert group_ids(pd.array(chain[::2], dtype="UInt64"), 1).tolist() == [0, 1, 2, 3, 4]


def test_hundred_thousand_hashes_are_not_scanned(monkeypatch):
    monkeypatch.setattr(duplicates, "_components_by_scan", None)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[50_000:] = hashes[:50_000] ^ (np.uint64(1) << rng.integers(0, 64, 50_000).astype(np.uint64))
    assert group_ids(hashes, 3).tolist() == [*range(50_000), *range(50_000)]


@pytest.fixture
def doubles(folder):
    """Return copies of images: of the bytes, of the pixels, nearly of the pixels, none, none."""
    first = Image.open(folder / "1.jpg")
    files = [(folder / "1.jpg").read_bytes()] * 2 + [encoded(first)]
    files += [encoded(first.resize((150, 100)), "JPEG", quality=60), encoded(scene(300, 200, 77)), None, b"nothing"]
    return pd.DataFrame({"image": files}, index=list("xxyzxyz"))


@pytest.mark.parametrize(
    ("method", "distance", "groups"),
    [
        ("md5", 0, [0, 0, 1, 2, 3]),
        ("pixels", 0, [0, 0, 0, 1, 2]),
        ("phash", 8, [0, 0, 0, 0, 1]),
        ("dhash", 12, [0, 0, 0, 0, 1]),
    ],
)
def test_duplicate_groups_of_files(doubles, method, distance, groups):
    found = doubles.img.duplicate_groups("image", method, distance, errors="coerce")
    assert found.tolist() == [*groups, pd.NA, 4 if method == "md5" else pd.NA]  # MD5 is of any bytes
    assert found.name == "duplicate_group"
    assert found.dtype == "Int64"
    assert found.index.tolist() == doubles.index.tolist()
    kinds = doubles.img.hash("image", "pixel_md5", errors="coerce").img.failures["kind"].tolist()
    assert kinds == found.img.failures["kind"].tolist() or method == "md5"
    assert kinds == ["unidentified"]


def test_hash_column_is_not_decoded(doubles, monkeypatch):
    kinds = {"phash": 8, "dhash": 12, "md5": 0, "pixel_md5": 0}
    hashes = doubles.img.features("image", kinds, errors="coerce")
    expected = {
        kind: doubles.img.duplicate_groups("image", kind, d, errors="coerce").dropna() for kind, d in kinds.items()
    }
    monkeypatch.setattr("pandas_imgproc.execution.execute", None)
    for kind, distance in kinds.items():
        found = hashes.img.duplicate_groups(kind, kind, distance).dropna()
        assert found.iloc[:5].tolist() == expected[kind].iloc[:5].tolist()
    signed = hashes["phash"].dropna().astype("uint64").astype("int64")  # as databases store them
    assert signed.img.duplicate_groups(max_distance=8).tolist() == expected["phash"].tolist()
    assert hashes["phash"].astype(object).img.duplicate_groups(max_distance=8).iloc[:5].tolist() == [0, 0, 0, 0, 1]


def test_duplicates_between_two_frames_are_found(folder):
    train, test = ([str(folder / f"{n}.jpg") for n in numbers] for numbers in ((0, 1, 2), (2, 3)))
    both = pd.concat({"train": pd.Series(train), "test": pd.Series(test)})
    groups = both.img.duplicate_groups()
    assert both.img.duplicate_groups(max_distance=np.int64(0)).tolist() == groups.tolist()
    assert groups["test"].isin(groups["train"]).tolist() == [True, False]


# ---- issues


def textured(n):
    """Return an image that is sharp also at 64 pixels, where sharpness is measured."""
    squares = np.random.default_rng(n).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    squares = Image.fromarray(squares).resize((400 + n, 300), Image.Resampling.NEAREST)
    return Image.blend(scene(400 + n, 300, 20 + n), squares, 0.3)


@pytest.fixture(scope="module")
def suspects():
    """Return images that each have one issue, and some that have none."""
    photo = scene(400, 300, 1)
    images = {
        "is_dark": photo.point(lambda level: level * 0.2),
        "is_light": photo.point(lambda level: 255 - (255 - level) * 0.02),
        "is_blurry": marked(400, 300).point(lambda level: level * 0.6),
        "is_low_information": Image.new("RGB", (400, 300), (150, 90, 60)),
        "is_odd_size": scene(400, 300, 5).resize((2000, 1500)),
        "is_odd_aspect_ratio": scene(900, 300, 6).crop((0, 0, 900, 150)),
        "is_grayscale": scene(400, 300, 7).convert("L").convert("RGB"),
    }
    good = {f"good {n}": textured(n) for n in range(8)}
    files = {name: encoded(image, "PNG") for name, image in {**images, **good}.items()}
    files["is_duplicate"] = files["good 0"]
    return pd.Series({**files, "missing": None})


def test_every_issue_is_found(suspects):
    found = suspects.img.issues()
    assert tuple(found.columns) == ISSUES
    assert found.dtypes.eq("boolean").all()
    for name in ISSUES:
        assert found.loc[name, name], name
    good = found.loc[[f"good {n}" for n in range(1, 8)]]
    assert not good.any(axis=None), good
    assert found.loc["missing"].isna().all()
    assert found["is_duplicate"].dropna().sum() == 2
    assert found["is_grayscale"].sum() == 1


def test_issues_of_features_frame_are_equal_without_reading(suspects, monkeypatch):
    features = suspects.img.features(["phash", *HEADER_FEATURES, *feature_names("pixels", "grey")])
    expected = suspects.img.issues(blurry=0.4, max_distance=4)
    monkeypatch.setattr("pandas_imgproc.execution.execute", None)
    pd.testing.assert_frame_equal(features.img.issues(blurry=0.4, max_distance=4), expected)
    assert features.img.issues(include="is_dark", dark=np.float32(0.3)).columns.tolist() == ["is_dark"]
    assert list(inspect.signature(features.img.issues).parameters)[:2] == ["column", "include"]
    pd.testing.assert_frame_equal(
        features.set_axis([0] * len(features)).img.issues(blurry=0.4, max_distance=4).reset_index(drop=True),
        expected.reset_index(drop=True),
    )
    # floats, as CSV files store booleans with gaps
    features["is_grayscale"] = features["is_grayscale"].astype("float64")
    assert features.img.issues()["is_grayscale"].sum() == 1


@pytest.mark.parametrize("threshold", ["dark", "light", "blurry", "low_information", "odd_size", "odd_aspect_ratio"])
def test_threshold_arguments_change_issues(suspects, threshold):
    features = suspects.img.features()
    name = f"is_{threshold}"
    if threshold == "odd_size":
        assert not features.img.issues(include=name, odd_size=1e9)[name].any()
        assert features.img.issues(include=name, odd_size=0)[name].sum() > 1
    else:
        assert not features.img.issues(include=name, **{threshold: 0})[name].any()
        assert features.img.issues(include=name, **{threshold: 10})[name].dropna().all()


def test_default_thresholds_equal_cleanvision():
    at = pd.DataFrame(
        {"brightness_p99": [0.3199, 0.32], "brightness_p05": [0.9501, 0.9499], "sharpness": [0.2899, 0.29]}
    )
    at = at.assign(entropy=[2.99, 3.01], width=[349, 1000], height=[1000, 350])
    wanted = ["is_dark", "is_light", "is_blurry", "is_low_information", "is_odd_aspect_ratio"]
    assert at.img.issues(include=wanted).to_numpy().tolist() == [[True] * 5, [False] * 5]
    edges = pd.DataFrame({"width": [100, 110, 120, 130, 140, 201, 199], "height": [100, 110, 120, 130, 140, 201, 199]})
    low, high = np.percentile(edges["width"], [25, 75])
    outside = (edges["width"] < low - 3 * (high - low)) | (edges["width"] > high + 3 * (high - low))
    assert edges.img.issues(include="is_odd_size")["is_odd_size"].tolist() == outside.tolist()


def test_odd_size_is_only_the_differing_image():
    sizes = pd.DataFrame({"width": [64] * 9 + [65], "height": 64})
    assert sizes.img.issues(include="is_odd_size")["is_odd_size"].tolist() == [False] * 9 + [True]


def test_issues_of_frame_without_features_names_missing_column():
    with pytest.raises(KeyError, match="no column 'brightness_p99'"):
        pd.DataFrame({"image_path": ["a.jpg"]}).img.issues()
    with pytest.raises(TypeError, match="root= needs a column of images"):
        pd.DataFrame({"image_path": ["a.jpg"]}).img.issues(root="x")
    with pytest.raises(TypeError, match="max_distance=True"):
        pd.DataFrame({"phash": [1]}).img.issues(include="is_duplicate", max_distance=True)


def test_missing_images_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.Series([None, None], dtype=object).img.issues()
        pd.Series([Path("x")], dtype=object).img.features(errors="coerce")
