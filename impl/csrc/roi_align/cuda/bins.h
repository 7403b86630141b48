// The band matrices of one box, computed by the block that pools it: a warp computes up to 32 bins of an axis at a
// time, each lane the taps of one bin.
//
// The number of a bin's taps depends on its samples, and the host, which allocates the memory, never reads a box. But a
// bin has at most two taps for a sample, and at most one for a pixel between the first and the last that it reads:
// `bound` below, at most 2 * sampling_ratio and at most the length of the map. The bins whose bounds fit together are a
// chunk; a chunk has at least one bin, because the memory holds the largest bin that is possible.

#pragma once

#include <type_traits>

#include "cuda/warp.h"
#include "roi_align/cuda/box.h"
#include "roi_align/taps.h"

namespace roi_align::cuda {

// A list (roi_align/taps.h) in memory with enough slots.
template <typename Entry> struct Slots {
  Entry* data;
  int32_t count;

  __device__ __forceinline__ size_t size() const { return static_cast<size_t>(count); }
  __device__ __forceinline__ Entry& operator[](size_t k) const { return data[k]; }
  __device__ __forceinline__ void push_back(const Entry& entry) { data[count++] = entry; }
};

// Some bins of one axis: the taps of bin k are taps[begin[k]] up to taps[end[k]], its slopes likewise up to
// slope_end[k]. There may be free slots between the bins, whose pixel is -1.
struct BinChunk {
  int32_t count;            // of bins
  int32_t slots;            // of their taps, free slots included
  int32_t lowest, highest;  // pixel that is read, if any
  int32_t begin[kWarp], end[kWarp], slope_end[kWarp];
};

// The reach of a bin: pixels lowest to highest, with at most `bound` taps.
struct BinReach {
  int64_t lowest, highest;
  int64_t bound;
};

template <typename T>
__device__ __forceinline__ BinReach reach_of(const BinAxis<T>& axis, int64_t bin, int64_t length) {
  const T base = axis.base(bin);
  const SampleSpan span = samples_in_reach(axis, base, length);
  if (span.begin >= span.end) return {INT32_MAX, -1, 0};
  const Tap<T> first = edge_tap<T>(axis.position(base, span.begin), length);
  const Tap<T> last = edge_tap<T>(axis.position(base, span.end - 1), length);
  const int64_t lowest = first.low < last.low ? first.low : last.low;
  const int64_t highest = first.high > last.high ? first.high : last.high;
  const int64_t pixels = highest - lowest + 1, most = 2 * (span.end - span.begin);
  return {lowest, highest, pixels < most ? pixels : most};
}

// The memory of both axes, y before x: taps, and slopes with `with_slopes`, `capacity` slots per axis.
template <typename Acc, bool with_slopes = false> struct AxisMemory {
  BinTap<Acc>* taps;
  BinSlope* slopes;
  int32_t capacity;

  __device__ __forceinline__ const BinTap<Acc>* y() const { return taps; }
  __device__ __forceinline__ const BinTap<Acc>* x() const { return taps + capacity; }
};

// Computes the chunk that begins with bin `first`; all lanes of a warp must call it.
template <bool with_slopes, typename Acc>
__device__ __forceinline__ void make_chunk(const BinAxis<double>& bin_axis, bool wide, double scale, int64_t length,
                                           int64_t bins, int64_t first, BinTap<Acc>* all_taps, BinSlope* all_slopes,
                                           int32_t capacity, BinChunk* chunk) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t bin = first + lane;
  BinReach reach = {INT32_MAX, -1, 0};
  if (bin < bins) reach = on_axis(bin_axis, wide, [&](const auto& axis) { return reach_of(axis, bin, length); });
  int64_t end = reach.bound;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int64_t before = __shfl_up_sync(kAllLanes, end, static_cast<unsigned>(distance));
    if (lane >= distance) end += before;
  }
  const bool fits = bin < bins && end <= capacity;
  const int count = __popc(__ballot_sync(kAllLanes, fits));
  const int32_t lowest = least_of_warp(fits ? static_cast<int32_t>(reach.lowest) : INT32_MAX);
  const int32_t highest = -least_of_warp(fits ? -static_cast<int32_t>(reach.highest) : 1);
  if (fits) {
    const int32_t begin = static_cast<int32_t>(end - reach.bound);
    Slots<BinTap<Acc>> taps = {all_taps + begin, 0};
    Slots<BinSlope> slopes = {all_slopes + begin, 0};
    on_axis(bin_axis, wide, [&](const auto& axis) {
      using T = decltype(axis.start + axis.bin);
      add_taps<Acc>(axis, bin, length, taps);
      if constexpr (with_slopes) add_slopes(axis, static_cast<T>(scale), bin, bins, length, slopes);
      return 0;
    });
    chunk->begin[lane] = begin;
    chunk->end[lane] = begin + taps.count;
    chunk->slope_end[lane] = begin + slopes.count;
    for (int64_t slot = begin + taps.count; slot < end; ++slot) all_taps[slot].at = -1;
    if (lane == count - 1) chunk->slots = static_cast<int32_t>(end);
  }
  if (lane == 0) {
    chunk->count = count;
    chunk->lowest = lowest;
    chunk->highest = highest;
  }
}

