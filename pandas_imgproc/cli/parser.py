"""Commands of the program: their options and help, from the signatures and docstrings of the methods of ``df.img``."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import docstring_parser
from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter, UnknownOptionError

from pandas_imgproc._delegates import find_synonyms
from pandas_imgproc._sigint import PROGRAM_NAME
from pandas_imgproc.accessor import FrameImageAccessor
from pandas_imgproc.cli.arg_types import NONE_WORD, takes_none, type_for, type_names
from pandas_imgproc.unpacking import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docstring_parser import Docstring

PROGRAM = "python -m pandas_imgproc"

"""Name of the program in its messages."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "load-resized": (
        "train.csv image_path --size 64 --out train_64.npy",
        "boxes.csv image_path --size 224 --box x,y,w,h --out crops.npy",
        'train.csv image_path --size 224x224 --fit crop --root "s3://bucket/train" --out train_224.parquet',
        '"photos/**/*.jpg" --size 64 --out photos_64.npy --failures failed.csv',
    ),
    "save-resized": (
        'train.csv image_path "train/{label}/{stem}.jpg" --size 600 --fit contain',
        "photos small --size 640x480 --fit pad --format WEBP --quality 80",
    ),
    "save-thumbnails": ('"photos/*.jpg" thumbs', 'photos "{dir}/{stem}_128.jpg" --out thumbnails.csv'),
    "save-shards": (
        'train.csv image_path "shards/train-{shard:06d}.tar" --columns label --size 256',
        'photos "s3://bucket/train-{shard:05d}.parquet" --columns label --max-bytes "300 MB"',
    ),
    "download": ("train.csv url train", "train.csv url train --errors raise --no-progress"),
    "upload": ("train gs://bucket/raw", "train.csv image_path s3://bucket/raw --out uploaded.csv"),
    "unpack": ("train.tar.gz train", "photos.zip photos --encoding cp932 --failures refused.csv"),
    "verify": ("photos --out verified.csv", "train.csv image_path --failures broken.csv"),
    "metadata": ("photos --out metadata.parquet",),
    "frames": ("scans --out pages.csv",),
    "tiles": ("slides --size 256 --stride 128 --out tiles.csv", "train.csv image_path --size 512 --no-keep-partial"),
    "features": (
        "train.csv image_path --out features.csv",
        "train.csv image_path --include width,height,blur,phash --out features.parquet",
    ),
    "hash": ("photos --kind dhash --out hashes.csv",),
    "duplicate-groups": ("photos --max-distance 4 --out groups.csv",),
    "issues": ("photos --include is_dark,is_blurry --out issues.csv",),
    "show": ('"photos/*.jpg" --n 60 --out sheet.png', "train.csv image_path --title label,price --out sheet.png"),
}
"""Command lines by command; `map`, `map_batches` and `augment` are none, because they need a function of Python."""

FUNCTIONS = {"unpack": unpack}
"""Commands that are functions of the module; the others are methods."""

POSITIONALS = ("column", "archive", "to")
"""Parameters that are positional; all others are options."""

_TABLE = "A table (.csv, .parquet, …): the input rows, with the result in new columns."
_OUT = {
    "load-resized": "",
    "show": "The image file, such as sheet.png.",
    **dict.fromkeys(("save-resized", "save-thumbnails", "save-shards", "download", "upload"), _TABLE),
    "unpack": "A table (.csv, .parquet, …) of the members and their files.",
}

_EXIT_CODES = """\
exit codes:
  0    done; unreadable images are reported on stderr and in --failures
  1    stopped: --errors raise, no readable image at all, a full disk, a file of
       another job; or `verify` found a broken image
  2    usage error; nothing was started
  130  Ctrl-C; finished rows stay on disk if the command writes files or a result of its own
  143  SIGTERM, as batch systems send it; the same"""

_CONFIGURATION = """\
Execution, which never changes the result, follows Dask's configuration:
DASK_PANDAS_IMGPROC__N_WORKERS=4 before the command runs it in four processes."""

_REQUIRED = {"size": "--size N|WxH", "out": "--out PATH"}

_WORDS = inspect.Parameter(
    "positionals", inspect.Parameter.VAR_POSITIONAL, annotation=Annotated[str, Parameter(show=False)]
)


class Request(NamedTuple):
    """Parsed command line; the options are those that were given."""

    command: str
    positionals: list[str]
    options: dict[str, Any]


