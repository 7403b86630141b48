// Where each box reaches: worked out once, so that a tile can ask of every box whether it comes by.
//
// A warp takes a box. It keeps where the samples lie, and the tiles that the first and last of those inside touch.

#pragma once

#include "crop_and_resize/cuda/walk.h"
#include "cuda/warp.h"

namespace roi_align::cuda {

constexpr int kWarps = 4;
constexpr int kGatherThreads = kWarps * kWarp;
constexpr int kTileWidth = 8;

// The tiles that a box reaches, first and last, on both axes, and its image; last < first if it reaches none.
struct Reach {
  int32_t image;
  int32_t top, bottom;
  int32_t left, right;
};

// Where a box's samples sit, as worked out in the dtype of its edges, which a double holds exactly.
struct Axes {
  Axis<double> y, x;
};

// What is kept of all boxes beside the gradient.
struct Scratch {
  Axes* axes;
  Reach* reach;
  bool wide;  // the edges are doubles
};

inline int64_t scratch_bytes(int64_t boxes) { return boxes * static_cast<int64_t>(sizeof(Axes) + sizeof(Reach)); }

inline Scratch scratch_at(void* memory, const BoxList& boxes) {
  Axes* const axes = static_cast<Axes*>(memory);
  return {axes, reinterpret_cast<Reach*>(axes + boxes.count), boxes.edge_dtype == DType::kFloat64};
}

// The tap of sample i on a kept axis; false if it is outside.
template <typename Acc>
__device__ __forceinline__ bool tap_on(const Axis<double>& axis, bool wide, int64_t i, Method method, int64_t length,
                                       Tap<Acc>& tap) {
  if (wide) return find_tap(axis, i, method, length, tap);
  return find_tap(Axis<float>{static_cast<float>(axis.start), static_cast<float>(axis.step)}, i, method, length, tap);
}

// The first and last tile that the samples of one axis reach, over the lanes of a warp.
struct Span {
  int32_t first, last;
};

__device__ __forceinline__ Span span_of(const Axis<double>& axis, bool wide, Method method, int64_t length,
                                        int64_t crop, int tile, int lane) {
  int32_t first = INT32_MAX, last = -1;
  for (int64_t i = lane; i < crop; i += kWarp) {
    Tap<float> tap;
    if (!tap_on(axis, wide, i, method, length, tap)) continue;
    const int32_t low = static_cast<int32_t>(tap.low / tile), high = static_cast<int32_t>(tap.high / tile);
    first = low < first ? low : first;
    last = high > last ? high : last;
  }
  return {least_of_warp(first), -least_of_warp(-last)};
}

template <typename T> __device__ __forceinline__ Axis<double> widened(const Axis<T>& axis) {
  return {static_cast<double>(axis.start), static_cast<double>(axis.step)};
}

// A warp for a box.
static __global__ void __launch_bounds__(kGatherThreads)
    reach_kernel(BoxList boxes, Method method, ConstView grad_crops, View image, int tile_height, Scratch scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t height = image.size[2], width = image.size[3];
  const int64_t crop_height = grad_crops.size[2], crop_width = grad_crops.size[3];
  for (int64_t row = int64_t{blockIdx.x} * kWarps + warp; row < boxes.count; row += int64_t{gridDim.x} * kWarps) {
    const int64_t index = image_index(boxes, row);
    const Axes axes = scratch.wide ? Axes{box_axis<double>(boxes, row, true, height, crop_height),
                                          box_axis<double>(boxes, row, false, width, crop_width)}
                                   : Axes{widened(box_axis<float>(boxes, row, true, height, crop_height)),
                                          widened(box_axis<float>(boxes, row, false, width, crop_width))};
    const Span y = span_of(axes.y, scratch.wide, method, height, crop_height, tile_height, lane);
    const Span x = span_of(axes.x, scratch.wide, method, width, crop_width, kTileWidth, lane);
    const bool known = index >= 0 && index < image.size[0];
    if (lane == 0) {
      scratch.axes[row] = axes;
      scratch.reach[row] = {known ? static_cast<int32_t>(index) : -1, y.first, y.last, x.first, x.last};
    }
  }
}

}  // namespace roi_align::cuda
