"""Files for the tests of readers, as the programs of microscopes write them."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import tifffile

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def smooth(height: int, width: int) -> np.ndarray:
    """Colours that JPEG keeps but for a few grey levels."""
    rows, columns = np.mgrid[:height, :width]
    waves = [rows / 40, columns / 50, (rows + columns) / 60]
    return np.stack([127 + 100 * np.sin(wave) for wave in waves], axis=-1).astype(np.uint8)


def png_of_16_bits(pixels: np.ndarray, colour_type: int) -> bytes:
    """Write PNG by its definition, since Pillow cannot write 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(picture: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def write_svs(path: Path, pixels: np.ndarray, mpp: float) -> None:
    """Write a slide as Aperio does: tiles, thumbnail, smaller level, label and macro."""
    maker = "Aperio Image Library v11.2.1 \r\n"
    options = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    about = f"{maker}{pixels.shape[1]}x{pixels.shape[0]} JPEG/RGB Q=90|AppMag = 20|MPP = {mpp}"
    tile = (240, 240)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, tile=tile, description=about, **options)
        file.write(pixels[::10, ::10], description=f"{maker}thumbnail", rowsperstrip=16, **options)
        file.write(pixels[::4, ::4], tile=tile, description=f"{maker}level", **options)
        for name, kind in (("label", 1), ("macro", 9)):
            file.write(
                pixels[:40, :50],
                description=f"{maker}{name} 50x40",
                subfiletype=kind,
                rowsperstrip=16,
                **options,
            )


def write_ndpi(path: Path, levels: Sequence[np.ndarray], micrometres: tuple[float, float]) -> None:
    """Write a slide as Hamamatsu does: a JPEG a level, 64-bit offsets in a TIFF of 32 bits.

    The levels are of 4:4:4 JPEG, whose restart markers, one each half row of blocks, make tiles.
    """
    data, ends = bytearray(struct.pack("<2sHQ", b"II", 42, 0)), 4
    for number, pixels in enumerate(levels):
        height, width = pixels.shape[:2]
        blocks = width // 16
        jpeg = saved(
            PIL.Image.fromarray(pixels),
            "JPEG",
            quality=95,
            subsampling=0,
            restart_marker_blocks=blocks,
        )
        scan = jpeg.index(b"\xff\xda")
        first = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4])
        starts = [first]
        for place in range(first, len(jpeg) - 1):
            if jpeg[place] == 0xFF and 0xD0 <= jpeg[place + 1] <= 0xD7:
                starts.append(place + 2)
        at = len(data)
        data += jpeg
        starts_at = len(data)
        data += struct.pack(f"<{len(starts)}I", *starts)
        resolutions_at = len(data)
        for size in (micrometres[1], micrometres[0]):
            data += struct.pack("<II", round(1e4 / size / 4**number * 100), 100)
        maker_at = len(data)
        data += b"Hamamatsu\0"
        magnification = struct.unpack("<I", struct.pack("<f", 20 / 4**number))[0]
        tags = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 1, 8),
            (259, 3, 1, 7),
            (262, 3, 1, 6),
            (271, 2, 10, maker_at),
            (273, 4, 1, at),
            (277, 3, 1, 3),
            (278, 4, 1, height),
            (279, 4, 1, len(jpeg)),
            (282, 5, 1, resolutions_at),
            (283, 5, 1, resolutions_at + 8),
            (284, 3, 1, 1),
            (296, 3, 1, 3),
            (65420, 4, 1, 1),
            (65421, 11, 1, magnification),
            (65422, 9, 1, 0),
            (65423, 9, 1, 0),
            (65424, 9, 1, 0),
            (65426, 4, len(starts), starts_at),
        ]
        data[ends : ends + 8] = struct.pack("<Q", len(data))
        data += struct.pack("<H", len(tags))
        for tag in tags:
            data += struct.pack("<HHII", *tag)
        ends = len(data)
        data += struct.pack("<Q", 0) + bytes(4 * len(tags))
    path.write_bytes(data)


