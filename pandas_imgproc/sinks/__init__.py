"""Where finished values go, and which rows are done; resume is here and nowhere else.

`memory`      values come back to the caller, or workers write them into one nameless block that it maps
`discovered`  the same where the form of the values is not known before the first
`kept`        what the places on disk share: a journal of what is done, and what is tried again
`npy`         one NumPy file, written in place
`parquet`     a folder of parts, and `parts` what stands in one, `folder` how its files are written
`files`       a file for each answer, with a journal of its own kind
"""

from pandas_imgproc.sinks.directory import Folder
from pandas_imgproc.sinks.image_files import Files
from pandas_imgproc.sinks.inferred import in_memory
from pandas_imgproc.sinks.journaled import Kept, Retry, check_retry
from pandas_imgproc.sinks.memory import Put, Returned, check_row_fits
from pandas_imgproc.sinks.npy import NpyFile
from pandas_imgproc.sinks.parquet import ParquetParts
from pandas_imgproc.sinks.parquet_part import part_name, parts_in, read_parts

__all__ = [
    "Files",
    "Folder",
    "Kept",
    "NpyFile",
    "ParquetParts",
    "Put",
    "Retry",
    "Returned",
    "check_retry",
    "check_row_fits",
    "in_memory",
    "part_name",
    "parts_in",
    "read_parts",
]
