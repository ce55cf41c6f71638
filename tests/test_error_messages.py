"""Messages of usage errors: the argument, the value and the remedy, in a traceback that ends at the user's line."""

from __future__ import annotations

import errno
import functools
import logging
import subprocess
import sys
import threading
import traceback

import numpy as np
import pandas as pd
import pytest
from image_factory import row_image

import pandas_imgproc

MAX_LINES = 15


@pytest.fixture
def frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for k in range(4):
        row_image(k, (16 + k, 16)).save(tmp_path / "data" / f"{k}.png")
    paths = [f"data/{k}.png" for k in range(4)]
    return pd.DataFrame({"image_path": [*paths, "data/gone.png"], "label": list("abcde"), "id": range(5)})


def ratio(pixels):
    return 1 / 0


RATIO_LINE = ratio.__code__.co_firstlineno + 1


def locked(lock, pixels):
    with lock:
        return 1


def traceback_lines(frame, call, kind, message):
    """Check the message of the error, and return the lines of its traceback."""
    with pytest.raises(kind) as caught:
        eval(call, globals(), {"df": frame, "held": functools.partial(locked, threading.Lock())})
    assert message in str(caught.value)
    return "".join(traceback.format_exception(caught.value)).splitlines()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ("df.img.load_resized('image_pth', 8)", KeyError, "did you mean 'image_path'?"),
        ("df.img.load_resized(None)", KeyError, "the frame has no column None"),
        (
            "df.rename(columns={'image_path': None}).img.load_resized(None)",
            TypeError,
            "load_resized() missing 1 required",
        ),
        ("df.img.map('image_path')", TypeError, "map() missing 1 required positional argument: 'func'"),
        ("df['image_path'].img.save_resized()", TypeError, "save_resized() missing 2 required"),
        ("df.img.features()", TypeError, "features() missing 1 required positional argument: 'column'"),
        ("df.img.show('image_path', title=['lable'])", KeyError, "did you mean 'label'?"),
        ("df['image_path'].img.show(title='label')", TypeError, "title=df['label']"),
        ("df['image_path'].img.show(title=df['label'][1:])", ValueError, "'label' is a column of another index"),
        ("df.img.save_resized('image_path', '{lable}.png', 8)", KeyError, "did you mean 'label'?"),
        ("df.img.load_resized('id', 8)", TypeError, "pass suffix='.jpg'"),
        ("df.img.load_resized('id', 8, suffix='.png')", OSError, "found with root='data'."),
        ("df['id'].where(df['id'] < 4).img.load_resized(8, suffix='.png')", OSError, "found with root='data'."),
        ("df['id'].astype(str).img.load_resized(8)", OSError, "found with root='data' and suffix='.png'."),
        ("df['image_path'].head(2).img.load_resized(8, root='dat')", OSError, "did you mean 'data'?"),
        ("df.img.load_resized('image_path', '64')", TypeError, "write the number without quotes"),
        ("df.img.load_resized('image_path', (64, 64, 3))", ValueError, "the channels follow from mode="),
        ("df.img.load_resized('image_path', 64.0)", TypeError, "size must be an int (a square) or (width, height)"),
        ("df.img.load_resized('image_path', 0)", ValueError, "1 is the least"),
        ("df.img.map('image_path', len, modes='L')", TypeError, "map() has no argument 'modes'; did you mean 'mode'"),
        (
            "df.img.augment('image_path', len, sufix=1)",
            TypeError,
            "augment() has no argument 'sufix'; did you mean 'suf",
        ),
        (
            "df.img.load_resized('image_path', 8, folder='data')",
            TypeError,
            "no argument 'folder'; did you mean 'root'?",
        ),
        ("df.img.load_resized('image_path', width=8)", TypeError, "no argument 'width'; did you mean 'size'?"),
        ("df.img.save_resized('image_path', 'x', 8, crop=True)", TypeError, "no argument 'crop'; did you mean 'fit'?"),
        ("df.img.features('image_path', n_jobs=4)", TypeError, "no argument 'n_jobs'; calls use all cores"),
        ("df.img.resize('image_path', 8)", AttributeError, "no method 'resize'; did you mean 'load_resized'?"),
        ("df['image_path'].img.load(8)", AttributeError, "no method 'load'; did you mean 'load_resized'?"),
        ("df.img.map('image_path', len, dtype='nothing')", TypeError, "dtype='nothing' is no dtype"),
        ("df.img.map('image_path', len, npartitions='4')", TypeError, "npartitions='4' is not a whole number"),
        ("df.img.load_resized('image_path', 8, out='x.csv')", ValueError, "out='x.csv' is neither"),
        ("df.img.load_resized('image_path', 8, out='no/x.npy')", OSError, "cannot be written"),
        ("df.img.save_resized('image_path', '/proc/no', 8)", OSError, "cannot be written"),
        ("df.img.load_resized('image_path', 8, errors='raise')", OSError, "row 4, 'data/gone.png'"),
        ("df['image_path'].img.to_numpy()", TypeError, "not images; load it first"),
    ],
)
def test_usage_error_has_short_traceback(frame, call, kind, message):
    assert len(traceback_lines(frame, call, kind, message)) < MAX_LINES


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ("df.img.load_resized('image_path', 8, errors='raise', npartitions=2)", OSError, "there is no such file"),
        (
            "df[:4].img.map('image_path', ratio, errors='raise')",
            pandas_imgproc.UserFunctionError,
            f"(ratio, line {RATIO_LINE} of test_error_messages.py)",
        ),
        ("df.img.map('image_path', lambda pixels: pixels, errors='coerce')", ValueError, "func must return results"),
        ("df.img.map('image_path', held)", TypeError, "cannot be sent to another process: cannot pickle"),
        (
            "df.img.map('image_path', str, dtype='float64', out='x.parquet')",
            pandas_imgproc.UserFunctionError,
            "dtype='float64' cannot hold",
        ),
    ],
)
def test_error_on_workers_has_no_frames_of_dask(frame, managed_cluster, call, kind, message):
    lines = traceback_lines(frame, call, kind, message)
    own = next((k for k, line in enumerate(lines) if "direct cause" in line), 0)  # after the function's traceback
    assert len(lines) - own < MAX_LINES
    assert own < MAX_LINES
    assert not [line for line in lines if "distributed" in line or "cloudpickle" in line]


