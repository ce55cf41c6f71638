"""Progress of a job: a bar in a terminal or notebook, lines of logging, or silence."""

from __future__ import annotations

import contextlib
import html
import logging
import math
import os
import sys
import time
from typing import Any, Self

from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.config import setting

logger = logging.getLogger("pandas_imgproc")

ESTIMATE_THRESHOLD = 30.0
"""Predicted seconds from which on a job's time and memory are logged before the end."""

REFRESH_SECONDS = 0.2
"""Seconds between two states of the bar in a notebook: each is a message to the browser."""


class Progress:
    """Progress of a job, as a context manager. This base class is silent."""

    def update(self, rows: int, failures: int) -> None:
        """Add finished rows, and set the total of failures."""

    def write(self, line: str, *, always: bool = False) -> None:
        """Show a line that remains; for a short job only if `always` is set."""

    def write_link(self, name: str, link: str) -> None:
        """Show a link that remains, for a short job too."""
        self.write(f"{name}: {link}", always=True)

    def close(self, line: str) -> None:
        """Show the last line of a finished job, below the bar; a short job shows none."""
        self.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _VisibleProgress(Progress):
    """Progress with counts; a line of a short job is logged at level DEBUG."""

    def __init__(self, name: str, total: int, n_before: int) -> None:
        self._name, self._total, self._n_before = name, total, n_before
        self._n_done, self._n_failed = n_before, 0
        self._started_at = time.perf_counter()
        self._delay = setting("progress-delay")

    def write(self, line: str, *, always: bool = False) -> None:
        if always or self._seconds >= self._delay:
            self._show_line(line)
        else:
            logger.debug(line)

    def _show_line(self, line: str) -> None:
        logger.info(line)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started_at

    def _counts_text(self) -> str:
        rate = max(self._n_done - self._n_before, 1) / self._seconds
        return (
            f"{self._name}: {self._n_done * 100 // self._total}%, {self._n_done:,} of {self._total:,} images, "
            f"{rate:,.0f} images/s, {format_duration((self._total - self._n_done) / rate)} left, "
            f"{self._n_failed:,} failed"
        )


def progress(name: str, total: int, *, show: bool | None = None, n_before: int = 0) -> Progress:
    """Return the progress of a job of `total` rows: a bar if `show` is True, silence if False.

    By default a bar in a terminal or notebook, and otherwise lines of logging. `n_before` of the rows were finished
    before.
    """
    shown = setting("progress") if show is None else show
    if shown is False or total == 0:
        return Progress()
    if _in_notebook():
        return _NotebookProgress(name, total, n_before)
    if is_terminal(sys.stderr) or (shown and is_open(sys.stderr)):
        return _TqdmProgress(name, total, n_before)
    return _LogProgress(name, total, n_before)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; a service has a closed one, or None.

    Examples
    --------
    >>> is_terminal(None)
    False
    """
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, an object that only has `write`, or closed
        return False


def _bar_size() -> dict[str, Any]:
    """Return the options of a bar's size: in a terminal of no size, as `script` and containers make it, is no bar."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if not os.get_terminal_size(sys.stderr.fileno()).columns:
            return {"ncols": 80, "nrows": 24}
    return {"dynamic_ncols": True}


def is_open(stream: Any) -> bool:
    """Return whether a stream can be written.

    Examples
    --------
    >>> is_open(None)
    False
    """
    return stream is not None and not getattr(stream, "closed", False)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _TqdmProgress(_VisibleProgress):
    """Bar in a terminal."""

    def __init__(self, name: str, total: int, n_before: int) -> None:
        super().__init__(name, total, n_before)
        self._bar = import_atomically("tqdm.std").tqdm(  # costs 0.08 s
            total=total, initial=n_before, desc=name, unit=" images", delay=self._delay, **_bar_size(),
            bar_format="{desc}: {percentage:.0f}%|{bar}| {n:,}/{total:,} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
        )  # fmt: skip

    def update(self, rows: int, failures: int) -> None:
        if failures:
            self._bar.set_postfix_str(f"{failures:,} failed", refresh=False)
        self._bar.update(rows)

    def _show_line(self, line: str) -> None:
        self._bar.write(line, file=self._bar.fp)

    def close(self, line: str) -> None:
        self._bar.close()
        self.write(line)

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class _NotebookProgress(_VisibleProgress):
    """Output of a notebook cell, replaced as the job goes on: works with and without widgets."""

    _output: Any = None
    _shown_at = -math.inf
    _is_finished = False

    def update(self, rows: int, failures: int) -> None:
        self._n_done += rows
        self._n_failed = failures
        if self._seconds >= max(self._delay, self._shown_at + REFRESH_SECONDS):
            self._show(self._counts_text())

    def _show_line(self, line: str) -> None:
        _display(line, html.escape(line))

    def write_link(self, name: str, link: str) -> None:
        url = html.escape(link)
        _display(f"{name}: {link}", f"{html.escape(name)}: <a href='{url}' target='_blank'>{url}</a>")

    def close(self, line: str) -> None:
        self._is_finished = True
        (self._show if self._seconds >= self._delay else logger.debug)(line)

    def _show(self, line: str) -> None:
        self._shown_at = self._seconds
        bar = f"<progress value='{self._n_done}' max='{self._total}' style='width:16em'></progress> {html.escape(line)}"
        if self._output is None:
            # Known before it is displayed: Ctrl-C may come between the two, and the output is to say so.
            self._output = _display_handle()
            self._output.display(_mime_bundle(line, bar), raw=True)
        else:
            self._output.update(_mime_bundle(line, bar), raw=True)

    def __exit__(self, *_: object) -> None:
        if self._output is not None and not self._is_finished:
            self._show(f"{self._name}: stopped after {self._n_done:,} of {self._total:,} images")


def _mime_bundle(text: str, markup: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": markup}


def _display_handle() -> Any:
    """Return the handle of a new output in the running cell, which displays and replaces it."""
    from IPython.display import DisplayHandle

    return DisplayHandle()


def _display(text: str, markup: str) -> None:
    """Display a text in the running cell."""
    _display_handle().display(_mime_bundle(text, markup), raw=True)


class _LogProgress(_VisibleProgress):
    """Line of logging for each tenth of the rows, for log files and batch jobs."""

    def update(self, rows: int, failures: int) -> None:
        tenths = self._n_done * 10 // self._total
        self._n_done += rows
        self._n_failed = failures
        if self._n_done * 10 // self._total > tenths and self._seconds > self._delay:
            logger.info(self._counts_text())


def format_duration(seconds: float) -> str:
    """Return seconds as text, in units for reading.

    Examples
    --------
    >>> format_duration(4.26), format_duration(200), format_duration(7300)
    ('4.3 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_bytes(nbytes: int) -> str:
    """Return bytes as text, in decimal units.

    Examples
    --------
    >>> format_bytes(900), format_bytes(12_288_000), format_bytes(1_228_800_000)
    ('900 bytes', '12.3 MB', '1.23 GB')
    """
    if nbytes < 1e5:
        return f"{nbytes} bytes"
    return f"{nbytes / 1e6:.1f} MB" if nbytes < 1e9 else f"{nbytes / 1e9:.2f} GB"
