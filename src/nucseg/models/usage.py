"""What somebody who runs a network outside nucseg has to know, in words and in ONNX's metadata."""

from __future__ import annotations

from nucseg.models.zoo import ModelCard

# Field numbers of ONNX's protobuf messages, in onnx.proto: metadata_props of a model, key and value
# of an entry.
_METADATA, _KEY, _VALUE = 14, 1, 2


def usage(card: ModelCard) -> dict[str, str]:
    """Describe input and output of a network, and what comes before and after it.

    Parameters
    ----------
    card : ModelCard

    Returns
    -------
    dict of str to str
        Texts under ``description``, ``input``, ``preprocessing``, ``output``, ``postprocessing``
        and ``licence``.
    """
    face, size = card.interface, card.preprocessing.size
    if size is None:
        sides = f"height and width are multiples of {face.stride}; pad the image by reflection"
    else:
        sides = f"height {size[0]} and width {size[1]}; resize the image to them"
    texts = {
        "description": f"{card.name}: {card.description}",
        "input": f"float32, {face.layout}, {face.channels} channels, {sides}.",
        "preprocessing": _preprocessing(card),
        "output": f"float32, {face.layout}, one channel for each of: {', '.join(card.channels)}. "
        f"Activation still to be applied: {face.activation}.",
        "postprocessing": card.postprocessing.model_dump_json(),
        "licence": card.licence,
    }
    return {name: text for name, text in texts.items() if text}


def _preprocessing(card: ModelCard) -> str:
    percentiles, face = card.preprocessing.percentiles, card.interface
    if percentiles is None:
        steps = ["Divide integers by the largest value of their type"]
    else:
        low, high = percentiles
        steps = [
            f"Subtract percentile {low:g} of the intensities, over all pixels and channels of the "
            f"image, and divide by percentile {high:g} minus percentile {low:g}"
        ]
    steps.append("Clip to the range from 0 to 1. Repeat a grey image in each channel")
    if any(face.mean) or any(value != 1 for value in face.deviation):
        steps.append(f"Subtract {list(face.mean)} and divide by {list(face.deviation)}")
    return ". ".join(steps) + "."


def with_usage(network: bytes, card: ModelCard) -> bytes:
    """Add the description of a network to the metadata of its ONNX file.

    Parameters
    ----------
    network : bytes
        Content of an ONNX file.
    card : ModelCard

    Returns
    -------
    bytes
        The same with more entries of metadata behind it, which is how messages of protobuf are
        joined: the network itself does not change.
    """
    entries = (
        _field(_METADATA, _field(_KEY, name.encode()) + _field(_VALUE, text.encode()))
        for name, text in usage(card).items()
    )
    return network + b"".join(entries)


def _field(number: int, content: bytes) -> bytes:
    """Write a field of bytes as protobuf does: number and kind, length, content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
