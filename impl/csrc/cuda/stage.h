// How a warp of neighbouring channels reads an upstream gradient, in whichever layout it lies.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

// One more than there are lanes, so that neither channels nor pixels fall into one bank.
constexpr int kPitch = kWarp + 1;

// Brings in `count` neighbouring samples of a warp's channels: many loads under way at once, in runs as long as the
// layout has them.
template <typename T>
__device__ __forceinline__ void stage(const T* first, const ConstView& grad_crops, int count, int channels, int lane,
                                      Accumulate<T> (*staged)[kPitch]) {
  const int64_t channel_stride = grad_crops.stride[1], stride = grad_crops.stride[3];
  __syncwarp();  // whoever still reads the samples before these
  if (channel_stride == 1) {
#pragma unroll 4
    for (int sample = 0; sample < count; ++sample) {
      if (lane < channels) staged[sample][lane] = widen(first[sample * stride + lane]);
    }
  } else {
    int channel = lane / count, sample = lane % count;
    const int next_channel = kWarp / count, next_sample = kWarp % count;
#pragma unroll 4
    while (channel < channels) {
      staged[sample][channel] = widen(first[channel * channel_stride + sample * stride]);
      channel += next_channel;
      sample += next_sample;
      if (sample >= count) {
        sample -= count;
        ++channel;
      }
    }
  }
  __syncwarp();
}

}  // namespace roi_align::cuda
