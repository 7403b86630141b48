// Starting a kernel, for all of them.
//
// Work is counted in units, one for a block. There may be more units than a grid has room for, so every kernel loops:
// `for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x)`. Only x is used: y and z end at 65,535.

#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/half.h"
#include "common/units.h"
#include "common/view.h"

namespace roi_align::cuda {

constexpr int64_t kMostBlocks = 2147483647;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
// Threads of a block, where nothing else decides.
constexpr int kThreads = 256;

// A refused launch also stays behind as the runtime's last error, which torch would raise from its next call, whatever
// that is: it is taken back here. An error that has ruined the context cannot be, and stays.
inline void succeed(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(std::string("roi_align: a CUDA kernel was not started: ") + cudaGetErrorString(status));
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), int64_t units, int threads, int64_t shared_bytes, cudaStream_t stream,
            const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(units < kMostBlocks ? units : kMostBlocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  succeed(cudaLaunchKernelEx(&config, kernel, arguments...));
}

// 64-bit division is a subroutine on a device; nearly always 32 bits do.
__device__ __forceinline__ int64_t divide(int64_t a, int64_t b) {
  if (static_cast<uint64_t>(a | b) >> 32 == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

// The same number, hidden from the compiler: values that depend on it are computed where they are used, not before a
// loop, where they would keep registers that the loop needs.
__device__ __forceinline__ int afresh(int number) {
  asm volatile("" : "+r"(number));
  return number;
}

// Calls work(T()) with the type that images of this dtype are stored in.
template <typename Work> void with_image_type(DType dtype, const Work& work) {
  switch (dtype) {
    case DType::kFloat64: return work(double());
    case DType::kFloat16: return work(Float16());
    case DType::kBFloat16: return work(BFloat16());
    default: return work(float());
  }
}

}  // namespace roi_align::cuda
