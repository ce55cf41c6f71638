"""Entry point of the command line: parse the words, run the method, return an exit code that scripts can rely on."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from pandas_imgproc._sigint import EXIT_SIGINT, PROGRAM_NAME, sigint_handler
from pandas_imgproc._version import __version__
from pandas_imgproc.cli import table_io
from pandas_imgproc.errors import ImgprocError, UnreadableImageWarning
from pandas_imgproc.execution.progress import is_open, is_terminal

try:
    from pandas_imgproc.cli import parser
except ModuleNotFoundError as exc:  # the extra is not installed, which `main` reports
    if exc.name not in ("cyclopts", "docstring_parser"):
        raise
    parser = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.cli.parser import Request

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_SIGTERM = 0, 1, 2, 143

_FAILURES_HINT = re.compile(r"The table of \w+ is result\.img\.failures;[^\n]*")
"""Advice of a warning, in the terms of Python."""

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".pdf")
"""Formats of a contact sheet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name, by default those of this process.

    Returns
    -------
    int
        0 done, 1 failed, 2 usage error, 130 interrupted, 143 terminated.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if parser is None:
        _print_err('pandas_imgproc: error: the command line needs an extra: pip install "pandas-imgproc[cli]"')
        return EXIT_USAGE
    try:
        with sigint_handler.running():
            return _main(words)
    except KeyboardInterrupt:
        sigint_handler.report()
        return EXIT_SIGINT


def _main(words: list[str]) -> int:
    request, message = parser.parse(words, __version__)
    if request is not None:
        return _run_guarded(request)
    if message is None:
        return EXIT_OK
    _print_err(message)
    return EXIT_USAGE


def _run_guarded(request: Request) -> int:
    """Run a command; signals and errors become messages of one line and exit codes."""
    program = f"{PROGRAM_NAME} {request.command}"
    rest = "finished rows stay on disk" if parser.keeps_finished_rows(request.command, request.options) else "no result"
    sigint_handler.name(request.command, rest)
    to_terms = functools.partial(parser.to_cli_terms, command=request.command)
    traceback = request.options.pop("traceback", False)
    with _log_to_stderr(to_terms, bar=bool(is_terminal(sys.stderr) or request.options.get("progress"))):
        try:
            with _sigterm_as_interrupt() as terminated:
                return _run(request)
        except KeyboardInterrupt:
            if not terminated:
                raise
            _print_err(f"{program}: stopped; {rest}")
            return EXIT_SIGTERM
        except (ImgprocError, OSError, MemoryError, ValueError, TypeError, KeyError) as exc:
            if traceback:
                raise
            message = exc.args[0] if isinstance(exc, KeyError) and exc.args else exc
            _print_err(f"{program}: error: {to_terms(str(message))}")
            return EXIT_FAILED if isinstance(exc, ImgprocError | OSError | MemoryError) else EXIT_USAGE


def _run(request: Request) -> int:
    """Run the method of a command, write its result, and return the exit code."""
    command, positionals, options = request
    if command in parser.FUNCTIONS:
        return _run_function(request)
    out, failures_path = options.get("out"), options.pop("failures", None)
    own_output = parser.writes_own_output(command, out)
    _check_outputs(request, failures_path, own_output=own_output)
    if not own_output:
        options.pop("out", None)
    df, column, to = table_io.read_input(positionals, parser.n_positionals(command), options.get("storage_options"))
    writes_table = command != "show" and not own_output and (out is not None or not to)
    if writes_table and out is None:
        table_io.check_stdout()
    result = getattr(df.img, parser.method_name(command))(column, *to, **options)
    if command == "show":
        result.save(out)
        return EXIT_OK
    if writes_table:
        _write_table(table_io.join_result(df, result, command), out)
    failed = result.img.failures
    if failures_path is not None:
        table_io.write(failed, failures_path)
    if options.get("progress") is not False:
        _print_err(_counts(command, df[column], len(failed)))
    return EXIT_FAILED if command == "verify" and len(failed) else EXIT_OK


def _run_function(request: Request) -> int:
    """Run a command that is a function of paths, write the table of its result, and return the exit code."""
    command, positionals, options = request
    out, failures_path = options.pop("out", None), options.pop("failures", None)
    table_io.check_output("--out", out)
    table_io.check_output("--failures", failures_path)
    table_io.check_distinct([], out=out, failures=failures_path)
    if len(positionals) != 2:
        raise ValueError("name an archive and a folder, and nothing else: train.tar.gz train")
    table_io.check_archive(positionals[0])
    result = parser.FUNCTIONS[command](*positionals, **options)
    failed = result.img.failures
    for table, path in ((result.reset_index(), out), (failed, failures_path)):
        if path is not None:
            table_io.write(table, path)
    if options.get("progress") is not False:
        _print_err(
            f"{command}: {len(result) - len(failed):,} of {len(result):,} members unpacked, {len(failed):,} refused"
        )
    return EXIT_OK


def _write_table(table: Any, out: str | None) -> None:
    """Write the table of a result; one whose reader has closed the output, as `head` does, is not finished."""
    try:
        table_io.write(table, out)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _counts(command: str, column: Any, n_failed: int) -> str:
    n, n_null = len(column), int(column.isna().sum())
    rest = f", {n_null:,} without a path" if n_null else ""
    return f"{command}: {n - n_failed - n_null:,} of {n:,} rows have an image, {n_failed:,} failed{rest}"


def _check_outputs(request: Request, failures_path: str | None, *, own_output: bool) -> None:
    """Raise a ValueError if an output file of a command cannot be written."""
    out: str | None = request.options.get("out")
    table_io.check_output("--failures", failures_path)
    if request.command == "show":
        table_io.check_output("--out", out, "an image", SHEET_SUFFIXES)
    elif not own_output:
        table_io.check_output("--out", out)
    elif out and out.endswith(".npy") and "://" not in out:
        table_io.check_folder("--out", out)
    table_io.check_distinct(request.positionals[:1], out=out, failures=failures_path)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM end a block as Ctrl-C does, and record its number: batch systems end jobs by it."""
    received: list[int] = []

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        if len(received) > 1 and sigint_handler.is_installed:
            os._exit(EXIT_SIGTERM)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield received
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _log_to_stderr(to_terms: Callable[[str], str], *, bar: bool) -> Iterator[None]:
    """Show warnings about images without a line of Python, and log lines in place of a progress bar."""
    logger = logging.getLogger("pandas_imgproc")
    level, handler = logger.level, logging.NullHandler() if bar else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UnreadableImageWarning)
        warnings.showwarning = functools.partial(_show_warning, to_terms, warnings.showwarning)
        try:
            if not bar:
                logger.setLevel(logging.INFO)
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)


def _show_warning(
    to_terms: Callable[[str], str],
    default: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *location: Any,
) -> None:
    if issubclass(category, UnreadableImageWarning):
        _print_err(to_terms(_FAILURES_HINT.sub("--failures failed.csv writes the table of them.", str(message))))
    else:
        default(message, category, *location)


def _print_err(line: str) -> None:
    if is_open(sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write(f"{line}\n")
