"""Where finished values go, and which rows are done; resume is here and nowhere else.

`memory`      values come back to the caller, or workers write them into one nameless block that it maps
`discovered`  the same where the form of the values is not known before the first
`kept`        what the places on disk share: a journal of what is done, and what is tried again
`npy`         one NumPy file, written in place
`parquet`     a folder of parts, and `parts` what stands in one, `folder` how its files are written
`files`       a file for each answer, with a journal of its own kind
"""

from pandas_imgproc.sinks.directory import Directory
from pandas_imgproc.sinks.image_files import ImageFileSink
from pandas_imgproc.sinks.inferred import memory_sink
from pandas_imgproc.sinks.journaled import JournaledSink, Retry, check_retry
from pandas_imgproc.sinks.memory import MemorySink, PartitionWriter, check_row_memory
from pandas_imgproc.sinks.npy import NpySink
from pandas_imgproc.sinks.parquet import ParquetSink
from pandas_imgproc.sinks.parquet_part import parse_part_names, part_filename, read_parts

__all__ = [
    "Directory",
    "ImageFileSink",
    "JournaledSink",
    "MemorySink",
    "NpySink",
    "ParquetSink",
    "PartitionWriter",
    "Retry",
    "check_retry",
    "check_row_memory",
    "memory_sink",
    "parse_part_names",
    "part_filename",
    "read_parts",
]
