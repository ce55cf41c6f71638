"""What can be measured of an image: pure functions of one array or of a header, and the names they go by.

`registry`  names, dtypes and what each function reads; the decorator that adds one
`header`    size, format, camera: nothing is decoded
`colours`   brightness, hue, colorfulness, ... of the image at the working size
`dominant`  its dominant colour
`detail`    contrast, entropy, blur of its grey levels
`hashes`    of the whole image, and of the file
"""

from pandas_imgproc.features import color, detail, dominant, hashes, header
from pandas_imgproc.features.registry import (
    DTYPES,
    FeatureSpec,
    InputKind,
    feature_names,
    register_feature,
    select_features,
    unregister_feature,
)

HEADER = feature_names("header")
"""The names of what the header alone tells."""

HASHES = ("phash", "dhash", "ahash", "md5", "pixel_md5")
"""The names of the hashes."""

__all__ = [
    "DTYPES",
    "HASHES",
    "HEADER",
    "FeatureSpec",
    "InputKind",
    "color",
    "detail",
    "dominant",
    "feature_names",
    "hashes",
    "header",
    "register_feature",
    "select_features",
    "unregister_feature",
]
