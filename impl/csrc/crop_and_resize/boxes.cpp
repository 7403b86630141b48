// Checks of the boxes before any kernel runs: each index is in range and, with validate, each box is finite.

#include <cmath>

#include "crop_and_resize/boxes.h"

namespace roi_align {

int64_t first_bad_index(const BoxList& boxes, int64_t images) {
  for (int64_t row = 0; row < boxes.count; ++row) {
    const int64_t index = image_index(boxes, row);
    if (index < 0 || index >= images) return row;
  }
  return -1;
}

namespace {

template <typename T> bool finite(const Axis<T>& axis, int64_t crop) {
  return std::isfinite(axis.start) && std::isfinite(axis.step) && std::isfinite(axis.position(crop - 1));
}

template <typename T>
int64_t first_bad_box_of(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height,
                         int64_t crop_width) {
  for (int64_t row = 0; row < boxes.count; ++row) {
    const T* edge = static_cast<const T*>(boxes.edges) + row * boxes.edge_stride[0];
    for (int64_t column = 0; column < 4; ++column) {
      if (!std::isfinite(edge[column * boxes.edge_stride[1]])) return row;
    }
    if (!finite(box_axis<T>(boxes, row, true, image_size[2], crop_height), crop_height)) return row;
    if (!finite(box_axis<T>(boxes, row, false, image_size[3], crop_width), crop_width)) return row;
  }
  return -1;
}

}  // namespace

int64_t first_bad_box(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width) {
  return boxes.edge_dtype == DType::kFloat64 ? first_bad_box_of<double>(boxes, image_size, crop_height, crop_width)
                                             : first_bad_box_of<float>(boxes, image_size, crop_height, crop_width);
}

}  // namespace roi_align
