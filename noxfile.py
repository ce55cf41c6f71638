"""Sessions of contributors and of CI: ``nox -l`` lists them, ``nox -s lint types`` runs two.

Each has an environment of its own, which uv makes where it is installed. ``.ci/run`` calls them on a machine that has
only Python; words after ``--`` go to the program of the session.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

DIST = "build/dist"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with the newest versions."""
    _install(session, "-e", ".[test]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest supported versions: each >= of the dependencies as =."""
    constraints = Path(session.virtualenv.location) / "lowest.txt"  # a temporary folder of nox is that of the tests
    constraints.write_text("".join(f"{line}\n" for line in _lowest_versions()))
    session.log(constraints.read_text())
    _install(session, "-c", str(constraints), ".[test]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of the code."""
    _install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package."""
    _install(session, "mypy", "pandas-stubs", "types-tqdm", ".[cli]")
    session.run("mypy")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the archive of sources, check them, install both, and run fast tests of the archive."""
    _install(session, "build", "twine")
    session.run("python", "-m", "build", "-q", "--outdir", DIST, silent=True)
    (wheel,), (sdist,) = (sorted(Path(DIST).glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    _install(session, str(wheel))
    session.run("python", ".ci/installed.py", str(wheel.resolve()), str(sdist.resolve()))
    _install(session, "--reinstall-package=pandas-imgproc", f"{sdist}[test]") if session.venv_backend == "uv" else (
        _install(session, "--force-reinstall", f"{sdist}[test]")
    )
    folder = Path(session.virtualenv.location).resolve() / "sdist"  # see `lowest`: sockets have short paths only
    session.run("python", "-m", "tarfile", "-e", str(sdist), str(folder))
    session.chdir(folder / sdist.name.removesuffix(".tar.gz"))
    session.run("python", "-m", "pytest", "-q", *(session.posargs or ["tests/test_packaging.py", "tests/features"]))


@nox.session
def site(session: nox.Session) -> None:
    """Build the site; a warning is an error, and nothing is fetched."""
    _install(session, ".[site,examples]")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", "build/site")


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run the notebooks, each from a clean kernel."""
    _install(session, ".[site,examples]")
    session.run("python", ".ci/notebooks.py", *(session.posargs or sorted(map(str, Path("examples").glob("*.ipynb")))))


@nox.session
def benchmark(session: nox.Session) -> None:
    """Compare the speed of two commits, by default of the main branch and this one."""
    _install(session, ".")
    session.run("python", "tests/benchmarks/compare_commits.py", *(session.posargs or ["main", "HEAD"]))


def _install(session: nox.Session, *packages: str) -> None:
    # Hundreds of processes are started, and all of them would compile what they import.
    session.install("-q", *(["--compile-bytecode"] if session.venv_backend == "uv" else []), *packages)


def _lowest_versions() -> list[str]:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    pattern = re.compile(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)(?:; .+)?")
    matches = [pattern.fullmatch(line) for line in project["dependencies"]]
    return [f"{match[1]}=={match[2]}" for match in matches if match]
