// The samples and planes that largest.h reads, on CUDA: a sample is computed when it is read.

#pragma once

#include "roi_align/cuda/box.h"
#include "roi_align/largest.h"

namespace roi_align::cuda {

// The samples of a bin on one axis.
template <typename T> struct BinSamples {
  BinAxis<T> axis;
  T base;
  SampleSpan span;
  int64_t length;

  __device__ __forceinline__ static BinSamples of(const BinAxis<T>& axis, int64_t bin, int64_t length) {
    const T base = axis.base(bin);
    return {axis, base, samples_in_reach(axis, base, length), length};
  }
  template <typename Acc> __device__ __forceinline__ Tap<Acc> tap(int64_t i) const {
    return edge_tap<Acc>(axis.position(base, i), length);
  }
  __device__ __forceinline__ bool none() const { return span.begin >= span.end; }
  __device__ __forceinline__ bool before() const { return span.begin > 0; }
  __device__ __forceinline__ bool after() const { return span.end < axis.grid; }
};

// A plane of any strides.
template <typename T> struct Plane {
  const T* data;
  int64_t row_stride, column_stride;

  __device__ __forceinline__ Accumulate<T> at(int64_t y, int64_t x) const {
    return widen(data[y * row_stride + x * column_stride]);
  }
};

template <typename T>
__device__ __forceinline__ Plane<T> plane_of(const ConstView& map, int64_t image, int64_t channel) {
  return {static_cast<const T*>(map.data) + image * map.stride[0] + channel * map.stride[1], map.stride[2],
          map.stride[3]};
}

// Calls work(y, x) with the samples of bin (i, j) of a box, in the dtype of the boxes.
template <typename Work>
__device__ __forceinline__ void on_samples(const RoiBox& box, bool wide, int64_t i, int64_t j, const ConstView& map,
                                           const Work& work) {
  on_axis(box.y, wide, [&](const auto& y) {
    using Box = decltype(y.start + y.bin);
    const BinAxis<Box> x = {static_cast<Box>(box.x.start), static_cast<Box>(box.x.bin), box.x.grid, box.x.is_clamped};
    work(BinSamples<Box>::of(y, i, map.size[2]), BinSamples<Box>::of(x, j, map.size[3]));
    return 0;
  });
}

}  // namespace roi_align::cuda
