"""Datasets for the loader of another library: items, missing images, pickles, and worker processes."""

import multiprocessing
import pickle
import zlib

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of
from photo_frame import BROKEN, NO_FILE, NO_PATH, photo_frame, readable

from pandas_imgproc import (
    MissingImagesError,
    NoReadableImageError,
    UnreadableImageError,
    UnreadableImageWarning,
    cluster,
)
from pandas_imgproc.codec import pillow_globals
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.source import inputs

pytestmark = pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")

METHODS = ["fork", "spawn"]


@pytest.fixture
def frame(tmp_path):
    return photo_frame(tmp_path)


def make(frame, **options):
    return frame.img.dataset("image_path", **{"size": 32} | options)


def checksums(items):
    return {(position, zlib.crc32(np.ascontiguousarray(image))) for position, image in items}


# ---- items


def test_items_are_position_image_and_label(frame):
    data = make(frame, label="y")
    assert len(data) == len(readable(frame))
    assert data.positions.tolist() == readable(frame)
    for (position, image, label), expected in zip(data, readable(frame), strict=True):
        assert type(position) is int
        assert (position, row_of(image), label) == (expected, expected, expected * 10)
        assert image.flags.writeable
    assert data[-1][0] == readable(frame)[-1]
    assert [item[0] for item in data.__getitems__([2, 0])] == [2, 0]
    with pytest.raises(IndexError, match="item 45 of a dataset of 45"):
        data[45]


def test_batches_and_dataset_have_the_same_rows_and_pixels(frame):
    batches = frame.img.batches("image_path", 32, shuffle=True, scale=1 / 255, channels="first")
    data = make(frame, scale=1 / 255, channels="first")
    rows = [row for positions, images in batches for row in zip(positions.tolist(), images, strict=True)]
    assert checksums(rows) == checksums(data)
    pd.testing.assert_frame_equal(batches.failures.reset_index(), data.failures.reset_index())


def test_labels_are_a_column_several_or_values(frame):
    frame["z"] = frame["y"] + 1
    assert make(frame, label=["y", "z"])[3][2].tolist() == [40, 41]
    assert make(frame, label=frame["y"])[3][2] == make(frame, label=frame["y"].tolist())[3][2] == 40
    assert frame["image_path"].img.dataset(32, label=frame["y"])[3][2] == 40
    frame["name"] = "n" + frame["y"].astype(str)
    assert make(frame, label="name")[3][2] == "n40"
    with pytest.raises(KeyError, match="the frame has no column 'Y'"):
        make(frame, label="Y")
    with pytest.raises(ValueError, match=r"label=.*49 rows, and the column has 50"):
        make(frame, label=list(range(49)))
    with pytest.raises(ValueError, match="label= has another index"):
        make(frame, label=frame["y"].iloc[::-1])


def test_image_column_and_npy_file_give_the_same_items_as_paths(frame, tmp_path):
    for out in (None, tmp_path / "images.npy"):
        frame["image"] = frame.img.load_resized("image_path", size=32, errors="coerce", out=out)
        data = frame.img.dataset("image")
        assert checksums(data) == checksums(make(frame))
        pd.testing.assert_frame_equal(data.failures, make(frame).failures)
        tail = frame.iloc[5:].img.dataset("image")
        assert tail.positions.tolist() == [row - 5 for row in readable(frame) if row >= 5]
        assert tail.failures["position"].tolist() == [row - 5 for row in (*sorted(BROKEN), NO_FILE) if row >= 5]


def test_items_of_a_dask_frame_are_those_of_the_computed_frame(frame):
    frame = frame.reset_index(drop=True)
    with dask.config.set(scheduler="synchronous"):
        data = make(dd.from_pandas(frame, npartitions=3), label="y")
    assert [(item[0], item[2]) for item in data] == [(row, row * 10) for row in readable(frame)]


# ---- missing images


def test_rows_left_out_are_warned_of_when_it_is_built(frame):
    with pytest.warns(UnreadableImageWarning, match="4 of 50 images could not be read"):
        data = make(frame)
    assert sorted(data.failures["position"]) == sorted([*BROKEN, NO_FILE])
    with pytest.raises(NoReadableImageError):
        make(frame.iloc[[3, 11]])


def test_mask_is_used_without_reading_an_image(frame, tmp_path):
    valid = frame.img.verify("image_path")["kind"].isna() & frame["image_path"].notna()
    for path in tmp_path.glob("*.jpg"):
        path.rename(path.with_suffix(".hidden"))
    for mask in (valid, valid.to_numpy(), valid.tolist()):
        assert make(frame, readable=mask).positions.tolist() == readable(frame)
    with pytest.raises(TypeError, match="readable= holds int64, and not True and False"):
        make(frame, readable=valid.astype(int))
    with pytest.raises(ValueError, match="another index"):
        make(frame, readable=valid.iloc[::-1])


def test_image_that_is_lost_later_is_an_error_of_its_item(frame, tmp_path):
    data = make(frame)
    (tmp_path / "5.jpg").unlink()
    with pytest.raises(UnreadableImageError, match=r"row 5 \(index .*5.jpg': there is no such file"):
        data[data.positions.tolist().index(5)]


def test_missing_raise_and_value_need_no_pass(frame):
    data = make(frame, missing="raise")
    assert len(data) == 50
    assert row_of(data[4][1]) == 4
    with pytest.raises(UnreadableImageError, match="row 3 "):
        data[3]
    with pytest.raises(MissingImagesError, match="row 7 "):
        data[NO_PATH]
    filled = make(frame, missing=9, channels="first")
    assert len(filled) == 50
    for row in (3, NO_PATH):
        assert filled[row][0] == row
        assert (filled[row][1] == np.full((3, 32, 32), 9, np.uint8)).all()


