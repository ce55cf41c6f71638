"""Frames of numbered images, of which some cannot be read."""

import numpy as np
import pandas as pd
from image_factory import image_bytes, row_of

BROKEN = {3: b"", 11: b"no image", 12: image_bytes(12)[:-60]}
"""Contents of files that cannot be read, by row."""

NO_PATH, NO_FILE = 7, 20


def photo_frame(folder, n=50):
    """Return a frame of n rows in random order of their labels; rows 7 and 20 have no path and no file."""
    for row in range(n):
        (folder / f"{row}.jpg").write_bytes(BROKEN.get(row, image_bytes(row)))
    (folder / f"{NO_FILE}.jpg").unlink()
    paths = [None if row == NO_PATH else str(folder / f"{row}.jpg") for row in range(n)]
    labels = np.random.default_rng(0).integers(0, n // 2, n)  # some twice
    return pd.DataFrame({"image_path": paths, "y": np.arange(n) * 10}, index=labels)


def unreadable(frame):
    """Return the positions without an image."""
    return sorted({*BROKEN, NO_PATH, NO_FILE} & set(range(len(frame))))


def readable(frame):
    """Return the positions with an image."""
    return sorted(set(range(len(frame))) - set(unreadable(frame)))


def positions_of(batches):
    """Return the positions of one pass, after a check that every image is that of its row."""
    positions = []
    for given, images in batches:
        assert [row_of(image) for image in images] == given.tolist()
        positions += given.tolist()
    return positions