def write_mrxs(path: Path, pixels: np.ndarray, mpp: tuple[float, float]) -> None:
    """Write a slide as 3DHISTECH does, tiles of 64 × 64; what is all white is left out."""
    folder = path.with_suffix("")
    folder.mkdir()
    side, (height, width) = 64, pixels.shape[:2]
    down, across = height // side, width // side
    data, entries = bytearray(), []
    for number in range(down * across):
        top, left = number // across * side, number % across * side
        tile = pixels[top : top + side, left : left + side]
        if (tile == 255).all():
            continue
        jpeg = saved(PIL.Image.fromarray(tile), "JPEG", quality=95)
        entries.append(struct.pack("<4i", number, len(data), len(jpeg), 0))
        data += jpeg
    slide = "0123456789ABCDEF"
    start = 5 + len(slide) + 8
    index = b"01.02" + slide.encode() + struct.pack("<2i", start, start)
    index += struct.pack("<3i", start + 4, 0, start + 12)
    index += struct.pack("<2i", len(entries), 0) + b"".join(entries)
    (folder / "Index.dat").write_bytes(index)
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Slidedat.ini").write_text(
        f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {slide}
IMAGENUMBER_X = {across}
IMAGENUMBER_Y = {down}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {mpp[1]}
MICROMETER_PER_PIXEL_Y = {mpp[0]}
IMAGE_FORMAT = JPEG
IMAGE_FILL_COLOR_BGR = 16777215
IMAGE_CONCAT_FACTOR = 0
DIGITIZER_WIDTH = {side}
DIGITIZER_HEIGHT = {side}
""",
        encoding="ascii",
    )
    path.write_bytes(saved(PIL.Image.fromarray(pixels[::8, ::8]), "JPEG"))


def write_lif(
    path: Path,
    images: Mapping[str, np.ndarray],
    dyes: Sequence[str] = (),
    micrometres: tuple[float, float] = (0.5, 0.25),
) -> None:
    """Write images of axes (T, Z, C, Y, X) or colours (Y, X, 3) as Leica does."""

    def block(content: bytes, after: bytes) -> bytes:
        return struct.pack("<II", 0x70, len(content)) + content + after

    elements, blocks = "", b""
    steps = micrometres[1] * 1e-6, micrometres[0] * 1e-6
    for number, (name, pixels) in enumerate(images.items(), start=1):
        item = pixels.itemsize
        colours = pixels.ndim == 3
        axes = "YXS" if colours else "TZCYX"
        strides = dict(zip(axes, pixels.strides, strict=True))
        shape = dict(zip(axes, pixels.shape, strict=True))
        channels = "".join(
            f'<ChannelDescription DataType="{int(pixels.dtype.kind == "f")}" ChannelTag="'
            f'{1 + channel if colours else 0}" Resolution="{8 * item}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="1" Unit="" LUTName="Gray" IsLUTInverted="0" '
            f'BytesInc="{channel * strides["S" if colours else "C"]}" BitInc="0">'
            + (
                f"<ChannelProperty><Key>DyeName</Key><Value>{dyes[channel]}</Value>"
                "</ChannelProperty>"
                if dyes and not colours
                else ""
            )
            + "</ChannelDescription>"
            for channel in range(shape["S" if colours else "C"])
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{"XYZT".index(axis) + 1}" Origin="0" Unit="m" '
            f'NumberOfElements="{shape[axis]}" Length="{step * (shape[axis] - 1)}" '
            f'BytesInc="{strides[axis]}" BitInc="0"/>'
            for axis, step in zip("XYZT", (*steps, 1e-6, 1.0), strict=True)
            if axis in axes
        )
        elements += (
            f'<Element Name="{name}" UniqueID="{number}"><Data><Image><ImageDescription>'
            f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
            f"</ImageDescription></Image></Data>"
            f'<Memory Size="{pixels.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        label = f"MemBlock_{number}"
        head = struct.pack("<BQBI", 0x2A, pixels.nbytes, 0x2A, len(label))
        blocks += block(head + label.encode("utf-16-le"), pixels.tobytes())
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="all"><Children>'
        f"{elements}</Children></Element></LMSDataContainerHeader>"
    )
    head = struct.pack("<BI", 0x2A, len(xml)) + xml.encode("utf-16-le")
    path.write_bytes(block(head, b"") + blocks)


def _variant(name: str, value: object) -> bytes:
    """Write a value of ND2's metadata: what it is, its name in UTF-16, and itself."""
    kinds = {bool: (1, "<B"), int: (3, "<I"), float: (6, "<d")}
    label = f"{name}\0".encode("utf-16-le")
    if isinstance(value, str):
        return bytes([8, len(name) + 1]) + label + f"{value}\0".encode("utf-16-le")
    if isinstance(value, dict):
        items = b"".join(_variant(key, each) for key, each in value.items())
        length = 2 + len(label) + 12 + len(items)
        head = bytes([11, len(name) + 1]) + label + struct.pack("<IQ", len(value), length)
        return head + items + bytes(8 * len(value))
    kind, form = kinds[type(value)]
    return bytes([kind, len(name) + 1]) + label + struct.pack(form, value)


