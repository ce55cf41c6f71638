"""Imports of large packages that Ctrl-C does not cut in half, before the modules that need them.

Ctrl-C in the middle of ``import pandas_imgproc`` would leave a package without its submodules until Python ends: a
notebook could not import it again.
"""

import psutil

from pandas_imgproc._uninterrupted import import_atomically

try:
    # The first one reads the state of its own process; the last one imports all of Arrow.
    for _name in ("dask.system", "dask.base", "asyncio", "pyarrow.parquet"):
        import_atomically(_name)
except psutil.Error as exc:
    raise ImportError(
        "Dask, which pandas_imgproc needs, cannot be imported: it reads the state of this process, which on Linux is "
        f"in /proc; is that mounted? ({exc})"
    ) from exc
