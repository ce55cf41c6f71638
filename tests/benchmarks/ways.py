"""Alternatives that load files into one array, as in published code; `table.py` times them.

    python tests/benchmarks/ways.py WAY SIZE LIST

runs one of them once, as a script. LIST is a text file with a path in each line. Only the imports that all alternatives
need are at the top, because a cold start is timed too.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORES = len(os.sched_getaffinity(0))


def usual(path: str, size: int) -> np.ndarray:
    """Load one image as in published scripts."""
    return np.array(Image.open(path).convert("RGB").resize((size, size)))


def quickest(path: str, size: int) -> np.ndarray:
    """Load one image by the fastest kernel that Pillow allows."""
    with Image.open(path) as image:
        image.draft("RGB", (size * 2, size * 2))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))


def without_result(path: str, size: int) -> int:
    """Decode and resize one image by the fastest kernel of all, the SIMD packages, and return one value."""
    if not path.lower().endswith((".jpg", ".jpeg")):
        return int(quickest(path, size)[0, 0, 0])
    import simplejpeg
    from cykooz_resizer import ImageData, PixelType, Resizer

    pixels = simplejpeg.decode_jpeg(Path(path).read_bytes(), "RGB", min_width=2 * size, min_height=2 * size)
    source = ImageData(pixels.shape[1], pixels.shape[0], PixelType.U8x3, pixels.tobytes())
    result = ImageData(size, size, PixelType.U8x3)
    Resizer().resize(source, result, _bicubic())
    return result.get_buffer()[0]


@functools.cache
def _bicubic() -> Any:
    from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions

    return ResizeOptions(ResizeAlg.convolution(FilterType.catmull_rom), use_alpha=False)


def loop(paths: Sequence[str], size: int) -> np.ndarray:
    return np.stack([usual(path, size) for path in paths])


def pool(paths: Sequence[str], size: int) -> np.ndarray:
    with ProcessPoolExecutor(CORES) as executor:
        return np.stack(list(executor.map(functools.partial(usual, size=size), paths)))


def pool_of_an_expert(paths: Sequence[str], size: int) -> np.ndarray:
    with ProcessPoolExecutor(CORES) as executor:
        return np.stack(list(executor.map(functools.partial(quickest, size=size), paths, chunksize=16)))


@functools.cache
def _standing_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(CORES)


def limit(paths: Sequence[str], size: int) -> np.ndarray:
    """Decode and resize without returning pixels: the limit of the SIMD packages on this machine."""
    for _ in _standing_pool().map(functools.partial(without_result, size=size), paths, chunksize=16):
        pass
    return np.zeros((len(paths), size, size, 3), np.uint8)


def opencv_area(paths: Sequence[str], size: int) -> np.ndarray:
    return _opencv(paths, size, "INTER_AREA")


def opencv_cubic(paths: Sequence[str], size: int) -> np.ndarray:
    """Load with OpenCV's cubic filter, which skips source pixels where it makes an image smaller."""
    return _opencv(paths, size, "INTER_CUBIC")


def _opencv(paths: Sequence[str], size: int, interpolation: str) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)

    def load(path: str) -> np.ndarray:
        small = cv2.resize(cv2.imread(path), (size, size), interpolation=getattr(cv2, interpolation))
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)

    with ThreadPoolExecutor(CORES) as executor:
        return np.stack(list(executor.map(load, paths)))


def daft(paths: Sequence[str], size: int) -> np.ndarray:
    import daft

    frame = daft.from_pydict({"path": list(paths)})
    frame = frame.with_column("image", frame["path"].download().decode_image(mode="RGB").resize(size, size))
    return np.stack(frame.to_pydict()["image"])


def _shrunk(row: dict, size: int) -> dict:
    return {"pixels": np.array(row["image"].convert("RGB").resize((size, size)))}


def hugging_face(paths: Sequence[str], size: int) -> np.ndarray:
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({"image": list(paths)}).cast_column("image", datasets.Image())
    pixels = datasets.Features({"pixels": datasets.Array3D((size, size, 3), "uint8")})
    data = data.map(
        _shrunk,
        fn_kwargs={"size": size},
        num_proc=CORES,
        remove_columns=["image"],
        features=pixels,
        writer_batch_size=64,
    )
    return np.asarray(data.with_format("numpy")[:]["pixels"])


@functools.cache
def _ray() -> None:
    import logging

    import ray

    ray.init(num_cpus=CORES, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True


def ray_data(paths: Sequence[str], size: int) -> np.ndarray:
    import ray

    _ray()
    data = ray.data.read_images(list(paths), size=(size, size), mode="RGB")
    return np.concatenate([block["image"] for block in data.iter_batches(batch_size=None, batch_format="numpy")])


def pandas_image_methods(paths: Sequence[str], size: int) -> np.ndarray:
    import pandas as pd
    from pandas_image_methods import PILMethods

    pd.api.extensions.register_series_accessor("pil")(PILMethods)
    images = pd.Series(list(paths)).pil.open().pil.convert("RGB").pil.resize((size, size))
    return np.stack([np.asarray(image) for image in images])


def ours(paths: Sequence[str], size: int) -> np.ndarray:
    import pandas as pd

    import pandas_imgproc  # noqa: F401  registers .img

    return pd.Series(list(paths)).img.load_resized(size, progress=False).img.to_numpy()


def prepare_ours() -> None:
    """Start the cluster as a first call of a notebook does that takes longer: a warm call is the second one."""
    import dask
    import pandas as pd

    import pandas_imgproc  # noqa: F401  registers .img

    with dask.config.set(scheduler="distributed"):
        pd.Series([None], dtype=object).img.load_resized(8, progress=False)


WAYS: dict[str, Callable[[Sequence[str], int], np.ndarray]] = {
    "ours": ours,
    "plain loop": loop,
    "process pool": pool,
    "process pool of an expert": pool_of_an_expert,
    "OpenCV with threads": opencv_area,
    "OpenCV with threads, cubic": opencv_cubic,
    "Daft": daft,
    "Hugging Face datasets": hugging_face,
    "Ray Data": ray_data,
    "pandas-image-methods": pandas_image_methods,
    "limit": limit,
}


def serve(way: str) -> None:
    """Run a request ``[list, size]`` from each line of standard input, and print its seconds."""
    if way == "ours":
        prepare_ours()
    for line in sys.stdin:
        file, size = json.loads(line)
        paths = Path(file).read_text().splitlines()
        started = time.perf_counter()
        result = WAYS[way](paths, size)
        seconds = time.perf_counter() - started
        assert result.shape == (len(paths), size, size, 3), result.shape
        del result
        print(json.dumps(seconds), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["--serve"]:
        serve(sys.argv[1])
    else:
        WAYS[sys.argv[1]](Path(sys.argv[3]).read_text().splitlines(), int(sys.argv[2]))