def write_nd2(
    path: Path,
    pixels: np.ndarray,
    names: Sequence[str],
    micrometres: float | None,
    *,
    compressed: bool = False,
    colours: bool = False,
) -> None:
    """Write pixels of axes (T, Z, Y, X, C) as Nikon does; of colours, C are red, green, blue."""
    times, slices, height, width, count = pixels.shape
    channels = 1 if colours else count
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * count * pixels.itemsize,
        "uiHeight": height,
        "uiComp": count,
        "uiBpcInMemory": 8 * pixels.itemsize,
        "uiBpcSignificant": 8 * pixels.itemsize,
        "uiSequenceCount": times * slices,
        "eCompression": 0 if compressed else 2,
    }
    loop_z = {"uiCount": slices, "dZLow": 0.0, "dZHigh": 3.0, "dZStep": 1.0, "dZHome": 0.0}
    loop_t = {"uiCount": times, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    inner = {"eType": 4, "uLoopPars": loop_z}
    experiment = {"eType": 1, "uLoopPars": loop_t, "ppNextLevelEx": {"i0": inner}}
    probe = {"m_ExcitationSpectrum": {"uiCount": 0}, "m_EmissionSpectrum": {"uiCount": 0}}
    planes = {}
    for channel in range(channels):
        planes[f"a{channel}"] = {
            "sDescription": names[channel],
            "uiCompCount": count // channels,
            "pFluorescentProbe": probe,
        }
    metadata = {
        "bCalibrated": micrometres is not None,
        "dCalibration": micrometres or 0.0,
        "sPicturePlanes": {"uiCount": channels, "sPlaneNew": planes},
    }
    chunks = {
        "ImageAttributesLV!": _variant("SLxImageAttributes", attributes),
        "ImageMetadataLV!": _variant("SLxExperiment", experiment),
        "ImageMetadataSeqLV|0!": _variant("SLxPictureMetadata", metadata),
    }
    for number, frame in enumerate(pixels.reshape(-1, height, width, count)):
        data = zlib.compress(frame.tobytes()) if compressed else frame.tobytes()
        chunks[f"ImageDataSeq|{number}!"] = struct.pack("<d", 0) + data

    def chunk(name: bytes, content: bytes, reserved: int) -> bytes:
        return struct.pack("<IIQ", 0x0ABECEDA, reserved, len(content)) + (
            name.ljust(reserved, b"\0") + content
        )

    out = chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
    table = b""
    for name, content in chunks.items():
        table += name.encode() + struct.pack("<QQ", len(out), len(content))
        # Frames begin at 4096 bytes behind the start of their chunk.
        out += chunk(name.encode(), content, 4072)
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!"
    start = len(out)
    out += chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", table + end, 32)
    path.write_bytes(out + end + struct.pack("<Q", start))
