"""Run notebooks, each in a kernel of its own; fail where a cell fails or an output is not fit to be stored.

python .ci/notebooks.py examples/*.ipynb            runs them
python .ci/notebooks.py --store examples/*.ipynb    and keeps what they gave
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import nbclient
import nbformat

MOST = 500_000  # bytes of a file, which a code host still shows
WHERE = re.compile(r"^\S*ipykernel_\d+/\d+\.py:\d+: ", re.MULTILINE)  # names the machine's folder and the process
MACHINE = re.compile(r"/(tmp|home|root|work|Users|usr)/")


def run(path: Path) -> nbformat.NotebookNode:
    """Return a notebook as it is after a run from the start in a new kernel."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # how a text comes in pieces is chance
        resources={"metadata": {"path": path.parent}},
        extra_arguments=["--log-level=ERROR"],  # or each kernel warns of its port, which is of this machine alone
    ).execute()
    notebook.metadata.pop("language_info", None)  # tells the version of Python, and nothing else
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = WHERE.sub("", output.text)
    return notebook


def check(text: str) -> list[str]:
    """Return what speaks against storing a notebook."""
    found = sorted(set(MACHINE.findall(text)))
    wrong = [f"names a folder of this machine: /{name}/" for name in found]
    if len(text.encode()) > MOST:
        wrong.append(f"has {len(text.encode()):,} bytes, more than {MOST:,}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--store", action="store_true", help="keep the outputs")
    args = parser.parse_args()
    os.environ["DASK_PANDAS_IMGPROC__PROGRESS"] = "false"  # a bar tells of the machine, and is another one each time
    wrong = 0
    for path in args.notebooks:
        notebook = run(path)
        text = nbformat.writes(notebook) + "\n"
        faults = check(text)
        wrong += len(faults)
        print(f"{path}: {len(text):,} characters", *faults, sep="\n  ", flush=True)
        if args.store and not faults:
            path.write_text(text)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
