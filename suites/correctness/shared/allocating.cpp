// An operator that makes a result on CUDA as the package's do, whatever its input is on: where there is no GPU, torch
// has a reason to give it no memory.

#include "common/torch_tensors.h"

namespace roi_align {
namespace {

Tensor on_cuda(const Tensor& /*anything*/, int64_t side) {
  const Shape shape = {1, 1, side, side}, strides = {side * side, side * side, side, 1};
  return new_tensor_on(aoti_torch_device_type_cuda(), 0, shape, strides, aoti_torch_dtype_float32(),
                       bytes_of(shape, 4));
}

}  // namespace

STABLE_TORCH_LIBRARY(roi_align_allocating, m) { m.def("on_cuda(Tensor anything, int side) -> Tensor"); }

STABLE_TORCH_LIBRARY_IMPL(roi_align_allocating, CPU, m) { m.impl("on_cuda", TORCH_BOX(&on_cuda)); }

}  // namespace roi_align
