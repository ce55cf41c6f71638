"""Bytes of images: values of a column become encoded bytes, read from local files, remote files and archives.

`source`         iterator over the files of a partition, in the order of the rows
`validation`     checked arguments of a source
`inputs`         values of a column as plain Python values, and images in memory
`data_uri`       data URIs as bytes
`paths`          locations of names and URLs, never outside of the root
`local`          local files
`archive`        members of zip and tar archives, read in place
`archive_index`  their names and locations
`archive_stream` the same members from the beginning to the end, to unpack them
`decompressed`   compressed tars, decompressed once
`remote`         reader of remote files, with these parts:
`prefetch`       reads in flight while images are decoded, with a budget of bytes
`transfer`       copies of files in blocks, and `copies` their versions and outputs
`retry`          retries and limits per host, and `stall` the timeout of an attempt
`filesystems`    fsspec's file systems, and requests to each kind; `streams` opens the bodies of responses
`redirects`      redirects of web servers, which stay below the root, and whose headers stay with their server
`chained`        file systems of any URL, also of a chained one
`error_mapping`  exceptions of file systems as failure kinds and messages
`read_config`    configuration of remote reads and archives
`redaction`      storage options, and text and URLs without secrets
"""

from pandas_imgproc.source.chained import open_filesystem
from pandas_imgproc.source.copies import CopiedFile, FileVersion, new_digest
from pandas_imgproc.source.data_uri import decode_data_uri, is_data_uri
from pandas_imgproc.source.input_file import InputFile
from pandas_imgproc.source.inputs import (
    FailedInput,
    RowInputs,
    column_values,
    content_bytes,
    images_of,
    is_encoded,
    paths_to_series,
    read_in_memory,
)
from pandas_imgproc.source.local import (
    MAX_FILE_BYTES,
    UNKNOWN_SIGNATURE,
    FileSignature,
    combine_signatures,
    is_dir,
    signature_of,
)
from pandas_imgproc.source.read_control import ReadControl
from pandas_imgproc.source.redaction import StorageOptions
from pandas_imgproc.source.redirects import FOLLOW_ALL
from pandas_imgproc.source.source import Source
from pandas_imgproc.source.validation import check, make_source

__all__ = [
    "FOLLOW_ALL",
    "MAX_FILE_BYTES",
    "UNKNOWN_SIGNATURE",
    "CopiedFile",
    "FailedInput",
    "FileSignature",
    "FileVersion",
    "InputFile",
    "ReadControl",
    "RowInputs",
    "Source",
    "StorageOptions",
    "check",
    "column_values",
    "combine_signatures",
    "content_bytes",
    "decode_data_uri",
    "images_of",
    "is_data_uri",
    "is_dir",
    "is_encoded",
    "make_source",
    "new_digest",
    "open_filesystem",
    "paths_to_series",
    "read_in_memory",
    "signature_of",
]
