// The operators' schemas, and their implementation on the CPU, which allocates the results and divides the work among
// torch's threads. roi_align/torch_cpu.cpp is the same for roi_align, and torch_cuda.cpp for CUDA, in a separate
// library. Only files named torch_* include torch.

#include "cpu/torch_cpu.h"
#include "crop_and_resize/cpu/call.h"
#include "crop_and_resize/torch_arguments.h"

namespace roi_align {
namespace {

using torch::headeronly::MemoryFormat;

constexpr TorchThreads kThreads;

// The image in the type of the sums, in the layout of the crops: the kernels' path follows the image's layout, and a
// conversion may lay out a view anew if several of its elements share memory (expand).
Tensor widen_in_layout(const Tensor& image, bool channels_last) {
  const Tensor wide = widen(image);
  if (channels_innermost(wide) == channels_last) return wide;
  return torch::stable::contiguous(wide, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

Tensor crop_and_resize(const Tensor& image, const Tensor& boxes, const Tensor& box_indices, int64_t crop_height,
                       int64_t crop_width, int64_t method, double extrapolation_value, int64_t box_rule,
                       bool validate) {
  const bool channels_last = channels_innermost(image);
  const Tensor wide = widen_in_layout(image, channels_last);
  const ConstView image_view = input_view(wide);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method interpolation = method_of(method);
  check_forward(image_view, crop_height, crop_width);
  check_boxes(list, image_view.size[0]);
  if (validate) check_finite(list, image_view, crop_height, crop_width);
  const Tensor crops = new_result(wide, {list.count, image_view.size[1], crop_height, crop_width}, channels_last);
  if (crops.numel() > 0) {
    CropCall<TorchThreads>{kThreads, list}.forward(image_view, interpolation, extrapolation_value, output_view(crops));
  }
  return round_to_type_of(crops, image);
}

// `deterministic` is ignored: on the CPU a sum has one order, for any number of threads.
Tensor crop_and_resize_grad_image(const Tensor& grad, const Tensor& boxes, const Tensor& box_indices, int64_t images,
                                  int64_t height, int64_t width, bool channels_last, int64_t method, int64_t box_rule,
                                  bool /*deterministic*/) {
  const Tensor wide = widen(grad);
  const ConstView grad_view = input_view(wide);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method interpolation = method_of(method);
  check_crops(grad_view, list);
  check_image_size(images, height, width);
  check_boxes(list, images);
  const Tensor result = new_result(wide, {images, grad_view.size[1], height, width}, channels_last);
  if (result.numel() > 0)
    CropCall<TorchThreads>{kThreads, list}.grad_image(grad_view, interpolation, output_view(result));
  return round_to_type_of(result, grad);
}

Tensor crop_and_resize_grad_boxes(const Tensor& grad, const Tensor& image, const Tensor& boxes,
                                  const Tensor& box_indices, int64_t box_rule) {
  const BoxList list = box_list(boxes, box_indices, box_rule);
  check(grad.scalar_type() == output_type(image), "the gradient has the dtype of the crops");
  const Tensor wide_grad = widen(grad), wide_image = widen(image);
  const ConstView grad_view = input_view(wide_grad), image_view = input_view(wide_image);
  check_crops_and_image(grad_view, image_view, list);
  check_boxes(list, image_view.size[0]);
  Tensor result = new_rows(boxes, 4);
  if (grad.numel() == 0) return torch::stable::zero_(result);
  CropCall<TorchThreads>{kThreads, list}.grad_boxes(grad_view, image_view, result.mutable_data_ptr());
  return result;
}

// The instruction set of the CPU kernels of this process: "portable", "avx2" or "avx512".
std::string cpu_kernels_name() { return kernels().name; }

}  // namespace

STABLE_TORCH_LIBRARY(roi_align, m) {
  m.def(
      "crop_and_resize(Tensor image, Tensor boxes, Tensor box_indices, SymInt crop_height, SymInt crop_width, "
      "int method, float extrapolation_value, int box_rule, bool validate) -> Tensor");
  m.def(
      "crop_and_resize_grad_image(Tensor grad, Tensor boxes, Tensor box_indices, SymInt images, SymInt height, "
      "SymInt width, bool channels_last, int method, int box_rule, bool deterministic) -> Tensor");
  m.def("cpu_kernels() -> str");
  m.def(
      "crop_and_resize_grad_boxes(Tensor grad, Tensor image, Tensor boxes, Tensor box_indices, int box_rule) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CompositeExplicitAutograd, m) {
  m.impl("cpu_kernels", TORCH_BOX(&cpu_kernels_name));
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CPU, m) {
  m.impl("crop_and_resize", TORCH_BOX(&crop_and_resize));
  m.impl("crop_and_resize_grad_image", TORCH_BOX(&crop_and_resize_grad_image));
  m.impl("crop_and_resize_grad_boxes", TORCH_BOX(&crop_and_resize_grad_boxes));
}

}  // namespace roi_align