def test_complete_traceback_is_logged_at_debug(frame, caplog):
    caplog.set_level(logging.DEBUG, "pandas_imgproc")
    with pytest.raises(KeyError):
        frame.img.load_resized("image_pth", 8)
    assert "options.py" in caplog.text


def test_error_preserves_its_cause_without_frames(frame):
    with pytest.raises(OSError, match="cannot be written") as caught:
        frame.img.load_resized("image_path", 8, out="no/x.npy")
    cause = caught.value.__cause__
    assert isinstance(cause, FileNotFoundError)
    assert cause.errno == errno.ENOENT
    assert cause.__traceback__ is None
    with pytest.raises(TypeError, match="is no dtype") as caught:
        frame.img.map("image_path", len, dtype="nothing")
    assert isinstance(caught.value.__cause__, TypeError)


def test_foreign_error_preserves_its_traceback(frame):
    class Odd(str):
        __slots__ = ()

        def __hash__(self):
            raise TypeError("odd")

    with pytest.raises(TypeError, match="odd") as caught:
        frame.img.load_resized(Odd("image_path"), 8)
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 3


def test_numpy_integer_size_is_accepted(frame):
    assert frame.head(2).img.load_resized("image_path", np.int64(8)).dtype.shape == (8, 8, 3)


@pytest.mark.parametrize("port", ["99999", "99999999", "x", "-1"])
def test_url_with_illegal_port_is_invalid_path(port):
    column = pd.Series([f"http://127.0.0.1:{port}/a.jpg"]).img.load_resized(8, errors="coerce")
    assert column.img.failures["kind"].tolist() == ["invalid_path"]


def test_url_user_with_space_is_redacted():
    column = pd.Series(["http://CANARY secret@127.0.0.1:x/a.jpg"]).img.load_resized(8, errors="coerce")
    assert column.img.failures["path"].tolist() == ["http://…@127.0.0.1:x/a.jpg"]


def test_unknown_storage_option_is_named(http_server):
    http_server.files["a.jpg"] = b"x"
    message = r"storage_options= names what its file system does not know: .* argument 'foo'"
    with pytest.raises(pandas_imgproc.NoReadableImageError, match=message) as caught:
        pd.Series([http_server.url("a.jpg")] * 2).img.load_resized(8, storage_options={"foo": 3})
    assert "Is this the column" not in str(caught.value)


def test_messages_on_missing_arguments_name_no_internal_class(frame):
    for call in (lambda: frame.img.load_resized("image_path"), lambda: frame["image_path"].img.map(), frame.img.hash):
        with pytest.raises(TypeError, match=r"^(load_resized|map|hash)\(\) missing 1 required"):
            call()


def test_column_named_none_is_a_column(frame):
    frame = frame.rename(columns={"image_path": None})
    assert frame.img.load_resized(None, 8, errors="coerce").notna().sum() == 4
    assert len(frame.img.issues(None, ["is_dark"], errors="coerce")) == 5


def test_system_without_process_information_is_named(tmp_path):
    """PROCFS_PATH is psutil's own option for a `/proc` at another place."""
    code = f"import psutil; psutil.PROCFS_PATH = {str(tmp_path)!r}; import pandas_imgproc"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "\nImportError: Dask, which pandas_imgproc needs, cannot be imported: " in result.stderr
