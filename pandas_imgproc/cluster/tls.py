"""TLS key and certificate of one managed cluster, which the kernel forgets with the process.

Import this module late: distributed costs 0.4 seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from distributed.security import Security

from pandas_imgproc._shared_memory import SharedBuffer


class TemporaryTLS:
    """Key and certificate for all roles of a cluster, valid until `close`.

    Dask would write the key to a temporary directory for each of its contexts, because OpenSSL reads keys from files
    only. Here the file is anonymous memory, which the workers of this process open through ``/proc``. Without it
    (other systems than Linux), the key is in the temporary directory for a moment.

    Attributes
    ----------
    security : distributed.security.Security
        Argument of a cluster and its clients.
    """

    def __init__(self) -> None:
        self.security = Security.temporary()
        self._memory = _anonymous_file(f"{self.security.tls_worker_key}\n{self.security.tls_worker_cert}".encode())
        if self._memory is not None:
            for role in ("client", "scheduler", "worker"):
                setattr(self.security, f"tls_{role}_key", self._memory.handle.path)
                setattr(self.security, f"tls_{role}_cert", self._memory.handle.path)

    def close(self) -> None:
        """Release the memory: no worker can start any more."""
        if self._memory is not None:
            self._memory.close()


def _anonymous_file(data: bytes) -> SharedBuffer | None:
    """Return memory with these bytes that processes of this user can open by path, None if they cannot."""
    try:
        memory = SharedBuffer(len(data))
    except OSError:
        return None
    try:
        memory.map(writeable=True)[:] = np.frombuffer(data, np.uint8)
        # A process that has changed its user belongs to root here: its own children may not open its files.
        if Path(f"/proc/{os.getpid()}").stat().st_uid == os.geteuid() and Path(memory.handle.path).read_bytes() == data:
            return memory
    except OSError:
        pass
    memory.close()
    return None
