"""Bytes in: what stands in a column becomes bytes, from here, from elsewhere or out of an archive.

`source`    what stands in a column, read in the order of the rows
`arguments` how files are found, checked
`column`    the cells of a column
`names`     a name becomes a place, and never one outside of root
`local`     files of this machine
`archives`  members of zip and tar archives
`ahead`     many requests under way, and patience with each
`systems`   the file systems of other places
`failing`   what their exceptions mean
`config`  the configuration of all that
`secrets`   what must not be shown
"""

from pandas_imgproc.source.inputs import FailedInput, column_values, is_encoded, paths_to_series
from pandas_imgproc.source.local import MAX_FILE_BYTES, UNKNOWN_SIGNATURE, FileSignature, signature_of
from pandas_imgproc.source.redaction import StorageOptions
from pandas_imgproc.source.source import InputFile, Source
from pandas_imgproc.source.validation import check, make_source

__all__ = [
    "MAX_FILE_BYTES",
    "UNKNOWN_SIGNATURE",
    "FailedInput",
    "FileSignature",
    "InputFile",
    "Source",
    "StorageOptions",
    "check",
    "column_values",
    "is_encoded",
    "make_source",
    "paths_to_series",
    "signature_of",
]
