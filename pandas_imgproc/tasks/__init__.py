"""What one row means. A task is a frozen value: equal tasks give equal answers, on any machine.

A new feature is a new task; the kernel knows none of them.

`task`          what the kernel and the drivers need to know, and what tasks share
`load`          images as pixels of one shape
`download`      files as they are
`save`          images as the bytes of files
`measuring`     images as numbers
`thumbnail`     small images to look at
`verify`        whether images are whole
`mapping`       any function of one image
`augmentation`  random variants of each image
`function`      a user's own function: what it is given, and what may come of it
`randomness`    random numbers that depend on the row and the variant alone
`fingerprint`   what a user's function is known by
`columns`       answers of a user's function become columns
"""

from pandas_imgproc.tasks.augment import Augment, SaveAugmented, variant_index
from pandas_imgproc.tasks.base import Task, Values, with_labels
from pandas_imgproc.tasks.download import Download
from pandas_imgproc.tasks.load import LoadResized
from pandas_imgproc.tasks.map import Map
from pandas_imgproc.tasks.measure import Measure
from pandas_imgproc.tasks.save import SaveResized
from pandas_imgproc.tasks.thumbnail import Thumbnail
from pandas_imgproc.tasks.verify import Verify

__all__ = [
    "Augment",
    "Download",
    "LoadResized",
    "Map",
    "Measure",
    "SaveAugmented",
    "SaveResized",
    "Task",
    "Thumbnail",
    "Values",
    "Verify",
    "variant_index",
    "with_labels",
]
