"""Depth as a colour picture and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from policies.data.depth_packing import DepthPacking
from robot.errors import ConfigError

DEPTHS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 65535))


@given(DEPTHS)
def test_every_depth_comes_back_bit_for_bit(depth: np.ndarray) -> None:
    packing = DepthPacking.over([depth])
    assert DepthPacking.from_json(packing.to_json()) == packing
    picture = packing.pack(depth)
    assert picture.dtype == np.uint8 and picture.shape == (*depth.shape, 3)
    np.testing.assert_array_equal(packing.unpack(picture), depth)


def test_red_is_a_depth_image_over_the_range_that_was_seen() -> None:
    depth = np.linspace(400, 1900, 600).astype(np.uint16).reshape(20, 30)
    depth[0, 0] = 0
    picture = DepthPacking.over([depth]).pack(depth)
    red = picture[..., 0].ravel()[1:].astype(int)
    assert (np.diff(red) >= 0).all() and red.max() - red.min() > 240
    assert picture[0, 0].tolist() == [0, 0, 255] and not picture[1:, :, 2].any()


def test_what_does_not_fit_is_refused() -> None:
    packing = DepthPacking(500, 2)
    with pytest.raises(ConfigError, match="reach from 400 to 400; this packing has a place for 500 to 1011"):
        packing.pack(np.array([[400, 0]], np.uint16))
    for picture in ([0, 2, 0], [1, 0, 7], [1, 0, 255]):
        with pytest.raises(ConfigError, match="lossy codec"):
            packing.unpack(np.array([[picture]], np.uint8))
    with pytest.raises(ConfigError, match="1 to 256"):
        DepthPacking(0, 300)
