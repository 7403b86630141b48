// What the bindings of the CUDA kernels have in common: where they are enqueued, and where their scratch comes from.

#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include "common/torch_tensors.h"

namespace roi_align {
namespace {

using torch::stable::accelerator::DeviceGuard;

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Uninitialised memory on the device of `like`; as a tensor, so that torch's allocator knows which stream uses it.
inline Tensor scratch_on(const Tensor& like, int64_t bytes) {
  return new_tensor(like, {1, 1, 1, (bytes + 7) / 8}, false, aoti_torch_dtype_float64(), 8);
}

inline void check_one_device(const Tensor& first, const Tensor& boxes, const Tensor& box_indices) {
  const int32_t device = first.get_device_index();
  check(first.is_cuda() && boxes.is_cuda() && box_indices.is_cuda() && boxes.get_device_index() == device &&
            box_indices.get_device_index() == device,
        "all tensors are on one device");
}

// What only the data can tell is on the device: this copy of it is read on the host, and the call waits for it.
inline Tensor on_host(const Tensor& tensor) {
  return torch::stable::to(tensor, torch::stable::Device(torch::headeronly::DeviceType::CPU));
}

// The kernels read floats of any size; integers are widened first.
inline Tensor as_floats(const Tensor& image) {
  return is_integer(image) ? torch::stable::to(image, ScalarType::Float) : image;
}

}  // namespace
}  // namespace roi_align