# ---- transforms


def test_transform_of_any_convention_comes_before_the_format(frame):
    albumentations = pytest.importorskip("albumentations")
    flip = albumentations.HorizontalFlip(p=1)
    image = make(frame)[0][1]
    for transform in (flip, lambda pixels: pixels[:, ::-1], lambda pixels, rng: pixels[:, ::-1]):
        data = make(frame, transform=transform, scale=1 / 255, channels="first")
        expected = (image[:, ::-1] / np.float32(255)).transpose(2, 0, 1)
        np.testing.assert_allclose(data[0][1], expected, rtol=1e-6)
    assert make(frame, transform=lambda pixels: {"any": 1})[0][1] == {"any": 1}
    with pytest.raises(UserFunctionError, match="the transform returned str"):
        make(frame, transform=lambda pixels: "text", scale=2)[0]
    with pytest.raises(TypeError, match="transform=3 cannot be called"):
        make(frame, transform=3)


def test_generator_of_a_transform_follows_from_the_seed_of_the_process(frame):
    data = make(frame, transform=lambda pixels, rng: rng.random())
    drawn = []
    for _ in range(2):
        np.random.seed(3)  # noqa: NPY002  as a loader does
        drawn.append([item[1] for item in data])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == len(data)


def test_error_of_a_transform_is_the_users_own(frame):
    with pytest.raises(ZeroDivisionError):
        make(frame, transform=lambda pixels: 1 / 0)[0]


# ---- processes, as a DataLoader uses them: batches of indices in, items out


def serve(data, requests, results):
    for indices in iter(requests.get, None):
        items = data.__getitems__(indices)
        state = cluster.existing_client() is None, len(multiprocessing.active_children())
        results.put(([(item[0], zlib.crc32(item[1])) for item in items], state))


def load_with(method, data, n_workers=2, size=8):
    """Return the items of a dataset that worker processes read, and the states of these processes."""
    context = multiprocessing.get_context(method)
    requests, results = context.SimpleQueue(), context.SimpleQueue()
    workers = [context.Process(target=serve, args=(data, requests, results), daemon=True) for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    chunks = [range(start, min(start + size, len(data))) for start in range(0, len(data), size)]
    for chunk in chunks:
        requests.put(list(chunk))
    given = [results.get() for _ in chunks]
    for _ in workers:
        requests.put(None)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return {item for items, _ in given for item in items}, {state for _, state in given}


@pytest.mark.parametrize("method", METHODS)
def test_worker_processes_give_the_same_items_and_start_no_cluster(frame, method):
    data = make(frame, transform=lambda pixels: pixels[::-1].copy())
    items, states = load_with(method, data)
    assert items == checksums(data)
    assert states == {(True, 0)}


def exitcode_of_fork(data):
    """Return the exit code of a forked process that reads the first item; None if it does not end."""
    process = multiprocessing.get_context("fork").Process(target=data.__getitem__, args=(0,))
    process.start()
    process.join(100)
    exitcode = process.exitcode
    process.kill()
    process.join()
    return exitcode


def test_processes_fork_while_threads_decode(frame):
    """A lock that a thread holds when its process forks is never released in the child."""
    data = make(frame, missing=0)
    with pillow_globals._stack.lock, inputs._image_locks[0]:
        exitcode = exitcode_of_fork(data)
    assert exitcode == 0


def test_image_in_memory_is_read_in_a_process_that_forks_while_it_is_locked():
    image = row_image(4)
    data = pd.Series([image], dtype=object).img.dataset(32, missing="raise")
    with inputs._image_locks[id(image) // 64 % 64]:
        exitcode = exitcode_of_fork(data)
    assert exitcode == 0


def test_pickle_has_the_paths_and_neither_frame_nor_pixels(frame, tmp_path):
    frame["text"] = "x" * 10_000
    assert len(pickle.dumps(make(frame))) < 20_000
    frame["image"] = frame.img.load_resized("image_path", size=64, errors="coerce", out=tmp_path / "images.npy")
    data = frame.img.dataset("image")
    pickled = pickle.dumps(data)
    assert len(pickled) < 20_000 < 50 * 64 * 64 * 3
    assert checksums(pickle.loads(pickled)) == checksums(data)
    tail = frame.iloc[30:].img.dataset("image")
    assert len(pickle.dumps(tail)) < 20_000
    assert [item[0] + 30 for item in pickle.loads(pickle.dumps(tail))] == list(range(30, 50))


def test_loader_of_torch_gives_the_same_items(frame):
    torch = pytest.importorskip("torch")
    data = make(frame, label="y")
    expected = {(item[0], zlib.crc32(item[1]), int(item[2])) for item in data}
    for n_workers in (0, 2):
        loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=n_workers, shuffle=True)
        given = [(p, x, y) for batch in loader for p, x, y in zip(*batch, strict=True)]
        assert {(int(p), zlib.crc32(x.numpy()), int(y)) for p, x, y in given} == expected
        assert len(given) == len(expected)


def test_class_as_transform_is_refused(tmp_path):
    class Transform:
        def __call__(self, pixels):
            return pixels

    row_image(0).save(tmp_path / "0.png")
    column = pd.Series(["0.png"])
    with pytest.raises(TypeError, match="transform=Transform is a class; give an instance"):
        column.img.dataset(size=8, root=tmp_path, transform=Transform)
    assert len(column.img.dataset(size=8, root=tmp_path, transform=Transform())) == 1
