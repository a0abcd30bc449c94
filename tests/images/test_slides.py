import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
from image_files import smooth, write_mrxs, write_ndpi, write_svs

from nucseg.errors import InputError, MissingExtraError
from nucseg.images import open_image


def by_openslide(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Colours of a slide with its pixel size, through OpenSlide."""
    with openslide.OpenSlide(path) as slide:
        region = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
        sizes = [float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "yx"]
    return region[:, :, :3], (sizes[0], sizes[1])


@pytest.mark.parametrize("kind", ["svs", "ndpi"])
def test_slides_in_tiff_are_those_of_openslide(kind: str, tmp_path: Path):
    path, pixels = tmp_path / f"a.{kind}", smooth(608, 704)
    if kind == "svs":
        write_svs(path, pixels, 0.4990)
    else:
        write_ndpi(path, [pixels, pixels[::4, ::4]], (0.5, 0.25))
    expected, size = by_openslide(path)
    (source,) = open_image(path)
    assert (source.plane, source.channel, source.lazy) == ("", "all", True)
    assert source.pixel_size == pytest.approx(size)
    np.testing.assert_array_equal(source[:, :], expected)
    np.testing.assert_array_equal(source[100:333, 500:], expected[100:333, 500:])
    assert np.abs(expected.astype(int) - pixels).mean() < 4


def test_mirax(tmp_path: Path):
    pixels = smooth(320, 384)
    pixels[64:128, 128:256] = 255
    write_mrxs(tmp_path / "a.mrxs", pixels, (0.5, 0.25))
    (source,) = open_image(tmp_path / "a.mrxs")
    assert (source.shape, source.lazy) == ((320, 384, 3), True)
    assert source.pixel_size == (0.5, 0.25)
    whole = source[:, :]
    # OpenSlide gives nothing, that is no colour, where nothing was taken.
    expected, _ = by_openslide(tmp_path / "a.mrxs")
    taken = np.ones((320, 384), bool)
    taken[64:128, 128:256] = False
    np.testing.assert_array_equal(whole[taken], expected[taken])
    assert (whole[~taken] == 255).all()
    np.testing.assert_array_equal(source[33:200, 10:300], whole[33:200, 10:300])


def test_a_slide_without_its_folder(tmp_path: Path):
    write_mrxs(tmp_path / "a.mrxs", smooth(64, 64), (0.5, 0.5))
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(InputError, match=r"a\.mrxs is no slide .*files and folders that lie besid"):
        open_image(tmp_path / "a.mrxs")


def test_a_slide_whose_folder_is_lost_after_it_was_opened(tmp_path: Path):
    write_mrxs(tmp_path / "a.mrxs", smooth(64, 64), (0.5, 0.5))
    (source,) = open_image(tmp_path / "a.mrxs")
    (tmp_path / "a" / "Data0000.dat").unlink()
    with pytest.raises(InputError, match=r"a\.mrxs is no slide .*Data0000\.dat"):
        source[:, :]


def test_without_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_mrxs(tmp_path / "a.mrxs", smooth(64, 64), (0.5, 0.5))
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(MissingExtraError, match=r"a\.mrxs is a whole slide.*nucseg\[formats\]"):
        open_image(tmp_path / "a.mrxs")
