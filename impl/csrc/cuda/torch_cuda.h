// The parts that the bindings of the CUDA kernels share: the current stream, scratch memory, and copies to the host.

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

// Uninitialised memory for the kernels of one call, from torch's allocator, which knows the current stream: freed at
// the end of the call, it is reused only by kernels that are enqueued on that stream later. It is not a tensor, so that
// torch does not fill it with NaN under torch.use_deterministic_algorithms(True).
class Scratch {
 public:
  Scratch(const Tensor& like, int64_t bytes) {
    if (bytes == 0) return;
    if (aoti_torch_cuda_caching_allocator_raw_alloc(static_cast<uint64_t>(bytes), &data_) != 0) {
      const DeviceOf device(like);
      throw_not_allocated(device.type, device.index, "call's scratch", bytes);
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (data_ != nullptr) aoti_torch_cuda_caching_allocator_raw_delete(data_);
  }

  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

inline void check_one_device(const Tensor& first, const Tensor& boxes, const Tensor& box_indices) {
  const int32_t device = first.get_device_index();
  check(first.is_cuda() && boxes.is_cuda() && box_indices.is_cuda() && boxes.get_device_index() == device &&
            box_indices.get_device_index() == device,
        "all tensors are on one device");
}

// A copy on the host of data that a check has to read; the call waits for it.
inline Tensor on_host(const Tensor& tensor) {
  return torch::stable::to(tensor, torch::stable::Device(torch::headeronly::DeviceType::CPU));
}

// The kernels read floats of any size; integers are widened first.
inline Tensor as_floats(const Tensor& image) {
  return is_integer(image) ? torch::stable::to(image, ScalarType::Float) : image;
}

}  // namespace
}  // namespace roi_align
