// The largest sample of a bin on CUDA: the first one if several are equal, and NaN if any sample is. A maximum is not
// separable: samples are computed when they are read, and compared one by one.

#pragma once

#include "roi_align/cuda/box.h"

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

// The value of a sample: rows are weighed first, then columns, as in the mean.
template <typename Acc, typename Plane>
__device__ __forceinline__ Acc sample_at(const Plane& plane, const Tap<Acc>& ty, const Tap<Acc>& tx) {
  const auto column = [&](int64_t x) -> Acc {
    if (ty.low == ty.high) return plane.at(ty.low, x);
    return (Acc(1) - ty.weight) * plane.at(ty.low, x) + ty.weight * plane.at(ty.high, x);
  };
  if (tx.low == tx.high) return column(tx.low);
  return (Acc(1) - tx.weight) * column(tx.low) + tx.weight * column(tx.high);
}

// The largest sample of a bin; `inside` is false if it is beyond the image, or if there is no sample.
template <typename Acc> struct Largest {
  Acc value;
  int64_t y, x;
  bool inside;
};

// Replaces the best sample by a larger one or by the first NaN. `any` says whether there has been a sample.
template <typename Acc>
__device__ __forceinline__ void offer(Largest<Acc>& best, bool& any, const Largest<Acc>& other) {
  if (any && (best.value != best.value || !(other.value > best.value || other.value != other.value))) return;
  best = other;
  any = true;
}

// Samples in the order y, x. Samples beyond the image are 0. The first of them may come before all others, after the
// first row, or after all rows: it is compared at that place, once.
template <typename Acc, typename Samples, typename Plane>
__device__ __forceinline__ Largest<Acc> largest_of(const Samples& y, const Samples& x, const Plane& plane) {
  const Largest<Acc> nothing = {Acc(0), 0, 0, false};
  Largest<Acc> best = nothing;
  if (y.none() || x.none()) return best;
  bool any = y.before() || x.before(), beyond = any;
  for (int64_t iy = y.span.begin; iy < y.span.end; ++iy) {
    const Tap<Acc> ty = y.template tap<Acc>(iy);
    for (int64_t ix = x.span.begin; ix < x.span.end; ++ix) {
      offer(best, any, {sample_at<Acc>(plane, ty, x.template tap<Acc>(ix)), iy, ix, true});
    }
    if (!beyond && x.after()) {
      offer(best, any, nothing);
      beyond = true;
    }
  }
  if (!beyond && y.after()) offer(best, any, nothing);
  return best;
}

}  // namespace roi_align::cuda
