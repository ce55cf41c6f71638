"""Sinks: the results of a job in memory, in a NumPy file, in Parquet parts or in image files, and their journals.

`memory`          values in the caller's memory or in a shared buffer, and the interface of all sinks
`inferred`        the same where shape and dtype are known from the first result only
`journaled`       results on disk: location, opening, resuming
`npy`             one NumPy file
`parquet`         a folder of Parquet parts; `parquet_part` is one of them, `directory` their file system
`batches`         batches of a training loop, in order
`image_files`     one file per result; `manifest` records them, `output_paths` and `path_template` name them
`part_file`       the part of a file that is copied
`object_files`    the same in buckets; `object_journal` is the manifest there
`shards`          files of many images; `shard_format` writes them, `shard_journal` names and records them, and
                  `object_folder` is their folder in a bucket
`unpacked_files`  files of an unpacked archive
`journal`         the finished rows of a result on disk; `journal_storage` holds its lines, `job_spec` its job
`out`             parsing of ``out=``, and reading of the results on disk
"""

from pandas_imgproc.sinks.batches import Batch, BatchSink, BatchSpec, Missing
from pandas_imgproc.sinks.file_writers import CopyWriter
from pandas_imgproc.sinks.image_files import ImageFileSink
from pandas_imgproc.sinks.inferred import memory_sink
from pandas_imgproc.sinks.job_spec import JobContext
from pandas_imgproc.sinks.journaled import ResultStore, Retry, check_retry
from pandas_imgproc.sinks.memory import MemorySink, PartitionWriter, check_memory, check_row_memory

__all__ = [
    "Batch",
    "BatchSink",
    "BatchSpec",
    "CopyWriter",
    "ImageFileSink",
    "JobContext",
    "MemorySink",
    "Missing",
    "PartitionWriter",
    "ResultStore",
    "Retry",
    "check_memory",
    "check_retry",
    "check_row_memory",
    "memory_sink",
]
