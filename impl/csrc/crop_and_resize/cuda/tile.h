// A tile of the gradient: a sample's pixels relative to it, additions to it, and its output.
//
// A warp has a tile in 32 channels in shared memory, one channel per lane. The places of a sample's pixels do not
// depend on the channel, so they are computed once for all warps of a block (grad_image_gather.cu) and read from shared
// memory.

#pragma once

#include <type_traits>
#include "crop_and_resize/cuda/reach.h"

#include "cuda/stage.h"

namespace roi_align::cuda {

// Samples whose upstream gradients a warp loads at once: as many as keep all its loads under way.
template <typename Acc> constexpr int kStaged = kUnderWay<Acc>;
// Samples of a box that are in shared memory at once; the rest follow in further rounds.
template <typename Acc> constexpr int kSamples = 2 * kStaged<Acc>;

// A warp's shared memory. A sample adds its contributions outside of the tile to one extra pixel, which is never read:
// so every sample adds to four pixels.
template <typename Acc, int high, int wide> struct alignas(16) WarpTile {
  Acc sums[high * wide + 1][kPitch];
  alignas(16) Acc staged[kStaged<Acc>][kStagePitch<Acc>];
};

// A sample relative to a tile, the same for all channels.
template <typename Acc> struct alignas(16) TileSample {
  Acc y_rest, y_weight, x_rest, x_weight;  // of the upper and lower rows, of the left and right columns
  // The places of its pixels' sums, in bytes from the tile's first. If all four pixels are in the tile and different,
  // `first` is the place of the top left one, the others are next to it, and `second` is negative. Else each of `first`
  // (top) and `second` (bottom) has two places: the left one in the lower 16 bits, the right one in the upper.
  int32_t first, second;
  int64_t offset;  // from the crops' first sample
};

template <int high, int wide, typename Acc>
__device__ __forceinline__ TileSample<Acc> tile_sample(bool inside, const Tap<Acc>& y, const Tap<Acc>& x, Method method,
                                                       int64_t top, int64_t left, int64_t offset) {
  constexpr int unit = kPitch * static_cast<int>(sizeof(Acc)), nowhere = high * wide * unit;
  const auto place = [&](int64_t row, int64_t column) {
    const int64_t i = row - top, j = column - left;
    return inside && i >= 0 && i < high && j >= 0 && j < wide ? static_cast<int>(i * wide + j) * unit : nowhere;
  };
  const int top_left = place(y.low, x.low), bottom_right = place(y.high, x.high);
  TileSample<Acc> sample = {Acc(1) - y.weight, y.weight, Acc(1) - x.weight, x.weight, top_left, -1, offset};
  if (y.low < y.high && x.low < x.high && top_left != nowhere && bottom_right != nowhere) return sample;
  // The nearest method has one pixel, with a weight of 1.
  const bool one = method == Method::kNearest;
  const int top_right = one ? nowhere : place(y.low, x.high), bottom_left = one ? nowhere : place(y.high, x.low);
  sample.first = top_left | top_right << 16;
  sample.second = bottom_left | (one ? nowhere : bottom_right) << 16;
  return sample;
}

template <typename Acc> __device__ __forceinline__ Acc* offset_by(Acc* sums, int32_t bytes) {
  return reinterpret_cast<Acc*>(reinterpret_cast<unsigned char*>(sums) + bytes);
}

// Adds a sample's upstream g to its four pixels, for the lane's channel.
template <int wide, typename Acc>
__device__ __forceinline__ void add_sample(Acc* sums, const TileSample<Acc>& sample, Acc g) {
  const Acc y_rest = sample.y_rest, y_weight = sample.y_weight, x_rest = sample.x_rest, x_weight = sample.x_weight;
  const int32_t upper = sample.first, lower = sample.second;
  const Acc top = y_rest * g, bottom = y_weight * g;
  const Acc top_left = x_rest * top, top_right = x_weight * top;
  const Acc bottom_left = x_rest * bottom, bottom_right = x_weight * bottom;
  if (lower < 0) {
    // Four different pixels: their sums can be loaded together.
    Acc* const at = offset_by(sums, upper);
    const Acc first = at[0], second = at[kPitch], third = at[wide * kPitch], fourth = at[(wide + 1) * kPitch];
    at[0] = first + top_left;
    at[kPitch] = second + top_right;
    at[wide * kPitch] = third + bottom_left;
    at[(wide + 1) * kPitch] = fourth + bottom_right;
  } else {
    *offset_by(sums, upper & 0xffff) += top_left;
    *offset_by(sums, upper >> 16) += top_right;
    *offset_by(sums, lower & 0xffff) += bottom_left;
    *offset_by(sums, lower >> 16) += bottom_right;
  }
}

// Adds `count` samples to a warp's tile; `crops` is the warp's first channel of all crops.
template <bool planes, typename T, int high, int wide>
__device__ __forceinline__ void add_samples(const T* crops, int64_t channel_stride,
                                            const TileSample<Accumulate<T>>* samples, int count, int channels, int lane,
                                            WarpTile<Accumulate<T>, high, wide>& tile) {
  using Acc = Accumulate<T>;
  constexpr int most = kStaged<Acc>;
  Acc* const sums = &tile.sums[0][lane];
#pragma unroll 1
  for (int begin = 0; begin < count; begin += most) {
    const int few = count - begin < most ? count - begin : most;
    const auto offset_of = [&](int i) { return samples[begin + i].offset; };
    stage<planes, most>(crops, channel_stride, log_of(few), offset_of, channels, lane, tile.staged);
    const Acc* g = &tile.staged[0][lane];
    const TileSample<Acc>* const end = samples + begin + few;
#pragma unroll 1
    for (const TileSample<Acc>* sample = samples + begin; sample != end; ++sample) {
      add_sample<wide>(sums, *sample, *g);
      g += kStagePitch<Acc>;
    }
  }
}

// Sets a warp's sums to zero, 16 bytes at a time; between two barriers.
template <typename Acc, int high, int wide>
__device__ __forceinline__ void clear(WarpTile<Acc, high, wide>& tile, int lane) {
  constexpr int count = 16 / sizeof(Acc), vectors = high * wide * kPitch / count;
  static_assert(high * wide * kPitch % count == 0, "whole vectors");
#pragma unroll
  for (int i = 0; i < vectors; i += kWarp) {
    if (i + lane < vectors) store(&tile.sums[0][0] + (i + lane) * count, Vector<Acc, count>{});
  }
}

// The tile and the channels of a block.
struct Place {
  int64_t image, row, column;  // of the tile, among the tiles
  int64_t top, left;           // in pixels
  int64_t first_channel;       // of the block
};

// Writes a warp's tile. In planes, neighbouring lanes take neighbouring pixels; else neighbouring channels.
template <typename T, int high, int wide>
__device__ __forceinline__ void write_tile(const View& image, const Place& place, int64_t first_channel, int channels,
                                           int lane, const WarpTile<Accumulate<T>, high, wide>& tile) {
  T* const out = static_cast<T*>(image.data) + place.image * image.stride[0] + first_channel * image.stride[1] +
                 place.top * image.stride[2] + place.left * image.stride[3];
  const int64_t rows = image.size[2] - place.top, columns = image.size[3] - place.left;
  constexpr int pixels = high * wide, lanes = pixels < kWarp ? pixels : kWarp;
  __syncwarp();  // in planes a lane writes the sums of other lanes
  if (image.stride[1] == 1) {
    for (int y = 0; y < high && y < rows; ++y) {
#pragma unroll
      for (int x = 0; x < wide; ++x) {
        if (x < columns && lane < channels) {
          out[y * image.stride[2] + x * image.stride[3] + lane] = narrow<T>(tile.sums[y * wide + x][lane]);
        }
      }
    }
  } else {
#pragma unroll
    for (int begin = 0; begin < pixels; begin += lanes) {
      const int pixel = begin + lane % lanes, y = pixel / wide, x = pixel % wide;
      if (y >= rows || x >= columns) continue;
      T* at = out + y * image.stride[2] + x * image.stride[3] + lane / lanes * image.stride[1];
#pragma unroll 8
      for (int channel = lane / lanes; channel < channels; channel += kWarp / lanes) {
        *at = narrow<T>(tile.sums[pixel][channel]);
        at += kWarp / lanes * image.stride[1];
      }
    }
  }
  __syncwarp();
}

}  // namespace roi_align::cuda
