"""What a person sees while a call runs: a bar, lines of logging, or nothing."""

from __future__ import annotations

import html
import logging
import math
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from pandas_imgproc.config import setting

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("pandas_imgproc")

ESTIMATE_THRESHOLD = 30.0
"""Seconds from which on a call is announced with an estimate of its time and memory."""


SECONDS_BETWEEN = 0.2
"""Seconds between two states of the bar in a notebook: each is a message to the browser."""


class Progress(Protocol):
    """How a call tells how far it is; use it as a context manager."""

    def update(self, rows: int, failures: int) -> None:
        """Tell that some rows are done, and how many failures there are in all."""

    def write(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        """Show a line that stays; by default only if the call has taken long enough to be of interest."""

    def write_link(self, name: str, link: str) -> None:
        """Show a link that stays, also of a short call."""

    def close(self, line: str) -> None:
        """Show the last line of a call that is done, below the bar; nothing if it was short."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress(name: str, total: int, *, show: bool | None = None) -> Progress:
    """Return the progress of a call.

    Parameters
    ----------
    name : str
        The method.
    total : int
        Rows to do.
    show : bool, optional
        True for a bar, False for silence; None for a bar where somebody can see it, else lines of logging.
    """
    wanted = setting("progress") if show is None else show
    if wanted is False or total == 0:
        return _NullProgress()
    if _in_notebook():
        return _NotebookProgress(name, total)
    if wanted or sys.stderr.isatty():
        return _TqdmProgress(name, total)
    return _LogProgress(name, total)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _NullProgress:
    def update(self, rows: int, failures: int) -> None: ...

    def write(self, line: str, *, of_short_jobs_too: bool = False) -> None: ...

    def write_link(self, name: str, link: str) -> None: ...

    def close(self, line: str) -> None: ...

    def __enter__(self) -> _NullProgress:
        return self

    def __exit__(self, *_: object) -> None: ...


class _TqdmProgress:
    """Of a terminal."""

    def __init__(self, name: str, total: int) -> None:
        from tqdm.std import tqdm  # costs 0.08 s

        self._started = time.perf_counter()
        self._delay = float(setting("progress-delay"))
        self._bar = tqdm(total=total, desc=name, unit=" images", delay=self._delay, dynamic_ncols=True)

    def update(self, rows: int, failures: int) -> None:
        if failures:
            self._bar.set_postfix_str(f"{failures:,} failed", refresh=False)
        self._bar.update(rows)

    def write(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        if of_short_jobs_too or time.perf_counter() - self._started >= self._delay:
            self._bar.write(line, file=sys.stderr)
        else:
            logger.debug(line)

    def write_link(self, name: str, link: str) -> None:
        self.write(f"{name}: {link}", of_short_jobs_too=True)

    def close(self, line: str) -> None:
        self._bar.close()
        self.write(line)

    def __enter__(self) -> _TqdmProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class _CountingProgress:
    """What a call is at, counted by hand."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done = self._failures = 0
        self._started = time.perf_counter()
        self._delay = float(setting("progress-delay"))

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _line(self) -> str:
        rate = self._done / self._seconds
        return (
            f"{self._name}: {self._done * 100 // self._total} %, {self._done} of {self._total} images, "
            f"{rate:.0f} images/s, {format_duration((self._total - self._done) / rate)} left, {self._failures} failed"
        )


class _NotebookProgress(_CountingProgress):
    """One output of a cell, replaced as the call goes on: any notebook can do that, with and without widgets."""

    def __init__(self, name: str, total: int) -> None:
        super().__init__(name, total)
        self._output: Any = None
        self._shown = -math.inf
        self._is_finished = False

    def update(self, rows: int, failures: int) -> None:
        self._done += rows
        self._failures = failures
        if self._seconds >= max(self._delay, self._shown + SECONDS_BETWEEN):
            self._show(self._line())

    def write(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        if of_short_jobs_too or self._seconds >= self._delay:
            _displayed(line, html.escape(line))
        else:
            logger.debug(line)

    def write_link(self, name: str, link: str) -> None:
        url = html.escape(link)
        _displayed(f"{name}: {link}", f"{html.escape(name)}: <a href='{url}' target='_blank'>{url}</a>")

    def close(self, line: str) -> None:
        self._is_finished = True
        if self._seconds >= self._delay:
            self._show(line)
        else:
            logger.debug(line)

    def _show(self, line: str) -> None:
        self._shown = self._seconds
        bar = f"<progress value='{self._done}' max='{self._total}' style='width:16em'></progress> {html.escape(line)}"
        if self._output is None:
            self._output = _displayed(line, bar)
        else:
            self._output.update(_data(line, bar), raw=True)

    def __enter__(self) -> _NotebookProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._output is not None and not self._is_finished:
            self._show(f"{self._name}: stopped after {self._done:,} of {self._total:,} images")


def _data(text: str, markup: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": markup}


def _displayed(text: str, markup: str) -> Any:
    """Show something in the cell that runs, and return what it can be replaced with."""
    from IPython.display import display

    return display(_data(text, markup), raw=True, display_id=True)


class _LogProgress(_CountingProgress):
    """A line for each tenth, for log files and batch jobs."""

    def __init__(self, name: str, total: int) -> None:
        super().__init__(name, total)
        self._tenths = 0

    def update(self, rows: int, failures: int) -> None:
        self._done += rows
        self._failures = failures
        tenths = self._done * 10 // self._total
        if tenths > self._tenths and self._seconds > self._delay:
            logger.info(self._line())
        self._tenths = tenths

    def write(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        logger.log(logging.INFO if of_short_jobs_too or self._seconds >= self._delay else logging.DEBUG, line)

    def write_link(self, name: str, link: str) -> None:
        self.write(f"{name}: {link}", of_short_jobs_too=True)

    def close(self, line: str) -> None:
        self.write(line)

    def __enter__(self) -> _LogProgress:
        return self

    def __exit__(self, *_: object) -> None: ...


def format_duration(seconds: float) -> str:
    """Return seconds as a person says them.

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
    """Return bytes as a person says them.

    Examples
    --------
    >>> format_bytes(900), format_bytes(12_288_000), format_bytes(1_228_800_000)
    ('900 bytes', '12.3 MB', '1.23 GB')
    """
    if nbytes < 1e5:
        return f"{nbytes} bytes"
    return f"{nbytes / 1e6:.1f} MB" if nbytes < 1e9 else f"{nbytes / 1e9:.2f} GB"
