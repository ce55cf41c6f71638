"""Batches for a training loop: rows, order, missing images, resumption, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from photo_frame import BROKEN, NO_FILE, photo_frame, positions_of, readable, unreadable

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc import (
    MissingImagesError,
    NoReadableImageError,
    ResultTooLargeError,
    UnreadableImageError,
    UnreadableImageWarning,
)
from pandas_imgproc.execution.streaming import BatchStream

pytestmark = pytest.mark.filterwarnings("ignore::pandas_imgproc.UnreadableImageWarning")


@pytest.fixture
def frame(tmp_path):
    return photo_frame(tmp_path)


def make(frame, **options):
    return frame.img.batches("image_path", **{"size": 32, "batch_size": 8} | options)


# ---- rows


@pytest.mark.parametrize("shuffle", [False, True])
def test_pass_has_each_readable_row_once_in_full_batches(frame, shuffle):
    batches = make(frame, shuffle=shuffle)
    for _ in range(2):
        sizes = [len(positions) for positions, _ in batches]
        assert sizes == [8] * 5 + [5]
        assert sorted(positions_of(batches)) == readable(frame)


def test_pixels_are_those_of_load_resized(frame):
    expected = frame.img.load_resized("image_path", size=32, errors="coerce").img.to_numpy(na_value=0)
    for positions, images in make(frame, shuffle=True, prefetch=1):
        np.testing.assert_array_equal(images, expected[positions])
        assert images.flags.writeable
        assert images.flags.c_contiguous
        assert positions.dtype == np.int64


def test_column_of_images_and_npy_file_give_the_same_batches_as_paths(frame, tmp_path):
    expected = [(positions, images) for positions, images in make(frame, shuffle=True, channels="first")]
    frame["image"] = frame.img.load_resized("image_path", size=32, errors="coerce")
    frame["stored"] = frame.img.load_resized("image_path", size=32, errors="coerce", out=tmp_path / "images.npy")
    for column in ("image", "stored"):
        for size in (None, 32):
            batches = frame.img.batches(column, size=size, batch_size=8, shuffle=True, channels="first")
            for given, wanted in zip(batches, expected, strict=True):
                np.testing.assert_array_equal(given[0], wanted[0])
                np.testing.assert_array_equal(given[1], wanted[1])
            assert batches.failures["kind"].tolist() == frame[column].img.failures["kind"].tolist()


def test_image_column_is_resized_and_written_later_without_effect(frame):
    images = frame.img.load_resized("image_path", size=32, errors="coerce")
    batches = images.img.batches(16, batch_size=50)
    whole = images.img.batches(batch_size=50)
    images.iloc[0] = np.zeros((32, 32, 3), np.uint8)
    for given, side in ((batches, 16), (whole, 32)):
        ((positions, pixels),) = given
        assert pixels.shape == (len(readable(frame)), side, side, 3)
        assert pixels[0].any()
        assert positions.tolist() == readable(frame)


@pytest.mark.parametrize("n", [0, 1, 8, 9])
def test_small_frames(frame, n):
    batches = make(frame.iloc[40 : 40 + n])
    assert [len(positions) for positions, _ in batches] == [8] * (n // 8) + [n % 8] * (n % 8 > 0)
    assert len(batches) == -(-n // 8)


def test_format_is_that_of_to_numpy(frame):
    options = {"scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": 0.2, "channels": "first"}
    images = frame.img.load_resized("image_path", size=32, errors="coerce").img.to_numpy(na_value=-9, **options)
    for positions, given in make(frame, missing=-9, **options):
        np.testing.assert_array_equal(given, images[positions])


def test_batches_of_a_dask_frame_are_those_of_the_computed_frame(frame):
    frame = frame.reset_index(drop=True)
    with dask.config.set(scheduler="synchronous"):
        batches = make(dd.from_pandas(frame, npartitions=3), shuffle=True)
    assert positions_of(batches) == positions_of(make(frame, shuffle=True))


# ---- order


def test_order_follows_from_seed_and_pass_alone(frame):
    passes = [positions_of(batches) for batches in [make(frame, shuffle=True, seed=4)] for _ in range(3)]
    assert len(set(map(tuple, passes))) == 3
    other = make(frame, shuffle=True, seed=4, batch_size=3, prefetch=5)
    with dask.config.set(scheduler="synchronous"):
        assert [positions_of(other) for _ in range(3)] == passes
    other.set_epoch(1)
    assert positions_of(other) == passes[1]
    assert positions_of(other) == passes[2]
    assert positions_of(make(frame, shuffle=True, seed=5)) != passes[0]
    assert positions_of(make(frame)) == readable(frame)


def test_order_does_not_depend_on_rows_that_fail(frame):
    before = positions_of(make(frame, shuffle=True))
    path = Path(frame["image_path"].iloc[30])
    path.write_bytes(b"")
    assert positions_of(make(frame, shuffle=True)) == [row for row in before if row != 30]


# ---- missing images


def test_failures_of_a_pass_have_labels_and_positions(frame):
    batches = make(frame, shuffle=True)
    assert batches.failures.empty
    positions_of(batches)
    expected = frame.img.load_resized("image_path", size=32, errors="coerce").img.failures
    pd.testing.assert_frame_equal(batches.failures, expected)


def test_left_out_rows_are_warned_of_once(frame):
    batches = make(frame)
    with pytest.warns(UnreadableImageWarning, match="4 of 50 images could not be read and were left out") as record:
        positions_of(batches)
    assert record[0].filename.endswith("photo_frame.py")
    assert "row 3 (index" in str(record[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        positions_of(batches)
        list(make(frame, missing=0))


def test_file_that_is_repaired_is_in_the_next_pass(frame, tmp_path):
    batches = make(frame)
    assert NO_FILE not in positions_of(batches)
    (tmp_path / f"{NO_FILE}.jpg").write_bytes((tmp_path / "21.jpg").read_bytes())
    assert NO_FILE in [position for positions, _ in batches for position in positions]
    assert len(batches.failures) == len(BROKEN)


def test_missing_raise_names_the_row(frame):
    with pytest.raises(UnreadableImageError, match=r"row 4 \(index .*11.jpg'.*\[unidentified\]") as error:
        list(make(frame.drop(columns="y").iloc[[4, 5, 6, 8, 11, 13]], missing="raise"))
    assert error.value.kind == "unidentified"
    with pytest.raises(MissingImagesError, match=r"row 3 \(index .*has no image and no path"):
        list(make(frame.iloc[4:], missing="raise", batch_size=3))


def test_missing_raise_ends_before_the_batch_of_the_row(frame):
    given, batches = [], make(frame.iloc[13:], missing="raise", batch_size=3)
    with pytest.raises(UnreadableImageError):
        given.extend(positions.tolist() for positions, _ in batches)
    assert given == [[0, 1, 2], [3, 4, 5]]


def test_missing_value_fills_images_of_all_rows(frame):
    for positions, images in make(frame, missing=9, channels="first"):
        filled = (images == 9).all(axis=(1, 2, 3))
        assert positions[filled].tolist() == sorted(set(positions.tolist()) & set(unreadable(frame)))


def test_no_readable_image_is_an_error_with_the_root_that_would_find_them(frame, tmp_path):
    names = frame["image_path"].dropna().map(os.path.basename)
    with pytest.raises(NoReadableImageError, match="none of 49 images could be read"):
        list(names.img.batches(32, root=tmp_path / "nowhere"))


# ---- length, resumption


@pytest.mark.parametrize("drop_last", [False, True])
def test_len_is_an_upper_bound_and_exact_after_a_pass(frame, drop_last):
    batches = make(frame, drop_last=drop_last, batch_size=15)
    assert len(batches) == (3 if drop_last else 4)  # 49 paths
    n = len(list(batches))
    assert n == len(batches) == 3
    assert len(make(frame, drop_last=True, batch_size=46)) == 1
    assert len(list(make(frame, drop_last=True, batch_size=46))) == 0
    assert len(make(frame, missing=0, batch_size=25)) == 2


@pytest.mark.parametrize("stop", range(7))
def test_state_continues_after_any_batch(frame, stop):
    expected = [
        positions.tolist() for batches in [make(frame, shuffle=True)] for _ in range(2) for positions, _ in batches
    ]
    first, second = make(frame, shuffle=True), make(frame, shuffle=True)
    iterator = iter(first)
    given = [next(iterator)[0].tolist() for _ in range(stop)]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    given += [positions.tolist() for _ in range(2) for positions, _ in second]
    assert given[: len(expected)] == expected


def test_state_of_other_rows_or_order_is_refused(frame):
    state = make(frame, shuffle=True).state_dict()
    for other in (make(frame), make(frame.iloc[1:], shuffle=True), make(frame, shuffle=True, seed=1)):
        with pytest.raises(ValueError, match="the state is that of"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="no state of batches"):
        make(frame).load_state_dict({"epoch": 1})


# ---- nothing left behind


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pandas_imgproc-")]


def run_loop(batches, function):
    for _ in batches:
        assert own_threads()
        function()


def test_leaving_the_loop_early_leaves_no_thread(frame):
    batches = make(frame, batch_size=2)
    for _ in batches:
        break
    assert not own_threads()
    with pytest.raises(ZeroDivisionError):
        run_loop(batches, lambda: 1 / 0)
    assert not own_threads()
    two = iter(batches), iter(batches)
    assert next(two[0])[0].tolist() == next(two[1])[0].tolist() == [0, 1]
    del two
    assert not own_threads()


def test_ctrl_c_in_the_loop_leaves_no_thread_and_the_next_pass_works(frame):
    batches = make(frame, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run_loop(batches, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert not own_threads()
    assert positions_of(batches) == readable(frame)


def test_ctrl_c_ends_a_wait_for_a_server(http_server):
    http_server.latency = 300.0

    def interrupt():
        wait_until(lambda: http_server.in_flight)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(pd.Series([http_server.url(f"{row}.jpg") for row in range(20)]).img.batches(32))
    thread.join()


def test_ctrl_c_while_the_first_chunks_are_submitted_ends_their_threads(http_server, monkeypatch):
    http_server.latency, submit = 300.0, BatchStream._submit

    def submit_and_interrupt(stream):
        submit(stream)
        if threading.current_thread() is threading.main_thread():
            assert wait_until(lambda: http_server.in_flight)
            raise KeyboardInterrupt

    monkeypatch.setattr(BatchStream, "_submit", submit_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(pd.Series([http_server.url(f"{row}.jpg") for row in range(20)]).img.batches(32))
    monkeypatch.undo()  # the fixtures look for threads and requests


def test_python_ends_while_a_pass_is_not_finished(frame, tmp_path):
    script = tmp_path / "script.py"
    paths = frame["image_path"].dropna().tolist()
    script.write_text(
        f"import pandas as pd\nimport pandas_imgproc\npaths = pd.Series({paths!r})\n"
        "batches = iter(paths.img.batches(32, batch_size=2))\nprint(next(batches)[0])\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(pandas_imgproc.__file__).parent.parent)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=env)
    assert (done.stdout, done.stderr) == ("[0 1]\n", "")


# ---- arguments


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"size": None}, ValueError, "size= is needed"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"prefetch": 0}, ValueError, "prefetch=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"shuffle": 1}, TypeError, "shuffle=1"),
        ({"missing": "drop"}, ValueError, "missing='drop' is not 'skip', 'raise' or a number"),
        ({"missing": True}, ValueError, "missing=True"),
        ({"missing": -1}, ValueError, "missing=-1 is no value of uint8"),
        ({"missing": float("nan")}, ValueError, "missing=nan is no value of uint8"),
        ({"errors": "raise"}, TypeError, "has no argument 'errors'"),
        ({"std": 0}, ValueError, "std=0 is not above 0"),
    ],
)
def test_wrong_argument_is_named(frame, options, error, words):
    with pytest.raises(error, match=words):
        make(frame, **options)


def test_batches_beyond_memory_are_refused_before_the_pass(frame):
    batches = make(frame, size=4096, batch_size=10**7)
    with pytest.raises(ResultTooLargeError, match=r"pass a smaller batch_size="):
        next(iter(batches))
