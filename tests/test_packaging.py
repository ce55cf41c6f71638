"""Files of the project that name its version or its parts."""

import re
import tomllib
from pathlib import Path

import pandas_imgproc

ROOT = Path(__file__).parents[1]
PROJECT, TOOLS = map(tomllib.loads((ROOT / "pyproject.toml").read_text()).get, ("project", "tool"))


def test_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", text, re.MULTILINE)[1] == pandas_imgproc.__version__


def test_changelog_begins_with_the_unreleased_or_the_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(pandas_imgproc.__version__)
    groups = re.findall(r"^### (.*)$", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert set(groups) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_declared_python_versions_include_the_required_one():
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_source_distribution_holds_what_its_tests_need():
    include = TOOLS["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in ("pandas_imgproc", "tests", "examples", "docs", "README.md", "LICENSE", "CITATION.cff", "conftest.py"):
        assert name in include
        assert (ROOT / name).exists()
