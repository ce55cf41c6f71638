"""Ctrl-C in the command line: one line and exit code 130, also during the imports, at the end, and pressed twice.

The package imports this module before all others, which take most of a second. In other programs it does nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM_NAME = "pandas_imgproc"
EXIT_SIGINT = 130

_MODULE_OPTION = re.compile(r"(-\w*m)?pandas_imgproc(\.__main__)?")


class _SigintHandler:
    """Handler of SIGINT in a process of the command line.

    While a command runs, the first signal raises KeyboardInterrupt. Any other one ends the process at once: workers and
    unnamed files end with it, and finished rows are on disk.
    """

    def __init__(self) -> None:
        self.is_installed = False
        self._raises = False
        self._message = f"{PROGRAM_NAME}: interrupted"
        self.at_end: list[Callable[[], None]] = []  # functions that `end` calls, which take no time

    def install(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        # Not where Ctrl-C is disabled, as by nohup.
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            # Called last. Then Python takes its handlers away, and a signal would kill the process.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
            self.is_installed = True

    def _handle(self, *_: Any) -> None:
        if self._raises:
            self._raises = False
            raise KeyboardInterrupt
        self.end(EXIT_SIGINT)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the first signal raise KeyboardInterrupt during a block, which is to `report` it."""
        self._raises, self._message = True, f"{PROGRAM_NAME}: interrupted"
        try:
            yield
        finally:
            self._raises = False

    def name(self, command: str, rest: str) -> None:
        """Set the message of a command, which ends with the state of its result."""
        self._message = f"{PROGRAM_NAME} {command}: interrupted; {rest}"

    def report(self) -> None:
        """Write the message to stderr, once; `sys.stderr` itself may be in the middle of a write."""
        message, self._message = self._message, ""
        if message and sys.__stderr__ is not None:
            with contextlib.suppress(OSError):
                os.write(2, f"{message}\n".encode())

    def end(self, code: int) -> None:
        """End the process at once, with the message unless it was written."""
        self.report()
        for func in self.at_end:
            with contextlib.suppress(Exception):
                func()
        os._exit(code)


sigint_handler = _SigintHandler()


def is_command_line() -> bool:
    """Return whether this process runs ``pandas-imgproc`` or ``python -m pandas_imgproc``.

    Examples
    --------
    >>> is_command_line()
    False
    """
    if sys.argv[:1] == ["-m"]:  # so while Python imports the package of the option
        option = sys.orig_argv[-len(sys.argv)]
        return _MODULE_OPTION.fullmatch(option) is not None
    return bool(sys.argv) and os.path.basename(sys.argv[0]).removesuffix(".exe") == "pandas-imgproc"


if is_command_line():
    sigint_handler.install()
