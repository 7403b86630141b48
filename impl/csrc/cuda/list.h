// Which boxes reach what a block works on, listed by its threads in their order.

#pragma once

#include "cuda/launch.h"

namespace roi_align::cuda {

// Lists, in their order and counted from `begin`, the items from there up to `count` of which reaches(item) is true,
// and returns how many there are. Each of `threads` looks at `looks` items before any vote is taken, so that all that
// they read is under way at once. An item's place is the number of hits before it; `counts` has room for a number of
// each look and each of `most_warps`. The first barrier also keeps the list before this one until every warp is through
// with it.
template <int looks, int most_warps, typename Reaches>
__device__ __forceinline__ int list_in_order(int32_t* listed, int32_t* counts, int threads, int64_t begin,
                                             int64_t count, const Reaches& reaches) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  bool hit[looks];
#pragma unroll
  for (int look = 0; look < looks; ++look) {
    const int64_t item = begin + look * threads + thread;
    hit[look] = item < count && reaches(item);
  }
  unsigned hits[looks];
#pragma unroll
  for (int look = 0; look < looks; ++look) {
    hits[look] = __ballot_sync(kAllLanes, hit[look]);
    if (lane == 0) counts[look * most_warps + warp] = __popc(hits[look]);
  }
  __syncthreads();
  int total = 0;
#pragma unroll
  for (int look = 0; look < looks; ++look) {
    for (int other = 0; other < threads / kWarp; ++other) {
      if (other == warp && hits[look] >> lane & 1u) {
        const int before = __popc(hits[look] & ((1u << lane) - 1u));
        listed[total + before] = static_cast<int32_t>(look * threads + thread);
      }
      total += counts[look * most_warps + other];
    }
  }
  __syncthreads();
  return total;
}

}  // namespace roi_align::cuda
