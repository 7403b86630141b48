// A box of roi_align as a block reads it, once, before pooling, and the mapping of threads to the values of its crop.

#pragma once

#include "cuda/launch.h"
#include "roi_align/boxes.h"
#include "roi_align/cuda/kernels.h"

namespace roi_align::cuda {

// A box with its bins, computed in the dtype of the boxes; doubles hold the results exactly.
struct RoiBox {
  int32_t image;  // -1 if its index is out of range
  int32_t level;  // -1 if it has no level
  BinAxis<double> y, x;
};

template <typename T> __device__ __forceinline__ BinAxis<double> widened(const BinAxis<T>& axis) {
  return {static_cast<double>(axis.start), static_cast<double>(axis.bin), axis.grid, axis.is_clamped};
}

__device__ __forceinline__ bool is_wide(const Pools& pools) { return pools.rois.dtype == DType::kFloat64; }

__device__ __forceinline__ RoiBox box_of(const Pools& pools, int64_t images, int64_t row) {
  const int64_t image = roi_image(pools.rois, row), level = roi_level(pools.rois, row, pools.level);
  const double scale = pools.scale[level < 0 ? 0 : level];
  const auto axis = [&](bool is_y) {
    return is_wide(pools) ? roi_axis<double>(pools.rois, row, is_y, scale, pools.rule)
                          : widened(roi_axis<float>(pools.rois, row, is_y, scale, pools.rule));
  };
  return {image < images ? static_cast<int32_t>(image) : -1, static_cast<int32_t>(level), axis(true), axis(false)};
}

// Calls work(axis) with an axis converted back to the dtype of the boxes.
template <typename Work>
__device__ __forceinline__ auto on_axis(const BinAxis<double>& axis, bool wide, const Work& work) {
  if (wide) return work(axis);
  return work(BinAxis<float>{static_cast<float>(axis.start), static_cast<float>(axis.bin), axis.grid, axis.is_clamped});
}

// The part of a block: a box, and some of its channels.
struct BoxPart {
  int64_t row;
  int64_t first;     // channel
  int64_t channels;  // at most BoxParts::block
};

struct BoxParts {
  int64_t block, blocks;  // of channels
  int64_t channels;
  int64_t units;

  __device__ __forceinline__ BoxPart at(int64_t unit) const {
    const int64_t row = divide(unit, blocks), first = (unit - row * blocks) * block;
    const int64_t left = channels - first;
    return {row, first, left < block ? left : block};
  }
};

inline BoxParts parts_of(int64_t boxes, int64_t channels, int64_t block) {
  const int64_t blocks = divide_up(channels, block);
  return {block, blocks, channels, boxes * blocks};
}

// A number in three digits that is advanced by steps of three digits, because a division for each item would cost more
// than the item. `fast` is below fast_size, `middle` below middle_size.
struct Digits {
  int32_t fast, middle, slow;

  __device__ __forceinline__ static Digits of(unsigned number, int32_t fast_size, int32_t middle_size) {
    if (fast_size == 0) return {0, 0, 0};  // there are no items
    const unsigned rest = number / static_cast<unsigned>(fast_size), slow = rest / static_cast<unsigned>(middle_size);
    return {static_cast<int32_t>(number - rest * static_cast<unsigned>(fast_size)),
            static_cast<int32_t>(rest - slow * static_cast<unsigned>(middle_size)), static_cast<int32_t>(slow)};
  }

  __device__ __forceinline__ void add(const Digits& step, int32_t fast_size, int32_t middle_size) {
    fast += step.fast;
    middle += step.middle;
    slow += step.slow;
    if (fast >= fast_size) {
      fast -= fast_size;
      ++middle;
    }
    if (middle >= middle_size) {
      middle -= middle_size;
      ++slow;
    }
  }
};

}  // namespace roi_align::cuda
