"""Crash ledger: rows that crash twice are poisoned, their neighbors are not; cancellation reaches workers."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from image_factory import row_image

import pandas_imgproc
from pandas_imgproc.execution.crash_ledger import (
    TIMED_OUT,
    WORKER_DIED,
    CrashLedger,
    LedgerHandle,
    ledger_nbytes,
    shared_ledger,
)


def test_row_crashing_twice_is_poisoned_neighbors_are_not():
    ledger = CrashLedger.in_memory(5)
    assert ledger.start_attempt(range(5)) == {}
    for crashes in (1, 2):
        ledger.enter_row(1), ledger.exit_row(1), ledger.enter_row(2)
        assert ledger.start_attempt(range(5)) == ({2: WORKER_DIED} if crashes == 2 else {})
    assert ledger.start_attempt(range(5)) == {2: WORKER_DIED}


def test_crash_count_does_not_overflow():
    ledger = CrashLedger.in_memory(1)
    for _ in range(300):
        ledger.enter_row(0)
        ledger.start_attempt(range(1))
    assert ledger.start_attempt(range(1)) == {0: WORKER_DIED}
    assert ledger.has_crashes


def test_shared_ledger_is_read_and_written_by_another_process():
    with shared_ledger(3) as (ledger, handle):
        child = os.fork()
        if child == 0:
            with handle.open() as opened:
                opened.enter_row(1)
            os._exit(0)
        os.waitpid(child, 0)
        ledger.start_attempt(range(3))
        ledger.enter_row(1)
        assert ledger.start_attempt(range(3)) == {1: WORKER_DIED}
        ledger.cancel()
        with handle.open() as opened:
            assert opened.cancelled


def test_unreachable_ledger_falls_back_to_null_ledger():
    with shared_ledger(3) as (ledger, handle):
        ledger.cancel()
    with handle.open() as opened:
        assert not opened.cancelled
    with LedgerHandle(None, 3).open() as opened:
        opened.enter_row(1)
        assert opened.start_attempt(range(3)) == {}
        opened.cancel()
        assert opened.cancelled


def test_reused_fd_number_is_not_written():
    with shared_ledger(3) as (_, handle):
        pass
    fd = os.memfd_create("other")
    try:
        os.write(fd, bytes(4))
        assert fd == handle.file.fd or pytest.skip("the number went to another file")
        with handle.open() as opened:
            opened.enter_row(1)
        assert os.pread(fd, 4, 0) == bytes(4)
    finally:
        os.close(fd)


def test_timed_out_row_is_poisoned_at_once():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(1, 4))
    ledger.enter_row(2)
    assert ledger.in_flight() == [(2, os.getpid())]
    ledger.mark_timed_out(2)
    assert ledger.start_attempt(range(1, 4)) == {2: TIMED_OUT}
    assert ledger.start_attempt(range(1, 4)) == {2: TIMED_OUT}
    assert ledger.in_flight() == []


def test_external_kills_do_not_count_up_to_limit():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(5))
    for crash in range(1, 5):
        ledger.enter_row(2)
        ledger.discount_kill(os.getpid())
        assert ledger.start_attempt(range(5)) == ({2: WORKER_DIED} if crash == 4 else {})


def test_late_report_of_external_kill_discounts_its_crash():
    ledger = CrashLedger.in_memory(5)
    for _ in range(2):
        ledger.start_attempt(range(5))
        ledger.enter_row(2)
    ledger.start_attempt(range(5))
    ledger.discount_kill(os.getpid())
    assert ledger.start_attempt(range(5)) == {}


def test_suspect_row_runs_exclusively_in_its_process():
    """Two threads of one process: no row is in flight beside the suspect one, hence none is blamed with it."""
    data = np.zeros(ledger_nbytes(40), dtype=np.uint8)
    left, right, suspect = CrashLedger(data, 40), CrashLedger(data, 40), 5
    left.start_attempt(range(20)), right.start_attempt(range(20, 40))
    left.enter_row(suspect), right.enter_row(25)
    del left, right  # with their process
    left, right = CrashLedger(data, 40), CrashLedger(data, 40)
    assert [left.start_attempt(range(20)), right.start_attempt(range(20, 40))] == [{}, {}]
    in_flight, finished = [], threading.Event()

    def run_other_rows():
        while not finished.is_set():
            for row in range(26, 40):
                right.enter_row(row)
                time.sleep(0)
                right.exit_row(row)

    thread = threading.Thread(target=run_other_rows)
    thread.start()
    for _ in range(20):
        left.enter_row(suspect)
        in_flight.append([row for row, _ in left.in_flight()])
        left.exit_row(suspect)
    finished.set()
    thread.join()
    assert in_flight == [[suspect]] * 20
    left.enter_row(suspect)
    last = CrashLedger(data, 40)
    assert (last.start_attempt(range(20)), last.start_attempt(range(20, 40))) == ({suspect: WORKER_DIED}, {})
    left.release()


def test_inline_job_inside_suspect_row_does_not_wait_for_its_end(tmp_path):
    row_image(7).save(tmp_path / "7.png")
    ledger = CrashLedger.in_memory(1)
    ledger.enter_row(0)
    ledger.start_attempt(range(1))
    ledger.enter_row(0)
    assert pandas_imgproc.load_image(tmp_path / "7.png", 8).shape == (8, 8, 3)
    ledger.exit_row(0)
