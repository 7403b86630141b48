// What concerns boxes alone: before any kernel runs, that each names an image there is and, if wanted, is finite; after
// the kernels of the box gradient, its sums.

#include <cmath>

#include "taps.h"

namespace roi_align {

int64_t image_index(const BoxList& boxes, int64_t row) {
  const int64_t at = row * boxes.index_stride;
  return boxes.index_dtype == DType::kInt64 ? static_cast<const int64_t*>(boxes.indices)[at]
                                            : static_cast<const int32_t*>(boxes.indices)[at];
}

int64_t first_bad_index(const BoxList& boxes, int64_t images) {
  for (int64_t row = 0; row < boxes.count; ++row) {
    const int64_t index = image_index(boxes, row);
    if (index < 0 || index >= images) return row;
  }
  return -1;
}

namespace {

template <typename T>
bool finite(const Axis<T>& axis, int64_t crop) {
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
    const BoxAxes<T> axes = box_axes<T>(boxes, row, image_size[2], image_size[3], crop_height, crop_width);
    if (!finite(axes.y, crop_height) || !finite(axes.x, crop_width)) return row;
  }
  return -1;
}

}  // namespace

int64_t first_bad_box(const BoxList& boxes, const int64_t (&image_size)[4], int64_t crop_height, int64_t crop_width) {
  return boxes.edge_dtype == DType::kFloat64 ? first_bad_box_of<double>(boxes, image_size, crop_height, crop_width)
                                             : first_bad_box_of<float>(boxes, image_size, crop_height, crop_width);
}

namespace {

template <typename T>
void finish_as(const double* partial, int64_t values, int64_t blocks, T* grad_boxes) {
  for (int64_t i = 0; i < values; ++i) {
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += partial[block * values + i];
    grad_boxes[i] = static_cast<T>(sum);
  }
}

}  // namespace

void finish_grad_boxes(const double* partial, const BoxList& boxes, const Plan& plan, void* grad_boxes) {
  if (boxes.edge_dtype == DType::kFloat64) {
    finish_as(partial, boxes.count * 4, plan.channel_blocks, static_cast<double*>(grad_boxes));
  } else {
    finish_as(partial, boxes.count * 4, plan.channel_blocks, static_cast<float*>(grad_boxes));
  }
}

}  // namespace roi_align
