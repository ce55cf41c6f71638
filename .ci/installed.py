"""Check an installed package from outside of the project: its files, and a call in a script.

Arguments: the wheel and the archive of sources.
"""

import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

wheel, sdist = sys.argv[1:]
sys.path = [path for path in sys.path if path and Path(path).resolve() != Path(__file__).parent]
os.chdir(tempfile.mkdtemp())

import pandas as pd  # noqa: E402
from PIL import Image  # noqa: E402

import pandas_imgproc  # noqa: E402

assert "site-packages" in pandas_imgproc.__file__, pandas_imgproc.__file__
Image.new("RGB", (30, 20), "red").save("red.png")
images = pd.Series(["red.png"]).img.load_resized(8)
assert images.img.to_numpy()[0, 0, 0].tolist() == [255, 0, 0]

names = zipfile.ZipFile(wheel).namelist()
assert "pandas_imgproc/py.typed" in names
assert any(name.endswith("licenses/LICENSE") for name in names)
assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]
with tarfile.open(sdist) as archive:
    sources = {name.partition("/")[2] for name in archive.getnames()}
assert {"LICENSE", "CITATION.cff", "conftest.py", "noxfile.py", "tests/conftest.py", "docs/index.md"} <= sources
assert not [name for name in sources if name.startswith(("docs/api/", "build/", ".venv"))]
print(f"pandas_imgproc {pandas_imgproc.__version__}: {len(names)} files in the wheel, {len(sources)} in the archive")
