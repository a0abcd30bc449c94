import numpy as np

from nucseg.targets import foreground


def test_every_nucleus_is_foreground():
    mask = foreground(np.array([[0, 1], [300, 0]]))
    assert mask.dtype == np.float32
    assert mask[..., 0].tolist() == [[0, 1], [1, 0]]
