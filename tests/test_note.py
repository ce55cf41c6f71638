"""Two deaths for a killer, none for its neighbours; the caller's wish to stop is seen."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from pandas_imgproc.execution.crash_ledger import (
    TIMED_OUT,
    WORKER_DIED,
    CrashLedger,
    LedgerHandle,
    ledger_nbytes,
    shared_ledger,
)


def test_a_row_in_flight_twice_is_guilty_and_its_neighbours_are_not():
    ledger = CrashLedger.in_memory(5)
    assert ledger.start_attempt(range(5)) == {}
    for deaths in (1, 2):
        ledger.enter_row(1), ledger.exit_row(1), ledger.enter_row(2)
        assert ledger.start_attempt(range(5)) == ({2: WORKER_DIED} if deaths == 2 else {})
    assert ledger.start_attempt(range(5)) == {2: WORKER_DIED}


def test_many_deaths_do_not_overflow_the_mark():
    ledger = CrashLedger.in_memory(1)
    for _ in range(300):
        ledger.enter_row(0)
        ledger.start_attempt(range(1))
    assert ledger.start_attempt(range(1)) == {0: WORKER_DIED}


def test_another_process_reads_and_writes_the_same_marks():
    with shared_ledger(3) as (ledger, address):
        child = os.fork()
        if child == 0:
            with address.open() as marks:
                marks.enter_row(1)
            os._exit(0)
        os.waitpid(child, 0)
        ledger.start_attempt(range(3))
        ledger.enter_row(1)
        assert ledger.start_attempt(range(3)) == {1: WORKER_DIED}
        ledger.cancel()
        with address.open() as marks:
            assert marks.cancelled


def test_out_of_reach_it_is_blank():
    with shared_ledger(3) as (ledger, address):
        ledger.cancel()
    with address.open() as marks:
        assert not marks.cancelled
    with LedgerHandle(None, 3).open() as marks:
        assert marks.start_attempt(range(3)) == {}


def test_a_stranger_at_the_same_address_is_not_written():
    with shared_ledger(3) as (_, address):
        pass
    fd = os.memfd_create("stranger")
    try:
        os.write(fd, bytes(4))
        assert fd == address.file.fd or pytest.skip("the number went to another file")
        with address.open() as marks:
            marks.enter_row(1)
        assert os.pread(fd, 4, 0) == bytes(4)
    finally:
        os.close(fd)


def test_a_row_that_took_too_long_is_not_tried_again():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(1, 4))
    ledger.enter_row(2)
    assert ledger.in_flight() == [(2, os.getpid())]
    ledger.mark_timed_out(2)
    assert ledger.start_attempt(range(1, 4)) == {2: TIMED_OUT}
    assert ledger.start_attempt(range(1, 4)) == {2: TIMED_OUT}
    assert ledger.in_flight() == []


def test_rows_whose_process_was_killed_from_outside_are_forgiven_a_few_times():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(5))
    for death in range(1, 5):
        ledger.enter_row(2)
        ledger.discount_kill(os.getpid())
        assert ledger.start_attempt(range(5)) == ({2: WORKER_DIED} if death == 4 else {})


def test_a_strike_is_taken_back_also_after_it_was_given():
    ledger = CrashLedger.in_memory(5)
    for _ in range(2):
        ledger.start_attempt(range(5))
        ledger.enter_row(2)
    ledger.start_attempt(range(5))
    ledger.discount_kill(os.getpid())
    assert ledger.start_attempt(range(5)) == {}


def test_a_row_with_a_strike_is_alone_in_its_process():
    """Two threads of one process: nobody is in flight beside the suspect, hence nobody is blamed with it."""
    marks = np.zeros(ledger_nbytes(40), dtype=np.uint8)
    left, right, suspect = CrashLedger(marks, 40), CrashLedger(marks, 40), 5
    left.start_attempt(range(20)), right.start_attempt(range(20, 40))
    left.enter_row(suspect), right.enter_row(25)
    del left, right  # with their process
    after = [CrashLedger(marks, 40), CrashLedger(marks, 40)]
    assert [after[0].start_attempt(range(20)), after[1].start_attempt(range(20, 40))] == [{}, {}]
    beside, over = [], threading.Event()

    def others():
        while not over.is_set():
            for row in range(26, 40):
                after[1].enter_row(row)
                time.sleep(0)
                after[1].exit_row(row)

    thread = threading.Thread(target=others)
    thread.start()
    for _ in range(20):
        after[0].enter_row(suspect)
        beside.append([row for row, _ in after[0].in_flight()])
        after[0].exit_row(suspect)
    over.set()
    thread.join()
    assert beside == [[suspect]] * 20
    after[0].enter_row(suspect)
    last = CrashLedger(marks, 40)
    assert (last.start_attempt(range(20)), last.start_attempt(range(20, 40))) == ({suspect: WORKER_DIED}, {})
    after[0].release()
