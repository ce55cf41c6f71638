"""Images of the tests of features: natural, noisy, tiny, of one level."""

from __future__ import annotations

import numpy as np
from image_factory import scene

SCENES = {
    "scene": np.asarray(scene(120, 90)),
    "tall": np.asarray(scene(31, 200, 5)),
    "row": np.asarray(scene(64, 1, 2)),
    "noise": np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8),
    "one pixel": np.array([[[200, 100, 50]]], dtype=np.uint8),
    "black": np.zeros((20, 30, 3), np.uint8),
    "white": np.full((20, 30, 3), 255, np.uint8),
    "one color": np.full((20, 30, 3), (17, 130, 201), np.uint8),
    "grey": np.repeat(np.asarray(scene(40, 30).convert("L"))[..., np.newaxis], 3, axis=2),
}