def main_parser(version: str) -> App:
    """Return the parser of the program. Called with words it returns a `Request`, or None after help or the version."""
    examples = [f"{name} {EXAMPLES[name][0]}" for name in list(EXAMPLES)[:3]]
    app = App(
        name=PROGRAM_NAME,
        version=version,
        help="Columns of images from the shell: the methods of df.img, with the same names and options.\n"
        "The same command continues a job that was killed.",
        usage=f"{PROGRAM} COMMAND TABLE COLUMN …\n       {PROGRAM} COMMAND PATTERN …",
        help_epilogue="\n\n".join([_examples("", *examples), _EXIT_CODES, _CONFIGURATION]),
        help_format="plaintext",
        group_commands=Group("Commands", sort_key=0),
        group_parameters=Group("Options"),
        default_parameter=Parameter(negative_iterable=(), allow_repeating=True),
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    app["--help"].group = app["--version"].group = "Options"
    for command in EXAMPLES:
        app.command(command_parser(command))
    return app


def command_parser(command: str) -> App:
    """Return the parser of a command, with one option for each parameter of the method."""
    docs = _param_docs(method_name(command))
    shared = (param for param in _parameters(command) if param.name not in ("out", "readers", *POSITIONALS))
    options = [_option(param, docs[param.name]) for param in shared]
    options += _cli_options(command, docs)

    def to_request(*positionals: str, **options: Any) -> Request:
        return Request(command, list(positionals), options)

    to_request.__signature__ = inspect.Signature([_WORDS, *options])  # type: ignore[attr-defined]
    to_request.__annotations__ = {}  # the signature has them
    to = ["TO"] * n_positionals(command)
    inputs = ("ARCHIVE",) if command in FUNCTIONS else ("TABLE COLUMN", "PATTERN")
    required = [_REQUIRED[param.name] for param in options if param.default is param.empty]
    rest = " ".join([*to, *required, "[options]"])
    return App(
        name=command,
        default_command=to_request,
        sort_key=list(EXAMPLES).index(command),
        help=f"{_to_plain(_docstring(method_name(command)).short_description)}\n\n{_positionals_help(docs)}",
        usage="\n       ".join(f"{PROGRAM} {command} {words} {rest}" for words in inputs),
        help_epilogue="\n\n".join([_examples(f"{command} ", *EXAMPLES[command]), _EXIT_CODES]),
    )


def parse(words: list[str], version: str) -> tuple[Request | None, str | None]:
    """Return the request of a command line, or the message of a usage error, or neither after help or the version."""
    if not words:
        return None, f"{PROGRAM_NAME}: error: name a command; {PROGRAM} --help lists them"
    words = [words[0].replace("_", "-"), *words[1:]]  # a command may have the name of its method
    try:
        return main_parser(version)(words), None
    except CycloptsError as exc:
        return None, usage_message(exc)


def usage_message(error: CycloptsError) -> str:
    """Return the message of a usage error, in one line."""
    command = " ".join([PROGRAM_NAME, *(error.command_chain or ())])
    message = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError) and error.argument:
        message = f"{error.argument.name} {error.argument.parameter.metavar or 'VALUE'} is required"
    if isinstance(error, UnknownOptionError) and (hint := _hint_at_option(error)):
        message = f"Unknown option: {_unknown_option(error)}. {hint}"
    return f"{command}: error: {message}"


def _unknown_option(error: UnknownOptionError) -> str:
    return (error.token.keyword or error.token.value).partition("=")[0]


def _hint_at_option(error: UnknownOptionError) -> str | None:
    """Return a hint for an option that other programs have by this name, or that is a positional word here."""
    name = _unknown_option(error).lstrip("-").replace("-", "_")
    command = (error.command_chain or ("",))[-1]
    legal = [param.name for param in _parameters(command)]
    if name in POSITIONALS and name in legal:
        return f"{name.upper()} is positional: {PROGRAM} {command} --help"
    options = [f"--{known.replace('_', '-')}" for known in find_synonyms(name, legal) if known not in POSITIONALS]
    return f"Did you mean {' or '.join(options)}?" if options else None


def to_cli_terms(text: str, command: str) -> str:
    """Return a message about parameters in the terms of the shell.

    Examples
    --------
    >>> to_cli_terms("choose another to=, or overwrite=True replaces it", "save-resized")
    'choose another to=, or --overwrite replaces it'
    """
    names = "|".join(param.name for param in _parameters(command) if param.name not in POSITIONALS)
    text = re.sub(rf"^({names})(?= must )", _as_option, text)
    return re.sub(rf"\b({names})=(True\b)?(?=(\w|['\"])?)", _as_option, text)


def method_name(command: str) -> str:
    """Return the name of the method of a command."""
    return command.replace("-", "_")


def n_positionals(command: str) -> int:
    """Return the number of positional words of a command after its images."""
    return sum(param.name == "to" for param in _parameters(command))


def writes_own_output(command: str, out: str | None) -> bool:
    """Return whether the method itself writes ``--out``, row by row, and can continue it."""
    has_out = any(param.name == "out" for param in _parameters(command))
    return has_out and (command == "load-resized" or str(out).rstrip("/").endswith((".npy", ".parquet")))


