// CUDA's words, as far as the kernels use them, for a compiler that knows no CUDA.
//
// A kernel that was never run is not trusted, and a machine without a GPU cannot run one. This header stands in for the
// toolkit's: the kernels' own sources, unchanged, compile with it for the host, and executor.cpp runs their threads. It
// holds what is used and follows CUDA's definitions; where CUDA leaves a result undefined, the executor stops instead.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Shared memory is the executor's array roi_align::cuda::shared_memory, sized at the launch. The attribute does nothing
// to that declaration; to a __shared__ array of fixed size, which would silently be a local one, the compiler objects.
#define __shared__ __attribute__((visibility("default")))

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// The executor sets these before it lets a thread go on.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;

// What the host calls. Streams are ignored: everything is done at once.

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchAttribute;

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

// The sentence that says what is wrong, and where, with the last launch that failed.
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
// Full of garbage, which differs with the order of threads.
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);

namespace executor {

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread);
cudaError_t allow_shared_memory(const void* kernel, size_t bytes);
void barrier(const char* file, int line);
unsigned lane();
// Waits until all lanes of the mask have called the same operation and returns the value that lane `source` brought;
// from kEveryLane, a bit for each lane whose value is not 0.
constexpr unsigned kEveryLane = 32;
uint64_t warp_operation(const char* name, unsigned mask, uint64_t value, unsigned source, const char* file, int line);
// The width of a shuffle is a power of two up to 32, and vectors are added in global memory: stops the kernel if not.
void check_width(const char* name, int width, const char* file, int line);
void check_global(const void* address, const char* file, int line);

}  // namespace executor

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> parameters(std::forward<Arguments>(arguments)...);
  return executor::launch(*config, reinterpret_cast<const void*>(kernel), [&] { std::apply(kernel, parameters); });
}

template <typename Kernel> cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return executor::allow_shared_memory(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
}

// Threads that wait for each other. The place of the call is part of the operation: two threads that wait at different
// places wait for different things. It is taken by the compiler as a default argument.

#define EXECUTOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EXECUTOR_HERE) { executor::barrier(file, line); }

inline unsigned __ballot_sync(unsigned mask, int predicate, EXECUTOR_HERE) {
  return static_cast<unsigned>(
      executor::warp_operation("__ballot_sync", mask, predicate != 0, executor::kEveryLane, file, line));
}
inline int __any_sync(unsigned mask, int predicate, EXECUTOR_HERE) {
  return executor::warp_operation("__any_sync", mask, predicate != 0, executor::kEveryLane, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EXECUTOR_HERE) {
  return executor::warp_operation("__all_sync", mask, predicate == 0, executor::kEveryLane, file, line) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffff, EXECUTOR_HERE) {
  executor::warp_operation("__syncwarp", mask, 0, executor::kEveryLane, file, line);
}

namespace executor {

template <typename T> T shuffle(const char* name, unsigned mask, T value, unsigned source, const char* file, int line) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8, "CUDA shuffles 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_operation(name, mask, bits, source, file, line);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace executor

// A lane that would read past its part of the warp, `width` lanes long, reads its own value.

template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, EXECUTOR_HERE) {
  executor::check_width("__shfl_sync", width, file, line);
  const unsigned inner = static_cast<unsigned>(width) - 1, lane = executor::lane();
  const unsigned from = (lane & ~inner) | (static_cast<unsigned>(source) & inner);
  return executor::shuffle("__shfl_sync", mask, value, from, file, line);
}

template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, EXECUTOR_HERE) {
  executor::check_width("__shfl_up_sync", width, file, line);
  const unsigned inner = static_cast<unsigned>(width) - 1, lane = executor::lane();
  const unsigned from = (lane & inner) >= delta ? lane - delta : lane;
  return executor::shuffle("__shfl_up_sync", mask, value, from, file, line);
}

template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, EXECUTOR_HERE) {
  executor::check_width("__shfl_down_sync", width, file, line);
  const unsigned inner = static_cast<unsigned>(width) - 1, lane = executor::lane();
  const unsigned from = inner - (lane & inner) >= delta ? lane + delta : lane;
  return executor::shuffle("__shfl_down_sync", mask, value, from, file, line);
}

template <typename T> T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, EXECUTOR_HERE) {
  executor::check_width("__shfl_xor_sync", width, file, line);
  const unsigned inner = static_cast<unsigned>(width) - 1, lane = executor::lane();
  // Into an earlier part of the warp it may reach, into a later one not.
  const unsigned other = lane ^ static_cast<unsigned>(lane_mask);
  return executor::shuffle("__shfl_xor_sync", mask, value, other > (lane | inner) ? lane : other, file, line);
}

// Atomics: one thread runs at a time, and nothing else can come between.

namespace executor {

template <typename T> T fetch_add(T* address, T value) {
  const T before = *address;
  *address = before + value;
  return before;
}

}  // namespace executor

inline float atomicAdd(float* address, float value) { return executor::fetch_add(address, value); }
inline double atomicAdd(double* address, double value) { return executor::fetch_add(address, value); }
inline unsigned atomicAdd(unsigned* address, unsigned value) { return executor::fetch_add(address, value); }
inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  return executor::fetch_add(address, value);
}
inline int atomicAdd(int* address, int value) {
  const int before = *address;
  *address = static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value));
  return before;
}
inline float2 atomicAdd(float2* address, float2 value, EXECUTOR_HERE) {
  executor::check_global(address, file, line);
  return {atomicAdd(&address->x, value.x), atomicAdd(&address->y, value.y)};
}
inline float4 atomicAdd(float4* address, float4 value, EXECUTOR_HERE) {
  executor::check_global(address, file, line);
  return {atomicAdd(&address->x, value.x), atomicAdd(&address->y, value.y), atomicAdd(&address->z, value.z),
          atomicAdd(&address->w, value.w)};
}

inline int atomicMin(int* address, int value) {
  const int before = *address;
  if (value < before) *address = value;
  return before;
}
inline int atomicMax(int* address, int value) {
  const int before = *address;
  if (value > before) *address = value;
  return before;
}

#undef EXECUTOR_HERE

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value ? __builtin_clz(static_cast<unsigned>(value)) : 32; }
