"""Task of `save_shards`: the file of each image with its suffix, for the caller that packs them in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc import codec
from pandas_imgproc.codec.identify import open_image
from pandas_imgproc.tasks.save import FileTask

if TYPE_CHECKING:
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

_SUFFIX_OF = {**codec.SUFFIX_OF, "MPO": ".jpg", "TGA": ".tga", "ICO": ".ico", "HEIF": ".heic"}
_LOSSLESS = codec.EncodeOptions("PNG", 75)


@dataclass(frozen=True)
class SaveShards(FileTask):
    """Suffix and bytes of each image, in shards of a format.

    Attributes
    ----------
    decode_options : DecodeOptions
    encode_options : EncodeOptions, optional
        Encoding of the images; None copies the bytes of each file, and writes images in memory as PNG.
    shard_format : str
        Format of the shards.
    columns : tuple of str
        Other columns in the shards.
    max_bytes : int
        Size of a shard.
    """

    decode_options: codec.DecodeOptions
    encode_options: codec.EncodeOptions | None
    shard_format: str
    columns: tuple[str, ...]
    max_bytes: int
    name = "save_shards"

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded, the resized and the encoded image."""
        return 3 * self.decode_options.nbytes

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Read one image, and write its suffix and bytes into ``out[0]``."""
        data, encoding = file.data(), self.encode_options
        if encoding is None and isinstance(data, bytes):
            image_format = open_image(data, self.decode_options).format or ""
            out[0] = _SUFFIX_OF.get(image_format, f".{image_format.lower()}"), data
            return
        encoding = encoding or _LOSSLESS
        assert encoding.format is not None
        out[0] = codec.SUFFIX_OF[encoding.format], codec.encode(codec.load(data, self.decode_options), encoding, "")
