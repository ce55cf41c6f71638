"""Features of images: pure functions of one array or of a header, registered by name.

`registry`    names, dtypes and inputs of the features, and the decorator that adds one
`header`      size, format, camera, ... from the header, without decoding
`color`       brightness, hue, colorfulness, ... at the working size
`dominant`    dominant color, by k-means
`detail`      contrast, entropy, blur, sharpness of the gray levels
`hashes`      hashes of the image and of the file
`issues`      rules that detect problems from features
`duplicates`  groups of equal or similar hashes
"""

from pandas_imgproc.features import color, detail, dominant, hashes, header
from pandas_imgproc.features.hashes import HASH_FEATURES
from pandas_imgproc.features.header import HEADER_FEATURES
from pandas_imgproc.features.registry import (
    DTYPES,
    FeatureSpec,
    InputKind,
    default_features,
    feature_names,
    register_feature,
    select_features,
    unregister_feature,
)

__all__ = [
    "DTYPES",
    "HASH_FEATURES",
    "HEADER_FEATURES",
    "FeatureSpec",
    "InputKind",
    "color",
    "default_features",
    "detail",
    "dominant",
    "feature_names",
    "hashes",
    "header",
    "register_feature",
    "select_features",
    "unregister_feature",
]
