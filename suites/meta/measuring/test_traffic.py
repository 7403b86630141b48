"""The bytes of calls that are small enough to count by hand."""

from __future__ import annotations

import numpy as np

from harness.measuring.traffic import Traffic, touched_lines, traffic
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.reach import reach as crop_reach
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.reach import reach as roi_reach


def test_compulsory_bytes_of_crop_and_resize_equal_a_count_by_hand() -> None:
    # One box over pixels (0,0) and (0,31) of one row of 32 float32 pixels: two 64-byte lines in each of three planes.
    image = np.zeros((1, 3, 2, 32), dtype=np.float32)
    boxes = np.array([[0, 0, 0, 1], [2, 0, 2, 1]], dtype=np.float32)  # the second lies outside
    upstream = np.zeros((2, 3, 1, 2), dtype=np.float32)
    inputs = Inputs(image, boxes, np.zeros(2, dtype=np.int32), upstream, (1, 2))
    reach = crop_reach(inputs)
    assert reach.samples == reach.outputs == 2
    assert touched_lines(reach, "contiguous", 64) == 6
    assert touched_lines(reach, "channels_last", 64) == 2  # 12 bytes at 0 and 12 bytes at 372: one line each
    box_bytes = boxes.nbytes + 2 * 4
    tap_bytes, read_bytes = 2 * 4 * 3 * 4, 2 * 3 * 4
    fixed_bytes = box_bytes + upstream.nbytes
    assert traffic(reach, "forward", "contiguous", 64) == Traffic(6 * 64 + fixed_bytes, tap_bytes + fixed_bytes)
    read_bytes += box_bytes
    assert traffic(reach, "grad_image", "contiguous", 64) == Traffic(
        read_bytes + image.nbytes, read_bytes + 2 * tap_bytes
    )
    read_bytes += boxes.nbytes
    assert traffic(reach, "grad_boxes", "channels_last", 64) == Traffic(read_bytes + 2 * 64, read_bytes + tap_bytes)


def test_compulsory_bytes_of_roi_align_equal_a_count_by_hand() -> None:
    # Bins of two pixels on a map of 2 by 32: the first box has one in reach, the second none, the third one of two.
    image = np.zeros((1, 3, 2, 32), dtype=np.float32)
    boxes = np.array([[0, 0, 0, 2, 2], [0, 50, 50, 52, 52], [0, 31, 0, 35, 2]], dtype=np.float32)
    upstream = np.zeros((3, 3, 1, 1), dtype=np.float32)
    one = roi_reach(RoiInputs(image, boxes, upstream, (1, 1), 1.0, 1, True))
    # Samples at (0.5, 0.5), (50.5, 50.5) and, as the bin is 4 wide, (0.5, 32.5), which is beyond 32.
    assert (one.samples, one.outputs) == (1, 1)
    assert one.pixels.tolist() == [0, 1, 32, 33]
    adaptive = roi_reach(RoiInputs(image, boxes, upstream, (1, 1), 1.0, -1, True))
    # Grids of 2 by 2 and of 2 by 4: of the last box's columns 31 and 32 are in reach, and both read pixel 31 alone.
    assert (adaptive.samples, adaptive.outputs) == (4 + 4, 2)
    assert adaptive.pixels.tolist() == [0, 1, 31, 32, 33, 63]
    box_bytes, tap_bytes = boxes.nbytes, 8 * 4 * 3 * 4
    fixed_bytes = box_bytes + upstream.nbytes
    # Pixels 0 and 1 share a line of 64 bytes, 31 has one of its own: two in each row of each plane.
    assert traffic(adaptive, "forward", "contiguous", 64) == Traffic(
        2 * 2 * 3 * 64 + fixed_bytes, tap_bytes + fixed_bytes
    )
    read_bytes = box_bytes + 2 * 3 * 4
    assert traffic(adaptive, "grad_image", "contiguous", 64) == Traffic(
        read_bytes + image.nbytes, read_bytes + 2 * tap_bytes
    )


def test_half_images_and_sectors_of_a_gpu_have_their_own_compulsory_bytes() -> None:
    # One box over all of a row of 32 pixels: as float32 two lines of 64 bytes or four sectors of 32, as float16 half.
    boxes = np.array([[0, 0, 0, 1]], dtype=np.float32)
    for dtype, size in (("float32", 4), ("float16", 2)):
        image, upstream = np.zeros((1, 1, 2, 32), dtype=dtype), np.zeros((1, 1, 1, 32), dtype=dtype)
        inputs = Inputs(image, boxes, np.zeros(1, dtype=np.int32), upstream, (1, 32))
        reach = crop_reach(inputs)
        assert touched_lines(reach, "contiguous", 32) == 32 * size // 32
        box_bytes = boxes.nbytes + 4
        assert traffic(reach, "forward", "contiguous", 32).compulsory == 32 * size + box_bytes + 32 * size
        assert traffic(reach, "grad_image", "contiguous", 32).compulsory == 32 * size + box_bytes + 64 * size
