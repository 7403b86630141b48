// The operators' schemas, and their implementation on the CPU: it makes the results and splits the work over torch's
// threads. roi_align/torch_cpu.cpp does so for roi_align, torch_cuda.cpp for CUDA, in a library of its own; what
// starts with torch_ knows torch, no other source does.

#include <vector>

#include "cpu/torch_cpu.h"
#include "crop_and_resize/cpu/tables.h"
#include "crop_and_resize/torch_arguments.h"

namespace roi_align {
namespace {

BoxTable table_of(const BoxList& boxes, Method method, const int64_t (&image_size)[4], int64_t crop_height,
                  int64_t crop_width, DType accumulate, int64_t bands) {
  BoxTable table(boxes, method, image_size, crop_height, crop_width, accumulate);
  constexpr int64_t kTapsPerTask = 4096;
  const int64_t boxes_per_task = std::max<int64_t>(1, kTapsPerTask / (crop_height + crop_width));
  torch::stable::parallel_for(0, boxes.count, boxes_per_task,
                              [&](int64_t begin, int64_t end) { table.fill(begin, end); });
  table.arrange(bands);
  return table;
}

Tensor crop_and_resize(const Tensor& image, const Tensor& boxes, const Tensor& box_indices, int64_t crop_height,
                       int64_t crop_width, int64_t method, double extrapolation_value, int64_t box_rule,
                       bool validate) {
  const bool channels_last = channels_innermost(image);
  const Tensor wide = widened(image);
  const ConstView image_view = input_view(wide);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method how = method_of(method);
  check_forward(image_view, crop_height, crop_width);
  check_boxes(list, image_view.size[0]);
  if (validate) check_finite(list, image_view, crop_height, crop_width);
  const Tensor crops = new_result(wide, {list.count, image_view.size[1], crop_height, crop_width}, channels_last);
  const View crops_view = output_view(crops);
  if (crops.numel() == 0) return rounded(crops, image);
  const Plan plan = plan_forward(image_view, crops_view, torch::stable::get_num_threads());
  const BoxTable table =
      table_of(list, how, image_view.size, crop_height, crop_width, image_view.dtype, plan.order_bands);
  share(plan.units, crops.numel(),
        [&](Units* units) { kernels().forward(image_view, table, how, extrapolation_value, crops_view, plan, units); });
  return rounded(crops, image);
}

// `deterministic` asks for nothing here: a sum has one order on the CPU, whatever the number of threads.
Tensor crop_and_resize_grad_image(const Tensor& grad, const Tensor& boxes, const Tensor& box_indices, int64_t images,
                                  int64_t height, int64_t width, bool channels_last, int64_t method, int64_t box_rule,
                                  bool /*deterministic*/) {
  const Tensor wide = widened(grad);
  const ConstView grad_view = input_view(wide);
  const BoxList list = box_list(boxes, box_indices, box_rule);
  const Method how = method_of(method);
  check_crops(grad_view, list);
  check_image_size(images, height, width);
  check_boxes(list, images);
  const Tensor result = new_result(wide, {images, grad_view.size[1], height, width}, channels_last);
  if (result.numel() == 0) return rounded(result, grad);
  const View result_view = output_view(result);
  const Plan plan = plan_grad_image(grad_view, result_view, torch::stable::get_num_threads());
  const BoxTable table =
      table_of(list, how, result_view.size, grad_view.size[2], grad_view.size[3], grad_view.dtype, plan.order_bands);
  share(plan.units, grad.numel() + result.numel(),
        [&](Units* units) { kernels().grad_image(grad_view, table, how, result_view, plan, units); });
  return rounded(result, grad);
}

Tensor crop_and_resize_grad_boxes(const Tensor& grad, const Tensor& image, const Tensor& boxes,
                                  const Tensor& box_indices, int64_t box_rule) {
  const BoxList list = box_list(boxes, box_indices, box_rule);
  check(grad.scalar_type() == output_type(image), "the gradient has the dtype of the crops");
  const Tensor wide_grad = widened(grad), wide_image = widened(image);
  const ConstView grad_view = input_view(wide_grad), image_view = input_view(wide_image);
  check_crops_and_image(grad_view, image_view, list);
  check_boxes(list, image_view.size[0]);
  Tensor result = torch::stable::new_empty(boxes, {list.count, 4});
  if (grad.numel() == 0) return torch::stable::zero_(result);
  const Plan plan = plan_grad_boxes(grad_view, image_view, torch::stable::get_num_threads());
  std::vector<double> partial(static_cast<size_t>(plan.channel_blocks * list.count * 4), 0.0);
  const BoxTable table = table_of(list, Method::kBilinear, image_view.size, grad_view.size[2], grad_view.size[3],
                                  image_view.dtype, plan.order_bands);
  share(plan.units, grad.numel(),
        [&](Units* units) { kernels().grad_boxes(grad_view, image_view, table, partial.data(), plan, units); });
  finish_grad_boxes(partial.data(), list, plan, result.mutable_data_ptr());
  return result;
}

// Which instruction set the kernels on the CPU are compiled for: "portable", "avx2" or "avx512".
std::string used_cpu_kernels() { return kernels().name; }

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
  m.impl("cpu_kernels", TORCH_BOX(&used_cpu_kernels));
}

STABLE_TORCH_LIBRARY_IMPL(roi_align, CPU, m) {
  m.impl("crop_and_resize", TORCH_BOX(&crop_and_resize));
  m.impl("crop_and_resize_grad_image", TORCH_BOX(&crop_and_resize_grad_image));
  m.impl("crop_and_resize_grad_boxes", TORCH_BOX(&crop_and_resize_grad_boxes));
}

}  // namespace roi_align
