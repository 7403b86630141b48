// The box gradient of roi_align from the sums of a box's parts, for the mean and for the maximum.

#pragma once

#include "cuda/warp.h"
#include "roi_align/cuda/box.h"

namespace roi_align::cuda {

// Channels that a block sums over; a second kernel adds up the sums x1, y1, x2, y2 of a box's parts.
constexpr int64_t kSummedChannels = 64;

inline BoxParts plan_sums(int64_t boxes, int64_t channels) { return parts_of(boxes, channels, kSummedChannels); }

inline int64_t sums_bytes(const BoxParts& parts) { return parts.units * static_cast<int64_t>(sizeof(Edges)); }

// A thread's place among the values of a part's crop: neighbouring threads take neighbouring channels or bins.
struct CropPlace {
  int64_t channel;
  int32_t y, x;
};

__device__ __forceinline__ CropPlace place_of(int64_t item, int64_t channels, int32_t height, int32_t width,
                                              bool channels_fast) {
  if (channels_fast) {
    const int64_t bin = divide(item, channels), y = divide(bin, width);
    return {item - bin * channels, static_cast<int32_t>(y), static_cast<int32_t>(bin - y * width)};
  }
  const int64_t line = divide(item, width), channel = divide(line, height);
  return {channel, static_cast<int32_t>(line - channel * height), static_cast<int32_t>(item - line * width)};
}

template <typename T>
static __global__ void __launch_bounds__(kThreads)
    roi_add_parts_kernel(const Edges* partial, int64_t parts, int64_t boxes, T* grad_boxes) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < boxes * 5; i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / 5, column = i % 5;
    double sum = 0;  // the gradient of the index column stays 0
    for (int64_t part = 0; column > 0 && part < parts; ++part) sum += partial[row * parts + part].value[column - 1];
    grad_boxes[i] = static_cast<T>(sum);
  }
}

inline void add_parts(const Edges* partial, const BoxParts& parts, const RoiList& rois, void* grad_boxes,
                      cudaStream_t stream) {
  const int64_t blocks = divide_up(rois.count * 5, kThreads);
  with_float(rois.dtype, [&](auto type) {
    using T = decltype(type);
    launch(&roi_add_parts_kernel<T>, blocks, kThreads, 0, stream, partial, parts.blocks, rois.count,
           static_cast<T*>(grad_boxes));
  });
}

}  // namespace roi_align::cuda
