"""The program and its commands: their words, options and help, from the methods' own signatures and docstrings."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

from pandas_imgproc.accessor import FrameImageAccessor
from pandas_imgproc.command import docstrings
from pandas_imgproc.command.values import NOTHING, reader
from pandas_imgproc.errors import near

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = "python -m pandas_imgproc"

SHORT = "pandas_imgproc"
"""What a line on stderr begins with."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "load-resized": (
        "train.csv image_path --size 64 --out train_64.npy",
        'train.csv image_path --size 224x224 --fit crop --root "s3://bucket/train" --out train_224.parquet',
        '"photos/**/*.jpg" --size 64 --out photos_64.npy --failures failed.csv',
    ),
    "save-resized": (
        'train.csv image_path "train/{label}/{stem}.jpg" --size 600 --fit contain',
        "photos small --size 640x480 --fit pad --format WEBP --quality 80",
    ),
    "save-thumbnails": ('"photos/*.jpg" thumbs', 'photos "{dir}/{stem}_128.jpg" --out thumbnails.csv'),
    "download": ("train.csv url train", "train.csv url train --errors raise --no-progress"),
    "verify": ("photos --out verdicts.csv", "train.csv image_path --failures broken.csv"),
    "metadata": ("photos --out metadata.parquet",),
    "features": (
        "train.csv image_path --out features.csv",
        "train.csv image_path --include width,height,blur,phash --out features.parquet",
    ),
    "hash": ("photos --kind dhash --out hashes.csv",),
    "duplicate-groups": ("photos --max-distance 4 --out groups.csv",),
    "issues": ("photos --include is_dark,is_blurry --out issues.csv",),
    "show": ('"photos/*.jpg" --n 60 --out sheet.png', "train.csv image_path --title label,price --out sheet.png"),
}
"""The commands, each a method of ``df.img``, with what one types; `map` and `augment` need a function of Python."""

WORDS = {"column", "to"}
"""Parameters that are words in their place; all others are options."""

_TABLE = "A table (.csv, .parquet, …): the rows that were given, and beside them what the command gives."
_OUT = {
    "load-resized": "",
    "show": "The picture that is written, such as sheet.png.",
    **dict.fromkeys(("save-resized", "save-thumbnails", "download"), _TABLE),
}

CODES = """\
exit codes:
  0    done; pictures that could not be read are told on stderr, and in the table of --failures
  1    it stopped: --errors raise, no picture at all could be read, a full disk, a file of another job; or `verify`
       found a broken picture
  2    the command is wrong, and nothing was started
  130  Ctrl-C; what was finished is kept
  143  SIGTERM, as batch systems send it; what was finished is kept"""

CONFIGURATION = """\
How it is run, never what comes of it, is Dask's configuration: DASK_PANDAS_IMGPROC__N_WORKERS=4 in front of the
command has it take four processes."""


