// The least that an operator on torch's stable ABI can do: it has crop_and_resize's schema, and only allocates.
//
// What a call of the real one costs beyond this is overhead; suites/performance/bench_overhead.py measures it.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace {

using torch::stable::Tensor;

Tensor crop(const Tensor& image, const Tensor& boxes, const Tensor& /*box_indices*/, int64_t crop_height,
            int64_t crop_width, int64_t /*method*/, double /*extrapolation_value*/, int64_t /*box_rule*/,
            bool /*validate*/) {
  return torch::stable::new_empty(image, {boxes.size(0), image.size(1), crop_height, crop_width});
}

}  // namespace

STABLE_TORCH_LIBRARY(roi_align_bare, m) {
  m.def(
      "crop(Tensor image, Tensor boxes, Tensor box_indices, SymInt crop_height, SymInt crop_width, int method, "
      "float extrapolation_value, int box_rule, bool validate) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(roi_align_bare, CPU, m) { m.impl("crop", TORCH_BOX(&crop)); }
