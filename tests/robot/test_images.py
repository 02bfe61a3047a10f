"""The image codec."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from robot.images import ImageError, decode_image, encode_for_store, encode_image
from robot.specs import ImageSpec


def test_colour_keeps_its_channels_and_nearly_its_values():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (200, 30, 60)
    image[:, 32:] = (10, 180, 240)
    blob = encode_image(image, jpeg_quality=90)
    assert blob.startswith(b"\xff\xd8")
    decoded = decode_image(blob)
    assert decoded.dtype == np.uint8 and decoded.shape == image.shape
    assert np.abs(decoded[:, 4:24].astype(int) - image[:, 4:24]).max() <= 4
    assert len(encode_image(image, jpeg_quality=10)) < len(blob)


def test_a_store_keeps_colour_as_its_station_says():
    rows, columns = np.mgrid[:96, :128]
    image = np.stack([columns * 2, rows * 2, rows + columns], -1).astype(np.uint8)
    webp, jpeg = encode_for_store(image, ImageSpec(codec="webp")), encode_for_store(image, ImageSpec(codec="jpeg"))
    assert webp[:4] == b"RIFF" and webp[8:12] == b"WEBP" and jpeg.startswith(b"\xff\xd8")
    assert len(webp) < len(jpeg)
    for blob in (webp, jpeg):
        decoded = decode_image(blob)
        assert decoded.dtype == np.uint8 and decoded.shape == image.shape
        assert np.abs(decoded.astype(int) - image).mean() < 2.5
    assert len(encode_for_store(image, ImageSpec(codec="webp", webp_quality=20))) < len(webp)
    depth = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    np.testing.assert_array_equal(decode_image(encode_for_store(depth)), depth)


def test_left_to_itself_a_store_keeps_detail_as_jpeg_and_smooth_areas_as_webp():
    detailed = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    smooth = np.full((96, 128, 3), 90, np.uint8)
    assert encode_for_store(detailed) == encode_image(detailed)
    assert encode_for_store(smooth) == encode_for_store(smooth, ImageSpec(codec="webp"))
    assert encode_for_store(detailed, ImageSpec(codec="webp"))[:4] == b"RIFF"


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_depth_is_lossless(depth):
    decoded = decode_image(encode_image(depth))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, depth)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused_with_what_is_allowed(image):
    with pytest.raises(ImageError, match=r"uint8 \(height, width, 3\)"):
        encode_image(image)


def test_a_wrong_quality_is_refused():
    with pytest.raises(ImageError, match="jpeg_quality is 0, allowed: 1 to 100"):
        encode_image(np.zeros((4, 4, 3), np.uint8), jpeg_quality=0)
    with pytest.raises(ImageError, match="webp_quality is 101, allowed: 1 to 100"):
        encode_for_store(np.zeros((4, 4, 3), np.uint8), ImageSpec(codec="webp", webp_quality=101))


@pytest.mark.parametrize("blob", [b"", b"not an image", b"\xff\xd8\xff", b"RIFF\x04\0\0\0WEBP"])
def test_bytes_that_are_no_image_are_refused(blob):
    with pytest.raises(ImageError, match="neither a WebP, a JPEG nor a PNG"):
        decode_image(blob)