class Parser(argparse.ArgumentParser):
    """A parser whose options are written in full, with one line for each mistake."""

    def __init__(self, **how: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **how)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse words and options in any order; options may be written as the methods' arguments are."""
        words = [_dashed(word) for word in words]
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            if option not in self._option_string_actions:
                self.error(f"there is no option {option}; {near(option, self._option_string_actions)}")
        return self.parse_intermixed_args(words)

    def in_options(self, text: str) -> str:
        """Return a message about arguments in the words of the shell: ``--overwrite`` for ``overwrite=True``."""
        names = "|".join(option[2:].replace("-", "_") for option in self._option_string_actions if option[2:])
        return re.sub(rf"\b({names})=(True\b)?(?=(\w|['\"])?)", _as_option, text)

    def error(self, message: str) -> NoReturn:
        """Tell a mistake in one line, and end."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def methods() -> dict[str, Callable[..., Any]]:
    """Return the methods of ``df.img`` by name."""
    return dict(inspect.getmembers(FrameImageAccessor, inspect.isfunction))


def program(version: str) -> Parser:
    """Return the parser of the first word, which is a command."""
    known = methods()
    lines = [f"  {name:<18}{docstrings.summary(known[method_name(name)])}" for name in EXAMPLES]
    examples = [
        f"  {PROGRAM} {name} {EXAMPLES[name][0]}" for name in ("load-resized", "save-resized", "save-thumbnails")
    ]
    parser = Parser(
        prog=SHORT,
        usage=f"{PROGRAM} COMMAND TABLE COLUMN …\n       {PROGRAM} COMMAND PATTERN …",
        description="Columns of pictures from the shell: the methods of df.img, with the same names and options. A job "
        "that is\nkilled is continued by the same command.\n\ncommands:\n" + "\n".join(lines),
        epilog="\n\n".join(["examples:\n" + "\n".join(examples), CODES, CONFIGURATION]),
    )
    parser.add_argument("command", type=_command, metavar="COMMAND", help="its own options: COMMAND --help")
    parser.add_argument("--version", action="version", version=f"pandas_imgproc {version}")
    return parser


def of_command(command: str) -> Parser:
    """Return the parser of a command."""
    known = methods()
    said = docstrings.parameters(method_name(command), known)
    own = inspect.signature(known[method_name(command)]).parameters
    parser = Parser(
        prog=f"{SHORT} {command}",
        description=f"{docstrings.summary(known[method_name(command)])}\n\n{_words(said, has_to='to' in own)}",
        epilog="examples:\n"
        + "\n".join(f"  {PROGRAM} {command} {words}" for words in EXAMPLES[command])
        + f"\n\n{CODES}",
    )
    parser.add_argument("words", nargs="+", help=argparse.SUPPRESS)
    options = [_add(parser, one, said[one.name]) for one in own.values() if one.name not in {"self", "out", *WORDS}]
    options.append(_add_out(parser, command, said))
    if command != "show":
        parser.add_argument("--failures", metavar="TABLE", help="A table of the pictures without an answer, and why.")
    parser.add_argument("--traceback", action="store_true", help="Show where in Python an error came from.")
    needed = [f"{option.option_strings[0]} {option.metavar}" for option in options if option.required]
    rest = " ".join(["TO"] * ("to" in own) + needed + ["[options]"])
    parser.usage = "\n       ".join(f"{PROGRAM} {command} {words} {rest}" for words in ("TABLE COLUMN", "PATTERN"))
    return parser


def _command(word: str) -> str:
    """Return the command that a word is; a method may be called by its own name."""
    command = word.replace("_", "-")
    if command not in EXAMPLES:
        raise argparse.ArgumentTypeError(f"{word!r} is no command; {near(command, EXAMPLES)}")
    return command


def method_name(command: str) -> str:
    """Return the name of the method that a command is."""
    return command.replace("-", "_")


def words_of(command: str) -> int:
    """Return how many words a command needs beside its pictures."""
    return int("to" in inspect.signature(methods()[method_name(command)]).parameters)


def keeps_by_itself(command: str, out: str | None) -> bool:
    """Return whether what stands behind ``--out`` is the method's own: written as it goes, and continued."""
    has_out = "out" in inspect.signature(methods()[method_name(command)]).parameters
    return has_out and (command == "load-resized" or str(out).rstrip("/").endswith((".npy", ".parquet")))


def _words(said: dict[str, docstrings.Said], *, has_to: bool) -> str:
    lines = {
        "TABLE COLUMN": "a table (.csv, .tsv, .json, .jsonl, .parquet, .feather), and its column of pictures by name",
        "PATTERN": "or a folder of pictures, or a quoted pattern: 'photos/**/*.jpg'",
    }
    if has_to:
        lines["TO"] = said["to"].text
    return "\n".join(
        textwrap.fill(text, 110, initial_indent=f"  {word:<14}", subsequent_indent=" " * 16)
        for word, text in lines.items()
    )


def _add(parser: Parser, parameter: inspect.Parameter, said: docstrings.Said) -> argparse.Action:
    read = reader(parameter)
    how: dict[str, Any] = {"help": _help(parameter, said), "default": parameter.default}
    if parameter.default is parameter.empty:
        how |= {"required": True, "default": None}
    how |= (
        {"action": argparse.BooleanOptionalAction} if read is None else {"type": read, "metavar": _metavar(said.type)}
    )
    return parser.add_argument(_option(parameter.name), **how)


def _add_out(parser: Parser, command: str, said: dict[str, docstrings.Said]) -> argparse.Action:
    """Add the option for what is kept: the method's own, or a table, or both by the suffix."""
    theirs = [said["out"].text] if "out" in said else []
    ours = [_OUT.get(command, f"{_TABLE} By default it is CSV on the standard output.")]
    text = " Or: ".join(filter(None, theirs + ours))
    return parser.add_argument("--out", metavar="PATH", required=command in ("load-resized", "show"), help=text)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _as_option(said: re.Match[str]) -> str:
    return _option(said[1]) + (" " if said[3] and not said[2] else "")


def _dashed(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _metavar(kind: str) -> str:
    """Return what stands for a value in the help: the legal words, or of what kind it is."""
    if kind.startswith("{"):
        return kind.partition("}")[0].replace('"', "").replace(" ", "") + "}"
    for start, shown in (
        ("int or (int, int)", "N|WxH"), ("int", "N"), ("float", "X"), ("path", "PATH"), ("dict", "JSON"),
        ("sequence", "A,B"), ("str or list", "A,B"), ("name or list", "A,B"), ("color", "COLOR"),
    ):  # fmt: skip
        if kind.startswith(start):
            return shown
    return "TEXT"


def _help(parameter: inspect.Parameter, said: docstrings.Said) -> str:
    default = parameter.default
    if default is parameter.empty or default is None or isinstance(default, tuple):
        told = ""
    elif isinstance(default, bool):
        told = f" Default: {'on' if default else 'off'}."
    else:
        told = f" Default: {default}."
    if "None" in str(parameter.annotation).split(" | ") and default is not None:
        told += f" None is written {NOTHING}."
    return (said.text + told).replace("%", "%%")
