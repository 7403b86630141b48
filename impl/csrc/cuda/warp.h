// Sums and extremes over the lanes of a warp, in every lane and always in the same order.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

__device__ __forceinline__ double sum_of_warp(double value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

__device__ __forceinline__ int32_t least_of_warp(int32_t value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const int32_t other = __shfl_xor_sync(kAllLanes, value, distance);
    value = other < value ? other : value;
  }
  return value;
}

// The sums of a box's four edges over the threads of a block: thread 0 to 3 returns the sum of one edge each. `of_warp`
// has an entry for each warp, and may be reused once all threads have passed the second barrier.
struct Edges {
  double value[4];
};

__device__ __forceinline__ double sum_of_block(Edges edges, Edges* of_warp) {
  const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / kWarp;
#pragma unroll
  for (int edge = 0; edge < 4; ++edge) edges.value[edge] = sum_of_warp(edges.value[edge]);
  if (thread % kWarp == 0) of_warp[thread / kWarp] = edges;
  __syncthreads();
  double sum = 0;
  if (thread < 4) {
    for (int warp = 0; warp < warps; ++warp) sum += of_warp[warp].value[thread];
  }
  __syncthreads();
  return sum;
}

}  // namespace roi_align::cuda
