"""What a person sees while a call runs: a bar, lines of logging, or nothing."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from pandas_imgproc.configuration import setting

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger("pandas_imgproc")

LONG_JOB = 30.0
"""Seconds from which on a call is announced with an estimate of its time and memory."""


class Progress(Protocol):
    """How a call tells how far it is; use it as a context manager."""

    def advance(self, rows: int, failures: int) -> None:
        """Tell that some rows are done, and how many failures there are in all."""

    def say(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        """Show a line that stays; by default only if the call has taken long enough to be of interest."""

    def finish(self, line: str) -> None:
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
        return _Silent()
    if wanted or _in_notebook() or sys.stderr.isatty():
        return _Bar(name, total)
    return _Log(name, total)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _bar_class() -> Any:
    """Return tqdm's bar of widgets where they can be shown, its bar of text elsewhere, without its warning."""
    if _in_notebook() and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm

        return tqdm
    from tqdm.std import tqdm as text

    return text


class _Silent:
    def advance(self, rows: int, failures: int) -> None: ...

    def say(self, line: str, *, of_short_jobs_too: bool = False) -> None: ...

    def finish(self, line: str) -> None: ...

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None: ...


class _Bar:
    def __init__(self, name: str, total: int) -> None:
        self._started = time.perf_counter()
        self._delay = float(setting("progress-delay"))
        self._bar = _bar_class()(
            total=total, desc=name, unit=" images", unit_scale=False, delay=self._delay, dynamic_ncols=True
        )

    def advance(self, rows: int, failures: int) -> None:
        if failures:
            self._bar.set_postfix_str(f"{failures:,} failed", refresh=False)
        self._bar.update(rows)

    def say(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        if of_short_jobs_too or time.perf_counter() - self._started >= self._delay:
            self._bar.write(line, file=sys.stderr)
        else:
            logger.debug(line)

    def finish(self, line: str) -> None:
        self._bar.close()
        self.say(line)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class _Log:
    """A line for each tenth, for log files and batch jobs."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done = self._tenths = 0
        self._started = time.perf_counter()

    def advance(self, rows: int, failures: int) -> None:
        self._done += rows
        tenths, seconds = self._done * 10 // self._total, time.perf_counter() - self._started
        if tenths > self._tenths and seconds > setting("progress-delay"):
            rate = self._done / seconds
            logger.info(
                "%s: %d %%, %d of %d images, %.0f images/s, %s left, %d failed",
                self._name, tenths * 10, self._done, self._total, rate,
                duration((self._total - self._done) / rate), failures,
            )  # fmt: skip
        self._tenths = tenths

    def say(self, line: str, *, of_short_jobs_too: bool = False) -> None:
        long = of_short_jobs_too or time.perf_counter() - self._started >= setting("progress-delay")
        logger.log(logging.INFO if long else logging.DEBUG, line)

    def finish(self, line: str) -> None:
        self.say(line)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None: ...


def duration(seconds: float) -> str:
    """Return seconds as a person says them.

    Examples
    --------
    >>> duration(4.26), duration(200), duration(7300)
    ('4.3 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(nbytes: int) -> str:
    """Return bytes as a person says them.

    Examples
    --------
    >>> size(900), size(12_288_000), size(1_228_800_000)
    ('900 bytes', '12.3 MB', '1.23 GB')
    """
    if nbytes < 1e5:
        return f"{nbytes} bytes"
    return f"{nbytes / 1e6:.1f} MB" if nbytes < 1e9 else f"{nbytes / 1e9:.2f} GB"
