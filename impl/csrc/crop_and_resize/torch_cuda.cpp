// The operators on CUDA: a separate library, loaded only if torch has CUDA. It allocates the results on the tensors'
// device and enqueues the kernels on that device's current stream; only a call with validate waits for the device.

#include <cstdlib>

#include "crop_and_resize/cuda/kernels.h"
#include "crop_and_resize/torch_arguments.h"
#include "cuda/torch_cuda.h"

namespace roi_align {
namespace {

void validate_on_host(const Tensor& boxes, const Tensor& box_indices, int64_t box_rule, const ConstView& image,
                      int64_t crop_height, int64_t crop_width) {
  const Tensor host_boxes = on_host(boxes), host_indices = on_host(box_indices);
  const BoxList list = box_list(host_boxes, host_indices, box_rule);
  check_boxes(list, image.size[0]);
  check_finite(list, image, crop_height, crop_width);
}

Tensor crop_and_resize(const Tensor& image, const Tensor& boxes, const Tensor& box_indices, int64_t crop_height,
                       int64_t crop_width, int64_t method, double extrapolation_value, int64_t box_rule,
                       bool validate) {
  check_one_device(image, boxes, box_indices);
  const DeviceGuard guard(image.get_device_index());
  const bool channels_last = channels_innermost(image);
  const Tensor floats = as_floats(image);
  const ConstView image_view = input_view(floats);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method interpolation = method_of(method);
  check_forward(image_view, crop_height, crop_width);
  if (validate) validate_on_host(boxes, box_indices, box_rule, image_view, crop_height, crop_width);
  const Tensor crops = new_tensor(floats, {list.count, image_view.size[1], crop_height, crop_width}, channels_last);
  if (crops.numel() == 0) return crops;
  cuda::forward(image_view, list, interpolation, extrapolation_value, output_view(crops), current_stream(image));
  return crops;
}

// Whether the image gradient gathers or uses atomics. A deterministic gradient has to gather. In planes gathering
// should also be faster, by the count of accesses: neighbouring lanes add to the pixels of neighbouring samples, which
// share no line, so there are 4 * C separate atomics for every sample. With channels innermost an atomic adds 16 bytes
// at a time. ROI_ALIGN_CUDA_GRADIENT=atomic or gather selects one of them outside of deterministic mode, for
// comparisons.
bool gathers(bool deterministic, bool channels_last) {
  if (deterministic) return true;
  const char* const value = std::getenv("ROI_ALIGN_CUDA_GRADIENT");
  const std::string name = value == nullptr ? "" : value;
  if (name.empty()) return !channels_last;
  if (name == "gather" || name == "atomic") return name == "gather";
  throw std::invalid_argument("ROI_ALIGN_CUDA_GRADIENT is '" + name + "', but it must be 'atomic' or 'gather'.");
}

Tensor crop_and_resize_grad_image(const Tensor& grad, const Tensor& boxes, const Tensor& box_indices, int64_t images,
                                  int64_t height, int64_t width, bool channels_last, int64_t method, int64_t box_rule,
                                  bool deterministic) {
  check_one_device(grad, boxes, box_indices);
  const DeviceGuard guard(grad.get_device_index());
  const ConstView grad_view = input_view(grad);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method interpolation = method_of(method);
  check_crops(grad_view, list);
  check_image_size(images, height, width);
  const Shape shape = {images, grad_view.size[1], height, width};
  if (gathers(deterministic, channels_last)) {
    const Tensor result = new_tensor(grad, shape, channels_last);
    if (result.numel() == 0) return result;
    const View image_view = output_view(result);
    const Scratch scratch(grad, cuda::grad_image_gather_scratch(image_view, list.count));
    cuda::grad_image_gather(grad_view, list, interpolation, image_view, scratch.data(), current_stream(grad));
    return result;
  }
  // Halves are summed in float32 and rounded once.
  const bool half = is_half(grad);
  Tensor sums = half ? new_tensor(grad, shape, channels_last, aoti_torch_dtype_float32(), 4)
                     : new_tensor(grad, shape, channels_last);
  torch::stable::zero_(sums);
  if (grad.numel() > 0 && sums.numel() > 0) {
    cuda::grad_image_atomic(grad_view, list, interpolation, output_view(sums), current_stream(grad));
  }
  return half ? torch::stable::to(sums, grad.scalar_type()) : sums;
}

Tensor crop_and_resize_grad_boxes(const Tensor& grad, const Tensor& image, const Tensor& boxes,
                                  const Tensor& box_indices, int64_t box_rule) {
  check_one_device(grad, boxes, box_indices);
  check_one_device(grad, image, boxes);
  const DeviceGuard guard(grad.get_device_index());
  const Tensor floats = as_floats(image);
  const ConstView grad_view = input_view(grad), image_view = input_view(floats);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  check_crops_and_image(grad_view, image_view, list);
  Tensor result = new_rows(boxes, 4);
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const Scratch scratch(grad, cuda::grad_boxes_scratch(grad_view));
  cuda::grad_boxes(grad_view, image_view, list, scratch.data(), result.mutable_data_ptr(), current_stream(grad));
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(roi_align, CUDA, m) {
  m.impl("crop_and_resize", TORCH_BOX(&crop_and_resize));
  m.impl("crop_and_resize_grad_image", TORCH_BOX(&crop_and_resize_grad_image));
  m.impl("crop_and_resize_grad_boxes", TORCH_BOX(&crop_and_resize_grad_boxes));
}

}  // namespace roi_align
