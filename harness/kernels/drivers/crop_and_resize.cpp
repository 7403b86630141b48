// crop_and_resize's kernels as plain C functions, for Python.

#include "driver.h"

#include "crop_and_resize/cuda/kernels.h"

using namespace roi_align;

extern "C" {

// What a call in any direction is about. The forward writes crops, the gradient of the image image, that of the boxes
// box_gradient; the others are read.
struct Call {
  Array image;
  Array crops;
  Array boxes;
  Array box_indices;
  Array box_gradient;
  int64_t box_rule;
  int64_t method;
  double extrapolation_value;
};

}  // extern "C"

namespace {

BoxList boxes_of(const Call& call) {
  const Array &boxes = call.boxes, &indices = call.box_indices;
  return {boxes.size[0], boxes.data,        dtype_of(boxes),   {boxes.stride[0], boxes.stride[1]},
          indices.data,  dtype_of(indices), indices.stride[0], static_cast<BoxRule>(call.box_rule)};
}

}  // namespace

extern "C" {

const char* forward(const Call* call) {
  return attempt([&] {
    cuda::forward(view_of<ConstView>(call->image), boxes_of(*call), static_cast<Method>(call->method),
                  call->extrapolation_value, view_of<View>(call->crops), nullptr);
  });
}

const char* grad_image_atomic(const Call* call) {
  return attempt([&] {
    cuda::grad_image_atomic(view_of<ConstView>(call->crops), boxes_of(*call), static_cast<Method>(call->method),
                            view_of<View>(call->image), nullptr);
  });
}

const char* grad_image_gather(const Call* call) {
  return attempt([&] {
    const BoxList boxes = boxes_of(*call);
    const View image = view_of<View>(call->image);
    const Scratch scratch(cuda::grad_image_gather_scratch(image, boxes.count));
    cuda::grad_image_gather(view_of<ConstView>(call->crops), boxes, static_cast<Method>(call->method), image,
                            scratch.data(), nullptr);
  });
}

const char* grad_boxes(const Call* call) {
  return attempt([&] {
    const ConstView crops = view_of<ConstView>(call->crops);
    const Scratch scratch(cuda::grad_boxes_scratch(crops));
    cuda::grad_boxes(crops, view_of<ConstView>(call->image), boxes_of(*call), scratch.data(), call->box_gradient.data,
                     nullptr);
  });
}

}  // extern "C"
