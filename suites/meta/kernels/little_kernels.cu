// Little kernels that test_cuda_executor.py runs: what the executor gives, and each of its rules broken once.
//
// A comment at the end of a line is what the test knows that line by.

#include <cuda_runtime.h>

#include <map>
#include <string>

namespace roi_align::cuda {
namespace {

constexpr unsigned kAll = 0xffffffffu;

__device__ int thread() { return static_cast<int>(threadIdx.x); }

__global__ void nothing(int*, int) {}
__global__ void nothing_allowed(int*, int) {}

// In which order threads come by.
__global__ void ticket(int* out, int) { out[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(out + 1023, 1) + 9; }

__global__ void place(int* out, int) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned within = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned at = block * (blockDim.x * blockDim.y * blockDim.z) + within;
  out[at] = static_cast<int>(at);
}

__global__ void neighbour(int* out, int wait) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  int* const left = reinterpret_cast<int*>(shared_memory);
  left[threadIdx.x] = thread();
  if (wait) __syncthreads();
  out[threadIdx.x] = threadIdx.x == 0 ? 0 : left[threadIdx.x - 1] + 1;
}

__global__ void shfl(int* out, int what) { out[thread()] = __shfl_sync(kAll, 1000 + thread(), what % 100, what / 100); }
__global__ void up(int* out, int what) {
  out[thread()] = __shfl_up_sync(kAll, 1000 + thread(), static_cast<unsigned>(what % 100), what / 100);
}
__global__ void down(int* out, int what) {
  out[thread()] = __shfl_down_sync(kAll, 1000 + thread(), static_cast<unsigned>(what % 100), what / 100);
}
__global__ void exclusive(int* out, int what) {
  out[thread()] = __shfl_xor_sync(kAll, 1000 + thread(), what % 100, what / 100);
}

__global__ void votes(int* out, int) {
  const unsigned ballot = __ballot_sync(kAll, thread() == 0 || thread() == 2 || thread() == 4);
  const int results[8] = {static_cast<int>(ballot),
                          __any_sync(kAll, thread() == 7),
                          __any_sync(kAll, thread() == 32),
                          __all_sync(kAll, thread() < 32),
                          __all_sync(kAll, thread() < 31),
                          __shfl_sync(kAll, thread() + 0.5, 9) == 9.5,
                          __shfl_sync(kAll, static_cast<float>(thread()) + 0.25f, 9) == 9.25f,
                          __shfl_sync(kAll, (1ll << 40) + thread(), 9) == (1ll << 40) + 9};
  for (int i = 0; i < 8; ++i) out[i] = results[i];
}

__global__ void atomics(int* out, int) {
  float* const sums = reinterpret_cast<float*>(out + 16);
  if (thread() == 0) {
    for (int i = 0; i < 16; ++i) out[i] = out[16 + i] = 0;
  }
  __syncthreads();
  atomicAdd(out, 1);
  atomicAdd(reinterpret_cast<unsigned*>(out + 1), 1u);
  atomicMax(out + 2, thread());
  atomicMin(out + 3, thread());
  atomicAdd(reinterpret_cast<float4*>(sums), make_float4(1, 2, 3, 4));
  atomicAdd(reinterpret_cast<float2*>(sums + 4), make_float2(5, 6));
  __syncthreads();
  out[4] = static_cast<int>(sums[1]);
  out[5] = static_cast<int>(sums[2]);
}

// Lane 1 meets lane 2, then lane 0.
__global__ void turns(int* out, int) {
  if (thread() > 0) __syncwarp(0b110);
  if (thread() < 2) __syncwarp(0b011);
  out[thread()] = thread();
}

__global__ void some_wait(int*, int) {
  if (thread() < 32) __syncthreads();  // some_wait
}

__global__ void wait_apart(int*, int) {
  if (thread() < 32) {
    __syncthreads();  // wait_here
  } else {
    __syncthreads();  // wait_there
  }
}

__global__ void not_itself(int* out, int) {
  out[thread()] = __all_sync(0x0000ffffu, 1);  // not_itself
}

__global__ void from_outside(int* out, int) {
  if (thread() >= 16) return;
  out[thread()] = __shfl_sync(0x0000ffffu, thread(), 20);  // from_outside
}

__global__ void returned(int* out, int) {
  if (thread() == 5) return;
  out[thread()] = static_cast<int>(__ballot_sync(kAll, 1));  // returned
}

__global__ void at_barrier(int*, int) {
  if (thread() < 8) {
    __syncwarp();  // warp_waits
  }
  __syncthreads();  // block_waits
}

__global__ void other_place(int*, int) {
  if (thread() < 8) {
    __syncwarp();  // one_place
  } else {
    __syncwarp();  // other_place
  }
}

__global__ void other_mask(int* out, int) {
  if (thread() >= 12) return;
  out[thread()] = __any_sync(thread() < 4 ? 0x0ffu : 0xfffu, 1);  // other_mask
}

__global__ void odd_width(int* out, int) {
  out[thread()] = __shfl_xor_sync(kAll, thread(), 1, 12);  // odd_width
}

__global__ void sum(int* out, int) { out[thread()] = __shfl_xor_sync(kAll, thread(), 1); }

__global__ void double_from_outside(int* out, int) {
  if (thread() >= 16) return;
  out[thread()] = __shfl_sync(0x0000ffffu, 0.5 * thread(), 20) > 0;  // double_from_outside
}

__global__ void vector_in_shared(int*, int) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  atomicAdd(reinterpret_cast<float2*>(shared_memory), make_float2(1, 2));  // vector_in_shared
}

__global__ void past_the_end(int*, int) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  if (thread() == 16) reinterpret_cast<int*>(shared_memory)[thread()] = 1;  // past_the_end
}

__global__ void read(int* out, int at) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  out[0] = reinterpret_cast<int*>(shared_memory)[at];  // read
}

#define NAMED(kernel) {#kernel, kernel}
// clang-format off
const std::map<std::string, void (*)(int*, int)> kKernels = {
    NAMED(nothing), NAMED(nothing_allowed), NAMED(ticket), NAMED(place), NAMED(neighbour),
    NAMED(shfl), NAMED(up), NAMED(down), NAMED(exclusive), NAMED(votes),
    NAMED(atomics), NAMED(turns), NAMED(some_wait), NAMED(wait_apart), NAMED(not_itself),
    NAMED(from_outside), NAMED(returned), NAMED(at_barrier), NAMED(other_place), NAMED(other_mask),
    NAMED(odd_width), NAMED(sum), NAMED(past_the_end), NAMED(vector_in_shared),
    NAMED(double_from_outside), NAMED(read),
};
// clang-format on

}  // namespace
}  // namespace roi_align::cuda

// `dims` is the grid, then the block; `out` has 1024 places.
extern "C" const char* launch(const char* name, const unsigned* dims, int shared, int allowed, int* out, int argument) {
  const auto kernel = roi_align::cuda::kKernels.at(name);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(dims[0], dims[1], dims[2]);
  config.blockDim = dim3(dims[3], dims[4], dims[5]);
  config.dynamicSmemBytes = static_cast<size_t>(shared);
  cudaError_t status = cudaSuccess;
  if (allowed) status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed);
  if (status == cudaSuccess) status = cudaLaunchKernelEx(&config, kernel, out, argument);
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}
