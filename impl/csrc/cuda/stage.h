// How a warp of neighbouring channels reads an upstream gradient, in whichever layout it lies.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

// One more than there are lanes, so that neither channels nor pixels fall into one bank.
constexpr int kPitch = kWarp + 1;

// Loads that each lane has under way before it stores the first of them: memory answers after hundreds of cycles, and
// there are few warps to wait with. Doubles take two registers each.
template <typename T> constexpr int kUnderWay = sizeof(T) == 8 ? 4 : 8;

// Where staged sample s of channel c lies, s * pitch + c, so that the samples and channels that the lanes of a warp
// store at once fall into different banks. `count` samples take at most (count + 1) * kWarp values.
__device__ __forceinline__ int pitch_of(int count) { return kWarp + kWarp / count; }

// Brings in `rows` times `columns` neighbouring samples of a warp's channels, at most as many as there are lanes.
// Lanes take runs as long as the layout has them, `most` loads at once.
template <int most, typename T>
__device__ __forceinline__ void stage(const T* first, const ConstView& grad_crops, int rows, int columns, int channels,
                                      int lane, Accumulate<T>* staged, int pitch) {
  const int64_t channel_stride = grad_crops.stride[1], row_stride = grad_crops.stride[2];
  const int64_t stride = grad_crops.stride[3];
  const int count = rows * columns;
  T kept[most];
  __syncwarp();  // the samples before these may still be read
  if (channel_stride == 1) {
    const T* at = first + lane;
    int column = 0;
    for (int begin = 0; begin < count; begin += most) {
#pragma unroll
      for (int i = 0; i < most; ++i) {
        if (begin + i < count && lane < channels) kept[i] = *at;
        ++column;
        at += column < columns ? stride : row_stride - (columns - 1) * stride;
        column = column < columns ? column : 0;
      }
#pragma unroll
      for (int i = 0; i < most; ++i) {
        if (begin + i < count && lane < channels) staged[(begin + i) * pitch + lane] = widen(kept[i]);
      }
    }
  } else {
    // Each lane keeps to one sample, and takes it of every channel that is `step` further.
    const int step = kWarp / count, own = lane / count, sample = lane - own * count;
    const int row = rows == 1 ? 0 : sample / columns;
    const int64_t next = step * channel_stride;
    const T* at = first + own * channel_stride + row * row_stride + (sample - row * columns) * stride;
    Accumulate<T>* to = staged + sample * pitch + own;
#pragma unroll 1
    for (int left = own < step ? (channels - own + step - 1) / step : 0; left > 0; left -= most) {
#pragma unroll
      for (int i = 0; i < most; ++i) {
        if (i < left) kept[i] = *at;
        at += next;
      }
#pragma unroll
      for (int i = 0; i < most; ++i) {
        if (i < left) *to = widen(kept[i]);
        to += step;
      }
    }
  }
  __syncwarp();
}

// The same of one row of samples, to be read as staged[sample][channel]. Half as many loads at once: roi_align's gather
// keeps its sums in registers and has none to spare.
template <typename T>
__device__ __forceinline__ void stage(const T* first, const ConstView& grad_crops, int count, int channels, int lane,
                                      Accumulate<T> (*staged)[kPitch]) {
  stage<kUnderWay<T> / 2>(first, grad_crops, 1, count, channels, lane, &staged[0][0], kPitch);
}

}  // namespace roi_align::cuda
