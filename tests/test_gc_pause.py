"""The garbage collector pauses during the import, and works as before after it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from pandas_imgproc._gc_pause import gc_paused


def run_script(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100).stdout


def test_import_does_not_collect_garbage():
    code = """
import gc, sys
import pandas, dask.base
generations = []
gc.callbacks.append(lambda phase, info: generations.append((phase, info["generation"])))
import pandas_imgproc
print(sum(name.startswith("pandas_imgproc") for name in sys.modules) > 100, len(generations) <= 2, gc.isenabled())
"""
    assert run_script(code) == "True True True\n"


def test_disabled_garbage_collector_stays_disabled():
    assert run_script("import gc; gc.disable(); import pandas_imgproc; print(gc.isenabled())") == "False\n"


def test_frozen_objects_stay_frozen():
    code = "import gc; gc.freeze(); n = gc.get_freeze_count(); import pandas_imgproc; print(gc.get_freeze_count(), n)"
    n_after, n_before = map(int, run_script(code).split())
    assert n_after > n_before / 2  # a few of them may have ended


def test_failed_import_does_not_leave_the_garbage_collector_disabled():
    with pytest.raises(ImportError), gc_paused():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_pause_ends_in_the_child_of_a_fork():
    """The thread that imports is not in the child, and would never end the pause."""
    read, write = os.pipe()
    with gc_paused():
        pid = os.fork()
        if not pid:
            os.write(write, str(gc.isenabled()).encode())
            os._exit(0)
    os.waitpid(pid, 0)
    with os.fdopen(read) as result, os.fdopen(write):
        assert os.read(result.fileno(), 10) == b"True"


def test_garbage_of_the_block_is_collected_later():
    with gc_paused():
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
    assert gc.collect()
