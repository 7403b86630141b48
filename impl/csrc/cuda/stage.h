// How a warp of neighbouring channels reads samples of an upstream gradient, in whichever layout it lies.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

// One more than there are lanes, so that neither channels nor pixels fall into one bank.
constexpr int kPitch = kWarp + 1;

// Loads that each lane has under way before it stores the first of them: memory answers after hundreds of cycles, and
// there are few warps to wait with. Doubles take two registers each.
template <typename T> constexpr int kUnderWay = sizeof(T) == 8 ? 4 : 8;

// A number that is known to the compiler.
template <int number> struct Count {
  static constexpr int value = number;
};

// The exponent of the first power of two that is not below `count`, which is positive.
__device__ __forceinline__ int log_of(int count) { return kWarp - __clz(count - 1); }

// Sample s of channel c is staged at s * kStagePitch + c: what a warp stores at once, of as many samples as are under
// way, falls into different banks.
template <typename Acc> constexpr int kStagePitch = kWarp + kWarp / kUnderWay<Acc>;

// Stages `slots` samples, all loads before the first store. In planes the lanes of a warp take the samples of one
// channel and go on to the next channels; else each lane keeps to its channel and takes sample after sample.
template <bool planes, int slots, int pitch, typename T, typename OffsetOf>
__device__ __forceinline__ void stage_slots(const T* first, int64_t channel_stride, const OffsetOf& offset_of,
                                            int channels, int lane, Accumulate<T> (*staged)[pitch]) {
  constexpr int step = kWarp / slots;
  T values[slots];
  if constexpr (planes) {
    const int slot = lane & (slots - 1), own = static_cast<int>(static_cast<unsigned>(lane) / slots);
    const T* at = first + offset_of(slot) + own * channel_stride;
    const int64_t next = step * channel_stride;
    Accumulate<T>* const to = &staged[slot][own];
    if (channels == kWarp) {  // mostly, and then no lane asks whether there is another channel
#pragma unroll
      for (int i = 0; i < slots; ++i, at += next) values[i] = *at;
#pragma unroll
      for (int i = 0; i < slots; ++i) to[i * step] = widen(values[i]);
      return;
    }
    const int left = channels - own;
#pragma unroll
    for (int i = 0; i < slots; ++i, at += next) {
      if (i * step < left) values[i] = *at;
    }
#pragma unroll
    for (int i = 0; i < slots; ++i) {
      if (i * step < left) to[i * step] = widen(values[i]);
    }
  } else {
    if (lane >= channels) return;
#pragma unroll
    for (int i = 0; i < slots; ++i) values[i] = first[offset_of(i) + lane];
#pragma unroll
    for (int i = 0; i < slots; ++i) staged[i][lane] = widen(values[i]);
  }
}

// Brings in 2^log_count samples of a warp's channels, of which there are at most `most`, up to eight: sample i is
// offset_of(i) away from `first`, the warp's first channel. In planes, or with channels innermost.
template <bool planes, int most, int pitch, typename T, typename OffsetOf>
__device__ __forceinline__ void stage(const T* first, int64_t channel_stride, int log_count, const OffsetOf& offset_of,
                                      int channels, int lane, Accumulate<T> (*staged)[pitch]) {
  static_assert(most <= 8, "four cases");
  const auto bring = [&](auto slots) {
    stage_slots<planes, decltype(slots)::value>(first, channel_stride, offset_of, channels, afresh(lane), staged);
  };
  __syncwarp();  // the samples before these may still be read
  switch (log_count) {
    case 0: bring(Count<1>()); break;
    case 1: bring(Count<2>()); break;
    case 2: bring(Count<(most < 4 ? most : 4)>()); break;
    default: bring(Count<most>());
  }
  __syncwarp();
}

}  // namespace roi_align::cuda
