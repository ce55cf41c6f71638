"""Steps that Ctrl-C does not cut in half: the wait ends, the step goes on, and the user's handlers stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from conftest import wait_until
from pandas_imgproc._uninterrupted import Step, import_atomically

ROOT = Path(__file__).parents[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package of which the import interrupts the main thread half-way, and then waits for a file."""
    (tmp_path / "half_imported").mkdir()
    code = """
        import os, signal, time
        import half_imported.first
        while {name!r} == "waits" and not os.path.exists({go!r}):
            time.sleep(0.01)
        value = half_imported.first.value
    """

    def write(name):
        text = textwrap.dedent(code).format(name=name, go=str(tmp_path / "go"))
        (tmp_path / "half_imported" / "__init__.py").write_text(text)
        (tmp_path / "half_imported" / "first.py").write_text(
            "import os, signal, sys\n"
            "if not hasattr(sys, '_half_imported_once'):\n"
            "    sys._half_imported_once = True\n"
            f"    {'os.kill(os.getpid(), signal.SIGINT)' if name == 'waits' else 'pass'}\n"
            "value = 1\n"
        )
        return "half_imported"

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    (tmp_path / "go").touch()
    for name in [name for name in sys.modules if name.startswith("half_imported")]:
        del sys.modules[name]
    vars(sys).pop("_half_imported_once", None)


def test_import_interrupted_by_sigint_is_whole_afterwards(package, tmp_path):
    name = package("waits")
    with pytest.raises(KeyboardInterrupt):
        import_atomically(name)
    (tmp_path / "go").touch()
    assert import_atomically(name).value == 1
    assert import_atomically(name).first.value == 1


def test_package_that_the_users_import_left_half_is_imported_anew(package):
    name = package("ends")
    import half_imported.first  # noqa: F401 - the user's import, as it is after Ctrl-C

    del sys.modules["half_imported"]
    assert import_atomically(name).first.value == 1


def test_signal_handler_of_the_user_runs_while_a_step_is_waited_for():
    received, go = [], threading.Event()

    def handle(number, _):
        received.append(number)
        go.set()

    def step():
        os.kill(os.getpid(), signal.SIGINT)
        return go.wait(100)

    before = signal.signal(signal.SIGINT, handle)
    try:
        assert Step(step).result()
        assert signal.getsignal(signal.SIGINT) is handle
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


def test_step_raises_its_error_in_each_wait():
    step = Step(int, "x")
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            step.result()


def test_wait_for_a_step_ends_at_its_timeout():
    go = threading.Event()
    step = Step(go.wait, 100)
    with pytest.raises(TimeoutError):
        step.result(timeout=0.01)
    go.set()
    assert step.result()
    assert wait_until(lambda: step.is_finished)


def run_script(code):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=100)


def test_import_lock_that_ctrl_c_left_is_released():
    """Ctrl-C in the import system of Python, at the start of the function that releases its lock, has this effect."""
    result = run_script(
        """
        import _imp, os, threading
        from pandas_imgproc._uninterrupted import import_atomically, release_import_lock
        threading.Timer(50, os._exit, (3,)).start()
        _imp.acquire_lock()
        print(import_atomically("json.tool").__name__)
        _imp.acquire_lock()
        release_import_lock()
        print(_imp.lock_held())
        os._exit(0)
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["yaml.reader", "asyncio.mixins"])
def test_import_of_the_package_can_be_repeated_after_ctrl_c(module):
    """The signal comes while a submodule of a package that this one needs is imported."""
    result = run_script(
        f"""
        import os, signal, sys
        import pandas

        class Interrupt:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r} and self in sys.meta_path:
                    sys.meta_path.remove(self)
                    os.kill(os.getpid(), signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.meta_path.insert(0, Interrupt())
        try:
            import pandas_imgproc
        except KeyboardInterrupt:
            print("interrupted")
        import pandas_imgproc
        print(len(pandas.Series([b""]).img.metadata()))
        """
    )
    assert (result.returncode, result.stdout) == (0, "interrupted\n1\n"), result.stderr
