"""The command line: the methods of ``df.img`` for jobs that outlive a notebook.

`parsers`     the program and its commands
`docstrings`  what the methods' docstrings say of their arguments
`values`      words of the shell become values
`tables`      frames in and out
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from pandas_imgproc import __version__, failures
from pandas_imgproc.accessor.display.html import ContactSheet
from pandas_imgproc.command import parsers, tables
from pandas_imgproc.discovery import is_picture
from pandas_imgproc.errors import ImgprocError, UnreadableImageWarning

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["DONE", "INTERRUPTED", "STOPPED", "TERMINATED", "WRONG", "main"]

DONE, STOPPED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


SHEETS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".pdf")
"""What a contact sheet may be written as."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The words behind the program's name, by default those of this process.

    Returns
    -------
    int
        0 done, 1 stopped, 2 a wrong command, 130 interrupted, 143 terminated.

    Raises
    ------
    SystemExit
        With 0 after ``--help``, with 2 where the words are no command.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    command = parsers.program(__version__).parse(words[:1]).command
    parser = parsers.of_command(command)
    asked = parser.parse(words[1:])
    with _told_on_stderr(parser, bar=bool(sys.stderr.isatty() or getattr(asked, "progress", False))):
        try:
            with _terminated_as_interrupted() as terminated:
                return _run(command, asked)
        except KeyboardInterrupt:
            _say(f"{parser.prog}: {'stopped' if terminated else 'interrupted'}; what was finished is kept")
            return TERMINATED if terminated else INTERRUPTED
        except BrokenPipeError:  # whoever reads the answer has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        except (ImgprocError, OSError, MemoryError, ValueError, TypeError, KeyError) as exc:
            if asked.traceback:
                raise
            said = exc.args[0] if isinstance(exc, KeyError) and exc.args else exc
            _say(f"{parser.prog}: error: {parser.in_options(str(said))}")
            return STOPPED if isinstance(exc, ImgprocError | OSError | MemoryError) else WRONG


def _run(command: str, asked: argparse.Namespace) -> int:
    """Do what a command asks, and return its exit code."""
    options = vars(asked).copy()
    words, failures_to = options.pop("words"), options.pop("failures", None)
    del options["traceback"]
    keeps = parsers.keeps_by_itself(command, options["out"])
    out = None if keeps else options.pop("out")
    _check_outputs(command, asked, keeps=keeps)
    frame, column, to = _rows(command, words, options.get("storage_options"))
    answer = parsers.methods()[parsers.method_name(command)](frame.img, column, *to, **options)
    if isinstance(answer, ContactSheet):
        answer.save(asked.out)
        return DONE
    if out is not None or not (keeps or to):
        tables.write(tables.beside(frame, answer, command), out)
    failed = failures.table(answer)
    if failures_to is not None:
        tables.write(failed, failures_to)
    if options["progress"] is not False:
        without = int(frame[column].isna().sum())
        done = len(frame) - len(failed) - without
        rest = f", {without:,} without a path" if without else ""
        _say(f"{command}: {done:,} of {len(frame):,} rows have a picture, {len(failed):,} failed{rest}")
    return STOPPED if command == "verify" and len(failed) else DONE


def _check_outputs(command: str, asked: argparse.Namespace, *, keeps: bool) -> None:
    """Raise a ValueError if what a command gives cannot be written where it is to go."""
    failures_to = getattr(asked, "failures", None)
    tables.check("--failures", failures_to)
    if command == "show":
        tables.check("--out", asked.out, "picture", SHEETS)
    elif not keeps:
        tables.check("--out", asked.out)
    elif asked.out.endswith(".npy") and "://" not in asked.out:
        tables.check_folder("--out", asked.out)
    tables.check_apart(asked.words[0], out=asked.out, failures=failures_to)


def _rows(command: str, words: list[str], storage_options: Any) -> tuple[Any, str, list[str]]:
    """Return the frame, the name of its column, and what else a command says in words."""
    path, *rest = words
    more = parsers.words_of(command)
    if path.startswith(("http://", "https://")) and is_picture(path):
        raise ValueError(f"{path!r} is one picture, not a folder; say a table and its column of URLs: train.csv url")
    has_column = tables.is_table(path) or rest[: len(rest) - more] == [tables.PATHS]
    column = rest.pop(0) if has_column and rest else None if has_column else tables.PATHS
    if len(rest) > more:
        raise ValueError(f"{rest[more]!r} is one word too many; quote a pattern, or the shell fills it in: '*.jpg'")
    frame = tables.read(path, column, storage_options)
    if column is None:
        raise ValueError(f"which column of {path!r} holds the pictures? It has {list(frame.columns)[:10]}")
    if len(rest) < more:
        raise ValueError(
            "say where to write: a folder such as thumbs, or a template such as 'train/{label}/{stem}.jpg'"
        )
    return frame, column, rest


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[list[int]]:
    """Have SIGTERM end a block as Ctrl-C does, and note it: batch systems end jobs by it."""
    came: list[int] = []

    def stop(number: int, _: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield came
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _told_on_stderr(parser: parsers.Parser, *, bar: bool) -> Iterator[None]:
    """Show warnings about pictures without a line of Python, and where there is no bar the lines that stand for it."""
    logger = logging.getLogger("pandas_imgproc")
    level, handler = logger.level, logging.NullHandler() if bar else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UnreadableImageWarning)
        warnings.showwarning = functools.partial(_show_warning, parser, warnings.showwarning)
        try:
            if not bar:
                logger.setLevel(logging.INFO)
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)


def _show_warning(
    parser: parsers.Parser, usual: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    if issubclass(category, UnreadableImageWarning):
        said = str(message).replace(failures.ADVICE, "--failures failed.csv writes the table of them.")
        _say(parser.in_options(said))
    else:
        usual(message, category, *where)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
