"""Where finished values go, and which rows are done; resume is here and nowhere else.

`memory`  values come back to the caller, or workers write them into one nameless block that it maps
`kept`    what the places on disk share: a journal, what is done, what is tried again
`npy`     one NumPy file, written in place
"""

from pandas_imgproc.destination.kept import Kept, Retry
from pandas_imgproc.destination.memory import Put, Returned, in_memory
from pandas_imgproc.destination.npy import NpyFile

__all__ = ["Kept", "NpyFile", "Put", "Retry", "Returned", "in_memory"]
