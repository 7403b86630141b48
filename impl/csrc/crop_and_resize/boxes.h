// Access to a list of boxes: the image of each, and the axes of its samples. Host and device share these lines.

#pragma once

#include <cstdint>

#include "crop_and_resize/kernels.h"

namespace roi_align {

ROI_ALIGN_HOST_DEVICE inline int64_t image_index(const BoxList& boxes, int64_t row) {
  const int64_t at = row * boxes.index_stride;
  return boxes.index_dtype == DType::kInt64 ? static_cast<const int64_t*>(boxes.indices)[at]
                                            : static_cast<const int32_t*>(boxes.indices)[at];
}

// The positions of a box's samples on one axis; T is the dtype of the edges.
template <typename T>
ROI_ALIGN_HOST_DEVICE Axis<T> box_axis(const BoxList& boxes, int64_t row, bool is_y, int64_t length, int64_t crop) {
  // Boxes in pixels start with x, normalised ones with y.
  const int64_t first = is_y == (boxes.rule == BoxRule::kNormalized) ? 0 : 1;
  const T* edge = static_cast<const T*>(boxes.edges) + row * boxes.edge_stride[0];
  return make_axis(boxes.rule, edge[first * boxes.edge_stride[1]], edge[(first + 2) * boxes.edge_stride[1]], length,
                   crop);
}

}  // namespace roi_align
