"""Timer of what a process sees whenever it looks."""

from __future__ import annotations

import time

from pandas_imgproc.cluster.stopped import LookTimer


def test_time_without_a_look_does_not_count():
    """As if this process was stopped by Ctrl-Z, and the rows of its workers with it."""
    timer = LookTimer(interval=0.01)
    timer.look(["row"])
    time.sleep(0.1)
    assert 0.01 <= timer.look(["row"])["row"] <= 0.02


def test_item_that_was_not_seen_begins_anew():
    timer = LookTimer(interval=10.0)
    timer.look(["row"])
    timer.look([])
    assert timer.look(["row"]) == {"row": 0.0}
    time.sleep(0.01)
    assert timer.look(["row", "other"])["row"] >= 0.01
