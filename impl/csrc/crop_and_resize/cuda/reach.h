// Where each box reaches: worked out once, by a thread a box, so that tiles need not look at every box.
//
// The positions of an axis run one way, so the samples between two places are neighbours, and their first and last are
// found by halving. Of each box the kernel keeps where its samples lie, and its bits (cuda/bits.h).

#pragma once

#include "crop_and_resize/cuda/walk.h"
#include "cuda/bits.h"

namespace roi_align::cuda {

constexpr int kWarps = 4;
constexpr int kGatherThreads = kWarps * kWarp;

// Where a box's samples sit, as worked out in the dtype of its edges, which a double holds exactly.
struct Axes {
  Axis<double> y, x;
};

// Memory beside the gradient, for all boxes.
struct Scratch {
  Axes* axes;
  BoxBits bits;
  bool wide;  // the edges are doubles
};

// Calls work(axis) with an axis in the dtype of its edges.
template <typename Work>
__device__ __forceinline__ auto with_axis(const Axis<double>& axis, bool wide, const Work& work) {
  return wide ? work(axis) : work(Axis<float>{static_cast<float>(axis.start), static_cast<float>(axis.step)});
}

// The tap of sample i on an axis; false if it is outside.
template <typename Acc>
__device__ __forceinline__ bool tap_on(const Axis<double>& in_doubles, bool wide, int64_t i, Method method,
                                       int64_t length, Tap<Acc>& tap) {
  return with_axis(in_doubles, wide, [&](const auto& axis) { return find_tap(axis, i, method, length, tap); });
}

// The samples begin <= i < end of an axis.
struct Samples {
  int32_t begin, end;
};

// The samples that lie from pixel `lowest` to pixel `highest`; none if the axis is not finite, as no position is then.
template <typename T>
__device__ __forceinline__ Samples samples_between(const Axis<T>& axis, int32_t crop, T lowest, T highest) {
  const bool falls = axis.step < T(0);
  const int32_t begin = first_that(0, crop, [&](int32_t i) {
    const T position = axis.position(i);
    return falls ? position <= highest : position >= lowest;
  });
  const int32_t end = first_that(begin, crop, [&](int32_t i) {
    const T position = axis.position(i);
    return falls ? position < lowest : position > highest;
  });
  return {begin, end};
}

// The samples inside of an image that read one of its pixels begin <= pixel < end, and perhaps one at either side that
// does not.
template <typename T>
__device__ __forceinline__ Samples samples_reading(const Axis<T>& axis, int32_t crop, int64_t begin, int64_t end,
                                                   int64_t length) {
  return samples_between(axis, crop, static_cast<T>(begin > 0 ? begin - 1 : 0),
                         static_cast<T>(end < length ? end : length - 1));
}

// The tiles that the samples of an axis reach.
template <typename T>
__device__ __forceinline__ Span span_of(const Axis<T>& axis, Method method, int64_t length, int32_t crop, int tile) {
  const Samples inside = samples_reading(axis, crop, 0, length, length);
  if (inside.begin >= inside.end) return {0, -1};
  const Tap<float> one = make_tap<float>(method, axis.position(inside.begin), length);
  const Tap<float> other = make_tap<float>(method, axis.position(inside.end - 1), length);
  return {divide(one.low < other.low ? one.low : other.low, tile),
          divide(one.high > other.high ? one.high : other.high, tile)};
}

template <typename T> __device__ __forceinline__ Axis<double> widened(const Axis<T>& axis) {
  return {static_cast<double>(axis.start), static_cast<double>(axis.step)};
}

// A warp for 32 boxes, and for up to kVectorsAtOnce vectors of bits.
static __global__ void __launch_bounds__(kGatherThreads)
    reach_kernel(BoxList boxes, Method method, int32_t crop_height, int32_t crop_width, View image, int tile_height,
                 int tile_width, int64_t sections, Scratch scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t height = image.size[2], width = image.size[3];
  const BoxBits& bits = scratch.bits;
  for (int64_t unit = int64_t{blockIdx.x} * kWarps + warp; unit < bits.words * sections;
       unit += int64_t{gridDim.x} * kWarps) {
    const int64_t word = divide(unit, sections), section = unit - word * sections;
    const int64_t box = word * kBitsOfWord + lane;
    Span rows = {0, -1}, columns = {0, -1};
    int64_t index = -1;
    if (box < boxes.count) {
      index = image_index(boxes, box);
      const Axes axes = scratch.wide ? Axes{box_axis<double>(boxes, box, true, height, crop_height),
                                            box_axis<double>(boxes, box, false, width, crop_width)}
                                     : Axes{widened(box_axis<float>(boxes, box, true, height, crop_height)),
                                            widened(box_axis<float>(boxes, box, false, width, crop_width))};
      if (section == 0) scratch.axes[box] = axes;
      rows = with_axis(axes.y, scratch.wide,
                       [&](const auto& axis) { return span_of(axis, method, height, crop_height, tile_height); });
      columns = with_axis(axes.x, scratch.wide,
                          [&](const auto& axis) { return span_of(axis, method, width, crop_width, tile_width); });
    }
    write_bits(bits, word, section, rows, columns, index);
  }
}

}  // namespace roi_align::cuda
