"""Import of Dask, with the reason where the system forbids it; imported before all that needs Dask."""

import psutil

try:
    import dask.system  # noqa: F401  the first module that reads the state of its own process
except psutil.Error as exc:
    raise ImportError(
        f"Dask, which pandas_imgproc needs, cannot be imported: it reads the state of this process, which "
        f"on Linux is in /proc; is that mounted? ({exc})"
    ) from exc
