// The interface and the shared parts of the kernels of roi_align's mean, forward; roi_align/cuda/forward.cu selects
// one.

#pragma once

#include <cmath>

#include "roi_align/cuda/bins.h"

namespace roi_align::cuda {

int64_t forward_planes_scratch(const ConstMaps& maps, const Pools& pools);
void forward_planes(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream);

// Whether a warp can pool a box in planes: crops without gaps, and few enough taps for its shared memory.
bool takes_planes_warp(const ConstMaps& maps, const Pools& pools, const View& crops);
void forward_planes_warp(const ConstMaps& maps, const Pools& pools, const View& crops, cudaStream_t stream);

int64_t forward_pixels_scratch(const ConstMaps& maps, const Pools& pools);
void forward_pixels(const ConstMaps& maps, const Pools& pools, const View& crops, void* scratch, cudaStream_t stream);

// Writes a crop without pooling: NaN for an index out of range, 0 for a box without a level.
template <typename T>
__device__ __forceinline__ void fill_crop(const View& crops, const BoxPart& part, Accumulate<T> value) {
  const int64_t height = crops.size[2], width = crops.size[3];
  T* const crop = static_cast<T*>(crops.data) + part.row * crops.stride[0] + part.first * crops.stride[1];
  const bool channels_fast = crops.stride[1] == 1;
  const int64_t fast = channels_fast ? part.channels : width, middle = channels_fast ? width : height;
  for (int64_t i = threadIdx.x; i < part.channels * height * width; i += blockDim.x) {
    const int64_t rest = divide(i, fast), first = i - rest * fast, third = divide(rest, middle);
    const int64_t second = rest - third * middle;
    const int64_t c = channels_fast ? first : third, y = channels_fast ? third : second;
    const int64_t x = channels_fast ? second : first;
    crop[c * crops.stride[1] + y * crops.stride[2] + x * crops.stride[3]] = narrow<T>(value);
  }
}

// Reads the box of a part into shared memory, and returns whether it has an image and a level. Starts with a barrier,
// because other threads may still read the previous box.
template <typename T>
__device__ __forceinline__ bool begin_box(BoxTables& tables, const ConstMaps& maps, const Pools& pools,
                                          const View& crops, const BoxPart& part) {
  __syncthreads();
  if (threadIdx.x == 0) tables.box = box_of(pools, maps.map[0].size[0], part.row);
  __syncthreads();
  if (tables.box.image >= 0 && tables.box.level >= 0) return true;
  fill_crop<T>(crops, part, tables.box.image < 0 ? static_cast<Accumulate<T>>(NAN) : Accumulate<T>(0));
  return false;
}

}  // namespace roi_align::cuda
