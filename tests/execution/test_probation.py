"""A function that fails on all of the first images ends its call, with its exception."""

import copyreg
import functools
import importlib
import pickle
import sys
import traceback
import warnings

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pytest
import tblib.pickling_support
from image_factory import row_image, row_of

from pandas_imgproc import (
    BatchLengthError,
    NoReadableImageError,
    UnreadableImageWarning,
    UserFunctionError,
    UserFunctionWarning,
    read_result,
)
from pandas_imgproc.errors import failure
from pandas_imgproc.execution.probation import Probation
from pandas_imgproc.partition import FunctionErrors, PartitionInput, PartitionResult

cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(image_factory)

N = 60


class TwoArgumentsError(Exception):
    """Error that Python's pickle cannot rebuild."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def broken(pixels):
    try:
        return {}["key"]
    except KeyError as exc:
        raise TwoArgumentsError(1, 2) from exc


def logged(log, pixels):
    with log.open("a") as file:
        file.write("x")
    return broken(pixels)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for k in range(N):
        row_image(k).save(folder / f"{k}.png")
    return pd.DataFrame({"image_path": [str(folder / f"{k}.png") for k in range(N)]})


def check(error, function=broken, first_line=4):
    """Check the chain of exceptions: that of the function, with the lines of its file alone, and its own cause."""
    cause = error.__cause__
    assert type(cause).__name__ == "TwoArgumentsError"
    assert str(cause) == "1 and 2"
    assert isinstance(cause.__cause__, KeyError)
    line = broken.__code__.co_firstlineno + 4
    cause_file = broken.__code__.co_filename
    last = traceback.extract_tb(cause.__traceback__)[-1]
    assert (last.name, last.lineno, last.line) == ("broken", line, "raise TwoArgumentsError(1, 2) from exc")
    assert {frame.filename for frame in traceback.extract_tb(cause.__traceback__)} <= {__file__, cause_file}
    line = function.__code__.co_firstlineno + first_line
    assert f"({function.__name__}, line {line} of test_probation.py)" in str(error)
    assert not isinstance(error, OSError)


CALLS = {
    "map": lambda frame, func: frame.img.map("image_path", func),
    "map of 2 partitions": lambda frame, func: frame.img.map("image_path", func, npartitions=2),
    "map_batches": lambda frame, func: frame.img.map_batches("image_path", func, size=8, batch_size=8),
    "caller": lambda frame, func: frame.img.map_batches("image_path", func, size=8, batch_size=8, run_on="caller"),
    "augment": lambda frame, func: frame.img.augment("image_path", func, n=2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheduler", ["threads", None])
def test_function_that_fails_on_the_first_images_ends_the_call(frame, managed_cluster, call, scheduler):
    with (
        dask.config.set(scheduler=scheduler),
        pytest.raises(UserFunctionError, match="with the same error on all of the first 16 images") as caught,
    ):
        CALLS[call](frame, broken)
    check(caught.value)


@pytest.mark.parametrize("call", ["map", "map of 2 partitions"])
def test_images_after_the_first_are_not_tried(frame, managed_cluster, tmp_path, call):
    many = pd.concat([frame] * 20, ignore_index=True)
    with pytest.raises(UserFunctionError):
        CALLS[call](many, functools.partial(logged, tmp_path / "log"))
    assert len((tmp_path / "log").read_text()) < len(many) * 0.7


def test_partition_of_a_dask_frame_ends(frame, tmp_path):
    column = dd.from_pandas(frame, npartitions=2).img.map(
        "image_path", functools.partial(logged, tmp_path / "log"), dtype="float64"
    )
    with dask.config.set(scheduler="synchronous"), pytest.raises(UserFunctionError, match="first 16") as caught:
        column.compute()
    check(caught.value, logged, 3)
    assert len((tmp_path / "log").read_text()) == 16


def test_coerce_goes_on(frame):
    with dask.config.set(scheduler="threads"):
        assert frame.img.map("image_path", broken, errors="coerce").isna().all()


def test_first_failure_is_raised_with_its_exception(frame, managed_cluster):
    with pytest.raises(UserFunctionError, match=r"^row \d+, ") as caught:
        frame.img.map("image_path", broken, errors="raise", npartitions=2)
    check(caught.value)


def fails_in_turn(pixels):
    if row_of(pixels) % 2:
        raise ValueError("odd")
    raise KeyError("even")


def fails_first(pixels):
    if row_of(pixels) < 17:
        raise ValueError("early")
    return row_of(pixels)


def test_errors_of_several_kinds_do_not_end_the_call(frame):
    with (
        dask.config.set(scheduler="threads"),
        pytest.raises(UserFunctionError, match=f"none of {N} images gave a result") as caught,
    ):
        frame.img.map("image_path", fails_in_turn)
    assert isinstance(caught.value.__cause__, KeyError)


def test_result_before_the_seventeenth_failure_keeps_the_call(frame):
    with dask.config.set(scheduler="threads"), pytest.warns(UserFunctionWarning, match=f"15 of {N - 2} images"):
        result = frame.iloc[2:].img.map("image_path", fails_first)
    assert result.tolist()[15:] == list(range(17, N))
    with dask.config.set(scheduler="threads"), pytest.raises(UserFunctionError, match="first 16"):
        frame.img.map("image_path", fails_first)


def test_images_that_cannot_be_read_do_not_count(frame):
    missing = pd.DataFrame({"image_path": ["nowhere.png"] * 40})
    with dask.config.set(scheduler="threads"), pytest.raises(NoReadableImageError):
        missing.img.map("image_path", broken)
    both = pd.concat([missing, frame], ignore_index=True)
    with dask.config.set(scheduler="threads"), pytest.raises(UserFunctionError, match="first 16"):
        both.img.map("image_path", broken)


def test_failures_of_images_and_of_the_function_are_two_warnings(frame):
    both = pd.concat([frame, pd.DataFrame({"image_path": ["nowhere.png"]})], ignore_index=True)
    with dask.config.set(scheduler="threads"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        both.img.map("image_path", lambda pixels: row_of(pixels) if row_of(pixels) < 50 else 1 / 0)
    texts = {warning.category: str(warning.message) for warning in caught}
    assert texts[UnreadableImageWarning].startswith("1 of 61 images could not be read")
    assert texts[UserFunctionWarning].startswith("10 of 61 images gave no result")


@pytest.mark.parametrize("call", ["map", "augment"])
def test_call_goes_on_after_a_fix_of_what_the_function_imports(frame, tmp_path, monkeypatch, call):
    # The function itself is the same: its fingerprint does not tell that it was fixed.
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "helper_of_probation.py"
    module.write_text("def brightness(pixels):\n    return pixels.foo\n")
    importlib.invalidate_caches()

    def func(pixels):
        import helper_of_probation

        return helper_of_probation.brightness(pixels)

    def run():
        with dask.config.set(scheduler="threads"):
            if call == "map":
                return frame.img.map("image_path", func, out=tmp_path / "values.parquet", dtype="float64")
            return frame.img.augment("image_path", func, n=2, to=tmp_path / "variants")["path"]

    with pytest.raises(UserFunctionError, match=r"has no attribute 'foo' \(func, line \d+ of test_probation.py\)"):
        run()
    value = "pixels.mean()" if call == "map" else "pixels"
    module.write_text(f"def brightness(pixels):\n    return {value}  # fixed\n")
    del sys.modules["helper_of_probation"]
    importlib.invalidate_caches()
    assert run().notna().all()
    del sys.modules["helper_of_probation"]


def test_job_with_earlier_results_does_not_end(frame, tmp_path):
    def run(rows):
        with dask.config.set(scheduler="threads"):
            rows.img.map("image_path", fails_late, out=tmp_path / "values.parquet", dtype="float64")
        return read_result(tmp_path / "values.parquet")

    run(frame[:30])
    with pytest.warns(UserFunctionWarning, match=f"30 of {N} images"):
        assert run(frame).notna().sum() == 30


def fails_late(pixels):
    return row_of(pixels) if row_of(pixels) < 30 else pixels.foo


def result(positions, statuses):
    """Return the result of a partition: "f" for a failure of the function, "m" for no file, "." for a result."""
    part = PartitionResult.empty(PartitionInput(positions, [None] * len(positions)), np.zeros(len(positions)))
    for i, status in enumerate(statuses):
        if status == ".":
            part.status[i] = 0
            continue
        kind = "function" if status == "f" else "missing"
        part.failures.append(failure(positions[i], "a.png", kind, ""))
        part.status[i] = len(part.failures)
        if status == "f":
            part.function_errors.add(positions[i], UserFunctionError("x"))
    return part


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_order_of_partitions_does_not_matter(order):
    probation = Probation("map", np.ones(30, dtype=bool), 10)
    parts = [result(range(20), "fm" * 10), result(range(20, 22), ".f")]
    with pytest.raises(UserFunctionError):
        [probation.admit(parts[k]) for k in order]


def test_results_are_held_until_the_first_one():
    probation = Probation("map", np.ones(30, dtype=bool), 10)
    held, unreadable, first = result(range(2), "ff"), result(range(2, 4), "mm"), result(range(4, 6), "f.")
    assert probation.admit(held) == []
    assert probation.admit(unreadable) == [unreadable]
    assert probation.admit(first) == [held, first]
    assert probation.release() == []


def test_errors_travel_where_others_are_registered_for_exceptions():
    class LocalError(Exception):
        pass

    errors = FunctionErrors()
    errors.add(0, UserFunctionError("x"))
    errors.first.__cause__ = LocalError(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(copyreg.dispatch_table, UserFunctionError, tblib.pickling_support.pickle_exception)
        errors.detach()
        errors = pickle.loads(pickle.dumps(errors))
    assert (str(errors.first), errors.first.__cause__.args) == ("x", (1,))


def test_first_error_is_that_of_the_first_row():
    errors = FunctionErrors()
    for position in (5, 3, 9):
        errors.add(position, UserFunctionError(str(position)))
    assert (str(errors.first), errors.n, errors.are_alike) == ("3", 3, True)
    other = FunctionErrors()
    other.add(0, BatchLengthError("0"))
    errors.merge(other)
    several = FunctionErrors()
    several.merge(errors)
    assert (str(several.first), several.n, several.are_alike) == ("0", 4, False)
