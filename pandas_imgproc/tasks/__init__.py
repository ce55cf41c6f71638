"""Tasks: the operation of each accessor method on one row, independent of where and in which order rows run.

`base`            interface of a task, and shared conversions
`load`            images as pixels of one shape
`save`            images as encoded files
`download`        files as they are
`shard`           files for shards, as they are or encoded
`verify`          checks that images are complete
`readable`        checks that images can be loaded
`thumbnail`       small images for display
`measure`         images as features
`map`             results of a user's function
`map_batches`     results of a user's function for batches of images
`batch_results`   rows of the arrays that it returns, and pandas columns
`augment`         random variants of each image
`augment_pairs`   the same variants of its masks and boxes
`pair_calls`      calls of a transform on all of them
`box_format`      formats of boxes
`readers`         calls of a user's readers of files
`user_function`   input, result and errors of a user's function
`user_instance`   instances of a user's classes, built once in a process
`result_columns`  pandas columns from the results of a user's function
`rng`             random numbers seeded by row and variant
`fingerprint`     fingerprints of functions, to recognize the same job
"""

from pandas_imgproc.tasks.augment import Augment, SaveAugmented, variant_index
from pandas_imgproc.tasks.augment_pairs import BOXES, AugmentPairs, SavePairs
from pandas_imgproc.tasks.base import Task, Values, with_labels
from pandas_imgproc.tasks.box_format import from_corners, sides, to_corners
from pandas_imgproc.tasks.download import Download, Upload
from pandas_imgproc.tasks.load import LoadResized
from pandas_imgproc.tasks.map import Map
from pandas_imgproc.tasks.map_batches import LoadImages, MapBatches
from pandas_imgproc.tasks.measure import Measure
from pandas_imgproc.tasks.pair_calls import PairForm, mixing_step, with_box_params
from pandas_imgproc.tasks.readable import Readable
from pandas_imgproc.tasks.save import SaveResized, SaveThumbnails
from pandas_imgproc.tasks.shard import SaveShards
from pandas_imgproc.tasks.thumbnail import Thumbnail
from pandas_imgproc.tasks.user_instance import function_name, is_class
from pandas_imgproc.tasks.verify import Verify

__all__ = [
    "BOXES",
    "Augment",
    "AugmentPairs",
    "Download",
    "LoadImages",
    "LoadResized",
    "Map",
    "MapBatches",
    "Measure",
    "PairForm",
    "Readable",
    "SaveAugmented",
    "SavePairs",
    "SaveResized",
    "SaveShards",
    "SaveThumbnails",
    "Task",
    "Thumbnail",
    "Upload",
    "Values",
    "Verify",
    "from_corners",
    "function_name",
    "is_class",
    "mixing_step",
    "sides",
    "to_corners",
    "variant_index",
    "with_box_params",
    "with_labels",
]
