"""Read several channels of a plane, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nucseg.errors import InputError
from nucseg.images import channels_of, open_image, read_plane
from nucseg.images.planes import COLOURS, Projection
from nucseg.images.source import Pixels

ALL = "all"


def read_channels(
    path: Path, plane: str, channels: Sequence[str], project: Projection = "none"
) -> dict[str, Pixels]:
    """Read channels of a plane of a file.

    Parameters
    ----------
    path : Path
        A file as in `open_image`.
    plane : str
        Name of the plane, see `nucseg.images.Source`; empty if the file has one plane.
    channels : sequence of str
        Names or numbers (from 0) of channels or colours, or ``all``, which excludes alpha.
    project : {"none", "max"}
        See `open_image`.

    Returns
    -------
    dict of str to ndarray, shape (H, W)
        Channels in the data type of the file, by name. A channel without a unique name has its
        number as name; the only channel of a file has an empty name.

    Raises
    ------
    InputError
        The channel or plane does not exist, a channel has several colours, or as in `open_image`.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> path = Path(tempfile.mkdtemp(), "two.ome.tif")
    >>> about = {"axes": "CYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    >>> tifffile.imwrite(path, np.zeros((2, 6, 8), np.uint8), metadata=about)
    >>> list(read_channels(path, "", ["all"]))
    ['GFP', 'DAPI']
    """
    names = channels_of(path)
    wanted = list(channels)
    if ALL in channels and ALL not in names:
        unique = [bool(name) and names.count(name) == 1 for name in names]
        wanted = [
            name if has_name else str(number)
            for number, (name, has_name) in enumerate(zip(names, unique, strict=True))
            if name != COLOURS[-1]
        ]
    found: dict[str, Pixels] = {}
    for channel in wanted:
        sources = open_image(path, channel=channel, project=project)
        source = next((each for each in sources if each.plane == plane), None)
        if source is None:
            raise InputError(f"{path} has no plane {plane!r} of the channel {channel!r}.")
        if len(source.shape) != 2:
            raise InputError(
                f"The channel {channel!r} of {path} has colours of its own, expected one value in "
                "each pixel. Save the colours as channels."
            )
        found[source.chosen.name if len(names) > 1 else ""] = read_plane(source).pixels
    return found
