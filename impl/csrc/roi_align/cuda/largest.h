// Which sample of a bin is the largest, on CUDA: the first of them where several are, NaN if any is, as roi_align/cpu/maximum.cpp has
// it. A maximum is not separable: samples are worked out and taken one by one.

#pragma once

#include "roi_align/cuda/box.h"

namespace roi_align {
namespace cuda {

// The samples of a bin on one axis.
template <typename T>
struct BinSamples {
  BinAxis<T> axis;
  T base;
  SampleSpan span;
  int64_t length;

  __device__ __forceinline__ static BinSamples of(const BinAxis<T>& axis, int64_t bin, int64_t length) {
    const T base = axis.base(bin);
    return {axis, base, samples_in_reach(axis, base, length), length};
  }
  template <typename Acc>
  __device__ __forceinline__ Tap<Acc> tap(int64_t i) const {
    return edge_tap<Acc>(axis.position(base, i), length);
  }
  __device__ __forceinline__ bool none() const { return span.begin >= span.end; }
  __device__ __forceinline__ bool before() const { return span.begin > 0; }
  __device__ __forceinline__ bool after() const { return span.end < axis.grid; }
};

// A plane of any strides.
template <typename T>
struct Plane {
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

// What a sample reads: rows first, then columns, as the mean does.
template <typename T>
__device__ __forceinline__ Accumulate<T> sample_at(const Plane<T>& plane, const Tap<Accumulate<T>>& ty,
                                                   const Tap<Accumulate<T>>& tx) {
  using Acc = Accumulate<T>;
  const auto column = [&](int64_t x) {
    if (ty.low == ty.high) return plane.at(ty.low, x);
    return (Acc(1) - ty.weight) * plane.at(ty.low, x) + ty.weight * plane.at(ty.high, x);
  };
  if (tx.low == tx.high) return column(tx.low);
  return (Acc(1) - tx.weight) * column(tx.low) + tx.weight * column(tx.high);
}

// The sample that a bin is worth; not `inside` if that is one beyond the image, or if there is none.
template <typename Acc>
struct Largest {
  Acc value;
  int64_t y, x;
  bool inside;
};

// Takes a sample in if it is larger than all before it, or the first NaN. `any` says whether there was one before.
template <typename Acc>
__device__ __forceinline__ void offer(Largest<Acc>& best, bool& any, const Largest<Acc>& other) {
  if (any && (best.value != best.value || !(other.value > best.value || other.value != other.value))) return;
  best = other;
  any = true;
}

// Samples in the order y, x. One beyond the image is worth 0 and can be the first of all, the first after a row, or the
// first after all rows: it is taken in there, once.
template <typename T, typename Box>
__device__ __forceinline__ Largest<Accumulate<T>> largest_of(const BinSamples<Box>& y, const BinSamples<Box>& x,
                                                             const Plane<T>& plane) {
  using Acc = Accumulate<T>;
  const Largest<Acc> nothing = {Acc(0), 0, 0, false};
  Largest<Acc> best = nothing;
  if (y.none() || x.none()) return best;
  bool any = y.before() || x.before(), beyond = any;
  for (int64_t iy = y.span.begin; iy < y.span.end; ++iy) {
    const Tap<Acc> ty = y.template tap<Acc>(iy);
    for (int64_t ix = x.span.begin; ix < x.span.end; ++ix) {
      offer(best, any, {sample_at(plane, ty, x.template tap<Acc>(ix)), iy, ix, true});
    }
    if (!beyond && x.after()) {
      offer(best, any, nothing);
      beyond = true;
    }
  }
  if (!beyond && y.after()) offer(best, any, nothing);
  return best;
}

// Calls work(y, x) with the samples of bin (i, j) of a box, in the dtype of the boxes.
template <typename Work>
__device__ __forceinline__ void on_samples(const RoiBox& box, bool wide, int64_t i, int64_t j, const ConstView& map,
                                           const Work& work) {
  on_axis(box.y, wide, [&](const auto& y) {
    using Box = decltype(y.start + y.bin);
    const BinAxis<Box> x = {static_cast<Box>(box.x.start), static_cast<Box>(box.x.bin), box.x.grid, box.x.stretched};
    work(BinSamples<Box>::of(y, i, map.size[2]), BinSamples<Box>::of(x, j, map.size[3]));
    return 0;
  });
}

}  // namespace cuda
}  // namespace roi_align
