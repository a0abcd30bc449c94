"""Write nuclei as masks of Kaggle's 2018 Data Science Bowl: one PNG file per nucleus."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucseg.core.segmented import Segmented
from nucseg.export.folders import whole_folder
from nucseg.export.format import Format
from nucseg.export.runs import column_runs

_WHITE = 255
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = (
    8,
    0,
    0,
    0,
    0,
)  # 8-bit greyscale, and the only compression, filter and interlace methods
_ZLIB = b"\x78\x01"
_LAST_BLOCK = b"\x03\x00"
_ADLER_BASE = 65_521
_COMPRESSED_AT_ONCE = 2**20


def write_masks(segmented: Segmented, path: Path, _name: str) -> None:
    """Write a folder with a PNG of the image's size for each nucleus: 255 inside, 0 outside.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written; they name the files, zero-padded.
    path : Path
        The folder; the write is atomic. For an image without nuclei, the folder is empty.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    shape = segmented.labels.shape
    digits = len(str(segmented.highest))
    encoder = MaskEncoder((shape[0], shape[1]))
    with whole_folder(path) as partial:
        for part in segmented.parts():
            runs = column_runs(part.labels, origin=part.origin, shape=shape)
            boxes = runs.boxes()
            inside = boxes[:, :2] - part.origin[::-1]
            for label, box, (left, top) in zip(
                runs.labels.tolist(), boxes.tolist(), inside.tolist(), strict=True
            ):
                crop = part.labels[top : top + box[3], left : left + box[2]] == label
                data = encoder.png(crop, row=box[1], column=box[0])
                (partial / f"{label:0{digits}}.png").write_bytes(data)


class MaskEncoder:
    """Encoder of PNG masks of one size that are mostly background.

    Rows of background are compressed once and reused, which is a hundred times faster than
    compressing each mask as a whole.

    Parameters
    ----------
    shape : (height, width) in pixels
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._height, self._width = shape
        self._header = _chunk(b"IHDR", struct.pack(">II5B", self._width, self._height, *_GREY))
        # Compressed blocks of 1, 2, 4… rows of background.
        self._empty: list[bytes] = []
        for power in range(self._height.bit_length()):
            size = (self._width + 1) << power
            small = power == 0 or size <= _COMPRESSED_AT_ONCE
            self._empty.append(_deflated(bytes(size)) if small else 2 * self._empty[-1])

    def png(self, crop: npt.NDArray[np.bool_], *, row: int, column: int) -> bytes:
        """Encode a mask.

        Parameters
        ----------
        crop : ndarray, shape (h, w), bool
            Part of the mask; the rest is background.
        row, column : int
            Position of its upper left pixel.

        Returns
        -------
        bytes
            An 8-bit greyscale PNG: 255 where `crop` is true, else 0.
        """
        height, width = crop.shape
        # Each row begins with its filter type: none.
        rows = np.zeros((height, self._width + 1), np.uint8)
        rows[:, 1 + column : 1 + column + width] = crop * np.uint8(_WHITE)
        below = self._height - row - height
        # Adler-32 of zeros: the sum of bytes stays, the sum of sums grows.
        high, low = (row * (self._width + 1)) % _ADLER_BASE, 1
        checksum = zlib.adler32(rows.data, high << 16 | low)
        high, low = divmod(checksum, 1 << 16)
        high = (high + low * below * (self._width + 1)) % _ADLER_BASE
        pieces = [
            _ZLIB,
            *self._background(row),
            _deflated(rows.data),
            *self._background(below),
            _LAST_BLOCK,
            struct.pack(">I", high << 16 | low),
        ]
        pixels = _chunk(b"IDAT", b"".join(pieces))
        return b"".join([_SIGNATURE, self._header, pixels, _chunk(b"IEND", b"")])

    def _background(self, rows: int) -> list[bytes]:
        return [each for power, each in enumerate(self._empty) if rows >> power & 1]


def _deflated(data: Any) -> bytes:
    """Compress to whole bytes that can follow any others and do not refer back to them."""
    # Masks are runs of one value; searching for other matches takes longer and saves nothing.
    compressor = zlib.compressobj(1, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)])


MASKS = Format("masks", "/masks", "folder with a PNG per nucleus, in Kaggle's layout", write_masks)
