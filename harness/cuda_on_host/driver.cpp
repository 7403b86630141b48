// The kernels as plain C functions, for Python: arrays as NumPy describes them in, a message out if something failed.

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/cuda_kernels.h"

using namespace roi_align;

extern "C" {

// Up to four dimensions; strides in elements. harness/backends/cuda_on_host.py has the same fields.
struct Array {
  void* data;
  const char* dtype;
  int64_t size[4];
  int64_t stride[4];
};

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

DType dtype_of(const Array& array) {
  const std::string name = array.dtype;
  if (name == "float16") return DType::kFloat16;
  if (name == "bfloat16") return DType::kBFloat16;
  if (name == "float32") return DType::kFloat32;
  if (name == "float64") return DType::kFloat64;
  if (name == "int32") return DType::kInt32;
  if (name == "int64") return DType::kInt64;
  throw std::invalid_argument("The kernels take no arrays of " + name + ".");
}

template <typename AnyView>
AnyView view_of(const Array& array) {
  AnyView view{array.data, dtype_of(array), {}, {}};
  for (int d = 0; d < 4; ++d) {
    view.size[d] = array.size[d];
    view.stride[d] = array.stride[d];
  }
  return view;
}

BoxList boxes_of(const Call& call) {
  const Array &boxes = call.boxes, &indices = call.box_indices;
  return {boxes.size[0],    boxes.data,         dtype_of(boxes),    {boxes.stride[0], boxes.stride[1]},
          indices.data,     dtype_of(indices),  indices.stride[0],  static_cast<BoxRule>(call.box_rule)};
}

// Fresh memory on a GPU holds what was left in it: here it is full of NaN.
std::vector<unsigned char> scratch_of(int64_t bytes) {
  return std::vector<unsigned char>(static_cast<size_t>(bytes), 0xFF);
}

template <typename Work>
const char* attempt(const Work& work) {
  static std::string message;
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
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
    std::vector<unsigned char> scratch = scratch_of(cuda::grad_image_gather_scratch(boxes.count));
    cuda::grad_image_gather(view_of<ConstView>(call->crops), boxes, static_cast<Method>(call->method),
                            view_of<View>(call->image), scratch.data(), nullptr);
  });
}

const char* grad_boxes(const Call* call) {
  return attempt([&] {
    const ConstView crops = view_of<ConstView>(call->crops);
    std::vector<unsigned char> scratch = scratch_of(cuda::grad_boxes_scratch(crops));
    cuda::grad_boxes(crops, view_of<ConstView>(call->image), boxes_of(*call), scratch.data(), call->box_gradient.data,
                     nullptr);
  });
}

}  // extern "C"
