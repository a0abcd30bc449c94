import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from nucseg.errors import InputError
from nucseg.measure.texture import grey_levels, measure_texture


def test_a_case_computed_by_hand():
    # Along rows: 0-0, 0-1, 1-1, 1-0; of 8 pairs in both orders 0-0 and 1-1 are 2 each, the rest 4.
    plane = np.array([[0, 0, 1, 1, 0]], np.uint8)
    labels = np.ones_like(plane, int)
    # One row has no pairs in the other directions.
    table, _ = measure_texture(labels, plane, distance=1)
    assert np.isnan(table["texture_contrast"][0])
    square = np.array([[0, 1], [1, 0]], np.uint8)
    table, doubts = measure_texture(np.ones((2, 2), int), square, distance=1)
    # Rows and columns: all pairs 0-1. Diagonals: 0-0, and 1-1.
    assert table["texture_contrast"].tolist() == [0.5]
    assert table["texture_homogeneity"].tolist() == [0.75]
    assert table["texture_asm"].tolist() == [0.75]
    assert table["texture_entropy"].tolist() == [0.5]
    assert table["texture_correlation"].tolist() == [0.0]  # -1, 1, -1, 1
    assert "2 of 256 grey levels" in doubts[0]


def test_equal_to_scikit_image():
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 40, (50, 60)).astype(np.uint8)
    labels = np.zeros(plane.shape, int)
    down, across = np.ogrid[:50, :60]
    labels[(down - 20) ** 2 + (across - 18) ** 2 < 150] = 7
    labels[(down - 24) ** 2 + (across - 40) ** 2 < 180] = 9  # touches the first
    table, doubts = measure_texture(labels, plane)
    assert doubts == []
    for place, number in enumerate((7, 9)):
        # 0 is outside, and is taken out of the matrix.
        shown = np.where(labels == number, plane.astype(np.uint16) + 1, 0).astype(np.uint16)
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        # scikit-image rounds the diagonal to pixels: 3 of it are 2 by 2, so 3 by 3 is asked for.
        matrices = []
        for angle, length in zip(angles, (3, 3 * 2**0.5, 3, 3 * 2**0.5), strict=True):
            counts = graycomatrix(shown, [length], [angle], levels=257, symmetric=True)
            matrices.append(counts[1:, 1:, 0, 0])
        counts = np.stack(matrices, axis=-1)[:, :, None, :].astype(np.float64)
        names = {"asm": "ASM"} | {x: x for x in ("contrast", "correlation", "homogeneity")}
        for ours, theirs in names.items():
            expected = graycoprops(counts, theirs).mean()
            assert table[f"texture_{ours}"][place] == pytest.approx(expected, abs=1e-9), ours
        share = counts / counts.sum(axis=(0, 1))
        bits = -np.sum(share * np.log2(share, where=share > 0, out=np.zeros_like(share)), (0, 1))
        assert table["texture_entropy"][place] == pytest.approx(bits.mean())


def test_even_nuclei_none_and_small_images():
    labels = np.ones((9, 9), int)
    table, _ = measure_texture(labels, np.full((9, 9), 8, np.uint8))
    assert [float(each[0]) for each in table.values()] == [1, 0, 1, 1, 0]
    table, doubts = measure_texture(labels * 0, labels)
    assert all(each.shape == (0,) for each in table.values())
    assert doubts == []
    table, _ = measure_texture(np.ones((2, 2), int), np.ones((2, 2), np.uint8))
    assert np.isnan(table["texture_asm"]).all()


def test_levels_of_other_types():
    assert grey_levels(np.array([False, True])).tolist() == [0, 255]
    assert grey_levels(np.array([0, 0.5, 1])).tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("plane", "distance", "message"),
    [
        (np.zeros((3, 4)), 1, "Expected a plane of the labels' height and width"),
        (np.full((3, 3), 7.5), 1, "Expected numbers from 0 to 1 for texture, got 7.5 to 7.5"),
        (np.full((3, 3), -1), 1, "Expected grey values of 0 and more"),
        (np.zeros((3, 3)), 0, "Expected a distance of at least 1 pixel, got 0"),
    ],
)
def test_failures(plane: np.ndarray, distance: int, message: str):
    with pytest.raises(InputError, match=message):
        measure_texture(np.ones((3, 3), int), plane, distance=distance)