def keeps_finished_rows(command: str, options: Mapping[str, Any]) -> bool:
    """Return whether the rows that a command has finished stay on disk when it is interrupted."""
    to = next((param for param in _parameters(command) if param.name == "to"), None)
    writes_files = to is not None and (to.default is to.empty or options.get("to") is not None)
    return writes_files or writes_own_output(command, options.get("out"))


def _parameters(command: str) -> list[inspect.Parameter]:
    if command in FUNCTIONS:
        return list(inspect.signature(FUNCTIONS[command]).parameters.values())
    return list(inspect.signature(getattr(FrameImageAccessor, method_name(command))).parameters.values())[1:]


@functools.cache
def _docstring(method: str) -> Docstring:
    text = inspect.getdoc(FUNCTIONS.get(method) or getattr(FrameImageAccessor, method)) or ""
    return docstring_parser.parse(text, docstring_parser.DocstringStyle.NUMPYDOC)


@functools.cache
def _param_docs(method: str) -> dict[str, tuple[str, str]]:
    """Return the type and the text of each parameter in a docstring; "As in `load_resized`" is replaced by its text."""
    docs = {}
    for param in _docstring(method).params:
        names = param.arg_name.split(", ")
        for name in names:
            kind, text = param.type_name or "", _to_plain(param.description)
            match = re.match(r"As in `(\w+)`[.;]?\s*", text)
            if match and hasattr(FrameImageAccessor, match[1]) and name in _param_docs(match[1]):
                same_kind, same_text = _param_docs(match[1])[name]
                rest = text[match.end() :] if len(names) == 1 else ""  # of several it is not about each
                kind, text = kind or same_kind, f"{same_text} {rest}".strip()
            docs[name] = kind, text
    return docs


def _positionals_help(docs: dict[str, tuple[str, str]]) -> str:
    lines = {
        "TABLE COLUMN": "a table (.csv, .tsv, .json, .jsonl, .parquet, .feather), and the name of its image column",
        "PATTERN": "or a folder of images, an archive, or a quoted pattern: 'photos/**/*.jpg'",
    }
    if "archive" in docs:
        lines = {"ARCHIVE": docs["archive"][1]}
    if "to" in docs:
        lines["TO"] = docs["to"][1]
    return "\n".join(
        textwrap.fill(text, 79, initial_indent=f"{word:<14}", subsequent_indent=" " * 14)
        for word, text in lines.items()
    )


def _examples(command: str, *lines: str) -> str:
    """Return command lines for the help, continued by backslashes: a shell takes them as they are."""
    wrap = functools.partial(textwrap.wrap, width=76, break_on_hyphens=False, subsequent_indent=" " * 6)
    return "\n".join(["examples:", *(" \\\n".join(wrap(f"  {PROGRAM} {command}{line}")) for line in lines)])


def _option(parameter: inspect.Parameter, doc: tuple[str, str]) -> inspect.Parameter:
    kind, text = doc
    if kind.startswith("{") and "str" in type_names(parameter):
        text += f" One of {kind[1:].partition('}')[0]}.".replace('"', "")  # some with some formats only
    if takes_none(parameter):
        text += f" None is written {NONE_WORD}."
    negative = () if parameter.default is False else None  # a --no-overwrite would change nothing
    show_default = parameter.default is not None and not isinstance(parameter.default, tuple)
    hint: Any = Annotated[type_for(parameter), Parameter(help=text, show_default=show_default, negative=negative)]
    return parameter.replace(annotation=hint, kind=parameter.KEYWORD_ONLY)


def _cli_options(command: str, docs: dict[str, tuple[str, str]]) -> list[inspect.Parameter]:
    """Return the options that are none of the method: the output, the table of failures, the traceback."""
    method_help = docs["out"][1] if "out" in docs else ""
    table_help = _OUT.get(command, f"{_TABLE} By default CSV on the standard output.")
    out = " Or: ".join(filter(None, [method_help, table_help]))
    failures = "A table of the images without a result, and the reasons."
    hints = {
        "out": Annotated[str | None, Parameter(help=out, metavar="PATH", show_default=False)],
        "failures": Annotated[str | None, Parameter(help=failures, metavar="TABLE", show_default=False)],
        "traceback": Annotated[bool | None, Parameter(help="Show the Python traceback of an error.", negative=())],
    }
    if command == "show":
        del hints["failures"]
    required = ("out",) if command in ("load-resized", "show") else ()
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    return [
        inspect.Parameter(name, kind, annotation=hint, default=empty if name in required else None)
        for name, hint in hints.items()
    ]


def _as_option(match: re.Match[str]) -> str:
    has_value = match.re.groups > 1 and match[3] and not match[2]
    return f"--{match[1].replace('_', '-')}" + (" " if has_value else "")


def _to_plain(text: str | None) -> str:
    return " ".join((text or "").replace("``", "").split())