// A block's shared memory: its box, the chunks of both axes, and the warps' sums.
struct BoxTables {
  RoiBox box;
  BinChunk y, x;
  Edges of_warp[kThreads / kWarp];
};

// Computes the chunks that begin with bins (i, j), one axis per warp if the block has two. Starts and ends with a
// barrier: before the first, other threads may still read the previous chunks.
template <typename Acc, bool with_slopes>
__device__ __forceinline__ void make_chunks(BoxTables& tables, const Pools& pools, const ConstView& map, int64_t i,
                                            int64_t j, const AxisMemory<Acc, with_slopes>& memory) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  const double scale = pools.scale[tables.box.level];
  __syncthreads();
#pragma unroll 1
  for (int axis = warp; axis < 2; axis += warps) {
    const bool is_y = axis == 0;
    const int64_t before = is_y ? 0 : memory.capacity;
    make_chunk<with_slopes>(is_y ? tables.box.y : tables.box.x, is_wide(pools), scale, is_y ? map.size[2] : map.size[3],
                            is_y ? pools.rule.height : pools.rule.width, is_y ? i : j, memory.taps + before,
                            with_slopes ? memory.slopes + before : nullptr, memory.capacity,
                            is_y ? &tables.y : &tables.x);
  }
  __syncthreads();
}

// The memory of a kernel's taps: shared memory after its BoxTables or, if there are too many taps, the block's part of
// the scratch memory. A kernel is compiled for each place: a choice on the device would make every access generic, with
// an address of 64 bits whose memory space is resolved at run time.
enum class TapPlace { kShared, kScratch };

struct TapMemory {
  int32_t capacity;  // slots of an axis
  int64_t rest;      // bytes of the kernel's other data
  int64_t bytes;     // of a block
  int64_t blocks;    // with scratch memory; 0 if shared memory is enough
  unsigned char* scratch;

  template <TapPlace place> __device__ __forceinline__ unsigned char* at(unsigned char* shared_memory) const {
    if constexpr (place == TapPlace::kScratch) return scratch + blockIdx.x * bytes;
    return shared_memory + kHead;
  }
  int64_t shared_bytes() const { return kHead + (blocks == 0 ? bytes : 0); }
  int64_t scratch_bytes() const { return blocks * bytes; }
  int64_t blocks_for(int64_t units) const { return blocks == 0 || units < blocks ? units : blocks; }

  static constexpr int64_t kHead = (static_cast<int64_t>(sizeof(BoxTables)) + 15) / 16 * 16;
};

template <TapPlace place> using TapPlaceOf = std::integral_constant<TapPlace, place>;

// Calls work(place), with the place as a compile-time constant.
template <typename Work> void with_place(const TapMemory& memory, const Work& work) {
  if (memory.blocks == 0) return work(TapPlaceOf<TapPlace::kShared>());
  work(TapPlaceOf<TapPlace::kScratch>());
}

// The shared memory that a block may use without opting in to more.
constexpr int64_t kSharedBytes = 48 * 1024;
// The slots of an axis that are allocated if its bins can use them, so that a chunk has many bins.
constexpr int64_t kTargetSlots = 512;
constexpr int64_t kScratchBytes = int64_t{256} << 20;
constexpr int64_t kScratchBlocks = 512;

// `slot_bytes` is the size of a slot of one axis; `rest(slots)` is the size of the kernel's other data for so many
// slots of an axis.
template <typename Rest>
TapMemory plan_taps(const ConstMaps& maps, const Pools& pools, int64_t slot_bytes, const Rest& rest) {
  int64_t longest = 1;
  for (int64_t level = 0; level < maps.levels; ++level) {
    for (const int axis : {2, 3}) longest = maps.map[level].size[axis] > longest ? maps.map[level].size[axis] : longest;
  }
  const int64_t ratio = pools.rule.sampling_ratio;
  const int64_t least = ratio > 0 && ratio < longest / 2 ? 2 * ratio : longest;
  const int64_t bins = pools.rule.height > pools.rule.width ? pools.rule.height : pools.rule.width;
  // Neighbouring bins share hardly any pixels, so an axis of many bins has few more taps than the map has pixels.
  const int64_t together = (bins < kWarp ? bins : kWarp) * least;
  const int64_t target = together < kTargetSlots ? together : kTargetSlots;
  const int64_t capacity = target > least ? target : least;
  TapMemory memory = {static_cast<int32_t>(capacity), rest(capacity), 0, 0, nullptr};
  memory.bytes = (2 * capacity * slot_bytes + memory.rest + 15) / 16 * 16;
  if (memory.shared_bytes() > kSharedBytes) {
    const int64_t blocks = kScratchBytes / memory.bytes;
    memory.blocks = blocks < 1 ? 1 : blocks < kScratchBlocks ? blocks : kScratchBlocks;
  }
  return memory;
}

}  // namespace roi_align::cuda
