// The parts that the bindings of crop_and_resize share on both devices: the list of boxes, and checks of the shapes.

#pragma once

#include "common/torch_tensors.h"
#include "crop_and_resize/boxes.h"

namespace roi_align {
namespace {

inline BoxList box_list(const Tensor& boxes, const Tensor& box_indices, int64_t box_rule) {
  check(boxes.dim() == 2 && boxes.size(1) == 4, "boxes have shape (M, 4)");
  check(box_indices.dim() == 1 && box_indices.size(0) == boxes.size(0), "box_indices has shape (M,)");
  check(box_rule >= 0 && box_rule <= 2, "the box rule is 0, 1 or 2");
  BoxList list{boxes.size(0),
               boxes.const_data_ptr(),
               dtype_of(boxes),
               {boxes.stride(0), boxes.stride(1)},
               box_indices.const_data_ptr(),
               dtype_of(box_indices),
               box_indices.stride(0),
               static_cast<BoxRule>(box_rule)};
  check(list.edge_dtype == DType::kFloat32 || list.edge_dtype == DType::kFloat64, "boxes are float32 or float64");
  check(is_index(list.index_dtype), "box_indices are int32 or int64");
  return list;
}

inline Method method_of(int64_t method) {
  check(method == 0 || method == 1, "the method is 0 or 1");
  return static_cast<Method>(method);
}

// Checks the shapes of a forward.
inline void check_forward(const ConstView& image, int64_t crop_height, int64_t crop_width) {
  check(image.size[2] > 0 && image.size[3] > 0, "the image has at least one row and one column");
  check(crop_height > 0 && crop_width > 0, "the crop size is positive");
}

// Checks the shapes of an upstream gradient.
inline void check_crops(const ConstView& grad, const BoxList& boxes) {
  check(grad.size[0] == boxes.count, "the gradient has one crop for every box");
  check(grad.size[2] > 0 && grad.size[3] > 0, "the crop size is positive");
}

inline void check_image_size(int64_t images, int64_t height, int64_t width) {
  check(images >= 0 && height > 0 && width > 0, "the image has at least one row and one column");
}

// Checks the two inputs of the box gradient; an integer image has been converted to float32.
inline void check_crops_and_image(const ConstView& grad, const ConstView& image, const BoxList& boxes) {
  check_crops(grad, boxes);
  check(grad.dtype == image.dtype, "the gradient has the dtype of the image");
  check(grad.size[1] == image.size[1], "the gradient has as many channels as the image");
  check(image.size[2] > 0 && image.size[3] > 0, "the image has at least one row and one column");
}

// IndexError for the first box with a bad index; the list is in host memory.
inline void check_boxes(const BoxList& boxes, int64_t images) {
  const int64_t bad = first_bad_index(boxes, images);
  if (bad < 0) return;
  throw_bad_index("box_indices[" + std::to_string(bad) + "] is " + std::to_string(image_index(boxes, bad)), "image",
                  images);
}

// ValueError for the first box that is not finite.
inline void check_finite(const BoxList& boxes, const ConstView& image, int64_t crop_height, int64_t crop_width) {
  const int64_t bad = first_bad_box(boxes, image.size, crop_height, crop_width);
  if (bad >= 0) throw_not_finite(bad);
}

}  // namespace
}  // namespace roi_align
